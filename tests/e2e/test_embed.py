"""`dssm embed` on the release of a whole run: the embeddings are those that the release itself uses."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from pipeline.commands.options import DEFAULT_CONFIG
from pipeline.config import load_config
from pipeline.recommend.offline import recommend

pytestmark = pytest.mark.e2e


def read_embeddings(folder):
    """By id; of the folder as any reader of Parquet reads it."""
    table = pq.read_table(folder)
    ids, embeddings = (table.column(place).to_pylist() for place in (0, 1))
    return table, dict(zip(ids, np.array(embeddings, np.float32), strict=True))


def test_every_item_has_the_embedding_of_the_index(finished_run):
    workspace = finished_run.workspace
    done = workspace.dssm("embed", "items", *finished_run.set_options, "--output", "embedded/items")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Embedded 120 of 120 rows of items.parquet with release 1, 16 dimensions each" in done.stdout

    table, embedded = read_embeddings(workspace.directory / "embedded/items")
    assert table.schema.names == ["item_id", "embedding"]
    assert table.schema.field("embedding").type == pa.list_(pa.float32(), 16)
    index = workspace.serving / "index" / "1"
    ids = pq.read_table(index / "catalogue.parquet")["item_id"].to_pylist()
    assert sorted(embedded) == sorted(ids)
    expected = np.load(index / "embeddings.npy")
    np.testing.assert_allclose(np.array([embedded[item] for item in ids]), expected, rtol=0, atol=1e-6)


def test_known_users_have_the_embedding_that_recommend_uses(finished_run, monkeypatch):
    """A table in another format, without histories: those that the release knows are taken."""
    workspace = finished_run.workspace
    users = pq.read_table(workspace.directory / "data/users.parquet")
    chosen = users.filter(pa.compute.is_in(users["user_id"], pa.array(["u7", "u42", "u123"])))
    unseen = chosen.slice(0, 1).set_column(0, "user_id", pa.array(["never seen"]))
    pa.csv.write_csv(pa.concat_tables([chosen, unseen]), workspace.directory / "some users.csv")
    done = workspace.dssm(
        "embed", "users", *finished_run.set_options, "--release", "1",
        "--input", "some users.csv", "--output", "embedded/users",
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Histories: 0 given, 3 of users that release 1 knows, 1 empty" in done.stdout
    manifest = json.loads((workspace.directory / "embedded/users/_manifest.json").read_text())
    assert (manifest["rows"], manifest["rows_read"], manifest["dim"]) == (4, 4, 16)

    _, embedded = read_embeddings(workspace.directory / "embedded/users")
    monkeypatch.chdir(workspace.directory)
    config = load_config(DEFAULT_CONFIG, tuple(finished_run.set_options[1::2]))
    index = workspace.serving / "index" / "1"
    places = {
        item: row
        for row, item in enumerate(pq.read_table(index / "catalogue.parquet")["item_id"].to_pylist())
    }
    vectors = np.load(index / "embeddings.npy")
    for user in ("u7", "u42", "u123"):
        # More items than dimensions: no other embedding has these scores.
        items = recommend(config, user, {}, [], k=60).items
        assert len(items) > 16
        scores = vectors[[places[item.item_id] for item in items]] @ embedded[user]
        np.testing.assert_allclose(scores, [item.score for item in items], rtol=0, atol=1e-6)
    unlike = np.abs(embedded["never seen"] - embedded[chosen["user_id"][0].as_py()]).max()
    assert unlike > 1e-3


def test_a_given_history_takes_the_place_of_the_known_one(finished_run):
    """Of the same user, the very history that is known gives the same embedding, and another one does not."""
    workspace = finished_run.workspace
    files = sorted((workspace.serving / "users" / "1").glob("*.parquet"))
    sequences = pa.concat_tables(map(pq.read_table, files)).slice(0, 20)
    users = sequences.select(["user_id", "age", "gender", "occupation"])
    for name, histories in {
        "known": pa.nulls(20, pa.list_(pa.string())),
        "same": sequences["item_id"],
        "other": pa.array([["i1"]] * 20),
    }.items():
        pq.write_table(users.append_column("history", histories), workspace.directory / f"{name}.parquet")
    embedded = {}
    for name in ("known", "same", "other"):
        done = workspace.dssm(
            "embed",
            "users",
            *finished_run.set_options,
            "--input",
            f"{name}.parquet",
            "--output",
            f"of-{name}",
        )
        assert done.returncode == 0, done.stdout + done.stderr
        _, embedded[name] = read_embeddings(workspace.directory / f"of-{name}")
    for user, embedding in embedded["known"].items():
        np.testing.assert_array_equal(embedded["same"][user], embedding)
        assert np.abs(embedded["other"][user] - embedding).max() > 1e-3
