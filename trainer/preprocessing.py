"""The preprocessing_fn of the Transform step: raw features to what the towers read.

The transformed features have the names of the raw ones:

- the ids and the history: keys, `[rows]` and `[rows, length]` int64, see `_encode_ids`;
- `vocabulary`: the value's index in `[0, in_vocabulary + oov_buckets)`, int64; multi-valued ones sparse;
- `bucketize`: the value's quantile in `[0, buckets)`, int64;
- `hashed`: the value's bucket in `[0, buckets)`, int64; multi-valued ones sparse; for ids keys all the same;
- `text`: the buckets of the n-grams, one after the other by length, sparse int64;
- `z_score`: float32; `vector`: `[rows, length]` float32, as it came;
- the features of the history's items: as the items' own, with the same vocabulary, quantiles or scale,
  `[rows, length]` int64 or float32; multi-valued ones and texts `[rows, length, values_per_item]`,
  vectors `[rows, length, numbers]`;
- the time gaps of the history: each one's quantile among those of the train split, `[rows, length]` int64;
- the row weight, where the examples have one: float32, as it came.

Where a history has no item, and an item of it no more values, stands -1; among floats 0.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

import tensorflow as tf
import tensorflow_transform as tft

from schemas.contract import (
    GAP_PADDING,
    HISTORY_PADDING,
    HISTORY_PADDING_KEY,
    VOCABULARY_SUFFIX,
    WEIGHT,
)
from schemas.features import (
    BucketizeEncoding,
    Feature,
    FeatureSpec,
    HashedEncoding,
    History,
    TextEncoding,
    VectorEncoding,
    VocabularyEncoding,
    ZScoreEncoding,
)
from schemas.strict_config import from_json
from trainer.vocabularies import FREQUENCY_SUFFIX

FINGERPRINT_BUCKETS: Final = 2**40

# TFT leaves values with a line break out of text vocabularies, so this one is never in any.
_NEVER_IN_VOCABULARY: Final = "\n"

_NO_WORD: Final = r"[^\p{L}\p{M}\p{N}]+"


def preprocessing_fn(inputs: dict[str, Any], custom_config: dict[str, Any]) -> dict[str, Any]:
    """Transform the raw features; TFX calls it by its dotted path.

    Args:
        inputs: The raw features by name: `[rows]`, sparse for multi-valued features; `[rows, length]` for the
            history, its items' features and time gaps, `[rows, length, values]` where these are lists.
        custom_config: `feature_spec`, a `FeatureSpec` as JSON.

    Returns:
        The transformed features by name, as described in this module's docstring.
    """
    spec = from_json(FeatureSpec, custom_config["feature_spec"])
    item_vocabulary = _learn_vocabulary(inputs, spec.item_id)
    outputs = {}
    encodings = {}
    for feature in spec.features:
        values = inputs[feature.name]
        if feature.role == "item_id":
            outputs[feature.name] = _encode_ids(values, item_vocabulary)
        elif feature.role == "user_id":
            outputs[feature.name] = _encode_ids(values, _learn_vocabulary(inputs, feature))
        elif feature.encoding is not None:
            encodings[feature.name] = _learn_encoding(values, feature)
            outputs[feature.name] = encodings[feature.name](values)
    if spec.history is not None:
        outputs |= _encode_history(inputs, spec, spec.history, item_vocabulary, encodings)
    if WEIGHT in inputs:
        outputs[WEIGHT] = tf.identity(inputs[WEIGHT])
    counted = inputs[spec.item_id.name]
    if isinstance(spec.item_id.encoding, HashedEncoding):
        # Rows by bucket, not by item: nothing grows with the number of items.
        counted = tf.strings.as_string(outputs[spec.item_id.name] % spec.item_id.encoding.buckets)
    # Not in the look-up's own file: its reader would split an id at its spaces.
    tft.vocabulary(counted, vocab_filename=spec.item_id.name + FREQUENCY_SUFFIX, store_frequency=True)
    return outputs


def _learn_vocabulary(inputs: dict[str, Any], id_feature: Feature) -> Any:
    encoding = id_feature.encoding
    if not isinstance(encoding, VocabularyEncoding):
        return None
    return tft.vocabulary(
        inputs[id_feature.name],
        top_k=encoding.top_k,
        frequency_threshold=encoding.minimum_count,
        vocab_filename=id_feature.name + VOCABULARY_SUFFIX,
    )


def _encode_ids(ids: Any, vocabulary: Any) -> Any:
    """Give equal ids equal keys, and different ids different ones, whether they are in the vocabulary or not.

    A key is the index in the vocabulary, or else size + fingerprint mod 2**40, size being the
    number of entries (0 without a vocabulary, thus for hashed ids). So a batch can be searched for
    repeated ids, and `size + key % oov_buckets` is still the embedding row of an id outside the vocabulary.

    Args:
        ids: `[...]` string.
        vocabulary: What `tft.vocabulary` gave, or None.

    Returns:
        The keys, int64, in the shape of `ids`.
    """
    fingerprints = tf.strings.to_hash_bucket_fast(ids, FINGERPRINT_BUCKETS)
    if vocabulary is None:
        return fingerprints
    # The single bucket for unseen values is the index after the last entry: the vocabulary's size.
    flat = tf.concat([tf.reshape(ids, [-1]), [_NEVER_IN_VOCABULARY]], axis=0)
    indices = tft.apply_vocabulary(flat, vocabulary, num_oov_buckets=1)
    size = indices[-1]
    indices = tf.reshape(indices[:-1], tf.shape(ids))
    return tf.ensure_shape(tf.where(indices < size, indices, size + fingerprints), ids.shape)


def _learn_encoding(values: Any, feature: Feature) -> Callable[[Any], Any]:
    """Analyse a feature's column.

    Args:
        values: The column, over which vocabulary, quantiles, mean and deviation are taken.
        feature: The feature, with an encoding.

    Returns:
        What encodes values of the feature, of this column or of another with items of its own: labels to
        indices, numbers to quantiles or z-scores, in the shape of the values; texts, `[rows]` string, to
        the buckets of their n-grams, sparse.
    """
    match feature.encoding:
        case VocabularyEncoding() as encoding:
            vocabulary = tft.vocabulary(
                _to_labels(values, feature),
                top_k=encoding.top_k,
                frequency_threshold=encoding.minimum_count,
                vocab_filename=feature.name + VOCABULARY_SUFFIX,
            )
            return lambda values: tft.apply_vocabulary(
                _to_labels(values, feature), vocabulary, num_oov_buckets=encoding.oov_buckets
            )
        case HashedEncoding(buckets=buckets):
            return lambda values: _hash(_to_labels(values, feature), buckets)
        case TextEncoding(buckets=buckets, ngrams=ngrams):
            return lambda values: _hash(_split_into_ngrams(values, ngrams), buckets)
        case VectorEncoding():
            return tf.identity
        case BucketizeEncoding(buckets=buckets):
            boundaries = _learn_quantiles(values, buckets)
            return lambda values: tft.apply_buckets(values, boundaries)
        case ZScoreEncoding():
            mean = tft.mean(values, output_dtype=tf.float32)
            deviation = tf.sqrt(tft.var(values, output_dtype=tf.float32))
            return lambda values: _scale(values, mean, deviation)
    raise ValueError(
        f"feature {feature.name!r} has no encoding that Transform knows. Received: {feature.encoding!r}"
    )


def _encode_history(
    inputs: Mapping[str, Any],
    spec: FeatureSpec,
    history: History,
    item_vocabulary: Any,
    encodings: Mapping[str, Callable[[Any], Any]],
) -> dict[str, Any]:
    ids = inputs[history.name]
    # Told by the raw value: after the look-up, padding would be one more unseen item.
    is_item = tf.not_equal(ids, HISTORY_PADDING)
    outputs = {history.name: _pad(_encode_ids(ids, item_vocabulary), is_item)}
    for feature in spec.history_features:
        column = history.feature_column(feature.name)
        outputs[column] = _encode_items(inputs[column], is_item, feature, history, encodings[feature.name])
    if history.time_gap_buckets is not None:
        gaps = inputs[history.gap_column]
        is_gap = tf.not_equal(gaps, GAP_PADDING)
        boundaries = _learn_quantiles(tf.boolean_mask(gaps, is_gap), history.time_gap_buckets)
        outputs[history.gap_column] = _pad(tft.apply_buckets(gaps, boundaries), is_gap)
    return outputs


def _encode_items(
    values: Any, is_item: Any, feature: Feature, history: History, encode: Callable[[Any], Any]
) -> Any:
    """Encode a feature of the items of a history, with -1 (lists of numbers: 0) where there is no item.

    Args:
        values: `[rows, length]`, or `[rows, length, values]` for lists.
        is_item: `[rows, length]` bool.
        feature: The items' feature.
        history: The history.
        encode: What the feature's own column is encoded with.

    Returns:
        `[rows, length]`, or `[rows, length, values]` for lists and the n-grams of texts.
    """
    match feature.encoding:
        case TextEncoding():
            shape = [-1, history.length, history.values_per_item]
            ngrams = tf.RaggedTensor.from_sparse(encode(tf.reshape(values, [-1])))
            # No text has n-grams where there is no item.
            return tf.reshape(
                ngrams.to_tensor(HISTORY_PADDING_KEY, shape=[None, history.values_per_item]), shape
            )
        case ZScoreEncoding() | VectorEncoding():
            is_item = tf.reshape(is_item, [-1, history.length, *([1] * (values.shape.rank - 2))])
            return tf.where(is_item, encode(values), 0.0)
    if feature.multi_valued:
        is_item = tf.not_equal(values, "")
    return _pad(encode(values), is_item)


def _pad(values: Any, is_value: Any) -> Any:
    """Put -1 where there is no value: `[...]` int64 and `[...]` bool to int64 of the same shape."""
    return tf.where(is_value, values, tf.constant(HISTORY_PADDING_KEY, tf.int64))


def _learn_quantiles(values: Any, buckets: int) -> Any:
    # TFT's own bound for a bucketised column.
    return tft.quantiles(values, buckets, epsilon=min(1.0 / buckets, 0.01))


def _scale(values: Any, mean: Any, deviation: Any) -> Any:
    centred = tf.cast(values, tf.float32) - mean
    return tf.where(tf.not_equal(deviation, 0.0), centred / deviation, centred)


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
