"""The layout is that of cloud.google.com/vertex-ai/docs/vector-search/setup/format-structure."""

import json

import pyarrow as pa
import pytest

from pipeline.export.vertex import write_vertex
from schemas.errors import ConfigError, DataError

pytestmark = pytest.mark.unit


def read_lines(file):
    return [json.loads(line) for line in file.read_text(encoding="utf-8").split("\n")[:-1]]


def test_a_batch(tmp_path, make_items):
    columns = {
        "title": pa.array(["A", None, ""]),
        "genres": pa.array([["x", None, "y", "x"], [], None], pa.list_(pa.string())),
        "sizes": pa.array([[38, 40], None, None], pa.list_(pa.int64())),
        "is_new": pa.array([True, False, None]),
        "year": pa.array([2010, None, 0], pa.int64()),
        "price": pa.array([1.5, None, None], pa.float32()),
        "rating": pa.array([0.1, None, None], pa.float64()),
    }
    items = make_items(["a", 'b "ü"', "c"], [[1, 0], [0, 1], [0.6, 0.8]], columns, deleted=["x", "y z"])
    write_vertex(items, tmp_path, 100)
    assert sorted(file.relative_to(tmp_path).as_posix() for file in tmp_path.rglob("*.*")) == [
        "batch/00000.json",
        "batch/delete/00000.txt",
    ]
    assert read_lines(tmp_path / "batch/00000.json") == [
        {
            "id": "a",
            "embedding": [1, 0],
            "restricts": [
                {"namespace": "title", "allow": ["A"]},
                {"namespace": "genres", "allow": ["x", "y"]},
                {"namespace": "sizes", "allow": ["38", "40"]},
                {"namespace": "is_new", "allow": ["true"]},
            ],
            "numeric_restricts": [
                {"namespace": "year", "value_int": 2010},
                {"namespace": "price", "value_float": 1.5},
                {"namespace": "rating", "value_double": 0.1},
            ],
        },
        {
            "id": 'b "ü"',
            "embedding": [0, 1],
            "restricts": [{"namespace": "is_new", "allow": ["false"]}],
        },
        {
            "id": "c",
            "embedding": [0.6, 0.8],
            "numeric_restricts": [{"namespace": "year", "value_int": 0}],
        },
    ]
    assert (tmp_path / "batch/delete/00000.txt").read_text() == "x\ny z\n"


def test_the_id_and_the_embedding_alone(tmp_path, make_items):
    write_vertex(make_items(["a", "b", "c"], [[1], [1], [-1]]), tmp_path, 2)
    batch = tmp_path / "batch"
    assert sorted(file.name for file in batch.iterdir()) == ["00000.json", "00001.json"]
    assert (batch / "00000.json").read_text() == '{"id":"a","embedding":[1]}\n{"id":"b","embedding":[1]}\n'
    assert (batch / "00001.json").read_text() == '{"id":"c","embedding":[-1]}\n'


@pytest.mark.parametrize("changes", [{}, {"unchanged": ["a\nb"], "deleted": ["a\nb"]}])
def test_an_id_of_two_lines_is_refused(tmp_path, make_items, changes):
    with pytest.raises(DataError, match=r"without line breaks\. Received: 'a\\nb'"):
        write_vertex(make_items(["a\nb"], [[1]], **changes), tmp_path, 100)


def test_lists_of_fractions_are_refused(tmp_path, make_items):
    with pytest.raises(ConfigError, match="Received: 'taste' with lists of fractions"):
        write_vertex(make_items(["a"], [[1]], {"taste": pa.array([[0.5]])}), tmp_path, 100)


def test_more_files_than_a_batch_may_have_are_refused(tmp_path, make_items):
    ids = [str(number) for number in range(5000)]
    items = make_items(ids, [[1]] * 5000, deleted=["x"])
    with pytest.raises(ConfigError, match=r"at most 5,000 files of a batch\. Received: 5,001"):
        write_vertex(items, tmp_path, 1)


def test_a_price_that_is_no_number_is_refused(tmp_path, make_items):
    items = make_items(["a"], [[1]], {"price": pa.array([float("nan")])})
    with pytest.raises(DataError, match="price: expected finite numbers"):
        write_vertex(items, tmp_path, 100)
