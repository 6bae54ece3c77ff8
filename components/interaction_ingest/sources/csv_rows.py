"""CSV content cut into whole rows: a line break ends one only outside quotation marks (RFC 4180)."""

import csv
import dataclasses
import io
from collections.abc import Iterator
from typing import Final

import numpy as np
import numpy.typing as npt

from components.interaction_ingest.sources.streams import SourceStream

LARGEST_ROW_BREAKS: Final = 1_000
"""Line breaks that the quoted values of a row may have: with more, a quotation mark was not closed."""

_QUOTE, _LINE_FEED, _CARRIAGE_RETURN = b'"'[0], b"\n"[0], b"\r"[0]
_UNIT_SEPARATOR: Final = "\x1f"
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_TEXT_BYTES = 4_096
_NO_NUMBERS: Final = np.zeros(0, np.int64)


@dataclasses.dataclass(frozen=True)
class UnclosedRow:
    """A row whose quotation mark is not closed, with the lines that it swallows."""

    number: int
    """Number of the row in the file, from 0, the header counted."""
    lines: int
    """Number of its lines."""
    text: bytes
    """Its start."""


@dataclasses.dataclass(frozen=True)
class CsvBlock:
    """Some rows of a file."""

    content: bytes
    """The rows whose quotation marks are closed, and empty lines."""
    numbers: npt.NDArray[np.int64]
    """[rows] number of each row of `content` in the file, from 0, the header counted, empty lines not."""
    unclosed: tuple[UnclosedRow, ...] = ()
    """The other rows."""


@dataclasses.dataclass(frozen=True)
class _Lines:
    """Where the lines of some content end."""

    ends: npt.NDArray[np.int64]
    """[rows] the position after each line break that ends a row."""
    inner: npt.NDArray[np.int64]
    """[breaks] the position after each line break inside quotation marks."""
    marks: npt.NDArray[np.int64]
    """[marks] the positions of the quotation marks that open and close, in turn."""
    is_inside: bool
    """Whether the content ends inside quotation marks."""


def mark_of(delimiter: str) -> str:
    """Give the character of one byte that stands for a delimiter in blocks.

    Args:
        delimiter: What stands between two fields of the file.

    Returns:
        The delimiter itself, or where it has several bytes one that no text has.
    """
    return delimiter if len(delimiter.encode()) == 1 else _UNIT_SEPARATOR


def read_blocks(stream: SourceStream, delimiter: str) -> Iterator[CsvBlock]:
    """Cut a file into blocks of whole rows.

    Args:
        stream: The file, not in whole lines; its `partial` is set to what follows the last whole row of a
            damaged file.
        delimiter: What stands between two fields of the file.

    Yields:
        The rows in order, the header first, with `mark_of` in the place of the delimiter.
    """
    chunks = stream.chunks()
    if mark_of(delimiter) != delimiter:
        chunks = _mark_fields(chunks, delimiter.encode())
    delimiter = mark_of(delimiter)
    number = 0
    rest = b""
    swallowing: _Swallowing | None = None
    for index, chunk in enumerate(chunks):
        content = rest + (chunk if index else chunk.removeprefix(_BYTE_ORDER_MARK))
        if swallowing is not None:
            left = swallowing.take(chunk)
            if left is None:
                continue
            yield CsvBlock(b"", _NO_NUMBERS, (swallowing.row(number),))
            number, swallowing, content = number + 1, None, left
        lines = _find_lines(content, delimiter)
        cut = int(lines.ends[-1]) if len(lines.ends) else 0
        if cut:
            block = _make_block(content[:cut], lines, delimiter, number)
            number += len(block.numbers) + len(block.unclosed)
            yield block
        rest = content[cut:]
        breaks = int((lines.inner > cut).sum())
        if lines.is_inside and breaks > LARGEST_ROW_BREAKS:
            swallowing, rest = _Swallowing(rest, breaks, delimiter), b""
    if stream.failure:
        stream.partial = rest if swallowing is None else swallowing.text
    elif swallowing is not None:
        yield CsvBlock(b"", _NO_NUMBERS, (swallowing.row(number),))
    elif rest:
        yield _make_last_block(rest, delimiter, number)


def split_header(block: CsvBlock, delimiter: str) -> tuple[list[str], CsvBlock]:
    """Take the header off the first block.

    Args:
        block: The first block of a file.
        delimiter: What stands between two fields of the file.

    Returns:
        The names, none if the block has no row; and the block without that row.
    """
    if not len(block.numbers):
        return [], block
    content = block.content.lstrip(b"\r\n")
    delimiter = mark_of(delimiter)
    end = int(_find_lines(content, delimiter).ends[0])
    text = content[:end].decode("utf-8", errors="replace")
    names = next(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter), [])
    return names, dataclasses.replace(block, content=content[end:], numbers=block.numbers[1:])


def _mark_fields(chunks: Iterator[bytes], delimiter: bytes) -> Iterator[bytes]:
    mark = _UNIT_SEPARATOR.encode()
    rest = b""
    for chunk in chunks:
        *fields, last = (rest + chunk).split(delimiter)
        # A chunk may end within a delimiter.
        kept = next((size for size in range(len(delimiter) - 1, 0, -1) if last.endswith(delimiter[:size])), 0)
        rest = last[len(last) - kept :]
        yield mark.join([*fields, last[: len(last) - kept]])
    yield rest


class _Swallowing:
    """A row with so many line breaks that it is given up: its content is only counted."""

    def __init__(self, content: bytes, breaks: int, delimiter: str) -> None:
        self.text = content[:_TEXT_BYTES]
        self._breaks = breaks
        self._delimiter = delimiter
        self._last = content[-1:]
        self._is_inside = True
        # Whether a quotation mark closes or is doubled is seen from the next byte.
        self._undecided = b""

    def take(self, chunk: bytes) -> bytes | None:
        """Read on, up to the end of the row; gives what follows it, None if it does not end."""
        content = self._last + self._undecided + chunk
        decided = content.rstrip(b'"')
        if len(decided) <= 1:
            self._undecided = content[1:]
            return None
        lines = _find_lines(decided, self._delimiter, self._is_inside, skip=1)
        if len(lines.ends):
            self._breaks += int((lines.inner < lines.ends[0]).sum())
            self._is_inside = False
            return content[lines.ends[0] :]
        self._breaks += len(lines.inner)
        self._is_inside = lines.is_inside
        self._last, self._undecided = decided[-1:], content[len(decided) :]
        return None

    def row(self, number: int) -> UnclosedRow:
        """Give the row, as far as it was read."""
        # The last break of a file ends a line and starts none.
        ends_file = self._is_inside and self._last == b"\n" and not self._undecided
        return UnclosedRow(number, self._breaks + (not ends_file), self.text)


def _find_lines(content: bytes, delimiter: str, is_inside: bool = False, skip: int = 0) -> _Lines:
    """Find where rows end, as the parser of Arrow does: a quotation mark opens only at the start of a field.

    Args:
        content: The content, from the start of a row on, or from inside one.
        delimiter: The character between two fields.
        is_inside: Whether the content starts inside quotation marks.
        skip: Bytes at the start that were looked at before.
    """
    symbols = np.frombuffer(content, np.uint8)
    breaks = symbols == _LINE_FEED
    if b"\r" in content:
        # Alone it is a line break too; as the last byte, what follows decides.
        breaks[:-1] |= (symbols[:-1] == _CARRIAGE_RETURN) & (symbols[1:] != _LINE_FEED)
    breaks[:skip] = False
    positions = np.flatnonzero(breaks)
    quotes = np.flatnonzero(symbols == _QUOTE) if b'"' in content else np.zeros(0, np.int64)
    marks = _find_marks(symbols, quotes[quotes >= skip], delimiter, is_inside)
    inside = (np.searchsorted(marks, positions) + is_inside) % 2 == 1
    return _Lines(positions[~inside] + 1, positions[inside] + 1, marks, bool((len(marks) + is_inside) % 2))


def _find_marks(
    symbols: npt.NDArray[np.uint8], quotes: npt.NDArray[np.int64], delimiter: str, is_inside: bool
) -> npt.NDArray[np.int64]:
    """Choose the quotation marks that open or close; one doubled closes, and opens again at once."""
    before = symbols[quotes - 1]
    starts = (quotes == 0) | np.isin(before, [ord(delimiter), _LINE_FEED, _CARRIAGE_RETURN])
    opening = np.arange(len(quotes)) % 2 == int(is_inside)
    doubled = np.zeros(len(quotes), bool)
    doubled[1:] = np.diff(quotes) == 1
    if (starts | doubled)[opening].all():
        return quotes
    # Some stand in the middle of an unquoted value, such as the inches in 12" vinyl, and are none.
    marks: list[int] = []
    closed = -2
    for position, is_start in zip(quotes.tolist(), starts.tolist(), strict=True):
        if is_inside:
            is_inside, closed = False, position
        elif is_start or closed == position - 1:
            is_inside = True
        else:
            continue
        marks.append(position)
    return np.array(marks, np.int64)


def _make_block(content: bytes, lines: _Lines, delimiter: str, first_number: int) -> CsvBlock:
    starts = np.concatenate([[0], lines.ends[:-1]])
    symbols = np.frombuffer(content, np.uint8)
    is_row = ~np.isin(symbols[starts], [_LINE_FEED, _CARRIAGE_RETURN])
    numbers = first_number + np.cumsum(is_row) - 1
    if not len(lines.inner):
        return CsvBlock(content, numbers[is_row])
    inner = lines.inner[lines.inner <= len(content)]
    breaks = np.bincount(np.searchsorted(lines.ends, inner), minlength=len(starts))
    is_unclosed = breaks > LARGEST_ROW_BREAKS
    closing = lines.marks[1::2]
    closing = closing[closing < len(content)]
    # What follows a closed value is the next one. Else another value's mark was taken for the end of this.
    follows = symbols[np.minimum(closing + 1, len(content) - 1)]
    is_end = np.isin(follows, [_QUOTE, ord(delimiter), _LINE_FEED, _CARRIAGE_RETURN])
    strays = np.bincount(np.searchsorted(lines.ends, closing[~is_end], side="right"), minlength=len(starts))
    is_unclosed |= (breaks > 0) & (strays > 0)
    if not is_unclosed.any():
        return CsvBlock(content, numbers[is_row])
    unclosed = tuple(
        UnclosedRow(
            int(numbers[row]),
            int(breaks[row]) + 1,
            content[starts[row] : min(lines.ends[row], starts[row] + _TEXT_BYTES)],
        )
        for row in np.flatnonzero(is_unclosed)
    )
    kept = ~is_unclosed
    parts = [content[a:b] for a, b in zip(starts[kept], lines.ends[kept], strict=True)]
    return CsvBlock(b"".join(parts), numbers[is_row & kept], unclosed)


def _make_last_block(rest: bytes, delimiter: str, number: int) -> CsvBlock:
    """Make a block of a last row without a line break at its end."""
    content = rest + b"\n"
    lines = _find_lines(content, delimiter)
    if len(lines.ends):
        return _make_block(content, lines, delimiter, number)
    count = len(lines.inner) - (1 if rest.endswith(b"\n") else 0)
    return CsvBlock(b"", _NO_NUMBERS, (UnclosedRow(number, count, rest[:_TEXT_BYTES]),))
