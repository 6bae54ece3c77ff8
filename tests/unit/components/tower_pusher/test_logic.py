import dataclasses
import hashlib
import json
import logging
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

import pytest

from components.tower_pusher.compose import PushInputs, TableInputs, compose_refresh
from components.tower_pusher.logic import (
    check_writable,
    delete_training_checkpoints,
    is_blessed,
    push_composition,
    push_if_blessed,
    push_release,
)
from schemas.errors import ReleaseError
from schemas.release import (
    ALL_PARTS,
    hash_folder,
    prune,
    read_current_release,
    read_refusal,
    retention,
    roll_back,
)

pytestmark = pytest.mark.unit

TRAINED_ON = {"until": 90, "log_until": 100, "splits": [{"kind": "latest_per_user"}]}
SEQUENCES = {"fingerprints": {"sequences": "5e"}}
FIGURES = {"train_positives_per_user": {"edges": [1, 2], "counts": [3, 4]}}


def write_json(file: Path, content: object) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(content))


def write_table(folder: Path, split: str, vocabularies: list[str]) -> TableInputs:
    table = TableInputs(folder / "schema", folder / "transform", folder / "statistics")
    table.schema.mkdir(parents=True)
    (table.schema / "schema.pbtxt").write_text("feature {}\n")
    graph = table.transform_graph / "transform_fn"
    (graph / "assets").mkdir(parents=True)
    (graph / "saved_model.pb").write_bytes(b"graph")
    for name in vocabularies:
        (graph / "assets" / f"{name}_vocabulary").write_text(f"a {name}\n")
    (table.statistics / f"Split-{split}").mkdir(parents=True)
    (table.statistics / f"Split-{split}" / "FeatureStats.pb").write_text(f"statistics of {folder.name}")
    return table


DAYS = {"interactions": {"2026-11-22": "ab"}, "users": {"": "cd"}, "items": {"": "ef"}}


@pytest.fixture
def inputs(tmp_path: Path) -> PushInputs:
    model = tmp_path / "model"
    info = {"model_id": "m1", "dim": 4, "temperature": 0.1, "steps": 3, "warm_start": None}
    write_json(model / "model.json", info)
    write_json(model / "state" / "training_state.json", {"model_id": "m1"})
    (model / "state" / "weights.npz").write_bytes(b"weights")
    for tower in ("user_tower", "item_tower"):
        write_json(model / tower / "assets.extra" / "dssm_part.json", {"model_id": "m1", "part": tower})
        (model / tower / "variables").mkdir()
        (model / tower / "variables" / "variables.index").write_bytes(b"12345")
        (model / tower / "saved_model.pb").write_bytes(tower.encode())
    index = tmp_path / "index"
    write_json(index / "dssm_part.json", {"model_id": "m1", "part": "index", "dim": 4, "items": 7})
    (index / "embeddings.npy").write_bytes(b"0" * 16)
    report = {
        "model_id": "m1",
        "metrics": {"recall_at_10": 0.24, "ndcg_at_10": 0.125},
        "popularity": {"recall_at_10": 0.08, "ndcg_at_10": 0.05},
        "users": 3,
        "blessed": True,
        "gate": {"sentence": "Refused: too low."},
        "trained_on": TRAINED_ON | SEQUENCES,
    }
    write_json(tmp_path / "report" / "evaluation_report.json", report)
    (tmp_path / "report" / "per_user_metrics.parquet").write_bytes(b"users")
    ingest_report = {"sequence_figures": FIGURES, "day_fingerprints": DAYS, "kept": 9}
    write_json(tmp_path / "ingest_report" / "ingest_report.json", ingest_report)
    write_json(tmp_path / "ann" / "dssm_part.json", {"model_id": "m1", "part": "ann"})
    (tmp_path / "ann" / "index.faiss").write_bytes(b"graph")
    retriever = tmp_path / "retriever"
    write_json(retriever / "assets.extra" / "dssm_part.json", {"model_id": "m1", "part": "retriever"})
    (retriever / "saved_model.pb").write_bytes(b"retriever")
    (retriever / "assets").mkdir()
    (retriever / "assets" / "release_version.txt").write_text("0")
    (tmp_path / "sequences").mkdir()
    (tmp_path / "sequences" / "sequences-00000-of-00001.parquet").write_bytes(b"rows")
    return PushInputs(
        model,
        index,
        tmp_path / "report",
        tmp_path / "ingest_report",
        user=write_table(tmp_path / "user", "all", ["plan"]),
        item=write_table(tmp_path / "item", "all", ["item_id", "genre"]),
        ann=tmp_path / "ann",
        retriever=retriever,
        sequences=tmp_path / "sequences",
    )


@pytest.fixture
def blessing(tmp_path: Path) -> Path:
    folder = tmp_path / "blessing"
    folder.mkdir()
    (folder / "BLESSED").write_text("1")
    return folder


def names(folder: Path) -> set[str]:
    return {entry.name for entry in folder.iterdir()}


def test_a_release_has_one_version_everywhere_and_says_what_it_is(inputs: PushInputs, tmp_path: Path) -> None:
    serving = tmp_path / "serving"
    release = push_release(inputs, serving, run_id="run-1")

    assert release.version == 1
    assert {name: names(serving / name) for name in ("user_tower", "item_tower", "index", "releases")} == {
        "user_tower": {"1"}, "item_tower": {"1"}, "index": {"1"}, "releases": {"1", ".lock"},
    }  # fmt: skip
    assert names(serving / "releases" / "1") == {"manifest.json"}
    assert (serving / "user_tower" / "1" / "saved_model.pb").read_bytes() == b"user_tower"
    assert (serving / "item_tower" / "1" / "saved_model.pb").read_bytes() == b"item_tower"
    manifest = json.loads((serving / "releases" / "1" / "manifest.json").read_text())
    created = manifest.pop("created")
    assert created.endswith("+00:00")
    assert created[10] == "T"
    assert {key: manifest[key] for key in manifest if not key.endswith("sha256") and key != "parts"} == {
        "version": 1,
        "run_id": "run-1",
        "model_id": "m1",
        "dim": 4,
        "temperature": 0.1,
        "items": 7,
        "metrics": {"recall_at_10": 0.24, "ndcg_at_10": 0.125},
        "popularity": {"recall_at_10": 0.08, "ndcg_at_10": 0.05},
        "warm_start": None,
        "day_fingerprints": DAYS,
        "trained_on": TRAINED_ON
        | {
            "fingerprints": {
                "sequences": "5e",
                "schema": manifest["schema_sha256"],
                "transform": manifest["transform_sha256"],
            }
        },
    }
    assert {part: value["path"] for part, value in manifest["parts"].items()} == {
        "user_tower": "user_tower/1", "item_tower": "item_tower/1", "index": "index/1", "state": "state/1",
        "ann": "ann/1", "retriever": "retriever/1", "users": "users/1",
    }  # fmt: skip
    state = serving / "state" / "1"
    assert (state / "weights.npz").read_bytes() == b"weights"
    assert (state / "vocabularies" / "item_id_vocabulary").read_text() == "a item_id\n"
    assert set(manifest["parts"]["state"]["files"]) == {
        "user_statistics.pb", "item_statistics.pb", "sequence_figures.json", "dssm_part.json",
        "training_state.json", "evaluation_report.json", "per_user_metrics.parquet", "weights.npz",
        "vocabularies/item_id_vocabulary",
        "vocabularies/genre_vocabulary", "vocabularies/plan_vocabulary",
    }  # fmt: skip
    assert (state / "user_statistics.pb").read_text() == "statistics of user"
    assert (state / "item_statistics.pb").read_text() == "statistics of item"
    assert json.loads((state / "sequence_figures.json").read_text()) == FIGURES
    assert json.loads((state / "dssm_part.json").read_text()) == {"model_id": "m1", "part": "state"}
    assert manifest["parts"]["user_tower"]["files"]["variables/variables.index"] == 5
    hashes = manifest["parts"]["user_tower"]["hashes"]
    assert hashes["variables/variables.index"] == hashlib.sha256(b"12345").hexdigest()
    assert hashes.keys() == manifest["parts"]["user_tower"]["files"].keys()
    assert "versions: 1\n" in (serving / "models.config").read_text()
    assert read_current_release(serving) == release


def test_the_next_version_is_above_every_one_in_any_folder(inputs: PushInputs, tmp_path: Path) -> None:
    serving = tmp_path / "serving"
    (serving / "user_tower" / "41").mkdir(parents=True)
    (serving / "item_tower" / "7").mkdir(parents=True)
    (serving / "item_tower" / "latest").mkdir()

    assert push_release(inputs, serving, run_id="a").version == 42
    assert push_release(inputs, serving, run_id="b").version == 43
    # Folders that no push of ours has claimed are none of our business.
    assert (serving / "user_tower" / "41").is_dir()
    assert (serving / "item_tower" / "7").is_dir()


@pytest.mark.parametrize(
    ("file", "match"),
    [
        ("model/user_tower/assets.extra/dssm_part.json", "user_tower comes from another training"),
        ("model/item_tower/assets.extra/dssm_part.json", "item_tower comes from another training"),
        ("index/dssm_part.json", "index comes from another training"),
        ("ann/dssm_part.json", "ann comes from another training"),
        ("retriever/assets.extra/dssm_part.json", "retriever comes from another training"),
        ("report/evaluation_report.json", "evaluation judged another model"),
        ("model/state/training_state.json", "state comes from another training"),
    ],
)
def test_parts_of_different_trainings_are_refused(
    inputs: PushInputs, tmp_path: Path, file: str, match: str
) -> None:
    content = json.loads((tmp_path / file).read_text())
    write_json(tmp_path / file, content | {"model_id": "m2"})

    with pytest.raises(ReleaseError, match=match):
        push_release(inputs, tmp_path / "serving", run_id="r")
    assert not (tmp_path / "serving").exists()


def test_a_model_without_a_state_is_refused(inputs: PushInputs, tmp_path: Path) -> None:
    (inputs.model / "state" / "training_state.json").unlink()
    with pytest.raises(ReleaseError, match=r"training_state\.json: expected JSON with model_id"):
        push_release(inputs, tmp_path / "serving", run_id="r")
    assert not (tmp_path / "serving").exists()


def test_a_graph_without_vocabularies_can_be_released(inputs: PushInputs, tmp_path: Path) -> None:
    for table in inputs.tables.values():
        shutil.rmtree(table.transform_graph / "transform_fn" / "assets")
    push_release(inputs, tmp_path / "serving", run_id="r")
    assert "vocabularies" not in names(tmp_path / "serving" / "state" / "1")


def test_contexts_are_part_of_the_state_where_there_are_some(inputs: PushInputs, tmp_path: Path) -> None:
    serving = tmp_path / "serving"
    with_contexts = dataclasses.replace(
        inputs, context=write_table(tmp_path / "context", "train", ["device"])
    )
    manifests = [push_release(made, serving, run_id="r").manifest for made in (inputs, with_contexts)]
    assert names(serving / "state" / "2") - names(serving / "state" / "1") == {"context_statistics.pb"}
    assert (serving / "state" / "2" / "context_statistics.pb").read_text() == "statistics of context"
    assert names(serving / "state" / "2" / "vocabularies") == {
        "item_id_vocabulary", "genre_vocabulary", "plan_vocabulary", "device_vocabulary",
    }  # fmt: skip
    assert manifests[0].schema_sha256 != manifests[1].schema_sha256
    assert manifests[0].transform_sha256 != manifests[1].transform_sha256


@pytest.mark.parametrize("table", ["user", "item"])
@pytest.mark.parametrize(
    ("file", "key"),
    [("schema/schema.pbtxt", "schema_sha256"), ("transform/transform_fn/saved_model.pb", "transform_sha256")],
)
def test_the_manifest_tells_whether_a_table_was_read_in_another_way(
    inputs: PushInputs, tmp_path: Path, table: str, file: str, key: str
) -> None:
    before = push_release(inputs, tmp_path / "serving", run_id="r").manifest
    (tmp_path / table / file).write_text("changed")
    after = push_release(inputs, tmp_path / "serving", run_id="r").manifest
    changed = [
        name
        for name in ("schema_sha256", "transform_sha256")
        if getattr(before, name) != getattr(after, name)
    ]
    assert changed == [key]


@pytest.mark.parametrize("table", ["user", "item"])
def test_a_table_without_statistics_is_refused(inputs: PushInputs, tmp_path: Path, table: str) -> None:
    (tmp_path / table / "statistics" / "Split-all" / "FeatureStats.pb").unlink()
    with pytest.raises(ReleaseError, match=f"Expected the {table} statistics in .*Split-all"):
        push_release(inputs, tmp_path / "serving", run_id="r")
    assert not (tmp_path / "serving").exists()


def test_an_ingest_report_without_the_sequences_figures_is_refused(
    inputs: PushInputs, tmp_path: Path
) -> None:
    write_json(inputs.ingest_report / "ingest_report.json", {"day_fingerprints": DAYS, "kept": 9})
    with pytest.raises(ReleaseError, match=r"ingest_report\.json: expected JSON with sequence_figures"):
        push_release(inputs, tmp_path / "serving", run_id="r")


def test_the_manifest_says_which_release_a_warm_start_began_from(inputs: PushInputs, tmp_path: Path) -> None:
    warm_start = {
        "release": 3,
        "model_id": "m0",
        "tables": {"item_id": {"kept": 5, "new": 2, "dropped": 1}},
        "dense_kept": ["item_tower/_mlps/0/_last/kernel"],
        "dense_new": [],
        "slots_kept": True,
    }
    file = inputs.model / "model.json"
    write_json(file, json.loads(file.read_text()) | {"warm_start": warm_start})
    began = push_release(inputs, tmp_path / "serving", run_id="r").manifest.warm_start
    assert began is not None
    assert (began.release, began.model_id) == (3, "m0")
    table = began.tables["item_id"]
    assert (table.kept, table.new, table.dropped) == (5, 2, 1)


def test_swapped_towers_are_refused(inputs: PushInputs, tmp_path: Path) -> None:
    write_json(
        inputs.model / "user_tower/assets.extra/dssm_part.json", {"model_id": "m1", "part": "item_tower"}
    )
    with pytest.raises(ReleaseError, match=r"expected the part 'user_tower'\. Received: 'item_tower'"):
        push_release(inputs, tmp_path / "serving", run_id="r")


def test_an_index_of_another_width_is_refused(inputs: PushInputs, tmp_path: Path) -> None:
    write_json(inputs.index / "dssm_part.json", {"model_id": "m1", "part": "index", "dim": 8, "items": 7})
    with pytest.raises(ReleaseError, match="index has dim 8, the model 4"):
        push_release(inputs, tmp_path / "serving", run_id="r")


def test_a_failed_push_leaves_the_old_release_and_nothing_else(
    inputs: PushInputs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    serving = tmp_path / "serving"
    old = push_release(inputs, serving, run_id="old")
    real = os.replace

    def no_space(source: Path, target: Path) -> None:
        raise OSError(28, "No space left on device", str(target))

    monkeypatch.setattr(os, "replace", no_space)
    with pytest.raises(ReleaseError, match="No space left on device"):
        push_release(inputs, serving, run_id="new")
    monkeypatch.setattr(os, "replace", real)

    assert read_current_release(serving) == old
    assert {name: names(serving / name) for name in ("user_tower", "item_tower", "index", "releases")} == {
        "user_tower": {"1"}, "item_tower": {"1"}, "index": {"1"}, "releases": {"1", ".lock"},
    }  # fmt: skip


def test_unusable_figures_are_refused_before_a_manifest_is_written(
    inputs: PushInputs, tmp_path: Path
) -> None:
    write_json(
        inputs.report / "evaluation_report.json",
        {
            "model_id": "m1",
            "metrics": {"recall_at_10": None},
            "popularity": {},
            "trained_on": TRAINED_ON,
        },
    )
    with pytest.raises(ReleaseError, match=r"metrics\.recall_at_10"):
        push_release(inputs, tmp_path / "serving", run_id="r")
    assert names(tmp_path / "serving" / "index") == set()


def test_not_blessed_pushes_nothing_and_leaves_a_refusal(
    inputs: PushInputs, tmp_path: Path, blessing: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (blessing / "BLESSED").rename(blessing / "NOT_BLESSED")
    caplog.set_level(logging.INFO, logger="dssm.progress")

    assert push_if_blessed(inputs, blessing, tmp_path / "serving", "r", tmp_path / "result") is None

    assert json.loads((tmp_path / "result" / "push.json").read_text()) == {"pushed": 0}
    assert "nothing was pushed" in caplog.text
    files = [path.name for path in (tmp_path / "serving").rglob("*") if path.is_file()]
    assert sorted(files) == [".lock", "refused.json"]
    refusal = read_refusal(tmp_path / "serving")
    assert refusal is not None
    assert (refusal.run_id, refusal.reason, refusal.day_fingerprints) == ("r", "Refused: too low.", DAYS)
    # A release of before can be pushed all the same.
    (blessing / "NOT_BLESSED").rename(blessing / "BLESSED")
    assert push_if_blessed(inputs, blessing, tmp_path / "serving", "r2", tmp_path / "result") is not None


def test_a_refusal_that_cannot_be_noted_is_an_error(
    inputs: PushInputs, tmp_path: Path, blessing: Path
) -> None:
    (blessing / "BLESSED").rename(blessing / "NOT_BLESSED")
    (tmp_path / "serving").write_text("a file")
    with pytest.raises(ReleaseError, match="Cannot write to"):
        push_if_blessed(inputs, blessing, tmp_path / "serving", "r", tmp_path / "result")


def test_blessed_pushes_and_notes_where(inputs: PushInputs, tmp_path: Path, blessing: Path) -> None:
    release = push_if_blessed(inputs, blessing, tmp_path / "serving", "r", tmp_path / "result")

    assert release is not None
    assert json.loads((tmp_path / "result" / "push.json").read_text()) == {
        "pushed": 1,
        "version": 1,
        "release": str(tmp_path / "serving" / "releases" / "1"),
    }


def test_a_retried_push_answers_with_the_release_that_stands(
    inputs: PushInputs, tmp_path: Path, blessing: Path, caplog: pytest.LogCaptureFixture
) -> None:
    serving, result = tmp_path / "serving", tmp_path / "result"
    first = push_if_blessed(inputs, blessing, serving, "first", result)
    caplog.set_level(logging.INFO, logger="dssm.progress")
    again = push_if_blessed(inputs, blessing, serving, "again", result)

    assert first is not None
    assert again is not None
    assert (again.version, again.manifest.run_id) == (1, "first")
    assert names(serving / "releases") == {"1", ".lock"}
    assert json.loads((result / "push.json").read_text())["pushed"] == 1
    assert "is this model already" in caplog.text


@pytest.mark.parametrize(
    "change",
    [
        "another training", "another index", "another retriever", "other users", "no users",
        "the release is damaged",
    ],
)  # fmt: skip
def test_what_differs_from_the_latest_release_is_pushed(
    inputs: PushInputs, tmp_path: Path, blessing: Path, change: str
) -> None:
    serving, result = tmp_path / "serving", tmp_path / "result"
    push_if_blessed(inputs, blessing, serving, "first", result)
    if change == "another index":
        (inputs.index / "catalogue.parquet").write_bytes(b"other titles")
    elif change == "another retriever":
        (inputs.retriever / "saved_model.pb").write_bytes(b"as large.")
    elif change == "other users":
        (inputs.sequences / "sequences-00000-of-00001.parquet").write_bytes(b"ROWS")
    elif change == "no users":
        inputs = dataclasses.replace(inputs, sequences=None)
    elif change == "the release is damaged":
        (serving / "index" / "1" / "dssm_part.json").unlink()
    else:
        for file in tmp_path.glob("model/**/*.json"):
            write_json(file, json.loads(file.read_text()) | {"model_id": "m2"})
        others = ("index/dssm_part.json", "ann/dssm_part.json", "report/evaluation_report.json")
        for file in map(tmp_path.joinpath, (*others, "retriever/assets.extra/dssm_part.json")):
            write_json(file, json.loads(file.read_text()) | {"model_id": "m2"})
    again = push_if_blessed(inputs, blessing, serving, "again", result)
    assert again is not None
    assert again.version == 2


def test_an_older_release_of_the_same_model_is_pushed_again(
    inputs: PushInputs, tmp_path: Path, blessing: Path
) -> None:
    serving, result = tmp_path / "serving", tmp_path / "result"
    push_if_blessed(inputs, blessing, serving, "first", result)
    manifest = serving / "releases" / "1" / "manifest.json"
    content = json.loads(manifest.read_text())
    for part in content["parts"].values():
        del part["sha256"], part["hashes"]
    write_json(manifest, content)
    assert push_if_blessed(inputs, blessing, serving, "again", result).version == 2


def test_the_retriever_answers_with_its_release(inputs: PushInputs, tmp_path: Path) -> None:
    serving = tmp_path / "serving"
    for version in (1, 2):
        manifest = push_release(inputs, serving, run_id="r").manifest
        file = serving / "retriever" / str(version) / "assets" / "release_version.txt"
        assert file.read_text() == str(version)
        digest = hashlib.sha256(str(version).encode()).hexdigest()
        assert manifest.parts["retriever"].hashes["assets/release_version.txt"] == digest
    assert (inputs.retriever / "assets" / "release_version.txt").read_text() == "0"


def test_the_manifest_has_the_hash_of_every_file_and_folder(inputs: PushInputs, tmp_path: Path) -> None:
    serving = tmp_path / "serving"
    manifest = push_release(inputs, serving, run_id="r").manifest
    for part in manifest.parts.values():
        folder = serving / part.path
        files = [file for file in folder.rglob("*") if file.is_file()]
        assert part.hashes == {
            file.relative_to(folder).as_posix(): hashlib.sha256(file.read_bytes()).hexdigest()
            for file in files
        }
        assert part.files == {file.relative_to(folder).as_posix(): file.stat().st_size for file in files}
        assert part.sha256 == hash_folder(folder)


def test_users_say_which_training_they_belong_to(inputs: PushInputs, tmp_path: Path) -> None:
    push_release(inputs, tmp_path / "serving", run_id="r")
    users = tmp_path / "serving" / "users" / "1"
    assert names(users) == {"sequences-00000-of-00001.parquet", "dssm_part.json"}
    assert json.loads((users / "dssm_part.json").read_text()) == {"model_id": "m1", "part": "users"}


def test_parts_are_checked_in_place_before_the_release_exists(inputs: PushInputs, tmp_path: Path) -> None:
    serving = tmp_path / "serving"
    looked_at = {}

    def look(parts: Mapping[str, Path]) -> None:
        assert not (serving / "releases" / "1" / "manifest.json").exists()
        assert (parts["retriever"] / "assets" / "release_version.txt").read_text() == "1"
        looked_at.update(parts)

    push_release(inputs, serving, run_id="r", check_parts=look)
    served = ("index", "ann", "item_tower", "user_tower", "retriever")
    assert looked_at == {part: serving / part / "1" for part in served}


def test_parts_that_do_not_pass_are_taken_back(inputs: PushInputs, tmp_path: Path, blessing: Path) -> None:
    serving = tmp_path / "serving"
    old = push_release(inputs, serving, run_id="old")

    def refuse(parts: Mapping[str, Path]) -> None:
        raise ReleaseError("skewed")

    (inputs.index / "embeddings.npy").write_bytes(b"1" * 16)
    with pytest.raises(ReleaseError, match="skewed"):
        push_if_blessed(inputs, blessing, serving, "new", tmp_path / "result", check_parts=refuse)
    assert read_current_release(serving) == old
    assert {entry.parent.name for entry in serving.glob("*/2")} == set()
    assert names(serving / "index") == names(serving / "retriever") == {"1"}


def test_a_training_loses_the_checkpoints_that_it_noted(tmp_path: Path) -> None:
    own, other = (tmp_path / "checkpoints" / name for name in ("0f" * 16, "f0" * 16))
    for folder in (own, other):
        write_json(folder / "fit-000000000001" / "complete.json", {})
    write_json(tmp_path / "model.json", {"checkpoints": str(own)})
    delete_training_checkpoints(tmp_path)
    assert names(tmp_path / "checkpoints") == {other.name}


@pytest.mark.parametrize(
    ("content", "warning"),
    [
        ({"checkpoints": None}, None),
        ({"model_id": "of a program that noted nothing"}, "Received: KeyError"),
        (["no object"], "Received: TypeError"),
    ],
)
def test_a_model_that_names_no_checkpoints_is_no_error(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, content: object, warning: str | None
) -> None:
    write_json(tmp_path / "model.json", content)
    delete_training_checkpoints(tmp_path)
    assert [warning in message for message in caplog.messages] == ([] if warning is None else [True])


@pytest.mark.parametrize("files", [(), ("BLESSED", "NOT_BLESSED")])
def test_an_unclear_blessing_is_an_error(tmp_path: Path, files: tuple[str, ...]) -> None:
    for name in files:
        (tmp_path / name).write_text("1")
    with pytest.raises(ReleaseError, match="expected one file, BLESSED or NOT_BLESSED"):
        is_blessed(tmp_path)


def test_check_writable_leaves_no_trace(tmp_path: Path) -> None:
    check_writable(tmp_path / "a" / "b")
    assert names(tmp_path) == set()


@pytest.mark.parametrize("blocked", ["serving", "serving/user_tower", "serving/releases"])
def test_check_writable_refuses_a_file_in_the_way(tmp_path: Path, blocked: str) -> None:
    (tmp_path / blocked).parent.mkdir(exist_ok=True)
    (tmp_path / blocked).write_text("")
    with pytest.raises(ReleaseError, match=r"Cannot write releases to .*is not a folder.*serving\.directory"):
        check_writable(tmp_path / "serving")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_check_writable_refuses_a_read_only_folder(tmp_path: Path) -> None:
    tmp_path.chmod(0o555)
    with pytest.raises(ReleaseError, match="Permission denied"):
        check_writable(tmp_path / "serving")


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs a file system that refuses even root")
def test_a_folder_that_cannot_be_written_is_one_clear_error(inputs: PushInputs) -> None:
    with pytest.raises(ReleaseError, match="Cannot write releases to /proc/serving"):
        check_writable("/proc/serving")
    with pytest.raises(ReleaseError, match="Cannot write releases to /proc/serving"):
        push_release(inputs, "/proc/serving", run_id="r")


def retrain(inputs: PushInputs, model_id: str) -> None:
    """Let another training have made the inputs."""
    for file in (
        *inputs.model.rglob("*.json"),
        inputs.index / "dssm_part.json",
        inputs.ann / "dssm_part.json",
        inputs.retriever / "assets.extra" / "dssm_part.json",
        inputs.report / "evaluation_report.json",
    ):
        file.write_text(json.dumps(json.loads(file.read_text()) | {"model_id": model_id}))


def test_a_push_takes_over_from_a_rollback(inputs: PushInputs, tmp_path: Path, blessing: Path) -> None:
    serving, result = tmp_path / "serving", tmp_path / "result"
    for model_id in ("m1", "m2"):
        retrain(inputs, model_id)
        push_if_blessed(inputs, blessing, serving, "r", result)
    roll_back(serving, 1)
    assert read_current_release(serving).manifest.model_id == "m1"
    assert "versions: 1\n" in (serving / "models.config").read_text()

    # The model that was taken back is not the current release any more, and that it is wanted again is news.
    assert push_if_blessed(inputs, blessing, serving, "r", result).version == 3
    assert read_current_release(serving).manifest.model_id == "m2"
    assert "versions: 3\n" in (serving / "models.config").read_text()

    retrain(inputs, "m1")
    roll_back(serving, 1)
    (serving / "models.config").unlink()
    assert push_if_blessed(inputs, blessing, serving, "r", result).version == 1
    assert "versions: 1\n" in (serving / "models.config").read_text()


def test_a_push_removes_what_a_killed_prune_left(
    inputs: PushInputs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(serving: Path, version: int) -> None:
        raise KeyboardInterrupt

    serving = tmp_path / "serving"
    for _ in range(3):
        push_release(inputs, serving, run_id="r")
    monkeypatch.setattr(retention, "remove_parts", killed)
    with pytest.raises(KeyboardInterrupt):
        prune(serving, keep=1)
    assert names(serving / "releases" / "1") == {".claim"}
    assert names(serving / "index") == {"1", "2", "3"}

    push_release(inputs, serving, run_id="r")
    for part in ("index", "user_tower", "item_tower", "state"):
        assert names(serving / part) == {"2", "3", "4"}
    assert names(serving / "releases") == {"2", "3", "4", ".lock"}


def make_refresh(inputs: PushInputs, tmp_path: Path, model_id: str = "m1", **base: object) -> object:
    """Push a release, and compose another one with an index of eight items."""
    write_json(inputs.model / "model.json", json.loads((inputs.model / "model.json").read_text()) | base)
    push_release(inputs, tmp_path / "serving", run_id="run-1")
    released = read_current_release(tmp_path / "serving", parts=ALL_PARTS)
    index = tmp_path / "new index"
    write_json(index / "dssm_part.json", {"model_id": model_id, "part": "index", "dim": 4, "items": 8})
    return compose_refresh(released, {"index": index})


def test_a_refresh_has_the_towers_of_a_release_and_says_so(inputs: PushInputs, tmp_path: Path) -> None:
    serving = tmp_path / "serving"
    tables = {"item_id": {"kept": 5, "new": 1, "dropped": 2}}
    base = {"release": 7, "model_id": "m0", "tables": tables, "in_a_row": 3}
    composition = make_refresh(inputs, tmp_path, warm_start=base)

    assert push_composition(composition, serving).version == 2
    old, new = (
        json.loads((serving / "releases" / str(version) / "manifest.json").read_text()) for version in (1, 2)
    )
    assert (new["refreshed_from"], new["items"], new["warm_start"]) == (1, 8, base)
    same = ("run_id", "model_id", "dim", "temperature", "metrics", "popularity", "trained_on")
    assert {key: new[key] for key in same} == {key: old[key] for key in same}
    assert new["schema_sha256"] == old["schema_sha256"]
    for part in ("user_tower", "item_tower", "state", "users", "ann"):
        assert new["parts"][part]["hashes"] == old["parts"][part]["hashes"], part
    assert new["parts"]["index"]["hashes"] != old["parts"]["index"]["hashes"]
    assert (serving / "retriever" / "2" / "assets" / "release_version.txt").read_text() == "2"
    assert (old.get("trained"), new["trained"]) == (None, old["created"])
    # A refresh of a refresh, which came later.
    write_json(serving / "releases" / "2" / "manifest.json", new | {"created": "2099-01-01T00:00:00+00:00"})
    again = compose_refresh(read_current_release(serving, parts=ALL_PARTS), {"index": tmp_path / "new index"})
    third = push_composition(again, serving).manifest
    assert third.refreshed_from == 2
    assert third.trained == old["created"]


def test_a_refresh_with_a_part_of_another_training_is_refused(inputs: PushInputs, tmp_path: Path) -> None:
    with pytest.raises(ReleaseError, match="index comes from another training"):
        make_refresh(inputs, tmp_path, model_id="m2")


def test_a_refresh_keeps_the_base_of_its_training_from_being_removed(
    inputs: PushInputs, tmp_path: Path
) -> None:
    serving = tmp_path / "serving"
    push_release(inputs, serving, run_id="the base")
    composition = make_refresh(inputs, tmp_path, warm_start={"release": 1, "model_id": "m1", "tables": {}})
    for _ in range(3):
        push_composition(composition, serving)

    pruned = prune(serving, keep=1)
    assert pruned.removed == (2, 3)
    assert pruned.kept[1] == "the base of the warm start of release 4"
    # What was refreshed is not needed: a refresh has copies of it.
    assert read_current_release(serving, parts=ALL_PARTS).version == 5
