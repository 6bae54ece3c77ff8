"""What becomes of input that cannot be used: counted by reason, and written where it can be looked at."""

import dataclasses
import json
import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from components.interaction_ingest.counts import IngestCounts
from schemas.errors import DataError

UNREADABLE_FILE: Final = "unreadable_file"
"""The file is none of its format, as one cut off is."""
UNREADABLE_ROW_GROUP: Final = "unreadable_row_group"
"""The rest of a Parquet row group or of an Avro block is damaged."""
UNREADABLE_REST: Final = "unreadable_rest"
"""A compressed or binary file is damaged or cut off here; what follows counts as one row."""
TOO_MANY_FIELDS: Final = "too_many_fields"
"""A CSV row has more fields than the header."""
TOO_FEW_FIELDS: Final = "too_few_fields"
"""A CSV row has fewer fields than the header."""
UNCLOSED_QUOTE: Final = "unclosed_quote"
"""A quotation mark in a CSV row is not closed, or only lines later: it counts with the lines it swallows."""
MALFORMED_JSON: Final = "malformed_json"
"""A line is no JSON object, or has a key twice."""
MALFORMED_EXAMPLE: Final = "malformed_example"
"""A TFRecord is no tf.Example, or its checksum is wrong."""
INVALID_UTF8: Final = "invalid_utf8"
"""A text is not UTF-8."""
WRONG_TYPE: Final = "wrong_type"
"""A value is not of the column's type, such as a word where a number belongs."""
OTHER_LIST_SYNTAX: Final = "other_list_syntax"
"""A text in brackets where the values of a list stand between separators."""
OUT_OF_RANGE_TIMESTAMP: Final = "out_of_range_timestamp"
"""A time that no calendar has: milli- or microseconds where seconds belong."""

REJECTED: Final = frozenset(
    {
        UNREADABLE_FILE,
        UNREADABLE_ROW_GROUP,
        UNREADABLE_REST,
        TOO_MANY_FIELDS,
        TOO_FEW_FIELDS,
        UNCLOSED_QUOTE,
        MALFORMED_JSON,
        MALFORMED_EXAMPLE,
        INVALID_UTF8,
        WRONG_TYPE,
        OTHER_LIST_SYNTAX,
        OUT_OF_RANGE_TIMESTAMP,
        "null_id",
        "empty_id",
        "line_break_in_id",
        "null_timestamp",
    }
)
"""The reasons that make a row malformed; other rows dropped are no positives, or of other days."""

SCHEMA: Final = pa.schema(
    [
        ("table", pa.string()),
        ("reason", pa.string()),
        ("file", pa.string()),
        ("row_group", pa.int32()),
        ("row", pa.int64()),
        ("rows", pa.int64()),
        ("column", pa.string()),
        ("expected", pa.string()),
        ("text", pa.string()),
    ]
)
"""Columns of the dead letters."""

_REMEDIES: Final[Mapping[str, str]] = {
    OTHER_LIST_SYNTAX: (
        'Lists such as ["A", "B"] need list_format: json for the table in the schema file, and those such as '
        "['A', 'B'] or ('A', 'B') list_format: python."
    ),
    OUT_OF_RANGE_TIMESTAMP: (
        "Times that are numbers are counted in tables.interactions.unit of the schema file: s, ms, us, ns, "
        "yyyymmdd, or auto."
    ),
    INVALID_UTF8: (
        "Text files in another encoding need it under 'encoding' of the table in the schema file, such as "
        "latin-1."
    ),
}
_UNREADABLE = frozenset({UNREADABLE_FILE, UNREADABLE_ROW_GROUP, UNREADABLE_REST})
_TEXT_LIMIT = 4_096
_REASONS_SHOWN = 3


@dataclasses.dataclass(frozen=True)
class Misfit:
    """A value that is not of its column's type."""

    column: str
    """The column's name in the file."""
    expected: str
    """What its values must be, such as `a number`."""


@dataclasses.dataclass(frozen=True)
class DeadLetter:
    """A piece of input that cannot be used."""

    reason: str
    """One of `REJECTED`."""
    file: str
    """The file: a path or URI."""
    row: int | None = None
    """Number of the row in the file, from 1, a CSV header not counted; of JSON Lines, the line. None: it
    is the whole file."""
    row_group: int | None = None
    """Index of the Parquet row group or the Avro block."""
    rows: int = 1
    """How many rows it stands for."""
    text: str = ""
    """The row, or what the reader said about it."""
    column: str | None = None
    """The first column whose value is not of its type; None for other reasons."""
    expected: str | None = None
    """What such a value must be."""


@dataclasses.dataclass(frozen=True)
class Rejections:
    """What one batch of a table left out."""

    letters: pa.Table = dataclasses.field(default_factory=SCHEMA.empty_table)
    """Columns of `SCHEMA`."""
    unread_bytes: int = 0
    """Bytes of the files, as they are stored, that could not be read."""
    cleaned: Mapping[str, int] = dataclasses.field(default_factory=dict)
    """Labels of the rows kept whose line breaks became spaces, by feature."""

    def count(self) -> IngestCounts:
        """Add up.

        Returns:
            Rows read, and dropped by reason, unreadable bytes, an example of each reason, and labels cleaned.
        """
        dropped: Counter[str] = Counter()
        examples: dict[str, str] = {}
        for letter in self.letters.to_pylist():
            dropped[letter["reason"]] += letter["rows"]
            examples.setdefault(letter["reason"], _show_letter(letter))
        return IngestCounts(
            rows=Counter(read=sum(dropped.values())),
            dropped=dropped,
            unread_bytes=self.unread_bytes,
            examples=examples,
            cleaned=Counter(self.cleaned),
        )


def make_rejections(
    table: str,
    letters: Iterable[DeadLetter],
    unread_bytes: int = 0,
    cleaned: Mapping[str, int] | None = None,
) -> Rejections:
    """Put dead letters into a table.

    Args:
        table: `interactions`, `users` or `items`.
        letters: The dead letters.
        unread_bytes: Bytes of the files that could not be read.
        cleaned: Labels whose line breaks became spaces, by feature.

    Returns:
        The rejections.
    """
    found = list(letters)
    columns: dict[str, list[Any]] = {
        field.name: [getattr(letter, field.name) for letter in found]
        for field in dataclasses.fields(DeadLetter)
    }
    columns |= {"table": [table] * len(found), "text": [letter.text[:_TEXT_LIMIT] for letter in found]}
    table_of_letters = pa.table({name: columns[name] for name in SCHEMA.names}, SCHEMA)
    return Rejections(table_of_letters, unread_bytes, cleaned or {})


def reject_rows(
    batch: pa.RecordBatch,
    reasons: Mapping[str, npt.NDArray[np.bool_]],
    numbers: npt.NDArray[np.int64],
    file: str,
    row_group: int | None = None,
    find_misfits: Callable[[npt.NDArray[np.int64]], Sequence[Misfit]] | None = None,
) -> tuple[npt.NDArray[np.bool_], list[DeadLetter]]:
    """Reject rows of a batch, each under the first reason that holds.

    Args:
        batch: [rows] as they were read.
        reasons: Per reason [rows] bool.
        numbers: [rows] int64 number of each row in the file, from 0.
        file: The file.
        row_group: Index of the Parquet row group.
        find_misfits: Finds what of rows, given by their places, is of a wrong type; None: that is not told.

    Returns:
        [rows] bool, whether to keep the row; and a dead letter for each other one.
    """
    keep = np.ones(batch.num_rows, bool)
    letters: list[DeadLetter] = []
    for reason, mask in reasons.items():
        rows = np.flatnonzero(keep & mask)
        keep &= ~mask
        if not len(rows):
            continue
        rejected = batch.take(pa.array(rows))
        values = [_read_values(column) for column in rejected.columns]
        found = [
            DeadLetter(reason, file, number, row_group, text=_show_row(batch.schema.names, row))
            for number, row in zip((numbers[rows] + 1).tolist(), zip(*values, strict=True), strict=True)
        ]
        if reason == WRONG_TYPE and find_misfits is not None:
            found = [
                dataclasses.replace(letter, **dataclasses.asdict(misfit))
                for letter, misfit in zip(found, find_misfits(rows), strict=True)
            ]
        letters += found
    return keep, letters


def explain_rejected_ids(rejections: Iterable[Rejections], id_name: str) -> tuple[dict[str, str], int]:
    """Find the ids of rejected rows, as far as these could be taken apart.

    Args:
        rejections: What was left out of a table.
        id_name: Name of the id.

    Returns:
        Why the row of each id was rejected, and where it is; and the number of rows that tell no id.
    """
    found: dict[str, str] = {}
    without_id = 0
    for rejection in rejections:
        for letter in rejection.letters.to_pylist():
            value = _read_value(letter["text"], id_name)
            if value is None:
                without_id += letter["rows"]
            else:
                found.setdefault(str(value), f"{letter['reason']} ({_show_letter(letter)})")
    return found, without_id


def _read_value(text: str, name: str) -> Any:
    """Read a value of a row; None of a line that was not taken apart, or a row too long to be kept whole."""
    try:
        row = json.loads(text)
    except ValueError:
        return None
    return row.get(name) if isinstance(row, dict) else None


def _show_letter(letter: Mapping[str, Any]) -> str:
    """Say where a piece of input is, what is wrong with it, and what it says."""
    place = letter["file"]
    if letter["row"] is not None:
        place += f", row {letter['row']:,}"
    elif letter["row_group"] is not None:
        place += f", row group {letter['row_group']}"
    if letter["column"] is not None:
        place += f", column {letter['column']!r}, expected {letter['expected']}"
    return f"{place}: {letter['text'][:200]}"


def _show_row(names: Sequence[str], values: Sequence[Any]) -> str:
    return json.dumps(dict(zip(names, values, strict=True)), ensure_ascii=False, default=_show)


class DeadLetterWriter:
    """Writes the dead letters of one part of the input; a retried part replaces what it wrote before."""

    def __init__(self, path: Path | None, unfinished: Path) -> None:
        """Name the files.

        Args:
            path: Where the dead letters are in the end, if there are any; None to write none.
            unfinished: Where they are until then, on the same file system.
        """
        self._path = path
        self._unfinished = unfinished
        self._writer: pq.ParquetWriter | None = None

    def __enter__(self) -> Self:
        return self

    def write(self, rejections: Rejections) -> None:
        """Add dead letters.

        Args:
            rejections: What a batch left out.
        """
        if self._path is None or not len(rejections.letters):
            return
        if self._writer is None:
            self._unfinished.parent.mkdir(parents=True, exist_ok=True)
            self._writer = pq.ParquetWriter(self._unfinished, SCHEMA)
        self._writer.write_table(rejections.letters)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._writer is None or self._path is None:
            return
        self._writer.close()
        if kind is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._unfinished.replace(self._path)


def refuse_too_many(table: str, counts: IngestCounts, total_bytes: int, maximum_fraction: float) -> None:
    """Stop a run whose input is too bad.

    Args:
        table: The table's `file`, for the message.
        counts: The sum over the table.
        total_bytes: Size of its files.
        maximum_fraction: `ingest.maximum_rejected_fraction`.

    Raises:
        DataError: More rows are malformed or more bytes unreadable; the message gives the top reasons.
    """
    rejected = Counter({reason: n for reason, n in counts.dropped.items() if reason in REJECTED and n})
    read, count = counts.rows["read"], rejected.total()
    of_rows = count / read if read else 0.0
    of_bytes = counts.unread_bytes / total_bytes if total_bytes else 0.0
    if max(of_rows, of_bytes) <= maximum_fraction:
        return
    ranked = rejected.most_common()
    if of_bytes > maximum_fraction:
        # What stands for one row may be most of a file.
        ranked.sort(key=lambda pair: pair[0] not in _UNREADABLE)
    top = "; ".join(
        f"{reason}: {number:,} (such as {counts.examples.get(reason, 'unknown')})"
        for reason, number in ranked[:_REASONS_SHOWN]
    )
    remedies = [_REMEDIES[reason] for reason, _ in ranked[:_REASONS_SHOWN] if reason in _REMEDIES]
    percent = math.ceil(max(of_rows, of_bytes) * 10_000) / 100
    what = f"{count:,} of {read:,} rows are malformed"
    if counts.unread_bytes:
        what += f" and {counts.unread_bytes:,} of {total_bytes:,} bytes cannot be read"
    raise DataError(
        f"{table}: {what}, up to {percent:g}%. Expected at most {maximum_fraction:.4g} of them "
        f"(ingest.maximum_rejected_fraction). Most frequent: {top}. "
        + " ".join([*remedies, "Correct the data, or raise the limit."])
    )


def write_rejections(
    rejections: Iterable[Rejections], name: str, directory: str, work_directory: Path
) -> None:
    """Write what a whole table left out.

    Args:
        rejections: The parts.
        name: Name of the file, without ending.
        directory: The dead letters' folder.
        work_directory: A folder for unfinished files on the same file system.
    """
    path = Path(directory) / f"{name}.parquet"
    with DeadLetterWriter(path, work_directory / path.name) as writer:
        for part in rejections:
            writer.write(part)


def _read_values(column: pa.Array) -> list[Any]:
    """Give the values of a column, also text that is not UTF-8 and times beyond Python's calendar."""
    try:
        return column.to_pylist()
    except (UnicodeDecodeError, ValueError, OverflowError):
        if len(column) == 1:
            return [_read_raw(column)]
        return [value for row in range(len(column)) for value in _read_values(column.slice(row, 1))]


def _read_raw(column: pa.Array) -> Any:
    """Give the only value of a column as what it is stored as."""
    kind = column.type
    if pa.types.is_timestamp(kind):
        return column.view(pa.int64())[0].as_py()
    if pa.types.is_dictionary(kind):
        return _read_values(column.dictionary_decode())[0]
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        return _read_values(column.flatten())
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return column.cast(pa.binary())[0].as_py()
    return f"a value of type {kind} that cannot be shown"


def _show(value: Any) -> str:
    return value.decode("utf-8", errors="backslashreplace") if isinstance(value, bytes) else str(value)
