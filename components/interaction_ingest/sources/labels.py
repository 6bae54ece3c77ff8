"""Ids and labels as files hold them: texts, and what is written as a number, a date or bytes."""

import uuid
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from components.interaction_ingest.columns import FIRST_PRINTED, bytes_of, has_byte, plain, to_mask
from schemas.errors import DataError

# The largest integer up to which a float tells every integer from the next.
_EXACT: Final = 2**53
UUID_BYTES: Final = 16
"""Bytes of a UUID."""


def to_ids(values: pa.Array, are_all_texts: bool) -> pa.Array:
    """Make texts of ids, the same for an id whether it is written as an integer, a whole float or a decimal.

    Args:
        values: [rows] string, or of a type of numbers.
        are_all_texts: Whether the format has nothing but texts, as CSV: 123.0 is then taken for the number
            that pandas makes of 123 in a column with missing values.

    Returns:
        [rows] string, nulls kept, as are floats that are NaN.

    Raises:
        DataError: They are of another type, a float is so large that its last digits are lost.
        pyarrow.ArrowInvalid: A number has a fraction.
    """
    types, kind = pa.types, values.type
    if types.is_string(kind):
        return _whole_texts(values) if are_all_texts else values
    if types.is_floating(kind):
        values = pc.if_else(pc.is_nan(values), pa.scalar(None, kind), values)
        if pc.any(pc.greater(pc.abs(values), float(_EXACT))).as_py():
            raise DataError("an id of this size is not exact as a float; write it as an integer or a text")
        return values.cast(pa.int64()).cast(pa.string())
    if types.is_decimal(kind):
        return values.cast(pa.decimal256(76, 0)).cast(pa.string())
    if types.is_integer(kind) or types.is_null(kind):
        return values.cast(pa.string())
    raise DataError(f"expected an id: a text or an integer. Received: {kind}")


def to_labels(values: pa.Array) -> pa.Array:
    """Make labels of texts, numbers, booleans, dates and timestamps.

    Args:
        values: [rows] of any type.

    Returns:
        [rows] string, nulls kept, as are floats that are NaN. Whole floats are written without a fraction,
        booleans as true and false, dates and timestamps as ISO 8601.

    Raises:
        DataError: They are of another type.
    """
    values = plain(values)
    types, kind = pa.types, values.type
    if types.is_string(kind):
        return values
    if types.is_binary(kind) or types.is_large_binary(kind):
        return values.cast(pa.string())
    if types.is_nested(kind):
        raise DataError(f"expected a single text. Received: {kind}")
    if types.is_floating(kind):
        values = pc.if_else(pc.is_nan(values), pa.scalar(None, kind), values)
        is_whole = pc.and_(pc.equal(values, pc.floor(values)), pc.less_equal(pc.abs(values), float(_EXACT)))
        whole = pc.if_else(is_whole, values, pa.scalar(None, kind)).cast(pa.int64()).cast(pa.string())
        return pc.coalesce(whole, values.cast(pa.string()))
    if types.is_date64(kind):
        values = values.cast(pa.date32())
    if types.is_decimal(kind):
        return pc.replace_substring_regex(values.cast(pa.string()), r"\.0+$", "")
    return values.cast(pa.string())


def clean_line_breaks(labels: pa.Array) -> tuple[pa.Array, int]:
    """Put a space in the place of line breaks, with the blanks around them, none at a label's ends.

    A vocabulary is kept as text, one label a line, so a label with a line break would be in none.

    Args:
        labels: [rows] string.

    Returns:
        [rows] string, and the number of labels with a line break.
    """
    if not (bytes_of(labels) < FIRST_PRINTED).any():
        return labels, 0
    is_broken = pc.match_substring_regex(labels, "[\r\n]")
    joined = pc.utf8_trim_whitespace(pc.replace_substring_regex(labels, r"\s*[\r\n]\s*", " "))
    return pc.if_else(is_broken, joined, labels), int(to_mask(is_broken).sum())


def read_bytes(value: bytes) -> str | None:
    """Make a text of an id that is bytes.

    Args:
        value: Text in UTF-8, or the 16 bytes of a UUID.

    Returns:
        The text; of 16 bytes that are no text, or one with control characters, the UUID in its usual form;
        None where they are neither.
    """
    if len(value) == UUID_BYTES and min(value) < FIRST_PRINTED:
        return str(uuid.UUID(bytes=value))
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        return str(uuid.UUID(bytes=value)) if len(value) == UUID_BYTES else None


def _whole_texts(values: pa.Array) -> pa.Array:
    if not has_byte(values, b"."):
        return values
    if pc.any(pc.match_substring_regex(values, r"^-?\d\.\d+e\+\d+$")).as_py():
        raise DataError("an id that was written as a rounded number; write it as an integer or a text")
    return pc.replace_substring_regex(values, r"^(-?\d+)\.0$", r"\1")
