"""Columns as files hold them brought to the types that are needed, value by value where some do not fit."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from components.interaction_ingest.columns import FIRST_PRINTED, bytes_of
from components.interaction_ingest.sources.labels import read_bytes
from components.interaction_ingest.sources.lists import is_list
from schemas.errors import DataError


def to_text(column: pa.Array, are_ids: bool = False) -> tuple[pa.Array, npt.NDArray[np.bool_]]:
    """Make bytes and all kinds of texts strings; lists of them are only checked, and other types stay.

    Args:
        column: [rows] of any type.
        are_ids: Whether bytes may be those of UUIDs.

    Returns:
        [rows], null where a text is not UTF-8; and [rows] bool, whether it is not.
    """
    values = column.dictionary_decode() if pa.types.is_dictionary(column.type) else column
    if isinstance(values, pa.ExtensionArray):
        values = values.storage
    if pa.types.is_fixed_size_binary(values.type):
        values = values.cast(pa.binary())
    is_text = pa.types.is_string(values.type) or pa.types.is_large_string(values.type)
    if is_text or pa.types.is_string_view(values.type):
        try:
            values.validate(full=True)
            return values.cast(pa.string()), np.zeros(len(values), bool)
        except pa.ArrowInvalid:
            values = values.cast(pa.binary())
    if pa.types.is_binary(values.type) or pa.types.is_large_binary(values.type):
        return _decode_ids(values) if are_ids else _decode(values)
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


def _decode_ids(values: pa.Array) -> tuple[pa.Array, npt.NDArray[np.bool_]]:
    """Make strings of bytes, those of UUIDs in their usual form, null where they are neither."""
    texts, bad = _decode(values)
    if not bad.any() and (bytes_of(texts) >= FIRST_PRINTED).all():
        return texts, bad
    found = pa.array(
        [None if value is None else read_bytes(value) for value in values.to_pylist()], pa.string()
    )
    return found, pc.and_(found.is_null(), values.is_valid()).to_numpy(zero_copy_only=False)


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
    if is_list(values.type):
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
