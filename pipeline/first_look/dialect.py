"""How a text file without a word about itself is read: its encoding, separator, header and numbers."""

import csv
import itertools
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from components.interaction_ingest.sources.csv_rows import mark_of
from components.interaction_ingest.sources.streams import SourceStream
from schemas.errors import DataError

SEPARATORS: Final = ("::", ";", "\t", "|", ",")
"""What may stand between two fields; of equally good ones the first."""
_LINES_LOOKED_AT: Final = 200
_CHUNKS_LOOKED_AT: Final = 16
_VALUES_LOOKED_AT: Final = 10_000
_SHOWN_FIELDS: Final = 4
_MARKS_OF_UTF16: Final = (b"\xff\xfe", b"\xfe\xff")
_VALUE: Final = re.compile(
    r"[+-]?\d+([.,]\d+)?([eE][+-]?\d+)?|\d{4}-\d\d-\d\d\b.*|\d\d?[./]\d\d?[./]\d{4}\b.*"
)
_WITH_COMMA: Final = r"^\s*[+-]?\d+,\d+\s*$"
_WITH_POINT: Final = r"^\s*[+-]?\d+\.\d+\s*$"
_WHOLE: Final = r"^\s*[+-]?\d+\s*$"
_THOUSANDS: Final = r"^\s*[+-]?[1-9]\d{0,2},\d{3}\s*$"


@dataclass(frozen=True)
class Finding:
    """A key of a table in the schema file, found out."""

    value: Any
    """Its value."""
    evidence: str
    """Why."""


def detect_encoding(location: str) -> Finding | None:
    """Tell the encoding of a text file from its first bytes that are not ASCII.

    Args:
        location: The file, a path or URI; plain, gzip or zstd.

    Returns:
        The encoding; None of UTF-8, and of UTF-16 with a byte-order mark, which readers tell themselves.

    Raises:
        StorageError: The store cannot be reached or refuses.
    """
    with SourceStream(location, whole_lines=True) as stream:
        for content in itertools.islice(stream.chunks(), _CHUNKS_LOOKED_AT):
            if content[:2] in _MARKS_OF_UTF16:
                return None
            if b"\0" in content:
                return _tell_utf16(content)
            if not content.isascii():
                return _tell_8_bit(content)
    return None


def detect_dialect(location: str, encoding: str) -> dict[str, Finding]:
    """Tell from the start of a CSV file how its rows are cut and named.

    Args:
        location: The file, a path or URI; plain, gzip or zstd.
        encoding: Its encoding.

    Returns:
        `delimiter`, where it is no comma, and `header`, where the file has none.

    Raises:
        DataError: The file is empty.
        StorageError: The store cannot be reached or refuses.
    """
    lines = _read_lines(location, encoding)
    if not lines:
        raise DataError(f"{location} is empty: expected a header and at least one row. Write the file again.")
    delimiter = choose_separator(lines)
    found: dict[str, Finding] = {}
    if delimiter != ",":
        found["delimiter"] = Finding(delimiter, "cuts each of the first lines into as many fields")
    rows = split_rows(lines, delimiter)
    if not has_header(rows):
        shown = ", ".join(rows[0][:_SHOWN_FIELDS]) + (", ..." if len(rows[0]) > _SHOWN_FIELDS else "")
        names = tuple(f"column_{number}" for number in range(1, len(rows[0]) + 1))
        found["header"] = Finding(names, f"the first row holds values as the others do: {shown}")
    return found


def read_header(location: str, delimiter: str, encoding: str) -> list[str]:
    """Read the names of a CSV file's columns.

    Args:
        location: The file, a path or URI; plain, gzip or zstd.
        delimiter: What stands between two fields.
        encoding: Its encoding.

    Returns:
        The names in the order of the first row, without blanks around them.

    Raises:
        StorageError: The store cannot be reached or refuses.
    """
    rows = split_rows(_read_lines(location, encoding), delimiter)
    return [name.strip() for name in rows[0]] if rows else []


def choose_separator(lines: Sequence[str]) -> str:
    """Choose what stands between the fields of a line.

    Args:
        lines: The first lines, at least one.

    Returns:
        The separator that cuts the most lines into as many fields as the first one, and more than one; then
        into the most fields, the most of them numbers and dates; a comma where none cuts.
    """

    def rate(separator: str) -> tuple[float, int, int]:
        rows = split_rows(lines, separator)
        counts = [len(fields) for fields in rows]
        if not counts or counts[0] < 2:
            return 0.0, 0, 0
        values = sum(_is_value(field) for fields in rows for field in fields)
        # A comma within texts cuts each line differently.
        return Counter(counts)[counts[0]] / len(counts), counts[0], values

    best = max(SEPARATORS, key=rate)
    return best if rate(best)[1] else ","


def split_rows(lines: Sequence[str], delimiter: str) -> list[list[str]]:
    """Cut lines into fields.

    Args:
        lines: The lines; a value in quotation marks may have several.
        delimiter: What stands between two fields.

    Returns:
        The fields of each row; empty lines are none.
    """
    mark = mark_of(delimiter)
    if mark != delimiter:
        lines = [line.replace(delimiter, mark) for line in lines]
    rows = list(csv.reader(lines, delimiter=mark))
    return [[field.replace(mark, delimiter) for field in row] for row in rows if row]


def has_header(rows: Sequence[Sequence[str]]) -> bool:
    """Tell whether the first row names the columns.

    Args:
        rows: The fields of the first rows, at least one.

    Returns:
        False where the first row's fields are numbers and dates in all of the columns in which those of the
        others are; without such columns, where any of its fields stands again below it.
    """
    first = rows[0]
    # Files put one after the other have their header again and again.
    others = [row for row in rows if row != first]
    if not others:
        return not any(map(_is_value, first))
    is_typed = is_again = False
    for place, field in enumerate(first):
        below = [row[place] for row in others if len(row) == len(first) and row[place].strip()]
        if below and all(map(_is_value, below)):
            is_typed = True
            if field.strip() and not _is_value(field):
                return True
        is_again |= bool(field.strip()) and field in below
    # A name such as 2024, above numbers alone, is read as a value: it says nothing of what it names.
    return not (is_typed or is_again)


def detect_decimal(columns: pa.Table) -> Finding | None:
    """Tell what stands before the fraction of the numbers of a CSV file.

    Args:
        columns: [rows] its columns as texts.

    Returns:
        A comma, where it stands in the numbers of more columns than a point; None otherwise.
    """
    with_comma: dict[str, str] = {}
    with_point = 0
    for name in columns.column_names:
        values = pc.unique(columns.column(name).slice(0, _VALUES_LOOKED_AT)).drop_null()
        if not pa.types.is_string(values.type) or not len(values):
            continue
        broken = values.filter(pc.match_substring_regex(values, _WITH_COMMA))
        whole = pc.sum(pc.match_substring_regex(values, _WHOLE).cast(pa.int64())).as_py()
        with_point += bool(pc.all(pc.match_substring_regex(values, _WITH_POINT)).as_py())
        is_number = len(broken) > 0 and len(broken) + whole == len(values)
        # 1,234 beside 12,500 are thousands.
        if is_number and not pc.all(pc.match_substring_regex(broken, _THOUSANDS)).as_py():
            with_comma[name] = str(broken[0])
    if len(with_comma) <= with_point:
        return None
    shown = ", ".join(f"{value} in {name}" for name, value in list(with_comma.items())[:_SHOWN_FIELDS])
    return Finding(",", f"as in {shown}")


def _read_lines(location: str, encoding: str) -> list[str]:
    with SourceStream(location, whole_lines=True, encoding=encoding) as stream:
        content = next(stream.chunks(), b"")
    return content.decode("utf-8-sig", errors="replace").splitlines()[:_LINES_LOOKED_AT]


def _tell_utf16(content: bytes) -> Finding | None:
    zeros = [content[start::2].count(b"\0") for start in (0, 1)]
    # Of texts in Latin letters every other byte is nought.
    if max(zeros) < 0.2 * len(content):
        return None
    encoding = "utf-16-be" if zeros[0] > zeros[1] else "utf-16-le"
    return Finding(encoding, "every other byte is nought, and there is no byte-order mark")


def _tell_8_bit(content: bytes) -> Finding | None:
    lines = [line for line in content.split(b"\n") if not line.isascii()]
    others = [line for line in lines if not _is_of("utf-8", line)]
    # A few damaged lines are no other encoding.
    if len(others) <= len(lines) // 2:
        return None
    # Of latin-1, those are control characters; of cp1252, quotation marks, dashes and the euro.
    has_marks = re.search(rb"[\x80-\x9f]", b"".join(others)) is not None
    encoding = "cp1252" if has_marks and _is_of("cp1252", content) else "latin-1"
    shown = others[0].decode(encoding).strip()[:40]
    return Finding(
        encoding, f"{len(others):,} of {len(lines):,} lines beyond ASCII are no UTF-8, such as {shown}"
    )


def _is_of(encoding: str, content: bytes) -> bool:
    try:
        content.decode(encoding)
    except UnicodeDecodeError:
        return False
    return True


def _is_value(field: str) -> bool:
    return _VALUE.fullmatch(field.strip()) is not None
