import datetime
import json

import pytest
from google.protobuf import text_format
from tensorflow_serving.config import model_server_config_pb2

from schemas import storage
from schemas.errors import ReleaseError, StorageError
from schemas.release import find_current_version, roll_back, update_models_config, write_models_config

pytestmark = pytest.mark.unit


def read_models_config(releases):
    """What TensorFlow Serving makes of the file: the version and the folder of each servable."""
    config = model_server_config_pb2.ModelServerConfig()
    text_format.Parse((releases.serving / "models.config").read_text(), config)
    found = {}
    for model in config.model_config_list.config:
        assert model.model_platform == "tensorflow"
        found[model.name] = (model.base_path, list(model.model_version_policy.specific.versions))
    return found


def test_a_rollback_says_what_when_and_why_and_a_push_takes_over(releases):
    for version in (1, 2, 3):
        releases.add(version)
    decision = roll_back(releases.serving, 1, "sells umbrellas only")
    content = json.loads((releases.serving / "releases" / "current.json").read_text())
    since = datetime.datetime.fromisoformat(content.pop("since"))
    assert abs((datetime.datetime.now(datetime.UTC) - since).total_seconds()) < 60
    assert content == {"version": 1, "over": 3, "reason": "sells umbrellas only"}
    assert (decision.version, decision.over) == (1, 3)
    assert find_current_version(releases.serving) == 1
    releases.add(4)
    assert find_current_version(releases.serving) == 4


def test_a_rollback_is_taken_back_with_the_newest(releases):
    for version in (1, 2):
        releases.add(version)
    roll_back(releases.serving, 1)
    roll_back(releases.serving, 2)
    assert find_current_version(releases.serving) == 2


def test_tensorflow_serving_is_told_together_with_the_readers(releases):
    parts = ("user_tower", "item_tower", "index", "retriever")
    for version in (1, 2):
        releases.add(version, parts)
    assert update_models_config(releases.serving) == 2
    towers = ("user_tower", "item_tower", "retriever")
    assert read_models_config(releases) == {name: (str(releases.serving / name), [2]) for name in towers}
    roll_back(releases.serving, 1)
    assert read_models_config(releases) == {name: (str(releases.serving / name), [1]) for name in towers}
    # Whoever writes it next corrects one that is stale, as after a kill between the two files.
    write_models_config(releases.serving, 2)
    assert update_models_config(releases.serving) == 1
    assert read_models_config(releases)["retriever"][1] == [1]


def test_a_release_without_a_retriever_has_two_servables(releases, tmp_path, monkeypatch):
    releases.add(1)
    monkeypatch.chdir(tmp_path)
    update_models_config("serving")
    assert {name: path for name, (path, _) in read_models_config(releases).items()} == {
        name: str(releases.serving / name) for name in ("user_tower", "item_tower")
    }


def test_a_folder_of_any_name_is_a_string_in_protobufs_text(tmp_path, releases):
    folder = tmp_path / 'a "quoted" \\ näme'
    releases.serving.rename(folder)
    releases.serving = folder
    releases.add(1)
    update_models_config(folder)
    assert read_models_config(releases)["user_tower"] == (str(folder / "user_tower"), [1])


def test_nothing_changes_for_a_release_that_is_not_what_was_pushed(releases):
    for version in (1, 2):
        releases.add(version)
    data = releases.file("state", 1)
    data.write_bytes(data.read_bytes()[::-1])
    with pytest.raises(ReleaseError, match=r"Release 1 is damaged: .*state/1/data\.bin"):
        roll_back(releases.serving, 1)
    with pytest.raises(ReleaseError, match=r"No release 7 in .*: its releases are 1, 2\."):
        roll_back(releases.serving, 7)
    assert find_current_version(releases.serving) == 2
    assert sorted(entry.name for entry in (releases.serving / "releases").iterdir()) == ["1", "2"]


def test_a_rollback_that_is_killed_before_the_last_rename_changed_nothing(releases, monkeypatch):
    for version in (1, 2):
        releases.add(version)
    real = storage.Path.replace

    def full(path, target):
        if target.name == "current.json":
            raise OSError(28, "No space left on device")
        return real(path, target)

    monkeypatch.setattr(storage.Path, "replace", full)
    with pytest.raises(StorageError, match=r"Cannot write .*current\.json: .*No space left"):
        roll_back(releases.serving, 1)
    assert find_current_version(releases.serving) == 2
    monkeypatch.undo()
    roll_back(releases.serving, 1)
    assert {entry.name for entry in (releases.serving / "releases").iterdir()} == {
        "1",
        "2",
        ".lock",
        "current.json",
    }
