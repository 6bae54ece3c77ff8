"""Sizes and names of rows out of what the Transform steps wrote."""

import dataclasses

import pytest

from schemas.errors import DataError
from schemas.features import Feature, FeatureSpec, History, VocabularyEncoding
from schemas.strict_config import parse
from trainer.data.transform_graphs import TransformGraphs
from trainer.vocabularies import EncodedSize, encoded_sizes, table_rows

pytestmark = pytest.mark.unit


def write_graphs(folder, files):
    """Lay vocabularies down where TFT puts them: each line an entry."""
    for tower, vocabularies in files.items():
        assets = folder / tower / "transform_fn" / "assets"
        assets.mkdir(parents=True)
        for name, entries in vocabularies.items():
            (assets / f"{name}_vocabulary").write_bytes(b"".join(entry + b"\n" for entry in entries))
    return TransformGraphs(str(folder / "user"), str(folder / "item"), str(folder / "context"))


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


def test_sizes_of_each_encoding(tmp_path):
    graphs = write_graphs(tmp_path, {"item": {"item": [b"a", b" b ", b"\xc3\xa9"]}})
    assert encoded_sizes(make_spec({"kind": "vocabulary", "oov_buckets": 2}), graphs) == {
        "user": EncodedSize(0, 1),
        "age": EncodedSize(7, 0),
        "item": EncodedSize(3, 2),
    }


def test_each_vocabulary_is_read_from_the_graph_of_its_table(tmp_path):
    files = {
        "user": {"plan": [b"free"]},
        "item": {"item": [b"a", b"b"]},
        "context": {"device": [b"tv", b"phone", b"watch"]},
    }
    graphs = write_graphs(tmp_path, files)
    vocabulary = VocabularyEncoding(kind="vocabulary")
    for tower, (name, entries) in ((tower, *names.items()) for tower, names in files.items()):
        feature = Feature(name=name, dtype="string", tower=tower, encoding=vocabulary)
        assert graphs.read_vocabulary(feature) == entries


def test_without_context_features_there_is_no_graph_of_them():
    with pytest.raises(DataError, match=r"transform graph of the context features .*--context-transform"):
        TransformGraphs("user", "item").folder("context")


def test_a_vocabulary_that_is_not_there_says_which_and_what_to_do(tmp_path):
    graphs = write_graphs(tmp_path, {"item": {"price": [b"1"]}})
    with pytest.raises(
        DataError, match=r"vocabulary of item in .*item_vocabulary\. .*graph of the item feat"
    ):
        encoded_sizes(make_spec({"kind": "vocabulary"}), graphs)


def test_rows_are_named_by_their_token_or_their_place_among_the_buckets(tmp_path):
    graphs = write_graphs(tmp_path, {"item": {"item": [b"oov:0", b"0/2"]}})
    spec = make_spec({"kind": "vocabulary", "oov_buckets": 2})
    spec = dataclasses.replace(spec, history=History(name="past", time_gap_buckets=2))
    sizes = encoded_sizes(spec, graphs)
    assert sizes["past_gap_seconds"] == EncodedSize(2, 0)
    assert table_rows(spec, sizes, graphs) == {
        "age": [("bucket", b"%d/7" % i) for i in range(7)],
        "item": [("token", b"oov:0"), ("token", b"0/2"), ("oov", b"0/2"), ("oov", b"1/2")],
        "past_gap_seconds": [("bucket", b"0/2"), ("bucket", b"1/2")],
    }


def test_rows_of_a_hashed_id_are_buckets(tmp_path):
    spec = make_spec({"kind": "hashed", "buckets": 3})
    graphs = write_graphs(tmp_path, {})
    rows = table_rows(spec, encoded_sizes(spec, graphs), graphs)
    assert rows["item"] == [("bucket", b"0/3"), ("bucket", b"1/3"), ("bucket", b"2/3")]
