"""Missing values, and the defaults that stand in for them."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from components.interaction_ingest.columns import list_array, to_mask
from schemas.features import Feature


def fill_missing(values: pa.Array, feature: Feature) -> tuple[pa.Array, int]:
    """Put the feature's default in the place of missing values.

    A value is missing if it is null or, in a float, not finite; a list also if one of its elements
    is missing.

    Args:
        values: [rows] as `cast_column` gives them.
        feature: The feature.

    Returns:
        The values, [rows], unchanged if the feature has no default; and the number missing.
    """
    if feature.length is not None:
        return _fill_vectors(values, feature)
    if feature.multi_valued:
        elements = values.flatten()
        count = values.null_count + elements.null_count
        if not count or feature.default is None:
            return values, count
        whole = pc.coalesce(values, pa.scalar([feature.default], values.type))
        return list_array(
            pc.list_value_length(whole).to_numpy(), whole.flatten().fill_null(feature.default)
        ), count
    if feature.dtype == "float":
        values = pc.if_else(pc.is_finite(values), values, pa.scalar(None, values.type))
    count = values.null_count
    if count and feature.default is not None:
        values = values.fill_null(pa.scalar(feature.default, values.type))
    return values, count


def _fill_vectors(values: pa.Array, feature: Feature) -> tuple[pa.Array, int]:
    width = feature.length or 1
    given = to_mask(values.is_valid())
    numbers = np.full((len(values), width), np.nan, np.float32)
    numbers[given] = values.flatten().to_numpy(zero_copy_only=False).reshape(-1, width)
    is_missing = ~np.isfinite(numbers).all(axis=1)
    count = int(is_missing.sum())
    if not count or feature.default is None:
        return values, count
    numbers[is_missing] = feature.default
    return list_array(np.full(len(values), width), pa.array(numbers.ravel())), count
