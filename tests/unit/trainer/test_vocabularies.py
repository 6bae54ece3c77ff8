"""Sizes and item probabilities out of what Transform wrote."""

import dataclasses
import math

import numpy as np
import pytest

from schemas.features import FeatureSpec, History
from schemas.strict_config import parse
from trainer.vocabularies import EncodedSize, encoded_sizes, item_log_q, table_rows

pytestmark = pytest.mark.unit


class FakeTransformOutput:
    """Holds vocabularies as lists of lines."""

    def __init__(self, files):
        self._files = files

    def vocabulary_by_name(self, name):
        return self._files[name]

    def vocabulary_size_by_name(self, name):
        return len(self._files[name])


def make_spec(item_encoding):
    return parse(
        FeatureSpec,
        {
            "name": "shop",
            "features": [
                {"name": "user", "dtype": "string", "tower": "user", "role": "user_id"},
                {
                    "name": "age",
                    "dtype": "int",
                    "tower": "user",
                    "encoding": {"kind": "bucketize", "buckets": 7},
                },
                {
                    "name": "item",
                    "dtype": "string",
                    "tower": "item",
                    "role": "item_id",
                    "encoding": item_encoding,
                },
                {"name": "price", "dtype": "float", "tower": "item", "encoding": {"kind": "z_score"}},
                {"name": "note", "dtype": "string", "tower": "item"},
            ],
        },
        "test",
    )


def test_sizes_of_each_encoding():
    output = FakeTransformOutput({"item_vocabulary": [b"a", b"b", b"c"]})
    assert encoded_sizes(make_spec({"kind": "vocabulary", "oov_buckets": 2}), output) == {
        "user": EncodedSize(0, 1),
        "age": EncodedSize(7, 0),
        "item": EncodedSize(3, 2),
    }


def test_log_q_is_the_share_of_rows_in_vocabulary_order_with_a_floor_of_one_row():
    # 8 rows: 5 of "a b", 2 of "c", 1 of "  d e"; the two unseen buckets count as 1 row each.
    output = FakeTransformOutput(
        {
            "item_vocabulary": [b"c", b"a b", b"  d e"],
            "item_frequency": [b"5 a b", b"2 c", b"1   d e"],
        }
    )
    log_q = item_log_q(make_spec({"kind": "vocabulary", "oov_buckets": 2}), output)
    assert log_q.dtype == np.float32
    np.testing.assert_allclose(log_q, [math.log(n / 8) for n in (2, 5, 1, 1, 1)], rtol=1e-6)


def test_log_q_of_items_cut_off_is_that_of_their_mean():
    # 12 rows; d 3, e 2 and f 1 are not in the vocabulary: (3 + 2 + 1) / 3 rows.
    output = FakeTransformOutput(
        {"item_vocabulary": [b"a"], "item_frequency": [b"6 a", b"3 d", b"2 e", b"1 f"]}
    )
    log_q = item_log_q(make_spec({"kind": "vocabulary", "top_k": 1, "oov_buckets": 2}), output)
    np.testing.assert_allclose(log_q, np.log([6 / 12, 2 / 12, 2 / 12]), rtol=1e-6)


def test_log_q_of_hashed_items_is_that_of_their_bucket_with_a_floor_of_one_row():
    output = FakeTransformOutput({"item_frequency": [b"5 3", b"2 0"]})
    spec = make_spec({"kind": "hashed", "buckets": 4})
    assert encoded_sizes(spec, output)["item"] == EncodedSize(0, 4)
    np.testing.assert_allclose(item_log_q(spec, output), np.log(np.array([2, 1, 1, 5]) / 7), rtol=1e-6)


def test_log_q_without_an_encoding_is_finite():
    output = FakeTransformOutput({"item_frequency": [b"3 a", b"1 b"]})
    log_q = item_log_q(make_spec(None), output)
    assert log_q.shape == (1,)
    assert np.isfinite(log_q).all()


def test_rows_are_named_by_their_token_or_their_place_among_the_buckets():
    output = FakeTransformOutput({"item_vocabulary": [b"oov:0", b"0/2"]})
    spec = make_spec({"kind": "vocabulary", "oov_buckets": 2})
    spec = dataclasses.replace(spec, history=History(name="past", time_gap_buckets=2))
    sizes = encoded_sizes(spec, output)
    assert sizes["past_gap_seconds"] == EncodedSize(2, 0)
    assert table_rows(spec, sizes, output) == {
        "age": [("bucket", b"%d/7" % i) for i in range(7)],
        "item": [("token", b"oov:0"), ("token", b"0/2"), ("oov", b"0/2"), ("oov", b"1/2")],
        "past_gap_seconds": [("bucket", b"0/2"), ("bucket", b"1/2")],
    }


def test_rows_of_a_hashed_id_are_buckets():
    spec = make_spec({"kind": "hashed", "buckets": 3})
    output = FakeTransformOutput({})
    rows = table_rows(spec, encoded_sizes(spec, output), output)
    assert rows["item"] == [("bucket", b"0/3"), ("bucket", b"1/3"), ("bucket", b"2/3")]
