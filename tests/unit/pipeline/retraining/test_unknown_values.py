import hashlib

import pyarrow as pa
import pytest

from pipeline.retraining.catalogue import compare_catalogues
from pipeline.retraining.unknown_values import find_unknown_values, read_vocabularies
from schemas.errors import ReleaseError
from schemas.features import FeatureSpec
from schemas.release import ReleasedState
from schemas.strict_config import parse

pytestmark = pytest.mark.unit


def make_spec(id_encoding=None) -> FeatureSpec:
    features = [
        {"name": "user", "dtype": "string", "tower": "user", "role": "user_id"}
        | {"encoding": {"kind": "vocabulary"}},
        {"name": "item", "dtype": "string", "tower": "item", "role": "item_id"}
        | {"encoding": id_encoding or {"kind": "vocabulary"}},
        {"name": "shelf", "dtype": "int", "tower": "item", "encoding": {"kind": "vocabulary"}},
        {"name": "tags", "dtype": "string", "tower": "item", "multi_valued": True}
        | {"encoding": {"kind": "vocabulary"}},
        {"name": "brand", "dtype": "string", "tower": "item"}
        | {"encoding": {"kind": "hashed", "buckets": 8}},
        {"name": "note", "dtype": "string", "tower": "item"},
    ]
    return parse(FeatureSpec, {"name": "shop", "features": features}, source="test")


def make_table(rows):
    names = ("item", "shelf", "tags", "brand", "note")
    columns = dict(zip(names, map(list, zip(*rows, strict=True)), strict=True))
    columns["tags"] = pa.array(columns["tags"], pa.list_(pa.string()))
    return pa.table(columns)


VOCABULARIES = {
    "item": pa.array([b"a", b"b"], pa.binary()),
    "shelf": pa.array([b"1", b"-2"], pa.binary()),
    "tags": pa.array(["ü".encode(), b"y"], pa.binary()),
}
# c was there, but in no train row: its id is in no vocabulary, and that is nothing new.
RELEASED = make_table([("a", 1, ["y"], "k", ""), ("b", 1, ["ü"], "k", ""), ("c", 1, ["y"], "k", "")])
NOW = make_table(
    [
        ("a", 7, ["y"], "other", "other"),
        ("b", 1, ["ü", "p", "q"], "k", ""),
        ("c", -2, ["y"], "k", ""),
        ("d", 1, ["", "y"], "new", "new"),
    ]
)


def find(spec, vocabularies=VOCABULARIES):
    return find_unknown_values(NOW, compare_catalogues(RELEASED, NOW, spec), spec, vocabularies)


def test_new_values_outside_the_vocabularies_are_counted_by_feature():
    found = find(make_spec())
    # Of a the new shelf 7, of b the new tags p and q, of d its id.
    assert dict(found.by_feature) == {"item": 1, "shelf": 1, "tags": 2}
    assert found.items.tolist() == [True, True, False, True]
    assert found.without_vocabulary == ()


def test_the_id_of_a_new_item_has_a_bucket_that_no_training_gave_it():
    found = find(make_spec({"kind": "hashed", "buckets": 100}))
    assert dict(found.by_feature) == {"item": 1, "shelf": 1, "tags": 2}


def test_an_id_that_no_tower_reads_is_not_unknown():
    spec = make_spec()
    features = [
        {"name": f.name, "dtype": f.dtype, "tower": f.tower, "role": f.role, "multi_valued": f.multi_valued}
        | ({"encoding": {"kind": "vocabulary"}} if f.name in ("user", "shelf") else {})
        for f in spec.features
    ]
    found = find(parse(FeatureSpec, {"name": "shop", "features": features}, source="test"))
    assert dict(found.by_feature) == {"shelf": 1}


def test_what_a_release_keeps_no_vocabulary_of_is_said():
    found = find(make_spec(), {"item": VOCABULARIES["item"]})
    assert found.without_vocabulary == ("shelf", "tags")
    assert dict(found.by_feature) == {"item": 1}


def test_vocabularies_are_read_from_the_state_and_verified(tmp_path):
    folder = tmp_path / "vocabularies"
    folder.mkdir()
    content = "ü\ny\n".encode()
    (folder / "tags_vocabulary").write_bytes(content)
    # A user feature's, which the item tower does not read.
    (folder / "user_vocabulary").write_bytes(b"u\n")
    hashes = {"vocabularies/tags_vocabulary": hashlib.sha256(content).hexdigest()}
    found = read_vocabularies(make_spec(), ReleasedState(3, str(tmp_path), hashes))
    assert {name: entries.to_pylist() for name, entries in found.items()} == {"tags": ["ü".encode(), b"y"]}
    assert read_vocabularies(make_spec(), ReleasedState(3, None)) == {}
    (folder / "tags_vocabulary").write_bytes(b"z\n")
    with pytest.raises(ReleaseError, match="Release 3 is damaged"):
        read_vocabularies(make_spec(), ReleasedState(3, str(tmp_path), hashes))
