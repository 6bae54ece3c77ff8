"""The bodies are those of api.qdrant.tech/api-reference/points: upsert-points and delete-points."""

import hashlib
import json
import uuid

import pyarrow as pa
import pytest

from pipeline.export.qdrant import to_point_id, write_qdrant
from schemas.errors import DataError

pytestmark = pytest.mark.unit

NAMESPACE = "5b0f7a3e-3c1d-4f6b-9a55-7e0d4c2f8a11"


def make_point_id(item_id):
    """Make a UUID of version 5 as RFC 4122 says."""
    digest = bytearray(hashlib.sha1(uuid.UUID(NAMESPACE).bytes + item_id.encode()).digest()[:16])
    digest[6] = digest[6] & 0x0F | 0x50
    digest[8] = digest[8] & 0x3F | 0x80
    return str(uuid.UUID(bytes=bytes(digest)))


@pytest.mark.parametrize("item_id", ["a", "10", "ü \n"])
def test_the_id_of_a_point_is_a_uuid_of_the_item(item_id):
    assert to_point_id(item_id) == make_point_id(item_id)


def test_the_bodies(tmp_path, make_items):
    columns = {
        "title": pa.array(["A", None, 'C "ü"']),
        "genres": pa.array([["x", "y"], [], None], pa.list_(pa.string())),
        "year": pa.array([2010, None, 0]),
    }
    items = make_items(["a", "b", "c"], [[1, 0], [0, 1], [0.6, 0.8]], columns, deleted=["x", "y", "z"])
    write_qdrant(items, tmp_path, 2)
    found = {
        file.relative_to(tmp_path).as_posix(): json.loads(file.read_text(encoding="utf-8"))
        for file in tmp_path.rglob("*.json")
    }
    assert found == {
        "upserts/00000.json": {
            "points": [
                {
                    "id": make_point_id("a"),
                    "vector": [1, 0],
                    "payload": {"item_id": "a", "title": "A", "genres": ["x", "y"], "year": 2010},
                },
                {"id": make_point_id("b"), "vector": [0, 1], "payload": {"item_id": "b", "genres": []}},
            ]
        },
        "upserts/00001.json": {
            "points": [
                {
                    "id": make_point_id("c"),
                    "vector": [0.6, 0.8],
                    "payload": {"item_id": "c", "title": 'C "ü"', "year": 0},
                }
            ]
        },
        "deletes/00000.json": {"points": [make_point_id("x"), make_point_id("y")]},
        "deletes/00001.json": {"points": [make_point_id("z")]},
    }


def test_a_body_is_smaller_than_what_a_server_takes(tmp_path, make_items):
    columns = {"text": pa.array(["x" * 6_000_000] * 3)}
    write_qdrant(make_items(["a", "b", "c"], [[1, 0]] * 3, columns), tmp_path, 1000)
    files = sorted((tmp_path / "upserts").iterdir())
    assert [len(json.loads(file.read_text())["points"]) for file in files] == [2, 1]
    assert max(file.stat().st_size for file in files) < 32 * 2**20


def test_a_price_that_is_no_number_is_refused(tmp_path, make_items):
    items = make_items(["a"], [[1]], {"price": pa.array([float("nan")])})
    with pytest.raises(DataError, match="price: expected finite numbers"):
        write_qdrant(items, tmp_path, 100)
