"""How a text file without a word about itself is read: its separator, its encoding and its header."""

import csv
import re
from collections import Counter
from dataclasses import dataclass
from typing import Final

from components.interaction_ingest.sources.streams import SourceStream
from schemas.errors import DataError

SEPARATORS: Final = (",", ";", "\t", "|")
"""What may stand between two fields; of equally good ones the first."""
_LINES_LOOKED_AT: Final = 200
_NUMBER = re.compile(r"[+-]?\d+([.,]\d+)?([eE][+-]?\d+)?")


@dataclass(frozen=True)
class Dialect:
    """How a CSV file is read."""

    delimiter: str
    """What stands between two fields."""
    names: tuple[str, ...]
    """The columns in the order of the header."""


def detect_dialect(location: str) -> Dialect:
    """Tell from the start of a CSV file how it is read.

    Args:
        location: The file, a path or URI; plain, gzip or zstd.

    Returns:
        The separator and the header.

    Raises:
        DataError: The file is empty, is not UTF-8, or its first line is no header.
        StorageError: The store cannot be reached or refuses.
    """
    with SourceStream(location, whole_lines=True) as stream:
        content = next(stream.chunks(), b"")
    lines = _decode(content, location).splitlines()[:_LINES_LOOKED_AT]
    if not lines:
        raise DataError(f"{location} is empty: expected a header and at least one row. Write the file again.")
    delimiter = choose_separator(lines)
    names = tuple(next(csv.reader(lines, delimiter=delimiter)))
    _check_header(names, location)
    return Dialect(delimiter, names)


def choose_separator(lines: list[str]) -> str:
    """Choose what stands between the fields of a line.

    Args:
        lines: The header and some rows, at least one line.

    Returns:
        The separator that cuts the most lines into as many fields as the header, and more than one; a comma
        where none does.
    """

    def rate(separator: str) -> tuple[float, int]:
        counts = [len(fields) for fields in csv.reader(lines, delimiter=separator)]
        # A comma within texts cuts each line differently.
        return (Counter(counts)[counts[0]] / len(counts), counts[0]) if counts[0] > 1 else (0.0, 0)

    return max(SEPARATORS, key=rate)


def _decode(content: bytes, location: str) -> str:
    encoding = {b"\xff\xfe": "UTF-16", b"\xfe\xff": "UTF-16"}.get(content[:2])
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        encoding = encoding or "Latin-1 or another 8-bit encoding"
    if encoding is not None:
        raise DataError(
            f"{location}: expected text in UTF-8. Received: {encoding}, it seems. Write the file again in "
            "UTF-8, such as with `iconv -f ENCODING -t UTF-8`."
        )
    return text


def _check_header(names: tuple[str, ...], location: str) -> None:
    values = [name for name in names if _NUMBER.fullmatch(name.strip())]
    if values:
        raise DataError(
            f"{location}: expected the names of the columns in the first line. Received: "
            f"{', '.join(names)}, which are values. Put a line with names before it."
        )
