"""The preprocessing_fn of the Transform step: raw features to what the towers read.

The transformed features have the names of the raw ones:

- the ids and the history: keys, `[rows]` and `[rows, length]` int64, see `_encode_ids`;
- `vocabulary`: the value's index in `[0, in_vocabulary + oov_buckets)`, int64; multi-valued ones sparse;
- `bucketize`: the value's quantile in `[0, buckets)`, int64;
- `hashed`: the value's bucket in `[0, buckets)`, int64; multi-valued ones sparse; for ids keys all the same;
- `text`: the buckets of the n-grams, one after the other by length, sparse int64;
- `z_score`: float32; `vector`: `[rows, length]` float32, as it came;
- the row weight, where the examples have one: float32, as it came.
"""

from typing import Any, Final

import tensorflow as tf
import tensorflow_transform as tft

from schemas.contract import HISTORY_PADDING, HISTORY_PADDING_KEY, VOCABULARY_SUFFIX, WEIGHT
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
from trainer.vocabularies import FREQUENCY_SUFFIX

FINGERPRINT_BUCKETS: Final = 2**40

# TFT leaves values with a line break out of text vocabularies, so this one is never in any.
_NEVER_IN_VOCABULARY: Final = "\n"

_NO_WORD: Final = r"[^\p{L}\p{M}\p{N}]+"


def preprocessing_fn(inputs: dict[str, Any], custom_config: dict[str, Any]) -> dict[str, Any]:
    """Transform the raw features; TFX calls it by its dotted path.

    Args:
        inputs: The raw features by name: `[rows]`, `[rows, length]` for the history, sparse for
            multi-valued features.
        custom_config: `feature_spec`, a `FeatureSpec` as JSON.

    Returns:
        The transformed features by name, as described in this module's docstring.
    """
    spec = from_json(FeatureSpec, custom_config["feature_spec"])
    item_vocabulary = _learn_vocabulary(inputs, spec.item_id)
    outputs = {}
    for feature in spec.features:
        values = inputs[feature.name]
        if feature.role == "item_id":
            outputs[feature.name] = _encode_ids(values, item_vocabulary)
        elif feature.role == "user_id":
            outputs[feature.name] = _encode_ids(values, _learn_vocabulary(inputs, feature))
        elif feature.encoding is not None:
            outputs[feature.name] = _encode(values, feature)
    if spec.history is not None:
        history = inputs[spec.history.name]
        # Told by the raw value: after the look-up, padding would be one more unseen item.
        outputs[spec.history.name] = tf.where(
            tf.equal(history, HISTORY_PADDING),
            tf.constant(HISTORY_PADDING_KEY, tf.int64),
            _encode_ids(history, item_vocabulary),
        )
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


def _encode(values: Any, feature: Feature) -> Any:
    match feature.encoding:
        case VocabularyEncoding():
            return tft.compute_and_apply_vocabulary(
                _to_labels(values, feature),
                top_k=feature.encoding.top_k,
                frequency_threshold=feature.encoding.minimum_count,
                num_oov_buckets=feature.encoding.oov_buckets,
                vocab_filename=feature.name + VOCABULARY_SUFFIX,
            )
        case HashedEncoding(buckets=buckets):
            return _hash(_to_labels(values, feature), buckets)
        case TextEncoding(buckets=buckets, ngrams=ngrams):
            return _hash(_split_into_ngrams(values, ngrams), buckets)
        case VectorEncoding():
            return tf.identity(values)
        case BucketizeEncoding(buckets=buckets):
            return tft.bucketize(values, num_buckets=buckets)
        case ZScoreEncoding():
            return tft.scale_to_z_score(values, output_dtype=tf.float32)
    raise ValueError(
        f"feature {feature.name!r} has no encoding that Transform knows. Received: {feature.encoding!r}"
    )


def _to_labels(values: Any, feature: Feature) -> Any:
    if feature.dtype == "int":
        return tf.strings.as_string(values)
    if feature.multi_valued:
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
