"""What a person, or a program, reads of embeddings that were made."""

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

from pipeline.embed.histories import EMPTY, GIVEN, KNOWN, UNKNOWN_ITEMS, WITHOUT_TIMES
from pipeline.embed.table import TableName


@dataclasses.dataclass(frozen=True)
class EmbedReport:
    """What the embeddings are, and what they were made from."""

    release: int
    """The release's version."""
    model_id: str
    """Id of the training that made the tower."""
    table: TableName
    """Whose table it is."""
    input: str
    """Its file or files."""
    id: str
    """Name of the id column."""
    dim: int
    """Width of the embeddings."""
    rows_read: int
    """Rows of the table."""
    rows: int
    """Embeddings."""
    rejected: Mapping[str, int]
    """Rows left out, by reason."""
    filled: Mapping[str, int]
    """Missing values that a default stands in for, or of a part of the log's time that of now, by feature."""
    stand_ins: Mapping[str, Any]
    """What stands in every row for the context features that the table has no column of: a default, or a part
    of the time that the embeddings are for."""
    histories: Mapping[str, int] | None
    """How many rows have a history of which kind; None where the tower reads none."""
    files: Mapping[str, int]
    """Rows of each file, by its name."""


def report_to_json(report: EmbedReport) -> str:
    """Render a report as JSON.

    Args:
        report: The report.

    Returns:
        One object.
    """
    return json.dumps(dataclasses.asdict(report), indent=2, ensure_ascii=False)


def render_report(report: EmbedReport, output: str) -> str:
    """Say what was embedded.

    Args:
        report: The report.
        output: Where the embeddings are.

    Returns:
        A line a fact.
    """
    lines = [
        f"Embedded {report.rows:,} of {report.rows_read:,} rows of {report.input} with release "
        f"{report.release}, {report.dim} dimensions each: {output}"
    ]
    if report.rejected:
        lines.append(f"Rows rejected: {_list_counts(report.rejected)}")
    if report.filled:
        lines.append(f"Defaults filled in: {_list_counts(report.filled)}")
    if report.stand_ins:
        shown = ", ".join(f"{name} {value!r}" for name, value in report.stand_ins.items())
        lines.append(f"Not in the table, so that every row has the same: {shown}")
    if report.histories is not None:
        lines += _tell_histories(report.histories, report.release)
    elif report.table == "users":
        lines.append("The model reads no history.")
    return "\n".join(lines)


def _tell_histories(histories: Mapping[str, int], release: int) -> list[str]:
    lines = [
        f"Histories: {histories[GIVEN]:,} given, {histories[KNOWN]:,} of users that release {release} knows, "
        f"{histories[EMPTY]:,} empty"
    ]
    if histories.get(WITHOUT_TIMES):
        lines.append(
            f"How long ago the items of {histories[WITHOUT_TIMES]:,} given histories were is not known: they "
            "count as just now"
        )
    if histories.get(UNKNOWN_ITEMS):
        lines.append(
            f"Left out of the given histories, since the release does not have them: "
            f"{histories[UNKNOWN_ITEMS]:,} items"
        )
    return lines


def _list_counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in counts.items())
