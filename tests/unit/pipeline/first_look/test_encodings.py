import pyarrow as pa
import pytest

from pipeline.first_look.encodings import hash_buckets, propose_encoding
from pipeline.first_look.profiles import profile_column

pytestmark = pytest.mark.unit


def propose(values, name="column", needs_default=False):
    return propose_encoding(profile_column(name, pa.chunked_array([pa.array(values)])), needs_default)


def test_few_labels_get_a_row_each():
    proposal = propose(["a", "b"] * 30)
    assert proposal.entry == {"dtype": "string", "encoding": {"kind": "vocabulary"}}
    assert proposal.labels == 2


def test_labels_that_seldom_come_again_are_hashed():
    # 60 values in 100 rows: more than half of them are new.
    proposal = propose([f"{n:05d}" for n in range(60)] + ["00000"] * 40)
    # Twice as many as 60, to a power of two.
    assert proposal.entry["encoding"] == {"kind": "hashed", "buckets": 128}
    assert "like an id, 60 values among 100 rows" in proposal.evidence
    assert proposal.labels is None


def test_few_whole_numbers_are_labels_and_many_are_numbers():
    assert propose([1, 2, 3] * 20).entry == {"dtype": "int", "encoding": {"kind": "vocabulary"}}
    assert propose(list(range(60))).entry["encoding"] == {"kind": "bucketize", "buckets": 10}
    assert propose([n % 30 for n in range(90)], "area_code").entry["encoding"] == {"kind": "vocabulary"}


def test_a_skewed_number_is_cut_into_quantiles_and_an_even_one_scaled():
    assert propose([n / 2 for n in range(40)]).entry["encoding"] == {"kind": "z_score"}
    assert propose([2.0**n for n in range(40)]).entry["encoding"]["kind"] == "bucketize"


def test_a_missing_value_has_its_default():
    # The median of 0.5, 1.5 and 9.5.
    assert propose([0.5, 9.5, None, 1.5]).entry["default"] == 1.5
    assert propose(["a", None]).entry["default"] == "unknown"
    assert "25.0% missing" in propose([0.5, 9.5, None, 1.5]).evidence


def test_where_rows_are_missing_every_feature_has_a_default():
    for values in ([0.5, 1.5], ["a", "a"], [["a"], ["b"]], [[0.1, 0.2], [0.3, 0.4]], [1, 1]):
        assert "default" in propose(values, needs_default=True).entry
        assert "default" not in propose(values).entry


def test_texts_of_common_words_are_read_and_titles_are_not():
    common = [f"fresh {kind} milk {n}" for n in range(40) for kind in ("whole", "skimmed")]
    assert propose(common).entry["encoding"]["kind"] == "text"
    assert propose([f"word{n} word{n + 1000} word{n + 2000}" for n in range(80)]) is None


def test_a_vector_has_its_length():
    entry = propose([[0.1, 0.2], [0.3, 0.4]]).entry
    assert entry == {"dtype": "float", "length": 2, "encoding": {"kind": "vector"}}


def test_buckets_are_at_least_twice_the_values():
    assert [hash_buckets(values) for values in (1, 2, 1_000, 1_024)] == [4, 4, 2_048, 2_048]
