"""What the Transform step learnt about each feature: sizes of the encodings, and item frequencies."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np

from schemas.contract import VOCABULARY_SUFFIX
from schemas.features import BucketizeEncoding, FeatureSpec, HashedEncoding, TextEncoding, VocabularyEncoding

# Of the file with one line per item of the train split: rows that hold it, a space, its id; for a hashed
# item id one line per bucket, with the bucket's number in the place of the id.
FREQUENCY_SUFFIX: Final = "_frequency"


@dataclass(frozen=True)
class EncodedSize:
    """How many embedding rows a feature needs."""

    in_vocabulary: int
    """Values with a row of their own: vocabulary entries, or buckets. Of an id: vocabulary entries alone."""
    oov_buckets: int
    """Rows shared by all other values."""


def encoded_sizes(spec: FeatureSpec, transform_output: Any) -> dict[str, EncodedSize]:
    """Tell how many embedding rows each feature needs.

    Args:
        spec: The features.
        transform_output: The Transform step's `tft.TFTransformOutput`.

    Returns:
        A size for each id and each feature with a vocabulary or buckets, by name, and for the history's time
        gaps, by the name of their column. The history has the item id's, the columns of its items' features
        have the features'.
    """
    sizes = {}
    for feature in spec.features:
        match feature.encoding:
            case VocabularyEncoding(oov_buckets=oov_buckets):
                entries = transform_output.vocabulary_size_by_name(feature.name + VOCABULARY_SUFFIX)
                sizes[feature.name] = EncodedSize(int(entries), oov_buckets)
            case HashedEncoding(buckets=buckets) if feature.role is not None:
                sizes[feature.name] = EncodedSize(0, buckets)
            case (
                BucketizeEncoding(buckets=buckets)
                | HashedEncoding(buckets=buckets)
                | TextEncoding(buckets=buckets)
            ):
                sizes[feature.name] = EncodedSize(buckets, 0)
            case None if feature.role is not None:
                sizes[feature.name] = EncodedSize(0, 1)
    if spec.history is not None and spec.history.time_gap_buckets is not None:
        sizes[spec.history.gap_column] = EncodedSize(spec.history.time_gap_buckets, 0)
    return sizes


RowKind = Literal["token", "oov", "bucket"]


def table_rows(
    spec: FeatureSpec, sizes: Mapping[str, EncodedSize], transform_output: Any
) -> dict[str, list[tuple[RowKind, bytes]]]:
    """Name every row of every embedding table, so that it can be found again after another training.

    Args:
        spec: The features.
        sizes: What `encoded_sizes` says.
        transform_output: The Transform step's `tft.TFTransformOutput`.

    Returns:
        By the name of the table, in the order of its rows: `("token", value)` for an entry of a vocabulary,
        `("oov", b"1/2")` for the second of two rows of values without an entry, and `("bucket", b"1/8")` for
        the second of eight buckets of a hash or of quantiles. With another number of buckets each holds
        other values, so the name says it. The boundaries of quantiles move between trainings: their
        rows are the same by position alone.
    """
    rows: dict[str, list[tuple[RowKind, bytes]]] = {}
    encoded = {feature.name: feature.encoding for feature in spec.features if feature.encoding is not None}
    for name, size in sizes.items():
        if isinstance(encoded.get(name), VocabularyEncoding):
            tokens = transform_output.vocabulary_by_name(name + VOCABULARY_SUFFIX)
            rows[name] = [("token", token) for token in tokens] + _count_rows("oov", size.oov_buckets)
        elif name in encoded or (spec.history is not None and name == spec.history.gap_column):
            rows[name] = _count_rows("bucket", size.in_vocabulary + size.oov_buckets)
    return rows


def _count_rows(kind: RowKind, count: int) -> list[tuple[RowKind, bytes]]:
    return [(kind, b"%d/%d" % (position, count)) for position in range(count)]


def item_log_q(spec: FeatureSpec, transform_output: Any) -> np.ndarray:
    """Give log q_j, q_j being the probability that a train row holds item j.

    q_j = max(rows that hold j, 1) / train rows: an item that no train row holds counts as if one
    did, so that no value is log 0 (logQ correction, Yi et al. 2019, "Sampling-bias-corrected
    neural modeling for large corpus item recommendations").

    Items that share a row share its q. For those outside a vocabulary with a cut-off it is their mean. For
    those of a hash bucket it is their sum, as in the paper's own estimate by hash buckets: counting items
    one by one would need the vocabulary that hashing does without.

    Args:
        spec: The features.
        transform_output: The Transform step's `tft.TFTransformOutput`, its counts taken over the
            train split.

    Returns:
        `[in_vocabulary + oov_buckets]` float32, at position j the item with embedding row j.
    """
    name = spec.item_id.name
    size = encoded_sizes(spec, transform_output)[name]
    lines = transform_output.vocabulary_by_name(name + FREQUENCY_SUFFIX)
    rows_by_item = {item: int(rows) for rows, _, item in (line.partition(b" ") for line in lines)}
    total = sum(rows_by_item.values())
    rows = np.ones(size.in_vocabulary + size.oov_buckets, np.float64)
    match spec.item_id.encoding:
        case VocabularyEncoding():
            vocabulary = transform_output.vocabulary_by_name(name + VOCABULARY_SUFFIX)
            rows[: size.in_vocabulary] = [rows_by_item.pop(item, 1) for item in vocabulary]
            if rows_by_item:
                rows[size.in_vocabulary :] = sum(rows_by_item.values()) / len(rows_by_item)
        case HashedEncoding():
            for bucket, count in rows_by_item.items():
                rows[int(bucket)] = count
    return np.log(rows / total).astype(np.float32)
