import datetime
import gzip
import os
import re
from pathlib import Path

import pytest

from schemas import storage
from schemas.errors import StorageError

pytestmark = pytest.mark.unit


@pytest.mark.parametrize("form", ["{}", "file://{}", "FILE://localhost{}"])
def test_the_forms_of_a_local_folder_are_one(tmp_path: Path, form: str) -> None:
    folder = form.format(tmp_path)
    assert not storage.is_remote(folder)
    assert storage.join(folder, "a", "b/c") == str(tmp_path / "a" / "b" / "c")
    (tmp_path / "x").write_bytes(b"1")
    assert storage.read_bytes(storage.join(folder, "x")) == b"1"
    assert storage.list_names(folder) == ["x"]


def test_paths_keep_odd_names_and_uris_are_unquoted(tmp_path: Path) -> None:
    folder = tmp_path / "50% of a:b"
    folder.mkdir()
    (folder / "x").write_bytes(b"1")
    assert storage.read_bytes(folder / "x") == b"1"
    assert storage.read_bytes(f"file://{tmp_path}/50%25%20of%20a:b/x") == b"1"


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        (("s3://bucket/a/", "b", "c"), "s3://bucket/a/b/c"),
        (("S3://bucket",), "s3://bucket"),
        (("gs://bucket//a", "b"), "gs://bucket/a/b"),
        (("relative/./a", "b"), "relative/a/b"),
    ],
)
def test_join(parts: tuple[str, ...], expected: str) -> None:
    assert storage.join(*parts) == expected


@pytest.mark.parametrize(
    ("location", "expected"),
    [
        ("s3://bucket/a/b", "s3://bucket/a"),
        ("s3://bucket/a", "s3://bucket"),
        ("s3://bucket", "s3://bucket"),
        ("/a/b", "/a"),
        ("b", "."),
    ],
)
def test_find_parent(location: str, expected: str) -> None:
    assert storage.find_parent(location) == expected


@pytest.mark.parametrize(
    ("location", "match"),
    [
        ("hdfs://name/a", r"s3://, gs:// or file://\. Received the scheme 'hdfs'"),
        ("minio://bucket/a", "For MinIO .* write s3:// and set AWS_ENDPOINT_URL_S3"),
        ("s3://", r"expected a bucket, such as s3://bucket/folder\. Received: none"),
        ("gs:///", "expected a bucket"),
        ("file://server/a", "three slashes"),
        ("file://", "three slashes"),
    ],
)
def test_a_uri_that_cannot_be_used_is_refused(location: str, match: str) -> None:
    for use in (storage.is_remote, storage.join, storage.read_bytes, storage.list_files):
        with pytest.raises(StorageError, match=match):
            use(location)


def test_credentials_in_a_uri_are_refused_without_showing_them() -> None:
    with pytest.raises(StorageError, match="no credentials in a URI") as caught:
        storage.is_remote("s3://user:hidden@bucket/a")
    assert "hidden" not in str(caught.value)


def test_local_files_are_listed_copied_and_deleted(tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "sub" / ".hidden").mkdir(parents=True)
    (source / "b").write_bytes(b"12")
    (source / "sub" / ".hidden" / "a").write_bytes(b"")
    before = datetime.datetime.now(datetime.UTC) - datetime.timedelta(seconds=5)

    files = storage.list_files(f"{source}/")
    assert {name: status.size_bytes for name, status in files.items()} == {"b": 2, "sub/.hidden/a": 0}
    assert all(before < status.modified <= datetime.datetime.now(datetime.UTC) for status in files.values())
    assert storage.list_names(source) == ["b", "sub"]
    assert storage.find_file(source) is None
    assert storage.find_file(source / "c") is None
    assert storage.find_file(source / "b") == files["b"]
    assert storage.list_files(tmp_path / "none") == {}
    assert storage.list_names(tmp_path / "none") == []

    storage.copy_tree(source, tmp_path / "new" / "target")
    assert storage.list_files(tmp_path / "new" / "target").keys() == files.keys()
    with pytest.raises(storage.NotFoundError, match=r"Cannot copy .*none to .*target: expected files"):
        storage.copy_tree(tmp_path / "none", tmp_path / "target")

    storage.delete_file(source / "b")
    storage.delete_file(source / "b")
    storage.delete_tree(source)
    storage.delete_tree(source)
    assert storage.list_names(tmp_path) == ["new"]


def test_names_of_compressed_files_mean_nothing(tmp_path: Path) -> None:
    packed = gzip.compress(b"text")
    storage.write_bytes(tmp_path / "a.gz", packed)
    assert (tmp_path / "a.gz").read_bytes() == packed
    assert storage.read_bytes(tmp_path / "a.gz") == packed
    assert storage.open_stream(tmp_path / "a.gz").read() == packed


def test_what_the_system_says_is_passed_on(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(storage.NotFoundError, match=re.escape(f"Cannot read {tmp_path / 'none'}")):
        storage.read_bytes(tmp_path / "none")
    with pytest.raises(StorageError, match=r"Cannot write .*Not a directory"):
        storage.write_bytes(tmp_path / "file" / "x", b"")
    with pytest.raises(StorageError, match=r"Cannot list .*file"):
        storage.list_names(tmp_path / "file")


@pytest.mark.parametrize(
    ("reason", "match"),
    [
        (
            "google::cloud::Status(UNAVAILABLE: Could not create a OAuth2 access token. error_info={x}",
            r"access token\. Google Cloud Storage refused it: set GOOGLE_APPLICATION_CREDENTIALS",
        ),
        ("google::cloud::Status(PERMISSION_DENIED: no)", "refused it: set GOOGLE_APPLICATION_CREDENTIALS"),
        ("google::cloud::Status(DEADLINE_EXCEEDED: late)", "Google Cloud Storage cannot be reached"),
    ],
)
def test_google_cloud_storage_is_explained_too(
    monkeypatch: pytest.MonkeyPatch, reason: str, match: str
) -> None:
    def fail(**options: object) -> None:
        raise OSError(reason)

    monkeypatch.setattr(storage.pafs, "GcsFileSystem", fail)
    with pytest.raises(StorageError, match=match):
        storage.list_names("gs://bucket/a")


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "a.json"
    # What a killed process left is written over.
    (tmp_path / ".tmp-a.json").write_bytes(b"a longer beginning")
    storage.replace_bytes(file, b"old")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"a.json": b"old"}

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError, match=r"Cannot write .*a\.json: .*No space left"):
        storage.replace_bytes(file, b"new")
    assert file.read_bytes() == b"old"
