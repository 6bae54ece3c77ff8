import json

import pytest
from click.testing import CliRunner

from pipeline.cli import main

pytestmark = pytest.mark.unit

ITEMS = [("a", "A", ["x"], 2010), ("b", "B", [], 2011)]


@pytest.fixture
def dssm(shop, tmp_path):
    """`dssm export` on two releases of two trainings to the folder `out`."""
    shop.release(3, ITEMS, [[1, 0], [0, 1]], model_id="m1")
    shop.release(4, [*ITEMS, ("c", "C", [], 2012)], [[0, 1], [1, 0], [0.6, 0.8]], model_id="m2")

    def run(*options):
        command = ["export", "--config", str(shop.config), "--output", str(tmp_path / "out"), *options]
        return CliRunner().invoke(main, command, catch_exceptions=False)

    return run


def test_a_whole_release(dssm, tmp_path):
    result = dssm("--format", "qdrant")
    assert (result.exit_code, result.output.splitlines()) == (
        0,
        [
            f"Exported 3 of 3 items of release 4 to {tmp_path}/out, as qdrant",
            "Columns beside item_id and the embedding: genres, year, title",
            "Embeddings: 2 dimensions at unit length, to be searched by Dot (inner product)",
        ],
    )


def test_what_differs_from_another_training(dssm, tmp_path):
    lines = dssm("--format", "parquet", "--since", "3", "--columns", "").output.splitlines()
    assert lines[:3] == [
        f"Exported 3 of 3 items of release 4 to {tmp_path}/out, as parquet: 1 new and 2 changed since "
        "release 3; 0 unchanged, 0 to be deleted",
        "Columns beside item_id and the embedding: none",
        "Embeddings: 2 dimensions at unit length, to be searched by inner product",
    ]
    assert lines[3].startswith("Releases 3 and 4 come from different trainings")


def test_json(dssm, tmp_path):
    options = ["--format", "vertex", "--release", "3", "--columns", "title, year", "--rows-per-file", "1"]
    found = json.loads(dssm(*options, "--json").output)
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert found == manifest | {"output": str(tmp_path / "out")}
    assert (found["release"], found["since"], found["items"]) == (3, None, 2)
    assert found["columns"] == {"title": "string", "year": "int64"}
    assert sorted(entry.name for entry in (tmp_path / "out" / "batch").iterdir()) == [
        "00000.json",
        "00001.json",
    ]


def test_an_unknown_column(dssm, tmp_path):
    result = dssm("--format", "milvus", "--columns", "titel")
    assert result.exit_code == 1
    assert result.stderr.splitlines() == [
        "Error: --columns: expected columns of the catalogue: genres, year, title. Received: 'titel'. "
        "Did you mean 'title'?"
    ]
    assert not (tmp_path / "out").exists()


def test_the_formats_are_listed():
    result = CliRunner().invoke(main, ["export", "--help"])
    assert "[milvus|parquet|qdrant|vertex]" in result.output
