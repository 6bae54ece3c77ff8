"""`dssm refresh-index`: on toy releases whose vectors are known, and on a release of a whole run."""

import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from pipeline.cli import main
from pipeline.serving.engine import EngineSettings, load_engine
from pipeline.serving.metrics import Metrics
from schemas.errors import ReleaseError
from schemas.features import load_feature_spec

pytestmark = pytest.mark.integration


@pytest.fixture
def refresh(toy_serving, tmp_path):
    """Run the command on a toy release and a table of the toy's items."""
    data = tmp_path / "data"
    data.mkdir()

    def run(*options, without=(), new=(), titles=None):
        kept = [
            (item, genres, title)
            for item, genres, title in zip(
                toy_serving.items, toy_serving.genres, titles or toy_serving.titles, strict=True
            )
            if item not in without
        ]
        rows = [*((item, ["x"], f"New {item}") for item in new), *kept]
        table = {
            "item_id": [row[0] for row in rows],
            "genres": pa.array([row[1] for row in rows], pa.list_(pa.string())),
            "title": [row[2] for row in rows],
            "year": pa.array(
                [dict(zip(toy_serving.items, (2010, 2011, 2012, 2013, None, 2015), strict=True)).get(row[0])
                 for row in rows],
                pa.int64(),
            ),
        }  # fmt: skip
        pq.write_table(pa.table(table), data / "items.parquet")
        settings = ("--set", f"data.directory={data}", "--set", "retriever.filter=genres")
        return CliRunner().invoke(
            main, ["refresh-index", "--config", str(toy_serving.config), *settings, *options]
        )

    return run


def read_manifest(serving: Path, version: int) -> dict:
    return json.loads((serving / "releases" / str(version) / "manifest.json").read_text())


def list_releases(serving: Path) -> list[str]:
    return sorted(folder.name for folder in (serving / "releases").iterdir() if folder.is_dir())


def test_a_toy_release_gets_the_items_of_today(toy_serving, refresh, tmp_path, capfd):
    """New items come first in the table, so that every other row of the index moves."""
    import tensorflow as tf

    toy_serving.publish(1)
    result = refresh("--dry-run", "--json", without=["11"], new=["n1", "n2"])
    assert result.exit_code == 0, result.output
    found = json.loads(capfd.readouterr().out)
    assert {name: found[name] for name in ("release", "pushed", "new", "gone", "changed")} == {
        "release": 1, "pushed": None, "new": 2, "gone": 1, "changed": 0,
    }  # fmt: skip
    # The toy keeps no vocabularies.
    assert found["without_vocabulary"] == ["item_id", "genres"]
    assert list_releases(toy_serving.directory) == ["1"]

    # As after a rollback: the current release is refreshed, and its refresh takes over.
    toy_serving.publish(2)
    toy_serving.roll_back(1, over=2)
    result = refresh(without=["11"], new=["n1", "n2"])
    screen = capfd.readouterr().out
    assert result.exit_code == 0, result.output
    assert "Items: 6 in release 1, 7 now: 2 new, 1 gone, 0 with changed features" in screen
    assert "Left out of the known users' histories: 1 positives" in screen
    assert "Pushed release 3, with the towers of release 1." in screen
    serving = toy_serving.directory
    manifest = read_manifest(serving, 3)
    assert (manifest["refreshed_from"], manifest["model_id"], manifest["items"]) == (1, "m1", 7)

    index = pq.read_table(serving / "index/3/catalogue.parquet")
    assert index["item_id"].to_pylist() == ["n1", "n2", "10", "12", "13", "a b", "c,d"]
    vectors = np.roll(toy_serving.vectors, -1, axis=0)
    expected = np.concatenate([np.zeros((2, 3)), vectors[[0, 2, 3, 4, 5]]]).astype(np.float32)
    np.testing.assert_array_equal(np.load(serving / "index/3/embeddings.npy"), expected)
    users = pq.read_table(serving / "users/3/sequences-00000-of-00001.parquet").to_pylist()
    assert [user["item_id"] for user in users] == [["10", "a b"], ["12"], [], ["13", "13"]]
    assert [user["eval_end"] for user in users] == [1, 1, 0, 2]

    retriever = tf.saved_model.load(str(serving / "retriever/3")).signatures["serving_default"]
    answer = retriever(
        age=tf.constant([1], tf.int64), gender=tf.constant(["F"]), tags=tf.constant([[""]]),
        taste=tf.constant([[0.5, 0.5]]), history=tf.constant([["", "n1", "12"]]),
        exclude=tf.constant([[""]]), k=tf.constant([7]), filter=tf.constant([[""]]),
    )  # fmt: skip
    # The history's 2 x n1 + 5 x 12, of which n1 is nothing yet; both are not recommended again.
    scores = expected @ vectors[2]
    best = sorted((row for row in range(7) if row not in (0, 3)), key=lambda row: -scores[row])
    items = index["item_id"].to_pylist()
    assert [item.decode() for item in answer["item_ids"].numpy()[0]] == [
        *(items[row] for row in best),
        "",
        "",
    ]
    assert answer["version"].numpy().tolist() == [3]

    # A server has the new items, and users without what is gone.
    settings = EngineSettings(
        str(serving), tmp_path / "cache", load_feature_spec(str(tmp_path / "schema.yaml")), "", True
    )
    with ThreadPoolExecutor(1) as pool:
        engine = load_engine(settings, 3, pool, Metrics())
    assert (engine.catalogue.find("n1"), engine.catalogue.find("11")) == (0, None)
    assert engine.users.find("1").rows.tolist() == [2, 5]

    # There is nothing left to do.
    result = refresh(without=["11"], new=["n1", "n2"])
    assert result.exit_code == 0, result.output
    assert "Nothing to do: release 3 has these very items." in capfd.readouterr().out


def test_another_title_is_released_and_no_embedding_is_computed_anew(toy_serving, refresh, capfd):
    toy_serving.publish(1)
    serving = toy_serving.directory
    result = refresh(titles=["Another", *toy_serving.titles[1:]])
    assert result.exit_code == 0, result.output
    screen = capfd.readouterr().out
    assert "Items: 6 in release 1, 6 now: 0 new, 0 gone, 0 with changed features" in screen
    assert "Shown otherwise, with the same features: 1 items" in screen
    assert pq.read_table(serving / "index/2/catalogue.parquet")["title"][0].as_py() == "Another"
    for name in ("index/{}/embeddings.npy", "users/{}/sequences-00000-of-00001.parquet"):
        old, new = (serving / name.format(version) for version in (1, 2))
        assert old.read_bytes() == new.read_bytes(), name


def test_what_differs_or_is_overtaken_is_not_released(toy_serving, refresh, capfd, monkeypatch):
    """A refresh goes through the push of every release: what fails there leaves the old one as it was."""
    toy_serving.publish(1)
    # One vector of the released index is not what its item tower gives.
    file = toy_serving.directory / "index/1/embeddings.npy"
    embeddings = np.load(file)
    np.save(file, np.concatenate([embeddings[:5], -embeddings[5:]]))
    result = refresh(new=["n1"])
    assert result.exit_code == 1
    message = result.stderr
    assert "the index does not hold the embeddings that the item_tower gives: 1 of 7 sampled items" in message
    assert "'c,d'" in message
    assert list_releases(toy_serving.directory) == ["1"]
    assert not (toy_serving.directory / "index/2").exists()
    np.save(file, embeddings)

    def publish_meanwhile(*_):
        toy_serving.publish(7)

    monkeypatch.setattr("pipeline.retraining.refresh_index.compare_parts", publish_meanwhile)
    result = refresh(new=["n1"])
    assert result.exit_code == 1
    assert "expected release 1, which was refreshed, to be current still. Received: 7" in result.stderr
    assert list_releases(toy_serving.directory) == ["1", "7"]

    monkeypatch.setattr("pipeline.retraining.refresh_index.push_composition", refuse)
    assert "the push of every release" in refresh(new=["n1"]).stderr
    result = refresh(without=["10", "11", "12", "13"])
    assert result.exit_code == 1
    assert "expected at most 50% of the 6 items of release 7 to be gone".lower() in result.stderr.lower()


def refuse(*_):
    raise ReleaseError("the push of every release")


class Shop:
    """Copies of the data and the release of a whole run, for one test to change."""

    def __init__(self, finished_run, directory: Path, output: Path) -> None:
        self._run, self.directory, self._output = finished_run, directory, output
        for name in ("data", "serving"):
            shutil.copytree(finished_run.workspace.directory / name, directory / name)
        self.serving = directory / "serving"

    def dssm(self, *arguments: str) -> str:
        prepared = self._run.workspace.prepared
        completed = prepared.run(
            prepared.dssm,
            [*arguments, *self._run.set_options],
            self._output,
            cwd=self.directory,
            timeout=600,
        )
        assert completed.returncode == 0, completed.stdout + completed.stderr
        return completed.stdout


def list_items(screen: str) -> set[str]:
    """The items of the table that `dssm recommend` prints."""
    return {
        fields[2]
        for line in screen.splitlines()
        if len(fields := line.split()) > 2 and fields[0].isdigit() and "." in fields[1]
    }


def test_a_release_of_a_whole_run_gets_the_items_of_today(finished_run, tmp_path):
    import tensorflow as tf

    (tmp_path / "shop").mkdir()
    shop = Shop(finished_run, tmp_path / "shop", tmp_path)
    file = shop.directory / "data/items.parquet"
    items = pq.read_table(file)
    rows = items.to_pylist()
    by_id = {row["item_id"]: row for row in rows}
    [sequences, *_] = sorted((shop.serving / "users/1").glob("*.parquet"))
    user = next(row for row in pq.read_table(sequences).to_pylist() if "i5" in row["item_id"])
    by_id["i3"]["genres"] = [*by_id["i3"]["genres"], "never heard of"]
    genres = by_id["i1"]["genres"]
    new = [
        {**by_id["i1"], "item_id": "fresh", "title": "Fresh", "genres": genres},
        {**by_id["i1"], "item_id": "strange", "title": "Strange", "genres": [*genres, "never heard of"]},
    ]
    left = [row for row in rows if row["item_id"] != "i5"]
    pq.write_table(pa.Table.from_pylist([*left[:60], *new, *left[60:]], items.schema), file)

    found = json.loads(shop.dssm("refresh-index", "--json"))
    expected = {
        "release": 1, "pushed": 2, "items_before": 120, "items_after": 121, "new": 2, "gone": 1,
        "changed": 1, "changed_features": {"genres": 1}, "shown_otherwise": 0,
        "unknown_values": {"item_id": 2, "genres": 2}, "unknown_new": 2, "unknown_changed": 1,
        "without_vocabulary": [],
    }  # fmt: skip
    assert {name: found[name] for name in expected} == expected
    assert found["positives_left_out"] > 0
    assert found["training_due"].startswith("A training is due: 2 of 2 new items and 1 of 1 changed items")

    old, manifest = read_manifest(shop.serving, 1), read_manifest(shop.serving, 2)
    for part in ("user_tower", "item_tower", "state"):
        assert manifest["parts"][part]["hashes"] == old["parts"][part]["hashes"], part
    same = ("run_id", "model_id", "metrics", "popularity", "temperature", "trained_on", "warm_start")
    assert {name: manifest[name] for name in same} == {name: old[name] for name in same}
    assert (manifest["refreshed_from"], manifest["items"]) == (1, 121)

    ids = [row["item_id"] for row in pq.read_table(shop.serving / "index/2/catalogue.parquet").to_pylist()]
    vectors = dict(zip(ids, np.load(shop.serving / "index/2/embeddings.npy"), strict=True))
    before = np.load(shop.serving / "index/1/embeddings.npy")
    untouched = 0
    for row, embedding in zip(rows, before, strict=True):
        if row["item_id"] not in ("i3", "i5"):
            np.testing.assert_array_equal(vectors[row["item_id"]], embedding)
            untouched += 1
    assert untouched == 118
    tower = tf.saved_model.load(str(shop.serving / "item_tower/1")).signatures["serving_default"]
    for row in (by_id["i3"], *new):
        embedding = tower(
            item_id=tf.constant([row["item_id"]]),
            year=tf.constant([row["year"]], tf.int64),
            genres=tf.constant([row["genres"]]),
        )["embedding"]
        np.testing.assert_allclose(vectors[row["item_id"]], embedding[0], atol=1e-5)

    assert "Release 2 is whole" in shop.dssm("releases", "verify")
    # Of a user never seen, one of whose items is new; and of a known one, one of whose items is gone.
    answer = shop.dssm("recommend", "--history", "i1", "--history", "fresh", "--k", "121")
    assert list_items(answer) == set(ids) - {"i1", "fresh"}
    answer = shop.dssm("recommend", "--user", user["user_id"], "--k", "121")
    assert {"fresh", "strange"} <= list_items(answer)
    assert "i5" not in list_items(answer)

    screen = shop.dssm("refresh-index")
    assert "Nothing to do: release 2 has these very items." in screen
    assert "A training is due" not in screen
    assert list_releases(shop.serving) == ["1", "2"]
