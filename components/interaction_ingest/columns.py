"""Columns brought to the types that their features declare."""

from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from schemas.errors import DataError
from schemas.features import Feature

FIRST_PRINTED: Final = 0x20
"""The first byte that is no control character, as line breaks are."""

_MICROSECONDS = 10**6
_LARGEST_SECOND = 2**63 // _MICROSECONDS - 1
_UNITS_PER_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}


def cast_column(column: pa.Array | pa.ChunkedArray, feature: Feature, source: str) -> pa.Array:
    """Bring a column to the type that the feature declares.

    Args:
        column: [rows] of a type that fits the feature; dictionary-encoded and large types do.
        feature: The feature.
        source: The file's name, for messages.

    Returns:
        [rows] string, int64, float32, list of string or list of float32, nulls kept.

    Raises:
        DataError: A value does not fit: text that is not UTF-8, or an integer beyond 64 bits.
    """
    if feature.is_list:
        target = pa.list_(pa.string() if feature.multi_valued else pa.float32())
    else:
        target = {"string": pa.string(), "int": pa.int64(), "float": pa.float32()}[feature.dtype]
    try:
        values = plain(column).cast(target, safe=feature.dtype != "float")
        values.validate(full=feature.dtype == "string")
    except pa.ArrowInvalid as error:
        raise DataError(
            f"{source}: column {feature.name!r} holds a value that is no {feature.dtype}: {error}. "
            "Correct the value, or write the column with another type."
        ) from error
    if feature.length is not None:
        return _check_vectors(values, feature, source)
    return values


def to_microseconds(column: pa.Array | pa.ChunkedArray, unit: str = "s") -> pa.Array:
    """Bring a timestamp column to microseconds.

    Args:
        column: [rows] integers since 1970, or an Arrow timestamp (UTC unless it has a zone).
        unit: What integers count: s, ms, us or ns.

    Returns:
        [rows] int64 microseconds since 1970, rounded down, nulls kept. What 64 bits cannot hold becomes the
        largest whole seconds that they hold, which is beyond any calendar.
    """
    values = plain(column)
    units = _UNITS_PER_SECOND[values.type.unit if pa.types.is_timestamp(values.type) else unit]
    ticks = values.cast(pa.int64()).fill_null(0).to_numpy(zero_copy_only=False)
    seconds = np.clip(np.floor_divide(ticks, units), -_LARGEST_SECOND, _LARGEST_SECOND)
    beyond = 0 if units == 1 else np.mod(ticks, units) * _MICROSECONDS // units
    return pa.array(seconds * _MICROSECONDS + beyond, mask=to_mask(values.is_null()))


def bytes_of(texts: pa.Array) -> npt.NDArray[np.uint8]:
    """Give the bytes of texts: to look at those of all in one go is many times as fast as a search in each.

    Args:
        texts: [rows] string or binary.

    Returns:
        [bytes] uint8, text after text; what a null hides may be among them.
    """
    if not len(texts):
        return np.zeros(0, np.uint8)
    _, offsets, content = texts.buffers()
    ends = np.frombuffer(offsets, np.int32)[texts.offset : texts.offset + len(texts) + 1]
    return np.frombuffer(content or b"", np.uint8)[ends[0] : ends[-1]]


def has_byte(texts: pa.Array, byte: bytes) -> bool:
    """Tell whether a byte stands in any of some texts.

    Args:
        texts: [rows] string.
        byte: A single one.

    Returns:
        Whether it does; what a null hides may count too.
    """
    return bool((bytes_of(texts) == byte[0]).any())


def plain(column: pa.Array | pa.ChunkedArray) -> pa.Array:
    """Make one array of a column, without a dictionary.

    Args:
        column: [rows].

    Returns:
        [rows] the same values.
    """
    values = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    return values.dictionary_decode() if pa.types.is_dictionary(values.type) else values


def to_mask(values: pa.Array) -> npt.NDArray[np.bool_]:
    """Make a mask of Arrow's answers.

    Args:
        values: [rows] bool.

    Returns:
        [rows] bool, False where there is none.
    """
    return values.fill_null(False).to_numpy(zero_copy_only=False)


def to_floats(values: pa.Array) -> npt.NDArray[Any]:
    """Make floats of numbers.

    Args:
        values: [rows] of any numeric type.

    Returns:
        [rows] in the precision of a float column, otherwise float64; NaN where there is none.
    """
    if not pa.types.is_floating(values.type):
        values = values.cast(pa.float64(), safe=False)
    return values.to_numpy(zero_copy_only=False)


def list_array(lengths: npt.NDArray[Any], values: pa.Array) -> pa.ListArray:
    """Cut values into lists.

    Args:
        lengths: [lists] number of values of each list.
        values: [values] list after list.

    Returns:
        [lists].
    """
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), values)


def _check_vectors(vectors: pa.Array, feature: Feature, source: str) -> pa.Array:
    lengths = pc.list_value_length(vectors)
    # What an empty cell of a CSV file becomes: no vector.
    is_empty = pc.equal(lengths, 0).fill_null(False)
    wrong = lengths.filter(pc.and_(pc.not_equal(lengths, feature.length), pc.invert(is_empty)))
    if len(wrong):
        raise DataError(
            f"{source}: column {feature.name!r}: expected {feature.length} numbers in every row, as "
            f"'length' in the schema file says. Received: {wrong[0]} numbers, and in {len(wrong):,} rows "
            f"other than {feature.length}. Correct the rows, or the feature's length."
        )
    if not pc.any(is_empty).as_py():
        return vectors
    return pc.if_else(is_empty, pa.scalar(None, vectors.type), vectors)
