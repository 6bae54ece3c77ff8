"""Numbers as files hold them: of any type, and as texts."""

from typing import Final, Literal

import pyarrow as pa
import pyarrow.compute as pc

from schemas.errors import DataError

PLAUSIBLE_NUMBER: Final = r"^\s*([+-]?(\d|[.,]\d|nan|NaN|NAN|inf|Inf|INF)[\w.,+-]*|(?i:true|false))\s*$"
"""What a text must look like to be a number; another one is not tried."""

Decimal = Literal[".", ","]


def to_integers(values: pa.Array, decimal: Decimal = ".") -> pa.Array:
    """Make integers of numbers without a fraction, booleans, or texts of them.

    Args:
        values: [rows] of any type.
        decimal: What stands before the fraction of a number in a text.

    Returns:
        [rows] int64, nulls kept, as are floats that are NaN.

    Raises:
        DataError: They are of another type.
        pyarrow.ArrowInvalid: A value is no integer of 64 bits.
    """
    _require_numbers(values)
    if pa.types.is_string(values.type):
        return _read_texts(values, pa.int64(), decimal)
    if pa.types.is_floating(values.type):
        values = pc.if_else(pc.is_nan(values), pa.scalar(None, values.type), values)
    return values.cast(pa.int64())


def to_numbers(values: pa.Array, decimal: Decimal = ".") -> pa.Array:
    """Make floats of numbers, booleans, or texts of them.

    Args:
        values: [rows] of any type.
        decimal: What stands before the fraction of a number in a text.

    Returns:
        [rows] float64 of texts and where all are null, otherwise as they were.

    Raises:
        DataError: They are of another type.
        pyarrow.ArrowInvalid: A text is no number.
    """
    _require_numbers(values)
    if pa.types.is_string(values.type):
        return _read_texts(values, pa.float64(), decimal)
    return values.cast(pa.float64()) if pa.types.is_null(values.type) else values


def point_fractions(texts: pa.Array, decimal: Decimal) -> pa.Array:
    """Write the fractions of numbers with a point.

    Args:
        texts: [rows] string.
        decimal: What stands before the fractions.

    Returns:
        [rows] string. Of numbers with a comma, those with a point, which would be one of thousands, are none
        afterwards.
    """
    if decimal == ".":
        return texts
    return pc.replace_substring(pc.replace_substring(texts, ".", "?"), ",", ".")


def _require_numbers(values: pa.Array) -> None:
    types, kind = pa.types, values.type
    is_number = types.is_integer(kind) or types.is_floating(kind) or types.is_decimal(kind)
    if not (is_number or types.is_boolean(kind) or types.is_string(kind) or types.is_null(kind)):
        raise DataError(f"expected numbers. Received: {kind}")


def _read_texts(values: pa.Array, kind: pa.DataType, decimal: Decimal) -> pa.Array:
    texts = point_fractions(pc.utf8_trim_whitespace(values), decimal)
    try:
        return texts.cast(kind)
    except pa.ArrowInvalid:
        texts = pc.replace_substring_regex(texts, r"^(?i:true)$", "1")
        texts = pc.replace_substring_regex(texts, r"^(?i:false)$", "0")
        if pa.types.is_integer(kind):
            texts = pc.replace_substring_regex(texts, r"^([+-]?\d+)\.0*$", r"\1")
        return pc.replace_substring_regex(texts, r"^\+", "").cast(kind)
