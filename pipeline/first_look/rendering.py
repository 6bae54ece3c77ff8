"""The schema file and the configuration of a plan, with the evidence beside each line."""

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from pipeline.config import PipelineConfig
from pipeline.first_look.dialect import Finding
from pipeline.first_look.plan import HISTORY, LeftOut, Plan
from pipeline.first_look.roles import SIDES, Side
from pipeline.first_look.sizing import Setting
from pipeline.first_look.source_options import describe_lists, describe_source, describe_time
from schemas.features import FeatureSpec
from schemas.strict_config import parse
from schemas.yaml_files import parse_yaml

SCHEMA_FILE: Final = "schema.yaml"
"""Name of the schema file."""
CONFIG_FILE: Final = "config.yaml"
"""Name of the configuration."""
_PLAIN: Final = re.compile(r"[\w/][\w./ -]*")
_TABLES: Final[dict[Side, str]] = {"user": "users", "item": "items"}


@dataclass(frozen=True)
class Project:
    """The files that `dssm init` writes."""

    schema: str
    """Text of the schema file."""
    config: str
    """Text of the configuration."""
    derived: dict[Side, Path]
    """Where the tables lie that are made of the log."""


def render_project(plan: Plan, output: Path) -> Project:
    """Write a plan as a schema file and a configuration.

    Args:
        plan: The plan.
        output: The folder of both; relative ones stay relative to the working directory.

    Returns:
        The texts, which `dssm run` takes as they are.

    Raises:
        ConfigError: They are none; which would be a defect.
    """
    derived = {
        side: output / "tables" / f"{_TABLES[side]}.parquet" for side in SIDES if plan.is_derived(side)
    }
    directory = _common_folder(plan)
    project = Project(
        _render_schema(plan, directory, derived), _render_config(plan, directory, output), derived
    )
    parse(FeatureSpec, parse_yaml(project.schema), source=SCHEMA_FILE)
    parse(PipelineConfig, parse_yaml(project.config), source=CONFIG_FILE)
    return project


def flow(value: Any) -> str:
    """Write a value in one line of YAML.

    Args:
        value: Plain data.

    Returns:
        Its text.
    """
    text = yaml.dump(
        value,
        Dumper=_Dumper,
        default_flow_style=True,
        sort_keys=False,
        allow_unicode=True,
        width=float("inf"),
    )
    # A value that is no list and no mapping has an end of its document.
    return text.removesuffix("\n").removesuffix("\n...")


class _Dumper(yaml.SafeDumper):
    """Quotes a text that this project's reader of YAML would take for something else."""


def _show_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = None if _PLAIN.fullmatch(text) and parse_yaml(text) == text else '"'
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _show_text)


def _common_folder(plan: Plan) -> str:
    """Name the folder of the tables; '.' where they have none in common, or lie in a store."""
    paths = {plan.roles.log.table.path}
    paths |= {plan.entity(side).source.path for side in SIDES if not plan.entity(side).lacks_table}
    if any("://" in path for path in paths) or len({Path(path).is_absolute() for path in paths}) > 1:
        return "."
    folders = [str(Path(re.split(r"[*?{]", path)[0]).parent) for path in paths]
    return os.path.commonpath(folders) or "."


def _file_in(path: str, folder: str) -> str:
    if "://" in path or folder == ".":
        return path
    return os.path.relpath(path, folder)


def _render_schema(plan: Plan, directory: str, derived: Mapping[Side, Path]) -> str:
    tables = ", ".join(
        dict.fromkeys([plan.roles.log.table.path, *(plan.entity(s).source.path for s in SIDES)])
    )
    lines = [
        f"# Written by `dssm init` of {tables}.",
        "# Nothing overwrites it: what you change stays. docs/data.md and docs/features.md explain each key.",
        f"name: {flow(plan.name)}",
        "",
        "tables:",
        *_render_log(plan, directory),
        *(
            line
            for side in SIDES
            if plan.has_table(side)
            for line in _render_entity(plan, side, directory, derived.get(side))
        ),
        "",
        *_render_history(plan),
        "",
        "features:",
    ]
    for feature in plan.features:
        entry = {"name": feature.name, "tower": feature.tower, **feature.entry}
        lines += [*_comment(feature.evidence), f"  - {flow(entry)}"]
    if plan.left_out:
        lines += ["", "  # Left out, each with the reason. A line below it takes the column in all the same."]
        for left in plan.left_out:
            lines += _render_left_out(plan, left)
    return "\n".join(lines) + "\n"


def _render_log(plan: Plan, directory: str) -> list[str]:
    table = plan.roles.log.table
    columns = {
        feature.name: plan.roles.entity(feature.tower).log_column
        for feature in plan.features
        if "role" in feature.entry and feature.name != plan.roles.entity(feature.tower).log_column
    }
    if plan.timestamp != plan.roles.time.name:
        columns[plan.timestamp] = plan.roles.time.name
    part = "" if table.is_whole else f"; a sample of {table.columns.num_rows:,} of about {table.rows:,} rows"
    lines = [
        *_comment(f"the log: {plan.roles.log_evidence}{part}"),
        "  interactions:",
        f"    file: {flow(_file_in(table.path, directory))}",
        *_render_options(describe_source(table)),
    ]
    if columns:
        lines.append(f"    columns: {flow(columns)}")
    lines.append(f"    timestamp: {plan.timestamp}{_remark(plan.roles.time_evidence)}")
    return [*lines, *_render_options(describe_time(plan.roles.time))]


def _render_entity(plan: Plan, side: Side, directory: str, derived: Path | None) -> list[str]:
    rows = plan.entity(side)
    columns = {
        feature.name: feature.column
        for feature in plan.features
        if feature.tower == side and feature.name != feature.column
    }
    if side == "item":
        columns |= {name: column for name, column in plan.display if name != column}
    join = f"{rows.join.coverage:.1%} of the log's {side}s are in it"
    if derived is not None:
        why = f"made by `dssm init` of {rows.source.path}, a row for each {side}"
        lines = [*_comment(why), f"  {_TABLES[side]}:", f"    file: {flow(str(derived.absolute()))}"]
    else:
        path = _file_in(rows.source.path, directory)
        lines = [
            *_comment(f"{rows.source.rows:,} rows; {join}"),
            f"  {_TABLES[side]}:",
            f"    file: {flow(path)}",
            *_render_options(describe_source(rows.source) | describe_lists(plan.list_syntaxes.get(side))),
        ]
    if columns:
        lines.append(f"    columns: {flow(columns)}")
    if side == "item" and plan.display:
        lines.append(f"    display: {flow([name for name, _ in plan.display])}")
    return lines


def _render_options(options: Mapping[str, Finding]) -> list[str]:
    return [f"    {key}: {flow(found.value)}{_remark(found.evidence)}" for key, found in options.items()]


def _render_history(plan: Plan) -> list[str]:
    lines = ["history:  # the user's last positives, with the items' embeddings", f"  name: {HISTORY}"]
    return [*lines, *_render_settings(plan.settings_of("history"))]


def _render_left_out(plan: Plan, left: LeftOut) -> list[str]:
    lines = _comment(f"{left.column} ({Path(left.table).name}): {left.reason}")
    if left.line is not None:
        lines.append(f"  # - {flow(left.line)}")
    return lines


def _render_config(plan: Plan, directory: str, output: Path) -> str:
    lines = [
        "# Written by `dssm init`. Nothing overwrites it: what you change stays.",
        "# docs/configuration.md has every key. Folders are relative to where dssm is run.",
        "run:",
        f"  name: {flow(plan.name)}",
        f"  directory: {flow(str(output / 'runs'))}",
        "",
        "data:",
        f"  schema: {flow(str(output / SCHEMA_FILE))}",
        f"  directory: {flow(directory)}",
        "",
        "serving:",
        f"  directory: {flow(str(output / 'serving'))}",
        "",
        "ingest:",
        *_comment(plan.positives_evidence),
        f"  positives: {flow(plan.positives)}",
    ]
    for other in plan.alternatives:
        lines.append(f"  # {other.key}: {flow(other.value)}  # {other.effect}")
    for section in ("ingest", "model", "loss", "training", "evaluation"):
        if section != "ingest":
            lines += ["", f"{section}:"]
        lines += _render_settings(plan.settings_of(section))
    return "\n".join(lines) + "\n"


def _render_settings(settings: Sequence[Setting]) -> list[str]:
    return [f"  {setting.key}: {flow(setting.value)}{_remark(setting.evidence)}" for setting in settings]


def _comment(text: str) -> list[str]:
    return [f"  # {_printable(line)}" for line in text.splitlines()]


def _remark(text: str) -> str:
    return f"  # {_printable(text)}"


def _printable(text: str) -> str:
    """Put a question mark in the place of what a line of YAML cannot hold."""
    return "".join(sign if sign.isprintable() else "?" for sign in text)
