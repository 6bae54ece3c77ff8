"""`dssm embed` on toy releases whose vectors are known, and on more than one bundle of Beam."""

import functools
import json
from collections import Counter

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from components.interaction_ingest.counts import IngestCounts
from pipeline.cli import main
from pipeline.embed.embedder import Model, load_embedder
from pipeline.embed.run import check_output, check_rows, embed_files
from pipeline.embed.steps import EmbedGroup, group_pieces
from pipeline.embed.table import choose_source, open_table
from schemas.errors import ConfigError, DataError
from schemas.features import load_feature_spec

pytestmark = pytest.mark.integration

USER_INPUTS = ("age", "gender", "tags", "taste", "history")


@pytest.fixture
def embed(toy_serving, tmp_path):
    """Run the command on a toy release."""

    def run(*arguments):
        output = str(tmp_path / "out")
        return CliRunner().invoke(
            main, ["embed", *arguments, "--config", str(toy_serving.config), "--output", output]
        )

    return run


def by_id(folder):
    return {row.pop(next(iter(row))): row["embedding"] for row in pq.read_table(folder).to_pylist()}


def user_vector(toy, version, *history):
    """The history's vectors times (1, 2, 5), the newest last, at unit length."""
    vectors = np.roll(toy.vectors, -version, axis=0)
    total = sum(
        weight * vectors[toy.items.index(item)]
        for weight, item in zip([1, 2, 5][3 - len(history) :], history, strict=True)
    )
    return total / np.linalg.norm(total)


def write_items(toy, file, *lines):
    rows = [json.dumps({"item_id": item}) for item in toy.items]
    file.write_text("\n".join([*rows[:3], *lines, *rows[3:]]) + "\n")


def test_items_of_any_table_get_the_vectors_of_the_release(toy_serving, embed, tmp_path, capfd):
    """What cannot be used is counted and kept beside the embeddings; readers of Parquet do not see it."""
    toy_serving.publish(1)
    toy_serving.publish(2)
    file = tmp_path / "some items.jsonl"
    write_items(toy_serving, file, '{"title": "no id"}', "no JSON", '{"item_id": "new"}')
    result = embed("items", "--input", str(file), "--set", "ingest.maximum_rejected_fraction=0.25")
    screen = capfd.readouterr().out
    assert result.exit_code == 0, result.output
    assert "Embedded 7 of 9 rows" in screen
    assert "with release 2, 3 dimensions each" in screen
    assert "Rows rejected: malformed_json 1, null_id 1" in screen

    expected = dict(zip(toy_serving.items, np.roll(toy_serving.vectors, -2, axis=0), strict=True))
    found = by_id(tmp_path / "out")
    # The toy's item tower gives nothing for an item that it does not know.
    assert found.pop("new") == [0, 0, 0]
    assert list(found) == toy_serving.items
    np.testing.assert_allclose(list(found.values()), list(expected.values()), rtol=0, atol=1e-6)
    manifest = json.loads((tmp_path / "out/_manifest.json").read_text())
    assert manifest["rejected"] == {"null_id": 1, "malformed_json": 1}
    assert (manifest["release"], manifest["model_id"], manifest["dim"]) == (2, "m2", 3)
    assert (manifest["rows_read"], manifest["rows"], sum(manifest["files"].values())) == (9, 7, 7)
    [rejected] = (tmp_path / "out/_rejected").iterdir()
    assert sorted(pq.ParquetFile(rejected).read()["row"].to_pylist()) == [4, 5]

    result = embed("items", "--input", str(file))
    assert result.exit_code == 1
    assert "expected a new or empty folder" in result.stderr
    with pytest.raises(ConfigError, match=r"expected a local folder.*Received: s3://bucket/out"):
        check_output("s3://bucket/out")


def test_too_many_malformed_rows_leave_nothing_behind(toy_serving, embed, tmp_path):
    toy_serving.publish(1)
    folder = tmp_path / "tables"
    folder.mkdir()
    write_items(toy_serving, folder / "items.jsonl", "no JSON")
    before = sorted(tmp_path.iterdir())
    result = embed("items", "--input", str(folder / "items.jsonl"))
    assert result.exit_code == 1
    assert "1 of 7 rows are malformed" in result.stderr
    assert sorted(path for path in tmp_path.iterdir() if path.name != "run") == before


USERS = {
    "user_id": ["1", "21", "new", "2"],
    "age": [20, 30, 40, 50],
    "gender": ["F", "M", "F", "M"],
    "tags": [["u"], [], [], ["w"]],
    "taste": pa.array([[0.25, 1], None, [0, 0], [0, 0]], pa.list_(pa.float32())),
    "history": pa.array([None, None, ["12", "gone", "13", "10", "11"], ["13"]], pa.list_(pa.string())),
}


@pytest.mark.parametrize("with_users", [True, False])
def test_users_get_a_history_from_the_table_or_the_release(toy_serving, embed, tmp_path, capfd, with_users):
    """User 1 is known, 21 is known without a positive, the new one's and 2's histories are given."""
    toy_serving.publish(1, users=with_users)
    toy_serving.publish(2)
    pq.write_table(pa.table(USERS), tmp_path / "users.parquet")
    result = embed("users", "--set", f"data.directory={tmp_path}", "--release", "1")
    screen = capfd.readouterr().out
    assert result.exit_code == 0, result.output
    known = 1 if with_users else 0
    assert f"Histories: 2 given, {known} of users that release 1 knows, {2 - known} empty" in screen
    assert "since the release does not have them: 1 items" in screen
    assert "Defaults filled in: taste 1" in screen
    nothing = [0, 0, 0]
    expected = {
        "1": user_vector(toy_serving, 1, "10", "11", "a b") if with_users else nothing,
        "21": nothing,
        "new": user_vector(toy_serving, 1, "13", "10", "11"),
        "2": user_vector(toy_serving, 1, "13"),
    }
    found = by_id(tmp_path / "out")
    assert list(found) == list(expected)
    np.testing.assert_allclose(list(found.values()), list(expected.values()), rtol=0, atol=1e-6)


def test_a_missing_value_without_a_default_stops_it(toy_serving, embed, tmp_path):
    toy_serving.publish(1)
    pq.write_table(pa.table(USERS | {"age": pa.array([20, None, 40, None])}), tmp_path / "users.parquet")
    result = embed("users", "--input", str(tmp_path / "users.parquet"))
    assert result.exit_code == 1
    assert "'age' (2)" in result.stderr
    assert not (tmp_path / "out").exists()


@pytest.fixture
def toy_users(toy_serving, tmp_path):
    """A table of two files and seven row groups, and what embeds it."""
    toy_serving.publish(1)
    folder = tmp_path / "users"
    folder.mkdir()
    pq.write_table(pa.table(USERS), folder / "a.parquet", row_group_size=1)
    pq.write_table(pa.table(USERS).slice(1), folder / "b.parquet", row_group_size=1)
    spec = load_feature_spec(str(tmp_path / "schema.yaml"))
    table = open_table(
        spec, "users", choose_source(spec, "users", "users", None), str(tmp_path), USER_INPUTS, now=0.0
    )
    serving = toy_serving.directory
    model = Model(
        spec, "user_tower", serving / "user_tower/1", serving / "index/1", users=serving / "users/1"
    )
    return table, functools.partial(load_embedder, model)


def make_pipeline():
    return beam.Pipeline(argv=["--runner=FnApiRunner"])


def test_several_bundles_give_what_one_gives(toy_users, tmp_path):
    table, load = toy_users
    read = {}
    for rows in (1, 2, 100):
        folder = tmp_path / f"out-{rows}"
        folder.mkdir()
        counts, files = embed_files(make_pipeline, table, load, folder, 0.0, file_rows=rows)
        assert counts.rows["read"] == sum(files.values()) == 7
        assert len(files) == {1: 7, 2: 4, 100: 1}[rows]
        read[rows] = pq.read_table(folder)
        assert counts.rows["history_given"] == 4
    assert read[100]["user_id"].to_pylist() == ["1", "21", "new", "2", "21", "new", "2"]
    assert read[1].combine_chunks().equals(read[100])
    assert read[2].combine_chunks().equals(read[100])


def test_a_retried_bundle_writes_nothing_twice(toy_users, tmp_path):
    table, load = toy_users
    folder = tmp_path / "out"
    folder.mkdir()
    step = EmbedGroup(table, load, folder, file_rows=2)
    step.setup()
    [group] = group_pieces(table.pieces, 100)
    for _ in range(2):
        list(step.process(group))
    files = sorted(folder.iterdir())
    assert [path.name for path in files] == [f"embeddings-00000-0000{n}.parquet" for n in range(4)]
    assert pq.read_table(folder).num_rows == 7


def test_a_row_that_is_neither_written_nor_rejected_is_an_error(toy_users):
    table, _ = toy_users
    check_rows(IngestCounts(rows=Counter(read=7, written=6), dropped=Counter(null_id=1)), 6, table)
    for read, counted, written in ((6, 6, 6), (7, 6, 6), (7, 7, 6), (8, 8, 8)):
        with pytest.raises(DataError, match="expected an embedding for each of 7 rows"):
            check_rows(IngestCounts(rows=Counter(read=read, written=counted)), written, table)
