import contextlib
import logging
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from schemas.checkpoints import delete_checkpoints
from schemas.contract import PROGRESS_LOGGER

pytestmark = pytest.mark.unit

KEY = "0123456789abcdef0123456789abcdef"
NOBODY = 65534


def write_checkpoint(folder: Path) -> Path:
    file = folder / "fit-000000000001" / "complete.json"
    file.parent.mkdir(parents=True)
    file.write_text("{}")
    return file


def test_one_training_loses_its_checkpoints(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    other = write_checkpoint(tmp_path / KEY[::-1])
    write_checkpoint(tmp_path / KEY)
    with caplog.at_level(logging.WARNING, logger=PROGRESS_LOGGER):
        for _ in range(2):
            delete_checkpoints(str(tmp_path / KEY))
    assert list(tmp_path.iterdir()) == [other.parent.parent]
    assert caplog.messages == []


@pytest.mark.parametrize("name", ["checkpoints", KEY[:-1], KEY + "0", KEY.upper(), f"{KEY}/..", f"{KEY}/"])
def test_no_other_folder_is_deleted(tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str) -> None:
    file = write_checkpoint(tmp_path / name.partition("/")[0])
    with caplog.at_level(logging.WARNING, logger=PROGRESS_LOGGER):
        delete_checkpoints(f"{tmp_path}/{name}")
    assert file.exists()
    [message] = caplog.messages
    assert "expected the folder of one training, which is named by 32 hexadecimal digits" in message


def test_a_volume_that_is_not_mounted_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, logger=PROGRESS_LOGGER):
        delete_checkpoints(str(tmp_path / "mnt" / KEY))
    [message] = caplog.messages
    assert f"{tmp_path}/mnt: expected the folder of all checkpoints. Received: no folder. A volume" in message


@contextlib.contextmanager
def being_nobody() -> Iterator[None]:
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user, which root alone may")
@pytest.mark.parametrize(("mode", "reason"), [(0o755, "Cannot delete"), (0o700, "Permission denied")])
def test_a_folder_that_this_user_may_not_delete_is_a_warning(
    caplog: pytest.LogCaptureFixture, mode: int, reason: str
) -> None:
    # Not below pytest's own folder, which other users may not enter.
    with tempfile.TemporaryDirectory() as place:
        file = write_checkpoint(Path(place) / "checkpoints" / KEY)
        Path(place).chmod(mode)
        with caplog.at_level(logging.WARNING, logger=PROGRESS_LOGGER), being_nobody():
            delete_checkpoints(f"{place}/checkpoints/{KEY}")
        assert file.exists()
    [message] = caplog.messages
    assert message.startswith("The checkpoints of a training that has ended cannot be deleted: ")
    assert reason in message
    assert message.endswith("/checkpoints/" + KEY + " is still there, delete it by hand.")
