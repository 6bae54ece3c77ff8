import json
from pathlib import Path
from typing import Any

import pytest

from schemas.errors import ReleaseError
from schemas.release import (
    find_current_state,
    find_state,
    list_versions,
    read_current_release,
    read_part_id,
    read_release,
)

pytestmark = pytest.mark.unit

# The layout is written out by hand here: it is what other programs rely on.
PART_FILES = {
    "user_tower": "assets.extra/dssm_part.json",
    "item_tower": "assets.extra/dssm_part.json",
    "index": "dssm_part.json",
}


def write_release(serving: Path, version: int, /, model_id: str = "m", **changes: Any) -> dict[str, Any]:
    parts = {}
    for part, part_file in PART_FILES.items():
        folder = serving / part / str(version)
        (folder / part_file).parent.mkdir(parents=True)
        text = json.dumps({"model_id": model_id, "part": part})
        (folder / part_file).write_text(text)
        (folder / "data.bin").write_bytes(b"123")
        parts[part] = {"path": f"{part}/{version}", "files": {part_file: len(text), "data.bin": 3}}
    manifest = {
        "version": version,
        "created": "2026-11-22T10:00:00+00:00",
        "run_id": "run",
        "model_id": model_id,
        "dim": 4,
        "temperature": 0.1,
        "items": 7,
        "schema_sha256": "00",
        "transform_sha256": "11",
        "metrics": {"recall_at_10": 0.25},
        "popularity": {"recall_at_10": 0.125},
        "parts": parts,
    } | changes
    (serving / "releases" / str(version)).mkdir(parents=True)
    write_manifest(serving, version, manifest)
    return manifest


def write_manifest(serving: Path, version: int, manifest: object) -> None:
    (serving / "releases" / str(version) / "manifest.json").write_text(json.dumps(manifest))


def test_a_whole_release_is_read(tmp_path: Path) -> None:
    write_release(tmp_path, 3)
    release = read_release(tmp_path, 3)
    assert release.version == 3
    assert release.directory == tmp_path / "releases" / "3"
    assert release.user_tower == tmp_path / "user_tower" / "3"
    assert release.item_tower == tmp_path / "item_tower" / "3"
    assert release.index == tmp_path / "index" / "3"
    assert (release.manifest.dim, release.manifest.temperature, release.manifest.items) == (4, 0.1, 7)
    assert release.manifest.metrics == {"recall_at_10": 0.25}
    assert release.manifest.popularity == {"recall_at_10": 0.125}
    assert read_current_release(str(tmp_path)) == release


def test_the_latest_is_the_highest_number_with_a_manifest(tmp_path: Path) -> None:
    for version in (2, 10, 9):
        write_release(tmp_path, version)
    # What a pusher at work, or a killed one, leaves.
    (tmp_path / "releases" / "11").mkdir()
    (tmp_path / "releases" / "11" / ".tmp-manifest.json").write_text("{")
    (tmp_path / "index" / "11").mkdir()
    (tmp_path / "releases" / "notes").mkdir()
    assert read_current_release(tmp_path).version == 10
    with pytest.raises(ReleaseError, match=r"No release 11 in .*: its releases are 2, 9, 10\."):
        read_release(tmp_path, 11)


@pytest.mark.parametrize("folders", [(), ("releases",), ("releases/1",)])
def test_no_release_says_what_to_do(tmp_path: Path, folders: tuple[str, ...]) -> None:
    for folder in folders:
        (tmp_path / folder).mkdir(parents=True)
    with pytest.raises(ReleaseError, match=r"No release in .*releases/<version>/manifest\.json.*`dssm run`"):
        read_current_release(tmp_path)
    with pytest.raises(ReleaseError, match=r"No release 1 in .*: its releases are none\."):
        read_release(tmp_path, 1)


@pytest.mark.parametrize("part", PART_FILES)
def test_a_part_of_another_training_is_refused(tmp_path: Path, part: str) -> None:
    write_release(tmp_path, 1, model_id="m1")
    file = tmp_path / part / "1" / PART_FILES[part]
    file.write_text(json.dumps({"model_id": "m2", "part": part}))
    with pytest.raises(ReleaseError, match=rf"{part}/1 comes from another training .*'m1'\. Received: 'm2'"):
        read_release(tmp_path, 1)


@pytest.mark.parametrize("part", PART_FILES)
def test_a_missing_or_cut_file_is_refused(tmp_path: Path, part: str) -> None:
    write_release(tmp_path, 1)
    (tmp_path / part / "1" / "data.bin").write_bytes(b"1")
    with pytest.raises(ReleaseError, match=rf"incomplete: .*{part}/1/data\.bin has 1 bytes instead of 3\."):
        read_release(tmp_path, 1)
    (tmp_path / part / "1" / "data.bin").unlink()
    with pytest.raises(ReleaseError, match=rf"incomplete: .*{part}/1/data\.bin is missing\. Restore"):
        read_current_release(tmp_path)


def test_a_file_that_somebody_added_does_not_matter(tmp_path: Path) -> None:
    write_release(tmp_path, 1)
    (tmp_path / "user_tower" / "1" / "assets.extra" / "tf_serving_warmup_requests").write_bytes(b"x")
    assert read_release(tmp_path, 1).version == 1


def test_swapped_towers_are_refused(tmp_path: Path) -> None:
    manifest = write_release(tmp_path, 1)
    parts = manifest["parts"]
    parts["user_tower"], parts["item_tower"] = parts["item_tower"], parts["user_tower"]
    write_manifest(tmp_path, 1, manifest)
    with pytest.raises(ReleaseError, match="expected the part"):
        read_release(tmp_path, 1)


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"version": 2}, r"expected version 1, the folder's name\. Received: 2"),
        ({"dim": "four"}, "dim: expected a whole number"),
        ({"metrics": {"recall_at_10": "high"}}, r"metrics\.recall_at_10: expected a number"),
        ({"parts": {}}, r"expected the part 'index'\. Received: \[\]"),
        ({"parts": {"index": {}}}, r"missing key 'parts\.index\.path'"),
    ],
)
def test_a_wrong_manifest_is_named(tmp_path: Path, changes: dict[str, Any], match: str) -> None:
    write_release(tmp_path, 1, **changes)
    with pytest.raises(ReleaseError, match=match):
        read_release(tmp_path, 1)


def test_a_manifest_of_a_later_program_may_say_more(tmp_path: Path) -> None:
    write_release(tmp_path, 1, quantisation="int8")
    assert read_release(tmp_path, 1).version == 1


@pytest.mark.parametrize("text", ["", "{", "[]", "7", "null"])
def test_a_manifest_that_is_none_is_refused(tmp_path: Path, text: str) -> None:
    write_release(tmp_path, 1)
    (tmp_path / "releases" / "1" / "manifest.json").write_text(text)
    with pytest.raises(ReleaseError, match=r"releases/1/manifest\.json"):
        read_current_release(tmp_path)


@pytest.mark.parametrize("text", [None, "{", "[]", '{"part": "index"}'])
def test_a_part_that_does_not_say_what_it_is_is_refused(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / "dssm_part.json").write_text(text)
    with pytest.raises(ReleaseError, match=r"dssm_part\.json: expected JSON with 'part' and 'model_id'"):
        read_part_id(tmp_path, "index")


def test_versions_are_folders_named_with_an_integer(tmp_path: Path) -> None:
    for name in ("10", "9", ".tmp-11", "x", "-3", "1.5", "٣"):
        (tmp_path / name).mkdir()
    assert list_versions(tmp_path) == [9, 10]
    assert list_versions(tmp_path / "absent") == []


def test_a_state_is_found_without_looking_at_what_serves(tmp_path: Path) -> None:
    write_release(tmp_path, 1)
    manifest = write_release(tmp_path, 2)
    manifest["parts"]["state"] = {"path": "state/2", "files": {}}
    write_manifest(tmp_path, 2, manifest)
    write_release(tmp_path, 3)
    (tmp_path / "index" / "2" / "data.bin").unlink()
    assert find_state(tmp_path, 2).location == str(tmp_path / "state" / "2")
    assert find_state(tmp_path, 1).location is None
    assert find_current_state(tmp_path) == find_state(tmp_path, 3)
    with pytest.raises(ReleaseError, match=r"No release 4 in .*: its releases are 1, 2, 3\."):
        find_state(tmp_path, 4)
