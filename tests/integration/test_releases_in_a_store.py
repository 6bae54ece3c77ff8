"""Releases of an object store are verified, rolled back and pruned as those of a folder are."""

import datetime
import json
from pathlib import Path
from typing import Any

import pytest

from schemas import storage
from schemas.errors import ReleaseError
from schemas.release import (
    find_current_state,
    find_current_version,
    prune,
    read_current_release,
    read_manifest,
    read_release,
    retention,
    roll_back,
    update_models_config,
    verify_release,
)

pytestmark = pytest.mark.integration

PARTS = ("user_tower", "item_tower", "index", "state", "retriever")


@pytest.fixture
def serving(bucket: Any, releases: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Three releases in a bucket; what is remembered of local files lies in a folder of the test's own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache-home"))
    for version in (1, 2, 3):
        releases.add(version, PARTS)
    storage.copy_tree(releases.serving, f"{bucket.uri}/serving")
    return f"{bucket.uri}/serving"


def test_a_rollback_is_followed_by_readers_and_by_tensorflow_serving(
    bucket: Any, serving: str, tmp_path: Path
) -> None:
    assert update_models_config(serving) == 3
    roll_back(serving, 1, "umbrellas only")
    assert json.loads(bucket.read("serving/releases/current.json"))["reason"] == "umbrellas only"
    config = bucket.read("serving/models.config").decode()
    assert config.count("versions: 1\n") == 3
    assert f'base_path: "{serving}/retriever"' in config
    assert find_current_version(serving) == 1
    assert read_current_release(serving, tmp_path / "copies").index.name == "1"
    assert find_current_state(serving).location == f"{serving}/state/1"
    roll_back(serving, 3)
    assert find_current_version(serving) == 3


def test_of_two_writers_the_newer_release_wins(serving: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A rollback that ends while a push writes models.config, as without a lock it can."""
    real, calls = storage.replace_bytes, []

    def interrupted(location: str, content: bytes) -> None:
        real(location, content)
        if not calls:
            calls.append(location)
            roll_back(serving, 2)
            # The slower writer's content is what stays for a moment.
            real(location, content)

    monkeypatch.setattr(storage, "replace_bytes", interrupted)
    assert update_models_config(serving) == 2
    assert b"versions: 2\n" in storage.read_bytes(f"{serving}/models.config")


def test_damage_in_the_store_is_found(bucket: Any, serving: str, tmp_path: Path) -> None:
    manifest = read_manifest(serving, 3)
    assert set(verify_release(serving, manifest).values()) == {"hashes"}
    bucket.write("serving/index/3/data.bin", b"   x" * 1_000)
    with pytest.raises(ReleaseError, match=rf"Release 3 is damaged: .*{serving}/index/3/data\.bin has anot"):
        verify_release(serving, manifest)
    with pytest.raises(ReleaseError, match=rf"Release 3 is damaged: .*{serving}/index/3/data\.bin has anot"):
        read_current_release(serving, tmp_path / "copies")
    with pytest.raises(ReleaseError, match="is damaged"):
        roll_back(serving, 3)
    release = read_release(serving, 3, tmp_path / "copies", parts=("user_tower",))
    assert (release.user_tower / "data.bin").read_bytes() == b"   3" * 1_000


def test_only_what_is_needed_is_copied_and_the_rest_later(serving: str, tmp_path: Path) -> None:
    cache = tmp_path / "copies"
    read_release(serving, 3, cache, parts=("index",))
    [copy] = [file.parent for file in cache.rglob("data.bin")]
    assert copy.parts[-2:] == ("index", "3")
    inode = (copy / "data.bin").stat().st_ino
    release = read_release(serving, 3, cache)
    assert release.retriever is not None
    assert {file.parent.parent.name for file in cache.rglob("data.bin")} == set(PARTS) - {"state"}
    assert (release.index / "data.bin").stat().st_ino == inode


def test_what_was_current_less_than_a_day_ago_stays(
    bucket: Any, serving: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pruned = prune(serving, keep=1)
    assert (pruned.removed, pruned.kept[1]) == ((), "current less than a day ago")

    monkeypatch.setattr(retention, "_GRACE", datetime.timedelta(0))
    assert prune(serving, keep=1).removed == (1,)
    assert not [key for key in bucket.keys("serving") if "/1/" in key]
    roll_back(serving, 2)

    monkeypatch.setattr(retention, "_GRACE", datetime.timedelta(days=1))
    pruned = prune(serving, keep=1)
    assert pruned.removed == ()


def test_a_prune_that_is_killed_leaves_a_claim_for_the_next_push(
    bucket: Any, serving: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(location: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(retention, "_GRACE", datetime.timedelta(0))
    monkeypatch.setattr(storage, "delete_tree", killed)
    with pytest.raises(KeyboardInterrupt):
        prune(serving, keep=1)
    [left] = bucket.keys("serving/releases/1")
    assert left.startswith("serving/releases/1/.claim-")
    with pytest.raises(ReleaseError, match=r"No release 1 in .*: its releases are 2, 3\."):
        read_release(serving, 1)
