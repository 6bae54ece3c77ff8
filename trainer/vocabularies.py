"""What the Transform steps learnt about each feature: the rows of its embedding table."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from schemas.features import BucketizeEncoding, FeatureSpec, HashedEncoding, TextEncoding, VocabularyEncoding
from trainer.data.transform_graphs import TransformGraphs


@dataclass(frozen=True)
class EncodedSize:
    """How many embedding rows a feature needs."""

    in_vocabulary: int
    """Values with a row of their own: vocabulary entries, or buckets. Of an id: vocabulary entries alone."""
    oov_buckets: int
    """Rows shared by all other values."""


def encoded_sizes(spec: FeatureSpec, graphs: TransformGraphs) -> dict[str, EncodedSize]:
    """Tell how many embedding rows each feature needs.

    Args:
        spec: The features.
        graphs: What the Transform steps wrote.

    Returns:
        A size for each id and each feature with a vocabulary or buckets, by name, and for the history's time
        gaps, by the name of their column. The history has the item id's, the columns of its items' features
        have the features'.
    """
    sizes = {}
    for feature in spec.features:
        match feature.encoding:
            case VocabularyEncoding(oov_buckets=oov_buckets):
                sizes[feature.name] = EncodedSize(len(graphs.read_vocabulary(feature)), oov_buckets)
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
    spec: FeatureSpec, sizes: Mapping[str, EncodedSize], graphs: TransformGraphs
) -> dict[str, list[tuple[RowKind, bytes]]]:
    """Name every row of every embedding table, so that it can be found again after another training.

    Args:
        spec: The features.
        sizes: What `encoded_sizes` says.
        graphs: What the Transform steps wrote.

    Returns:
        By the name of the table, in the order of its rows: `("token", value)` for an entry of a vocabulary,
        `("oov", b"1/2")` for the second of two rows of values without an entry, and `("bucket", b"1/8")` for
        the second of eight buckets of a hash or of quantiles. With another number of buckets each holds
        other values, so the name says it. The boundaries of quantiles move between trainings: their
        rows are the same by position alone.
    """
    rows: dict[str, list[tuple[RowKind, bytes]]] = {}
    encoded = {feature.name: feature for feature in spec.features if feature.encoding is not None}
    for name, size in sizes.items():
        if name in encoded and isinstance(encoded[name].encoding, VocabularyEncoding):
            tokens = graphs.read_vocabulary(encoded[name])
            rows[name] = [("token", token) for token in tokens] + _count_rows("oov", size.oov_buckets)
        elif name in encoded or (spec.history is not None and name == spec.history.gap_column):
            rows[name] = _count_rows("bucket", size.in_vocabulary + size.oov_buckets)
    return rows


def _count_rows(kind: RowKind, count: int) -> list[tuple[RowKind, bytes]]:
    return [(kind, b"%d/%d" % (position, count)) for position in range(count)]
