import fcntl

import pytest

from pipeline.metadata_lock import METADATA_LOCK_FILE, keep_steps_from_metadata

pytestmark = pytest.mark.unit


def test_a_reader_keeps_steps_from_metadata(tmp_path):
    with keep_steps_from_metadata(tmp_path):
        pass
    assert list(tmp_path.iterdir()) == []
    with (tmp_path / METADATA_LOCK_FILE).open("w") as lock:
        with keep_steps_from_metadata(tmp_path), pytest.raises(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
