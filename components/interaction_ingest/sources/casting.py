"""Columns as files hold them brought to the types that are needed, value by value where some do not fit."""

from collections.abc import Callable
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from components.interaction_ingest.columns import to_microseconds
from schemas.errors import DataError

PLAUSIBLE: Final = {
    "timestamp": r"^\s*([+-]?\d{1,19}|\d{4}-\d\d-\d\d.*)\s*$",
    "number": r"^\s*[+-]?(\d|\.\d|nan|NaN|NAN|inf|Inf|INF)[\w.+-]*\s*$",
}
"""What a text must look like to be a time or a number; another one is not tried."""


def to_text(column: pa.Array) -> tuple[pa.Array, npt.NDArray[np.bool_]]:
    """Make bytes and all kinds of texts strings; lists of them are only checked, and other types stay.

    Args:
        column: [rows] of any type.

    Returns:
        [rows], null where a text is not UTF-8; and [rows] bool, whether it is not.
    """
    values = column.dictionary_decode() if pa.types.is_dictionary(column.type) else column
    is_text = pa.types.is_string(values.type) or pa.types.is_large_string(values.type)
    if is_text or pa.types.is_string_view(values.type):
        try:
            values.validate(full=True)
            return values.cast(pa.string()), np.zeros(len(values), bool)
        except pa.ArrowInvalid:
            values = values.cast(pa.binary())
    if pa.types.is_binary(values.type) or pa.types.is_large_binary(values.type):
        return _decode(values)
    if pa.types.is_list(values.type) or pa.types.is_large_list(values.type):
        _, bad = to_text(values.flatten())
        if bad.any():
            parents = pc.list_parent_indices(values).to_numpy()[bad]
            keep = np.ones(len(values), bool)
            keep[parents] = False
            return pc.if_else(pa.array(keep), values, pa.scalar(None, values.type)), ~keep
    return values, np.zeros(len(values), bool)


def _decode(values: pa.Array) -> tuple[pa.Array, npt.NDArray[np.bool_]]:
    """Make strings of bytes, null where they are not UTF-8."""
    try:
        return values.cast(pa.string()), np.zeros(len(values), bool)
    except pa.ArrowInvalid:
        texts: list[str | None] = []
        bad = np.zeros(len(values), bool)
        for row, value in enumerate(values.to_pylist()):
            try:
                texts.append(value if value is None else value.decode("utf-8"))
            except UnicodeDecodeError:
                texts.append(None)
                bad[row] = True
        return pa.array(texts, pa.string()), bad


def split_lists(values: pa.Array, separator: str) -> pa.Array:
    """Cut texts into lists.

    Args:
        values: [rows] string.
        separator: What stands between two values.

    Returns:
        [rows] list of string; an empty text is an empty list, and null stays null.
    """
    lists = pc.split_pattern(values, separator)
    is_empty = pc.equal(values, "").fill_null(False)
    return pc.if_else(is_empty, pa.scalar([], lists.type), lists)


def to_number(values: pa.Array) -> pa.Array:
    """Make numbers of texts.

    Args:
        values: [rows] string, or any other type but lists.

    Returns:
        [rows] float64 of texts, otherwise as they were.

    Raises:
        DataError: They are lists.
        pyarrow.ArrowInvalid: A text is no number.
    """
    if pa.types.is_string(values.type):
        return pc.utf8_trim_whitespace(values).cast(pa.float64())
    if pa.types.is_list(values.type):
        raise DataError("expected a single number")
    return values.cast(pa.float64()) if pa.types.is_null(values.type) else values


def to_time(values: pa.Array) -> pa.Array:
    """Make times of integer seconds, Arrow timestamps, or texts that are seconds or ISO 8601.

    Args:
        values: [rows]; UTC where there is no zone.

    Returns:
        [rows] int64 microseconds since 1970, rounded down, nulls kept.

    Raises:
        DataError: They are of another type.
        pyarrow.ArrowInvalid: A text is no time.
    """
    if pa.types.is_null(values.type):
        return pa.nulls(len(values), pa.int64())
    if not pa.types.is_string(values.type):
        if not (pa.types.is_integer(values.type) or pa.types.is_timestamp(values.type)):
            raise DataError("expected integer seconds or a timestamp")
        return to_microseconds(values)
    texts = pc.utf8_trim_whitespace(values)
    numbers = pc.match_substring_regex(texts, r"^[+-]?\d+$").fill_null(False)
    zoned = pc.match_substring_regex(texts, r":.*(Z|[+-]\d\d(:?\d\d)?)$").fill_null(False)
    nothing = pa.scalar(None, pa.string())
    # Arrow wants minutes in an offset, and at most as many decimals as the unit has.
    times = pc.replace_substring_regex(texts, r"( UTC)$", "Z")
    times = pc.replace_substring_regex(times, r"(:\d\d\.\d{6})\d+", r"\1")
    times = pc.replace_substring_regex(times, r"(:.*[+-]\d\d)$", r"\1:00")
    zoned = pc.or_(zoned, pc.ends_with(times, "Z").fill_null(False))
    plain = pc.if_else(pc.or_(numbers, zoned), nothing, times).cast(pa.timestamp("us"))
    with_zone = pc.if_else(pc.and_(zoned, pc.invert(numbers)), times, nothing).cast(pa.timestamp("us", "UTC"))
    seconds = pc.if_else(numbers, texts, nothing).cast(pa.int64())
    return pc.coalesce(*(to_microseconds(times) for times in (seconds, plain, with_zone)))


def cast_leniently(
    values: pa.Array, cast: Callable[[pa.Array], pa.Array], plausible: str = ""
) -> tuple[pa.Array, npt.NDArray[np.bool_]]:
    """Cast at once if all values fit, else leave out those that do not.

    Args:
        values: [rows] of any type.
        cast: The cast, which raises where a value does not fit.
        plausible: What a text must look like to be tried, a regular expression; '' for anything.

    Returns:
        [rows] of the target type, null where the value does not fit; and [rows] bool, whether it does not.
    """
    try:
        return cast(values), np.zeros(len(values), bool)
    except (pa.ArrowException, DataError):
        bad = np.zeros(len(values), bool)
    if plausible and pa.types.is_string(values.type):
        fits = pc.match_substring_regex(values, plausible).fill_null(True)
        bad = ~fits.to_numpy(zero_copy_only=False)
        values = pc.if_else(fits, values, pa.scalar(None, pa.string()))
    typed, bad_too = _halve(values, cast)
    return typed, bad | bad_too


def _halve(values: pa.Array, cast: Callable[[pa.Array], pa.Array]) -> tuple[pa.Array, npt.NDArray[np.bool_]]:
    """Cast at once if all values fit, else halve them until those that do not stand alone, as null."""
    if isinstance(values, pa.ListArray | pa.LargeListArray | pa.FixedSizeListArray):
        # A slice of lists keeps the elements of all of them, and a cast looks at those too.
        values = values.take(pa.array(np.arange(len(values))))
    try:
        return cast(values), np.zeros(len(values), bool)
    except (pa.ArrowException, DataError):
        if len(values) <= 1:
            return cast(pa.nulls(len(values), pa.string())), np.ones(len(values), bool)
    half = len(values) // 2
    parts = [_halve(part, cast) for part in (values[:half], values[half:])]
    return pa.concat_arrays([part for part, _ in parts]), np.concatenate([bad for _, bad in parts])
