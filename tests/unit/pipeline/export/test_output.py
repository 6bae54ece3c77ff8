import pytest

from pipeline.export.output import write_whole
from schemas.errors import ConfigError, StorageError

pytestmark = pytest.mark.unit


@pytest.mark.parametrize("is_there", [False, True])
def test_nothing_is_seen_before_the_end(tmp_path, is_there):
    target = tmp_path / "of" / "today"
    if is_there:
        target.mkdir(parents=True)
    with write_whole(str(target), tmp_path / "scratch") as folder:
        (folder / "items").mkdir()
        (folder / "items" / "0").write_text("x")
        assert not target.exists() or not any(target.iterdir())
        # On the same file system, or it could not be moved in one step.
        assert folder.parent == target.parent
    assert (target / "items" / "0").read_text() == "x"
    assert [entry.name for entry in target.parent.iterdir()] == ["today"]
    assert not (tmp_path / "scratch").exists()


def test_a_failure_leaves_nothing(tmp_path):
    def fail():
        with write_whole(str(tmp_path / "today"), tmp_path) as folder:
            (folder / "0").write_text("x")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", ["folder", "file"])
def test_a_folder_that_is_not_empty_is_refused(tmp_path, kind):
    target = tmp_path / "today"
    if kind == "folder":
        target.mkdir()
        (target / "mine").write_text("x")
    else:
        target.write_text("x")
    expected = "empty or not there. Received: .*today, which holds"
    with pytest.raises(ConfigError, match=expected), write_whole(str(target), tmp_path):
        pass
    assert (target if kind == "file" else target / "mine").read_text() == "x"
    assert [entry.name for entry in tmp_path.iterdir()] == ["today"]


def test_who_is_faster_is_not_overwritten(tmp_path):
    target = tmp_path / "today"

    def lose():
        with write_whole(str(target), tmp_path):
            target.mkdir()
            (target / "mine").write_text("x")

    with pytest.raises(StorageError, match=r"Cannot write .*today"):
        lose()
    assert (target / "mine").read_text() == "x"
    assert [entry.name for entry in tmp_path.iterdir()] == ["today"]
