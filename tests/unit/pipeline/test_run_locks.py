import fcntl
import multiprocessing
import os
import signal
import time

import pytest

from pipeline.run_locks import METADATA_LOCK_FILE, hold_while_running, is_running, keep_steps_from_metadata

pytestmark = pytest.mark.unit


def test_a_run_is_seen_while_it_goes_on(tmp_path):
    assert not is_running(tmp_path)
    with hold_while_running(tmp_path):
        assert is_running(tmp_path)
        with hold_while_running(tmp_path):
            assert is_running(tmp_path)
        assert is_running(tmp_path)
    assert not is_running(tmp_path)


def test_a_killed_run_is_not_running(tmp_path):
    def hold():
        with hold_while_running(tmp_path):
            time.sleep(600)

    process = multiprocessing.get_context("fork").Process(target=hold)
    process.start()
    deadline = time.monotonic() + 30
    while not is_running(tmp_path):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert not is_running(tmp_path)


def test_a_reader_keeps_steps_from_metadata(tmp_path):
    with keep_steps_from_metadata(tmp_path):
        pass
    assert list(tmp_path.iterdir()) == []
    with (tmp_path / METADATA_LOCK_FILE).open("w") as lock:
        with keep_steps_from_metadata(tmp_path), pytest.raises(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
