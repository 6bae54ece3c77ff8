import json
import os

import pytest

import schemas.release.verify as verify_module
from schemas import storage
from schemas.errors import ReleaseError
from schemas.release import (
    HashCache,
    copy_state,
    find_state,
    read_current_release,
    read_manifest,
    read_release,
    read_state_file,
    verify_release,
)

pytestmark = pytest.mark.unit


@pytest.fixture
def cache_file(tmp_path, monkeypatch):
    """The user's own cache; files count as settled at once."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(verify_module, "_SETTLED_NS", -(10**12))
    return tmp_path / "cache" / "dssm" / "verified.json"


@pytest.fixture
def opened(monkeypatch):
    """The files whose every byte was read, in order."""
    names, real = [], verify_module.hash_stream

    def count(location):
        names.append(str(location))
        return real(location)

    monkeypatch.setattr(verify_module, "hash_stream", count)
    return names


def flip(path, start=0, length=8):
    """Change some bytes, and neither the size nor the time of the last change."""
    status = path.stat()
    content = bytearray(path.read_bytes())
    content[start : start + length] = bytes(byte ^ 0xFF for byte in content[start : start + length])
    path.write_bytes(content)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


@pytest.mark.parametrize("part", ["user_tower", "item_tower", "index", "retriever"])
def test_changed_bytes_are_refused_with_the_files_name(releases, cache_file, part):
    releases.add(1, ("user_tower", "item_tower", "index", "retriever"))
    assert read_current_release(releases.serving).version == 1
    flip(releases.file(part, 1), start=2_000)
    with pytest.raises(ReleaseError, match=rf"Release 1 is damaged: .*/{part}/1/data\.bin has another SHA"):
        read_current_release(releases.serving)


def test_what_a_reader_does_not_use_is_not_read(releases, cache_file, opened):
    releases.add(1)
    flip(releases.file("item_tower", 1))
    release = read_release(releases.serving, 1, parts=("index", "user_tower", "ann"))
    assert {part: path.name for part, path in release.paths.items()} == {"index": "1", "user_tower": "1"}
    assert release.ann is None
    assert not [name for name in opened if "item_tower" in name]


def test_files_that_did_not_change_are_read_once(releases, cache_file, opened):
    releases.add(1)
    read_release(releases.serving, 1, parts=("index", "user_tower"))
    assert len(opened) == 4
    assert json.loads(cache_file.read_text())["files"].keys() == set(opened)
    opened.clear()
    read_release(releases.serving, 1, parts=("index", "user_tower"))
    assert opened == []
    # The same bytes anew are another file, or the same one at another time.
    data = releases.file("index", 1)
    data.write_bytes(data.read_bytes())
    read_release(releases.serving, 1, parts=("index", "user_tower"))
    assert opened == [str(data)]


def test_a_file_that_was_written_just_now_is_read_again(releases, cache_file, opened, monkeypatch):
    # Within one tick of the clock a second change would leave the times as they are.
    monkeypatch.setattr(verify_module, "_SETTLED_NS", 10**13)
    releases.add(1)
    for _ in range(2):
        read_release(releases.serving, 1, parts=("index",))
    assert len(opened) == 4
    assert not cache_file.exists()


@pytest.mark.parametrize("text", ["", "[]", '{"format": 2, "files": {}}', '{"format": 1, "files": 3}'])
def test_a_cache_that_cannot_be_read_is_as_none(releases, cache_file, opened, text):
    releases.add(1)
    cache_file.parent.mkdir(parents=True)
    cache_file.write_text(text)
    read_release(releases.serving, 1, parts=("index",))
    assert len(opened) == 2


def test_a_cache_that_cannot_be_written_is_as_none(releases, tmp_path, monkeypatch, opened):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    (tmp_path / "file").write_text("no folder")
    releases.add(1)
    for _ in range(2):
        read_release(releases.serving, 1, parts=("index",))
    assert len(opened) == 4


def test_the_oldest_entries_of_the_cache_go_first(tmp_path, monkeypatch):
    monkeypatch.setattr(verify_module, "_SETTLED_NS", -(10**12))
    monkeypatch.setattr(verify_module, "_CACHE_ENTRIES", 2)
    cache = HashCache(tmp_path / "verified.json")
    for name in "abc":
        (tmp_path / name).write_text(name)
        cache.hash_file(tmp_path / name)
    cache.save()
    kept = json.loads((tmp_path / "verified.json").read_text())["files"]
    assert list(kept) == [str(tmp_path / "b"), str(tmp_path / "c")]


@pytest.mark.parametrize(("hashes", "check"), [("files", "hashes"), ("folder", "folder hash")])
def test_releases_of_earlier_versions_are_checked_by_what_they_have(releases, cache_file, hashes, check):
    releases.add(1, hashes=hashes)
    manifest = read_manifest(releases.serving, 1)
    parts = ("state", "index", "item_tower", "user_tower")
    assert verify_release(releases.serving, manifest) == dict.fromkeys(parts, check)
    flip(releases.file("state", 1))
    with pytest.raises(ReleaseError, match=r"damaged: .*state/1"):
        verify_release(releases.serving, manifest)


def test_a_release_without_any_hash_is_readable_and_it_is_told(releases, cache_file, caplog):
    releases.add(1, ("user_tower", "item_tower", "index"), hashes="nothing")
    flip(releases.file("index", 1))
    with caplog.at_level("INFO", logger="dssm.progress"):
        read_current_release(releases.serving)
    assert "Release 1 keeps no hashes of its files" in caplog.text
    releases.file("index", 1).write_bytes(b"cut")
    with pytest.raises(ReleaseError, match=r"data\.bin has 3 bytes instead of 4000"):
        read_current_release(releases.serving)


def test_a_file_without_a_hash_beside_some_that_have_one_is_refused(releases, cache_file):
    manifest = releases.add(1)
    del manifest["parts"]["index"]["hashes"]["data.bin"]
    (releases.serving / "releases" / "1" / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ReleaseError, match=r"index/1/data\.bin has another SHA-256"):
        read_current_release(releases.serving)


def test_a_whole_verification_reads_every_byte_however_often(releases, cache_file, opened):
    releases.add(1)
    manifest = read_manifest(releases.serving, 1)
    for _ in range(2):
        verify_release(releases.serving, manifest)
    assert len(opened) == 2 * 9


def test_a_state_is_verified_as_it_is_copied_and_file_by_file(releases, cache_file, tmp_path):
    releases.add(1)
    state = find_state(releases.serving, 1)
    assert read_state_file(state, "data.bin") == b"   1" * 1_000
    with pytest.raises(storage.NotFoundError):
        read_state_file(state, "absent")
    flip(releases.file("state", 1))
    assert json.loads(read_state_file(state, "evaluation_report.json"))["gate"]
    with pytest.raises(ReleaseError, match=r"state/1/data\.bin has another SHA-256"):
        read_state_file(state, "data.bin")
    with pytest.raises(ReleaseError, match=r"serving/state/1/data\.bin has another SHA-256"):
        copy_state(releases.serving, 1, tmp_path / "copy")
