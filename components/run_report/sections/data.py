"""What the data are: counts, drops, anomalies and drift."""

import datetime
from collections.abc import Mapping
from typing import Any, Final

from components.run_report.blocks import Block, Cell, Section, Table, Text, Tone
from components.run_report.figures import count_cell, figure_cell

_COUNTS: Final = {
    "rows_read": "interactions read",
    "rows_kept": "interactions kept",
    "train_rows": "of them train",
    "validation_rows": "of them validation",
    "eval_rows": "of them eval",
    "skipped_rows": "of them in no split",
    "users": "users with an interaction",
    "users_with_one_positive": "users with one alone",
    "items": "items in the catalogue",
    "unknown_users": "users of the log that are not in the user table",
    "unknown_items": "items of the log that are not in the item table",
    "unread_bytes": "bytes that could not be read",
}
_DROPS: Final = {
    "dropped": "interactions",
    "user_table_dropped": "rows of the user table",
    "item_table_dropped": "rows of the item table",
    "filled_defaults": "values filled with their default",
    "line_breaks_cleaned": "labels whose line breaks became spaces",
    "history_values_cut": "values of items beyond history.values_per_item",
}
_TONES: Final[Mapping[str, Tone]] = {"ERROR": "bad", "WARNING": "bad"}


def describe_data(ingest: Mapping[str, Any]) -> Section:
    """Say what was read and what was left out.

    Args:
        ingest: InteractionIngest's report.

    Returns:
        The section.
    """
    blocks: list[Block] = []
    first, last = ingest.get("first_timestamp"), ingest.get("last_timestamp")
    if first is not None and last is not None:
        window = _describe_window(ingest)
        blocks.append(Text(f"Interactions from {_show_moment(first)} to {_show_moment(last)}{window}."))
    blocks += [Text(f"Warning: {warning}.", tone="bad") for warning in ingest.get("warnings") or ()]
    if ingest.get("missing_days"):
        blocks.append(Text(f"Days without a file: {', '.join(ingest['missing_days'])}.", tone="bad"))
    blocks.append(
        Table(
            "Counts of the ingest.",
            ("what", "number"),
            [[Cell(text), count_cell(ingest[key])] for key, text in _COUNTS.items() if key in ingest],
        )
    )
    given = ingest.get("metadata_defaults") or {}
    if given:
        values = ", ".join(f"{name} {value!r}" for name, value in given.items())
        blocks.append(Text(f"Users and items without metadata were given {values}."))
    drops = [
        [Cell(what), Cell(str(reason).replace("_", " ")), count_cell(count)]
        for key, what in _DROPS.items()
        for reason, count in (ingest.get(key) or {}).items()
    ]
    if drops:
        blocks.append(Table("What was dropped or filled in.", ("what", "which", "number"), drops))
    else:
        blocks.append(Text("Nothing was dropped, nothing was filled in."))
    return Section("data", "Data", blocks)


def describe_anomalies(report: Mapping[str, Any]) -> Section:
    """Say what in the data differs from the schema and from the current release.

    Args:
        report: AnomalyGate's report.

    Returns:
        The section.
    """
    anomalies = report.get("anomalies") or []
    tables = ", ".join(report.get("tables") or ())
    blocks: list[Block] = []
    if anomalies:
        blocks.append(
            Table(
                f"Anomalies of {tables}.",
                ("where", "feature", "severity", "what"),
                [
                    [
                        Cell(one["table"]),
                        Cell(one["feature"]),
                        Cell(one["severity"].lower(), tone=_TONES.get(one["severity"])),
                        Cell(f"{one['description']} [{one['reason']}]"),
                    ]
                    for one in anomalies
                ],
            )
        )
    else:
        blocks.append(Text(f"No anomalies in {tables or 'the data'}."))
    blocks += _describe_drift(report.get("drift"))
    return Section("anomalies", "Anomalies and drift", blocks)


def _describe_drift(drift: Mapping[str, Any] | None) -> list[Block]:
    if drift is None:
        return [Text("Drift was not measured.", tone="quiet")]
    blocks: list[Block] = []
    if drift.get("distances"):
        blocks.append(
            Table(
                f"Distances of the train split from that of release {drift['release']}.",
                ("where", "feature", "measure", "distance", "largest that is fine"),
                [
                    [
                        Cell(one["table"]),
                        Cell(one["feature"]),
                        Cell(one["measure"]),
                        figure_cell(one["value"], _tone_of_distance(one)),
                        Cell("any", tone="quiet")
                        if one["threshold"] is None
                        else figure_cell(one["threshold"]),
                    ]
                    for one in drift["distances"]
                ],
            )
        )
    if drift.get("note"):
        blocks.append(Text(f"Drift not measured: {drift['note']}.", tone="quiet"))
    return blocks


def _tone_of_distance(distance: Mapping[str, Any]) -> Tone | None:
    threshold = distance["threshold"]
    return "bad" if threshold is not None and distance["value"] > threshold else None


def _show_moment(seconds: int) -> str:
    moment = datetime.datetime(1970, 1, 1) + datetime.timedelta(seconds=seconds)
    return f"{moment.isoformat(sep=' ')} UTC"


def _describe_window(ingest: Mapping[str, Any]) -> str:
    first, last = ingest.get("window_from"), ingest.get("window_to")
    if not first and not last:
        return ""
    return f", of the window {first or 'from the start'} to {last or 'the end'}"
