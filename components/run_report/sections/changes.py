"""What changed against the current release, for all users and for some that are looked at."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

from components.run_report.blocks import Block, Cell, NamedList, Person, Section, Table, Text
from components.run_report.figures import count_cell, figure_cell
from components.run_report.sections.gate import describe_released

_TITLE: Final = "Changes against the current release"


def describe_changes(evaluation: Mapping[str, Any]) -> Section:
    """Say how much the lists differ from those of the current release, and for which items.

    Args:
        evaluation: RetrievalEvaluator's document.

    Returns:
        The section.
    """
    changes = evaluation["changes"]
    if changes is None:
        text = Text(describe_released(evaluation["released"]), tone="quiet")
        return Section("changes", _TITLE, [text])
    length = changes["list_length"]
    blocks: list[Block] = [
        Text(
            f"Of the first {length:,} items of a user's list {100 * changes['overlap']:.1f} % were in that "
            f"user's list of release {changes['version']}, too (mean over users)."
        )
    ]
    for key, caption in (
        ("gained", "Items that are in more users' lists than before"),
        ("lost", "Items that are in fewer users' lists than before"),
    ):
        if changes[key]:
            blocks.append(
                Table(
                    f"{caption} (lists of {length:,}).",
                    ("item", "users before", "users now"),
                    [
                        [Cell(item["title"]), count_cell(item["before"]), count_cell(item["now"])]
                        for item in changes[key]
                    ],
                )
            )
    blocks.append(
        Table(
            "The users whose lists changed most.",
            ("user", f"share of {length:,} that stayed"),
            [[Cell(user["user"]), figure_cell(user["overlap"])] for user in changes["users"]],
        )
    )
    return Section("changes", _TITLE, blocks)


def describe_samples(evaluation: Mapping[str, Any]) -> Section:
    """Show some users with their history and their lists.

    Args:
        evaluation: RetrievalEvaluator's document.

    Returns:
        The section.
    """
    return Section("users", "Sample users", [_describe_person(sample) for sample in evaluation["samples"]])


def _describe_person(sample: Mapping[str, Any]) -> Person:
    held_out = {item["item"] for item in sample["held_out"]}
    lists = [
        NamedList("history, newest first", _list_items(sample["history"])),
        NamedList("held out", _list_items(sample["held_out"])),
        NamedList("this model", _list_items(sample["recommended"], held_out)),
    ]
    if sample["released"] is not None:
        lists.append(NamedList("current release", _list_items(sample["released"], held_out)))
    note = ", ".join(f"{name}: {value}" for name, value in sample["features"].items())
    return Person(f"User {sample['user']}", note, lists)


def _list_items(items: Sequence[Mapping[str, Any]], held_out: Collection[str] = ()) -> list[Cell]:
    return [
        Cell(f"{item['title']} (held out)", tone="good") if item["item"] in held_out else Cell(item["title"])
        for item in items
    ]
