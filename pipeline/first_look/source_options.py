"""What the schema file says about a source, and what it cannot say yet."""

from typing import Any, Final

import pyarrow as pa

from components.interaction_ingest.sources.registry import find_by_ending
from pipeline.first_look.profiles import ColumnProfile
from pipeline.first_look.tables import SampledTable
from pipeline.first_look.times import TimeColumn
from schemas.errors import DataError

_TEXT_FORMATS: Final = ("csv", "jsonl", "tfrecord")
_UNITS: Final = {
    "ms": "milliseconds",
    "us": "microseconds",
    "ns": "nanoseconds",
    "yyyymmdd": "dates as whole numbers",
    "s": "seconds with a fraction",
    "text": "texts",
    "type": "dates",
}


def describe_source(table: SampledTable) -> dict[str, Any]:
    """Say how a table's files are read, in the words of the schema file.

    Args:
        table: The table.

    Returns:
        Keys of the table in the schema file; what is at its default is left out.
    """
    options: dict[str, Any] = {}
    name = table.path.lower().removesuffix(".gz").removesuffix(".zst").rstrip("/")
    by_name = find_by_ending(name[name.rfind(".") :] if "." in name else "")
    if table.source.format is not None and (by_name is None or by_name.name != table.source.format):
        options["format"] = table.source.format
    if table.source.delimiter != ",":
        options["delimiter"] = table.source.delimiter
    return options


def require_readable_time(table: SampledTable, column: ColumnProfile, time: TimeColumn) -> None:
    """Refuse times that the ingest does not read as they stand.

    Args:
        table: The log.
        column: The column with the times.
        time: What they are.

    Raises:
        DataError: They are neither whole seconds nor a timestamp's type nor, in a text format, ISO 8601.
    """
    if time.unit == "type" and column.kind == "time":
        return
    if time.unit == "s" and column.kind == "int":
        return
    if time.unit == "text" and table.source.format in _TEXT_FORMATS:
        return
    raise DataError(
        f"{table.path}: column {column.name!r} must hold whole seconds since 1970, a timestamp's type or, in "
        f"a text format, ISO 8601. Found: {_UNITS[time.unit]}. Write the column so, or name another one with "
        "--time-column."
    )


def find_unreadable(table: SampledTable, column: ColumnProfile) -> str | None:
    """Say why the ingest cannot read a column of the users or items as a feature.

    Args:
        table: Its table.
        column: The column.

    Returns:
        The reason; None where it can.
    """
    if column.kind == "bool" and table.source.format == "jsonl":
        return "true and false of JSON are not read as a feature"
    if column.kind == "numbers" and column.length is None:
        return "its lists of numbers are not of one length"
    if column.type is not None and pa.types.is_uint64(column.type) and column.numbers.max(initial=0) >= 2**63:
        return "whole numbers of more than 63 bits are not read as a feature"
    return None
