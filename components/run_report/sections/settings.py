"""Every setting of the run."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from components.run_report.blocks import Block, Cell, Details, Section, Table, Text
from components.run_report.inputs import RunFacts


def describe_settings(facts: RunFacts) -> Section:
    """List every setting but those of `kubeflow`, and what this run was given beside the configuration.

    Args:
        facts: What is known of the run.

    Returns:
        The section.
    """
    blocks: list[Block] = [
        Table(
            "What this run was given.",
            ("parameter", "value"),
            [[Cell(name), Cell(_show(value))] for name, value in facts.parameters.items()],
        )
    ]
    sections = [
        Details(
            section,
            [
                Table(
                    f"Settings of {section}.",
                    ("setting", "value"),
                    [[Cell(name), Cell(_show(value))] for name, value in list_settings(section, content)],
                )
            ],
        )
        for section, content in facts.settings.items()
    ]
    return Section("settings", "Settings", [*blocks, *sections] if sections else [*blocks, Text("None.")])


def list_settings(name: str, content: Any) -> Iterator[tuple[str, Any]]:
    """List settings by their full names.

    Args:
        name: Where the content stands in the configuration.
        content: A value, or a mapping of more of them.

    Returns:
        Names such as `model.dim` with values; an empty mapping is a value.
    """
    if not isinstance(content, Mapping) or not content:
        yield name, content
        return
    for key, value in content.items():
        yield from list_settings(f"{name}.{key}", value)


def _show(value: Any) -> str:
    if value is None or value == "":
        return "none"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
