"""What is removed, and what never is."""

from pathlib import Path

import pytest

from schemas.errors import StorageError
from schemas.folders import remove_folder

pytestmark = pytest.mark.unit


def test_folder_is_removed_with_what_is_in_it(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "file").write_text("x")
    remove_folder(tmp_path / "a")
    assert list(tmp_path.iterdir()) == []
    remove_folder(tmp_path / "a")


@pytest.mark.parametrize("path", ["", ".", "..", "../..", "/", "{cwd}", "{cwd}/sub/.."])
def test_nothing_is_removed_where_the_path_is_no_folder_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    monkeypatch.setattr("shutil.rmtree", lambda *_, **__: pytest.fail("removed something"))
    work = tmp_path / "here" / "work"
    (work / "sub").mkdir(parents=True)
    monkeypatch.chdir(work)
    given = Path(path.format(cwd=work))
    for ignore_errors in (False, True):
        with pytest.raises(StorageError, match="Nothing was removed"):
            remove_folder(given, ignore_errors=ignore_errors)
