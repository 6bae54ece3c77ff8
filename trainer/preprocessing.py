"""The preprocessing_fn of the three Transform steps: raw features of a table to what the towers read.

Each step has a table: users, items, or the context of the positives. The transformed features have the names
of the raw ones:

- `vocabulary`, ids too: the value's index in `[0, in_vocabulary + oov_buckets)`, int64; multi-valued ones
  sparse;
- `hashed`, ids too: the value's bucket in `[0, buckets)`, int64; multi-valued ones sparse;
- `bucketize`: the value's quantile in `[0, buckets)`, int64;
- `text`: the buckets of the n-grams, one after the other by length, sparse int64;
- `z_score`: float32; `vector`: `[rows, length]` float32, as it came.

A user or an item counts as often as train rows hold it, which its column `train_rows` says. So vocabularies
with their counts and cut-offs, quantiles, means and deviations are those of a table with a row for each train
row, at the cost of one with a row for each user or item. One that no train row holds counts nowhere.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import tensorflow as tf
import tensorflow_transform as tft

from schemas.contract import TRAIN_ROWS, TRAIN_SPLIT, VALIDATION_ROWS, VALIDATION_SPLIT, VOCABULARY_SUFFIX
from schemas.features import (
    BucketizeEncoding,
    Feature,
    FeatureSpec,
    HashedEncoding,
    TextEncoding,
    VectorEncoding,
    VocabularyEncoding,
    ZScoreEncoding,
)
from schemas.strict_config import from_json

# Ids are reduced to so many before they are reduced to buckets: releases have tables whose rows go by it.
_ID_FINGERPRINTS: Final = 2**40

_NO_WORD: Final = r"[^\p{L}\p{M}\p{N}]+"

_ROWS_OF_SPLIT: Final = {TRAIN_SPLIT: TRAIN_ROWS, VALIDATION_SPLIT: VALIDATION_ROWS}

# A deviation below this share of the mean is the rounding of a sum over equal numbers.
_ROUNDING: Final = 1e-10


def preprocessing_fn(inputs: dict[str, Any], custom_config: dict[str, Any]) -> dict[str, Any]:
    """Transform the raw features of a table; TFX calls it by its dotted path.

    Args:
        inputs: The table's features by name, `[rows]`, sparse for multi-valued ones, `[rows, length]` for
            lists of numbers; of users and items also `train_rows` and `validation_rows`, `[rows]` int64.
        custom_config: `feature_spec`, a `FeatureSpec` as JSON; `tower`, the table: `user`, `item` or
            `context`; and `counted_splits`, the splits that the model is trained on. A context belongs to one
            row, and the step is given those of these splits alone.

    Returns:
        The encoded features by name, as described in this module's docstring.
    """
    spec = from_json(FeatureSpec, custom_config["feature_spec"])
    tower = custom_config["tower"]
    weights = None if tower == "context" else _sum_rows(inputs, custom_config["counted_splits"])
    features = spec.table_features(tower)
    outputs = {
        feature.name: _encode(inputs[feature.name], feature, weights)
        for feature in features
        if feature.encoding is not None
    }
    # TFT refuses a graph without outputs, and a table may have no feature that a tower reads.
    return outputs or {features[0].name: tf.identity(inputs[features[0].name])}


@dataclass(frozen=True)
class _Counted:
    """The values of a column that what is learnt is taken over."""

    values: Any
    """`[values]`."""
    weights: Any
    """`[values]` int64, 1 or more: train rows with each; None: each is in one."""


def _sum_rows(inputs: Mapping[str, Any], splits: Sequence[str]) -> Any:
    """Count the rows of the splits that hold each entity: `[rows]` int64."""
    return tf.add_n([inputs[_ROWS_OF_SPLIT[split]] for split in splits])


def _count(column: Any, weights: Any) -> _Counted:
    """Take the values of the rows that count, each value of a list with its row's weight."""
    values = column.values if isinstance(column, tf.SparseTensor) else column
    if weights is None:
        return _Counted(values, None)
    if isinstance(column, tf.SparseTensor):
        weights = tf.gather(weights, column.indices[:, 0])
    counted = tf.where(weights > 0)[:, 0]
    return _Counted(tf.gather(values, counted), tf.gather(weights, counted))


def _encode(column: Any, feature: Feature, weights: Any) -> Any:
    """Analyse a column and encode it.

    Args:
        column: `[rows]`, `[rows, length]` or sparse.
        feature: The feature, with an encoding.
        weights: `[rows]` int64, the train rows with each entity; None: one each.

    Returns:
        Labels as indices, numbers as quantiles or z-scores, in the shape of the column; texts, `[rows]`
        string, as the buckets of their n-grams, sparse.
    """
    match feature.encoding:
        case VocabularyEncoding() as encoding:
            labels = _to_labels(column, feature)
            return tft.apply_vocabulary(
                labels,
                _learn_vocabulary(labels, feature, encoding, weights),
                num_oov_buckets=encoding.oov_buckets,
            )
        case HashedEncoding(buckets=buckets) if feature.role is not None:
            return tf.strings.to_hash_bucket_fast(column, _ID_FINGERPRINTS) % buckets
        case HashedEncoding(buckets=buckets):
            return _hash(_to_labels(column, feature), buckets)
        case TextEncoding(buckets=buckets, ngrams=ngrams):
            return _hash(_split_into_ngrams(column, ngrams), buckets)
        case VectorEncoding():
            return tf.identity(column)
        case BucketizeEncoding(buckets=buckets):
            return tft.apply_buckets(column, _learn_quantiles(column, buckets, weights))
        case ZScoreEncoding():
            return _scale(tf.cast(column, tf.float64), weights)
    raise ValueError(
        f"feature {feature.name!r} has no encoding that Transform knows. Received: {feature.encoding!r}"
    )


def _learn_vocabulary(labels: Any, feature: Feature, encoding: VocabularyEncoding, weights: Any) -> Any:
    counted = _count(labels, weights)
    return tft.vocabulary(
        counted.values,
        top_k=encoding.top_k,
        frequency_threshold=encoding.minimum_count,
        vocab_filename=feature.name + VOCABULARY_SUFFIX,
        # Integers: TFT adds them up as they are, so counts are exact. As floats they were up to 2**24.
        weights=counted.weights,
    )


def _learn_quantiles(column: Any, buckets: int, weights: Any) -> Any:
    counted = _count(column, weights)
    # TFT's own bound for a bucketised column.
    return tft.quantiles(counted.values, buckets, epsilon=min(1.0 / buckets, 0.01), weights=counted.weights)


def _scale(numbers: Any, weights: Any) -> Any:
    """Scale `[rows]` float64 to mean 0 and deviation 1 over the rows that count; float32.

    The variance is a sum over what is left after the mean is taken away, which needs a second pass. Of the
    sum of the squares, less the mean's square, float64 leaves nothing where the mean is 10**8 times the
    deviation, as it is of a time in seconds.
    """
    counted = _count(numbers, weights)
    shares = tf.ones_like(numbers) if counted.weights is None else tf.cast(counted.weights, tf.float64)
    # Where nothing counts every sum is 0, and so are mean and deviation.
    total = tf.maximum(tft.sum(shares), 1.0)
    mean = tft.sum(shares * counted.values) / total
    deviation = tf.sqrt(tft.sum(shares * tf.square(counted.values - mean)) / total)
    is_constant = deviation <= _ROUNDING * tf.abs(mean)
    centred = numbers - mean
    return tf.cast(tf.where(is_constant, centred, centred / deviation), tf.float32)


def _to_labels(values: Any, feature: Feature) -> Any:
    if feature.dtype == "int":
        return tf.strings.as_string(values)
    if isinstance(values, tf.SparseTensor):
        # At serving, '' pads the rows of a batch to one length.
        present = tf.sparse.retain(values, tf.not_equal(values.values, ""))
        return tft.sparse_tensor_left_align(present)
    return values


def _hash(values: Any, buckets: int) -> Any:
    if isinstance(values, tf.SparseTensor):
        return values.with_values(tf.strings.to_hash_bucket_fast(values.values, buckets))
    return tf.strings.to_hash_bucket_fast(values, buckets)


def _split_into_ngrams(texts: Any, longest: int) -> Any:
    """Give the n-grams of each text, single words first: `[rows]` string to sparse string."""
    lower = tf.strings.lower(texts, encoding="utf-8")
    words = tf.strings.split(tf.strings.regex_replace(lower, _NO_WORD, " "))
    return tf.strings.ngrams(words, tuple(range(1, longest + 1))).to_sparse()
