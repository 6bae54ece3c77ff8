"""The run's figures: what is refused, and what a person reads."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from components.interaction_ingest.config import IngestConfig, PositiveRule
from components.interaction_ingest.counts import (
    EXAMPLE_IDS_SHOWN,
    MISSING_METADATA,
    OUTSIDE_WINDOW,
    IngestCounts,
    empty_message,
    missing_message,
    show_ids,
)
from components.interaction_ingest.dead_letters import REJECTED, explain_rejected_ids, refuse_too_many
from components.interaction_ingest.doubtful_times import describe_doubtful_times, show_day
from components.interaction_ingest.fingerprints import DayFingerprints
from components.interaction_ingest.reading.entities import EntityTable
from components.interaction_ingest.reading.inputs import Inputs
from schemas.contract import DAY_FINGERPRINTS
from schemas.errors import DataError
from schemas.features import FeatureSpec


def check_counts(counts: IngestCounts, inputs: Inputs, spec: FeatureSpec, config: IngestConfig) -> None:
    """Refuse a result that nothing can be trained on or that does not add up.

    Args:
        counts: The sum over the whole run.
        inputs: What `check_inputs` found.
        spec: The features.
        config: The positive rule, the split, and what to do about missing metadata.

    Raises:
        DataError: Batches could not be read, metadata or values are missing, no positives are left,
            a split is empty, or the rows do not add up.
    """
    source = spec.tables.interactions.file
    if counts.problems:
        raise DataError(" ".join(counts.problems))
    kept = counts.kept
    dropped = {reason: count for reason, count in sorted(counts.dropped.items()) if count}
    read, lost = counts.rows["read"], sum(dropped.values())
    # Files that are none of their format stand for a row each, and are not among the rows of the others.
    expected = inputs.rows + len(inputs.rejections.letters) if inputs.is_counted else read
    if not read == expected == kept + lost:
        raise DataError(
            f"{source}: {expected:,} rows are in the file, {read:,} were read, {kept:,} kept and {lost:,} "
            "dropped. Expected read = kept + dropped. Did the file change during the run? Run again."
        )
    size_bytes = sum(file.size_bytes for file in inputs.files)
    refuse_too_many(source, counts, size_bytes, config.maximum_rejected_fraction)
    if config.missing_metadata == "refuse":
        refuse_unknown(counts, inputs, spec, source)
    if not read:
        raise DataError(empty_message(source))
    if not kept:
        reasons = ", ".join(f"{reason}: {count:,}" for reason, count in dropped.items())
        rule = config.positives
        hint = f" The rule is {_describe_rule(rule)}." if rule else ""
        remedy = "Change ingest.positives"
        if dropped.get(MISSING_METADATA):
            hint += f" {_describe_unknown(counts, inputs, spec)}"
            remedy = "Add them to the tables, set ingest.missing_metadata to default, change ingest.positives"
        if OUTSIDE_WINDOW in dropped:
            hint += f" The window is {_describe_days(inputs.window.first_text, inputs.window.last_text)}."
            remedy += " or the window"
        raise DataError(
            f"{source}: no positives are left of {read:,} interactions; dropped: {reasons}.{hint} "
            f"{remedy}, or correct the data."
        )
    missing = {name: count for name, count in counts.missing.items() if count}
    if missing:
        raise DataError(missing_message(source, missing))
    _refuse_empty_split(counts, source, config)


def refuse_unknown(counts: IngestCounts, inputs: Inputs, spec: FeatureSpec, source: str) -> None:
    """Refuse interactions whose user or item has no metadata.

    Args:
        counts: What was counted, with such interactions dropped.
        inputs: What `check_inputs` found.
        spec: The features.
        source: What messages call the interactions.

    Raises:
        DataError: There are such interactions.
    """
    if counts.dropped[MISSING_METADATA]:
        raise DataError(
            f"{source}: {_describe_unknown(counts, inputs, spec)} Add them to the tables, or set "
            "ingest.missing_metadata to drop or default."
        )


def refuse_small_train_split(train_rows: int, minimum: int) -> None:
    """Refuse a train split that does not fill a batch.

    Args:
        train_rows: Rows of the train split, or more than that.
        minimum: Rows of a global batch.

    Raises:
        DataError: There are too few rows.
    """
    if train_rows < minimum:
        raise DataError(
            f"training.per_replica_batch: expected at most as many rows in a batch as the train split has. "
            f"Received: {minimum:,} rows in a batch of all replicas, and no more than {train_rows:,} train "
            "rows. Lower training.per_replica_batch, relax the rules under ingest, or give more data."
        )


def build_report(
    counts: IngestCounts,
    inputs: Inputs,
    catalogue_items: int,
    input_fingerprint: str,
    day_fingerprints: DayFingerprints,
    sequence_figures: Mapping[str, Any],
    history_values_cut: Mapping[str, int],
    metadata_defaults: Mapping[str, Any],
) -> dict[str, Any]:
    """Write down what was read, kept and dropped.

    Args:
        counts: The sum over the whole run.
        inputs: What `check_inputs` found.
        catalogue_items: Number of items in the catalogue.
        input_fingerprint: What `fingerprint_inputs` gives.
        day_fingerprints: What `fingerprint_days` gives.
        sequence_figures: What `describe_figures` gives.
        history_values_cut: What `count_cut_values` gives.
        metadata_defaults: The features that users and items without metadata are given, and their values.

    Returns:
        The report; `users` have at least one row kept, `items` are those of the catalogue, timestamps
        are seconds since 1970, and the window's ends are days, '' where there is no limit. Of the rows
        dropped, those `rejected` are malformed and in the dead letters. `item_table_columns` are those of
        its files, read or not. `history_values_cut` are values of
        the catalogue's items that stand in no history, since an item has no place for more, and
        `line_breaks_cleaned` are labels. `time_unit` is what times that are numbers count. `users_of_log`
        have a positive, kept or not, and `items_of_table` a row in the item table.
    """
    filled = {**inputs.users.filled, **inputs.items.filled}
    filled |= {name: count for name, count in counts.filled.items() if count}
    window = inputs.window if inputs.daily is None else inputs.daily.window
    missing_days = () if inputs.daily is None else inputs.daily.missing
    doubtful_times = describe_doubtful_times(counts, inputs.time_unit)
    return {
        "rows_read": counts.rows["read"],
        "rows_kept": counts.kept,
        "dropped": {reason: count for reason, count in sorted(counts.dropped.items()) if count},
        "train_rows": counts.rows["train"],
        "validation_rows": counts.rows["validation"],
        "eval_rows": counts.rows["eval"],
        "skipped_rows": counts.rows["skipped"],
        "users": counts.rows["users"],
        "items": catalogue_items,
        "users_with_one_positive": counts.rows["users_with_one_positive"],
        "users_of_log": counts.rows["users_of_log"],
        "unknown_users": counts.rows["unknown_users"],
        "unknown_items": len(counts.unknown_items),
        "items_of_table": len(inputs.items.table),
        "metadata_defaults": dict(metadata_defaults),
        "filled_defaults": filled,
        "history_values_cut": dict(history_values_cut),
        "line_breaks_cleaned": {
            **inputs.users.cleaned,
            **inputs.items.cleaned,
            **{name: count for name, count in counts.cleaned.items() if count},
        },
        "item_table_columns": sorted(inputs.items.names),
        "user_table_dropped": inputs.users.dropped,
        "item_table_dropped": inputs.items.dropped,
        "first_timestamp": int(counts.first_timestamp),
        "last_timestamp": int(counts.last_timestamp),
        "time_unit": inputs.time_unit,
        "warnings": [doubtful_times] if doubtful_times else [],
        "window_from": window.first_text,
        "window_to": window.last_text,
        "missing_days": [day.isoformat() for day in missing_days],
        "input_fingerprint": input_fingerprint,
        DAY_FINGERPRINTS: {table: dict(days) for table, days in day_fingerprints.items()},
        "files": {
            table: [file.name for file in files]
            for table, files in (
                ("interactions", inputs.files),
                ("users", inputs.users.files),
                ("items", inputs.items.files),
            )
        },
        "rejected": {
            reason: count for reason, count in sorted(counts.dropped.items()) if count and reason in REJECTED
        },
        "unread_bytes": counts.unread_bytes,
        "sequence_figures": dict(sequence_figures),
    }


def summarize(report: Mapping[str, Any]) -> str:
    """Say the report in one line.

    Args:
        report: What `build_report` gave.

    Returns:
        A line for the terminal.
    """
    dropped = ", ".join(f"{count:,} {reason}" for reason, count in report["dropped"].items()) or "none"
    names = ["train", *(["validation"] if report["validation_rows"] else []), "eval", "skipped"]
    splits = ", ".join(f"{report[f'{split}_rows']:,} {split}" for split in names)
    line = (
        f"Ingest: {report['rows_read']:,} interactions read, {report['rows_kept']:,} kept ({splits}), "
        f"dropped: {dropped}; {report['users']:,} users, {report['items']:,} items in the catalogue"
    )
    line += f"; times {show_day(report['first_timestamp'])} to {show_day(report['last_timestamp'])} UTC"
    if report["time_unit"] != "s":
        line += f" (numbers read as {report['time_unit']})"
    if report["window_from"] or report["window_to"]:
        line += f"; days {_describe_days(report['window_from'], report['window_to'])}"
    if report["missing_days"]:
        line += f"; days without a file: {', '.join(report['missing_days'])}"
    for table in ("user", "item"):
        for reason, count in report[f"{table}_table_dropped"].items():
            line += f"; {count:,} rows of the {table} table dropped: {reason}"
    line += _summarize_unknown(report)
    if report["filled_defaults"]:
        fills = ", ".join(f"{name} {count:,}" for name, count in report["filled_defaults"].items())
        line += f"; defaults filled in: {fills}"
    if report["history_values_cut"]:
        cuts = ", ".join(f"{name} {count:,}" for name, count in report["history_values_cut"].items())
        line += f"; values of items beyond history.values_per_item, in no history: {cuts}"
    if report["line_breaks_cleaned"]:
        cleaned = ", ".join(f"{name} {count:,}" for name, count in report["line_breaks_cleaned"].items())
        line += f"; line breaks in labels made spaces: {cleaned}"
    return "".join([line, *(f". Warning: {warning}" for warning in report["warnings"])])


def _summarize_unknown(report: Mapping[str, Any]) -> str:
    """Say how many users and items have no row in the tables, and what they are given."""
    unknown = [
        f"{number:,} of {total:,} {what}"
        for what, number, total in (
            ("users", report["unknown_users"], report["users_of_log"]),
            ("items", report["unknown_items"], report["items_of_table"] + report["unknown_items"]),
        )
        if number
    ]
    if not unknown:
        return ""
    given = ", ".join(f"{name} {value!r}" for name, value in report["metadata_defaults"].items())
    return f"; {' and '.join(unknown)} without metadata" + (f", given {given}" if given else "")


def _describe_days(first: str, last: str) -> str:
    return f"{first or 'from the start'} to {last or 'the end'}"


def _describe_unknown(counts: IngestCounts, inputs: Inputs, spec: FeatureSpec) -> str:
    """Say which users and items of the interactions have no row in the tables, and why, in a sentence."""
    parts = []
    if counts.rows["unknown_users"] and spec.tables.users is not None:
        what = f"{counts.rows['unknown_users']:,} users"
        parts.append(
            _describe_missing(
                what, counts.unknown_users, inputs.users, spec.tables.users.file, spec.user_id.name
            )
        )
    if counts.unknown_items and spec.tables.items is not None:
        what = f"{len(counts.unknown_items):,} items"
        parts.append(
            _describe_missing(
                what, sorted(counts.unknown_items), inputs.items, spec.tables.items.file, spec.item_id.name
            )
        )
    return f"{counts.dropped[MISSING_METADATA]:,} interactions have no metadata: {'; '.join(parts)}."


def _describe_missing(what: str, ids: Sequence[str], table: EntityTable, file: str, id_name: str) -> str:
    """Say that ids have no row in a table, or one that was dropped, which is what went wrong first."""
    rejected, without_id = explain_rejected_ids(table.rejections, id_name)
    dropped = [one for one in ids if one in rejected]
    shown = show_ids(ids[:EXAMPLE_IDS_SHOWN])
    if dropped:
        return (
            f"{what} have no row in {file} that can be used, such as {shown}; rows of "
            f"{show_ids(dropped[:EXAMPLE_IDS_SHOWN])} stand there, but were dropped as malformed: "
            f"{rejected[dropped[0]]}"
        )
    text = f"{what} are not in {file}, such as {shown}"
    if without_id:
        text += f" ({without_id:,} of its rows were dropped as malformed, and may be theirs)"
    return text


def _describe_rule(rule: PositiveRule) -> str:
    return " and ".join(
        f"{condition.column} >= {condition.at_least:g}"
        if condition.at_least is not None
        else f"{condition.column} one of {', '.join(condition.one_of or ())}"
        for condition in rule.conditions
    )


def _refuse_empty_split(counts: IngestCounts, source: str, config: IngestConfig) -> None:
    names = ["train", "eval", *(["validation"] if config.validation else [])]
    empty = [name for name in names if not counts.rows[name]]
    if not empty:
        return
    message = f"{source}: the {empty[0]} split is empty. {_describe_split(counts, config, empty[0])}"
    dropped = ", ".join(f"{reason}: {count:,}" for reason, count in sorted(counts.dropped.items()) if count)
    if dropped:
        message += f" Of {counts.rows['read']:,} interactions, these were dropped before: {dropped}."
    raise DataError(message)


def _describe_split(counts: IngestCounts, config: IngestConfig, empty: str) -> str:
    kept, days = counts.kept, config.validation_days
    if config.split.kind == "cut_off":
        first, last = (
            np.datetime64(int(seconds), "s") for seconds in (counts.first_timestamp, counts.last_timestamp)
        )
        moment = config.split.time.isoformat()
        if config.validation:
            return (
                f"The {kept:,} positives are from {first} to {last} UTC; those from ingest.split.time "
                f"{moment} on are eval, and those of the {days:,} days before it validation: choose a time "
                "in between, or other ingest.validation_days."
            )
        return (
            f"The {kept:,} positives are from {first} to {last} UTC, and those from "
            f"ingest.split.time {moment} on are eval: choose a time in between."
        )
    if config.split.kind == "last_days":
        if config.validation:
            return (
                f"The {kept:,} positives with metadata leave it none: the last {config.split.days:,} days "
                f"are eval, the {days:,} before them validation. Change ingest.split.days or "
                "ingest.validation_days, or give more data."
            )
        return (
            f"The {kept:,} positives with metadata leave nothing on one side of the last "
            f"{config.split.days:,} days: change ingest.split.days, or give more data."
        )
    needed = config.split.skip_latest + (2 if empty == "validation" else 1)
    return (
        f"The {kept:,} positives are of {counts.rows['users']:,} users, none with more than {needed}, "
        "and one more is needed: lower ingest.split.skip_latest, relax ingest.positives, or give more data."
    )
