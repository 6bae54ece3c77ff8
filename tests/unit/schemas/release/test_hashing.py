import os
from pathlib import Path

import pytest

from schemas.errors import ReleaseError
from schemas.release import combine_hashes, hash_files, hash_folder

pytestmark = pytest.mark.unit


def test_hash_folder_is_what_coreutils_say(tmp_path: Path) -> None:
    # mkdir b; printf 1 > b/c; printf 2 > b.txt
    # find . -type f | LC_ALL=C sort | xargs sha256sum | sha256sum
    expected = "91a2278023c61dd3356166ea60a3cb179268e0899aa80605ad1b1b063d929996"
    (tmp_path / "b").mkdir()
    (tmp_path / "b.txt").write_text("2")
    (tmp_path / "b" / "c").write_text("1")
    assert hash_folder(tmp_path) == expected


def test_hash_folder_depends_on_names_and_contents_only(tmp_path: Path) -> None:
    for name in ("one", "two", "renamed", "changed"):
        (tmp_path / name).mkdir()
    (tmp_path / "one" / "x").write_text("1")
    (tmp_path / "two" / "x").write_text("1")
    os.utime(tmp_path / "two" / "x", (0, 0))
    (tmp_path / "renamed" / "y").write_text("1")
    (tmp_path / "changed" / "x").write_text("2")
    hashes = [hash_folder(tmp_path / name) for name in ("one", "two", "renamed", "changed")]
    assert hashes[0] == hashes[1]
    assert len(set(hashes)) == 3


def test_a_folder_is_hashed_by_its_files(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "c").write_text("abc")
    # FIPS 180-2, appendix B.1.
    expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert hash_files(tmp_path) == {"b/c": expected}
    assert combine_hashes(hash_files(tmp_path)) == hash_folder(tmp_path)


def test_a_folder_without_files_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ReleaseError, match=r"expected files\. Received: none"):
        hash_folder(tmp_path)
