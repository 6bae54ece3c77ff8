"""What the schema file says about how a source is read, and what the ingest cannot read."""

from typing import Final

import pyarrow as pa

from components.interaction_ingest.sources.registry import find_by_ending
from pipeline.first_look.dialect import Finding
from pipeline.first_look.profiles import ColumnProfile, ListSyntax
from pipeline.first_look.tables import SampledTable
from pipeline.first_look.times import TimeColumn

_FOUND_OUT: Final = ("delimiter", "header", "encoding", "decimal")


def describe_source(table: SampledTable) -> dict[str, Finding]:
    """Say how a table's files are read, in the words of the schema file.

    Args:
        table: The table.

    Returns:
        Keys of the table in the schema file; what is at its default is left out.
    """
    options: dict[str, Finding] = {}
    name = table.path.lower().removesuffix(".gz").removesuffix(".zst").rstrip("/")
    by_name = find_by_ending(name[name.rfind(".") :] if "." in name else "")
    if table.source.format is not None and (by_name is None or by_name.name != table.source.format):
        options["format"] = Finding(table.source.format, "the files' names do not say so")
    return options | {key: table.findings[key] for key in _FOUND_OUT if key in table.findings}


def describe_time(time: TimeColumn) -> dict[str, Finding]:
    """Say what the times count, in the words of the schema file.

    Args:
        time: The times of the interactions.

    Returns:
        The `unit` or the `time_format`; nothing where they are seconds, of a type of times or in ISO 8601.
    """
    if time.unit == "format":
        chosen, *others = time.formats
        also = f"; so does {' or '.join(others)}: look which of them is right" if others else ""
        return {"time_format": Finding(chosen, f"reads all of them{also}")}
    if time.unit in ("s", "text", "type"):
        return {}
    return {"unit": Finding(time.unit, "the one in which the times lie between 1990 and 2100")}


def describe_lists(syntax: ListSyntax | None) -> dict[str, Finding]:
    """Say how lists are written as texts, in the words of the schema file.

    Args:
        syntax: How they are written; None where there are none.

    Returns:
        `list_format` or `list_separator`; nothing where it is the default.
    """
    if syntax is None or syntax == ListSyntax():
        return {}
    if syntax.format != "separated":
        return {"list_format": Finding(syntax.format, "its lists stand in brackets")}
    return {"list_separator": Finding(syntax.separator, "the same few values come again between them")}


def find_unreadable(table: SampledTable, column: ColumnProfile) -> str | None:
    """Say why the ingest cannot read a column of the users or items as a feature.

    Args:
        table: Its table.
        column: The column.

    Returns:
        The reason; None where it can.
    """
    if column.kind == "numbers" and column.length is None:
        return "its lists of numbers are not of one length"
    if column.type is not None and pa.types.is_uint64(column.type) and column.numbers.max(initial=0) >= 2**63:
        return "whole numbers of more than 63 bits are not read as a feature"
    return None
