"""What `dssm init` says: each decision, its evidence, and how to overrule it."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.first_look.dialect import Finding
from pipeline.first_look.plan import Plan
from pipeline.first_look.rendering import CONFIG_FILE, SCHEMA_FILE, flow
from pipeline.first_look.roles import SIDES, Side
from pipeline.first_look.source_options import describe_lists, describe_source, describe_time


def render_plan(plan: Plan, output: Path, derived_rows: Mapping[Side, int]) -> str:
    """Say what was decided.

    Args:
        plan: The plan.
        output: Where the files lie.
        derived_rows: Rows of the tables that were made of the log.

    Returns:
        Text for the terminal.
    """
    roles = plan.roles
    lines = [f"Tables; how they are read is overruled in {output / SCHEMA_FILE}"]
    part = "" if roles.log.table.is_whole else ", of which a sample was looked at"
    lines.append(f"  {roles.log.table.path}: the log ({roles.log_evidence}{part}). Another one: --log FILE")
    lines += _show_options(describe_source(roles.log.table))
    for side in SIDES:
        rows = plan.entity(side)
        if rows.entity.join is not None:
            share = f"{rows.join.coverage:.1%} of the log's {rows.join.values:,} {side}s are in it"
            lines.append(f"  {rows.source.path}: the {side}s ({share}). Another one: --{side}s FILE")
            lines += _show_options(_options_of(plan, side))
        if not plan.has_table(side):
            lines.append(f"  {side}s: those of the log; nothing else is known of them")
        if side in derived_rows:
            lines.append(f"  {side}s: {derived_rows[side]:,} rows made of {rows.source.path}")
    lines.append("Columns of the log")
    for side in SIDES:
        entity = roles.entity(side)
        lines.append(f"  {entity.log_column}: {side} ({entity.evidence}). Another one: --{side}-column NAME")
    lines.append(f"  {roles.time.name}: time ({roles.time_evidence}). Another one: --time-column NAME")
    lines += _show_options(describe_time(roles.time))
    lines.append(f"Features; overruled in {output / SCHEMA_FILE}")
    for feature in plan.features:
        default = f", default {flow(feature.entry['default'])}" if "default" in feature.entry else ""
        read = feature.entry.get("encoding")
        encoding = "not read" if read is None else _describe(read)
        lines.append(f"  {feature.tower} {feature.name}: {feature.evidence} -> {encoding}{default}")
    if plan.left_out:
        lines.append(f"Left out; {output / SCHEMA_FILE} has a line for each that can be taken in")
        for left in plan.left_out:
            lines.append(f"  {left.column} ({Path(left.table).name}): {left.reason}")
    lines.append(f"Settings; overruled in {output / CONFIG_FILE}, or by --set")
    lines.append(f"  ingest.positives: {flow(plan.positives)} ({plan.positives_evidence})")
    for setting in plan.settings:
        lines.append(f"  {setting.section}.{setting.key}: {flow(setting.value)} ({setting.evidence})")
    return "\n".join(lines)


def plan_to_json(plan: Plan, output: Path) -> str:
    """Write down what was decided, for programs.

    Args:
        plan: The plan.
        output: Where the files lie.

    Returns:
        JSON.
    """
    roles = plan.roles
    log_options = describe_source(roles.log.table) | describe_time(roles.time)
    tables: dict[str, Any] = {
        "log": {
            "path": roles.log.table.path,
            "read_by": _options_to_json(log_options),
            "evidence": roles.log_evidence,
        }
    }
    for side in SIDES:
        rows = plan.entity(side)
        tables[f"{side}s"] = {
            "path": rows.source.path if plan.has_table(side) else None,
            "read_by": _options_to_json(_options_of(plan, side)),
            "is_derived": plan.is_derived(side),
            "log_column": roles.entity(side).log_column,
            "key": rows.key.name,
            "coverage": rows.join.coverage,
            "evidence": rows.entity.evidence,
        }
    document = {
        "name": plan.name,
        "schema": str(output / SCHEMA_FILE),
        "config": str(output / CONFIG_FILE),
        "tables": tables,
        "time": {"column": roles.time.name, "unit": roles.time.unit, "evidence": roles.time_evidence},
        "event": roles.event,
        "rating": roles.rating,
        "weight": roles.weight,
        "features": [
            {
                "name": feature.name,
                "column": feature.column,
                "tower": feature.tower,
                **feature.entry,
                "evidence": feature.evidence,
            }
            for feature in plan.features
        ],
        "display": [name for name, _ in plan.display],
        "left_out": [
            {"table": left.table, "column": left.column, "reason": left.reason} for left in plan.left_out
        ],
        "positives": {"value": plan.positives, "evidence": plan.positives_evidence},
        "settings": [
            {
                "section": setting.section,
                "key": setting.key,
                "value": setting.value,
                "evidence": setting.evidence,
            }
            for setting in plan.settings
        ],
    }
    return json.dumps(document, indent=2, ensure_ascii=False)


def _options_of(plan: Plan, side: Side) -> dict[str, Finding]:
    """Say how the table of a side is read; nothing where it has none of its own."""
    if plan.entity(side).lacks_table:
        return {}
    return describe_source(plan.entity(side).source) | describe_lists(plan.list_syntaxes.get(side))


def _show_options(options: Mapping[str, Finding]) -> list[str]:
    return [f"    {key}: {flow(found.value)} ({found.evidence})" for key, found in options.items()]


def _options_to_json(options: Mapping[str, Finding]) -> dict[str, Any]:
    return {key: {"value": found.value, "evidence": found.evidence} for key, found in options.items()}


def _describe(encoding: Mapping[str, Any]) -> str:
    further = ", ".join(f"{value:,} {key}" for key, value in encoding.items() if key != "kind")
    return f"{encoding['kind']}, {further}" if further else str(encoding["kind"])
