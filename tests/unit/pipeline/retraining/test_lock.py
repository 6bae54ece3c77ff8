"""Who may work in a directory, asked by real processes, some of which are killed."""

import contextlib
import datetime
import fcntl
import json
import multiprocessing
import os
import pwd
import re
import signal
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from pipeline.cli import main
from pipeline.retraining.lock import hold_run_lock, is_running
from schemas.errors import BusyError, ConfigError

pytestmark = pytest.mark.unit

TIMEOUT_SECONDS = 30
NOBODY = 65534
FORK = multiprocessing.get_context("fork")


def start(function: Callable[..., None], *arguments: Any) -> BaseProcess:
    process = FORK.Process(target=function, args=arguments)
    process.start()
    return process


def wait_until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def hold(run: Path, serving: str | Path, command: str = "dssm run") -> None:
    sys.argv = ["/opt/bin/dssm", *command.split()[1:]]
    with hold_run_lock(run, serving):
        (run / "held").write_text("")
        time.sleep(600)


@contextlib.contextmanager
def held(run: Path, serving: str | Path, *command: str) -> Iterator[BaseProcess]:
    """Let another process hold the locks."""
    process = start(hold, run, serving, *command)
    try:
        wait_until((run / "held").exists)
        yield process
    finally:
        process.kill()
        process.join()


def test_a_second_one_is_told_who_is_at_work_since_when(tmp_path):
    run = tmp_path / "run"
    before = datetime.datetime.now(datetime.UTC).replace(microsecond=0)
    with held(run, tmp_path / "serving", "dssm run --set a=b c") as holder:
        started = time.monotonic()
        with pytest.raises(BusyError) as caught, hold_run_lock(run, tmp_path / "other"):
            pytest.fail("two at a time")
        assert time.monotonic() - started < 10
    match = re.fullmatch(
        rf"run\.directory: expected no other process at work in {run}\. Received: process (\d+) of (\S+) on "
        r"(\S+) since (\S+), `(.*)`\. Wait until it has ended, or set another run\.directory\.",
        str(caught.value),
    )
    pid, user, host, since, command = match.groups()
    me = pwd.getpwuid(os.getuid()).pw_name
    assert (int(pid), user, host) == (holder.pid, me, socket.gethostname())
    assert command == "dssm run --set a=b c"
    assert before <= datetime.datetime.fromisoformat(since) <= datetime.datetime.now(datetime.UTC)
    assert since.endswith("+00:00")


def test_another_run_directory_with_the_same_serving_directory_is_refused(tmp_path):
    serving = tmp_path / "serving"
    with held(tmp_path / "one", serving):
        match = rf"serving\.directory: .* at work in {serving}/releases\."
        with pytest.raises(BusyError, match=match), hold_run_lock(tmp_path / "two", serving.as_uri()):
            pytest.fail("two at a time")
        # What was refused holds nothing.
        with hold_run_lock(tmp_path / "two", tmp_path / "elsewhere"):
            pass


def test_one_after_the_other(tmp_path):
    for _ in range(2):
        with hold_run_lock(tmp_path / "run", tmp_path / "serving"):
            assert is_running(tmp_path / "run")
        assert not is_running(tmp_path / "run")


def test_an_error_lets_go(tmp_path):
    with pytest.raises(ValueError, match="step"), hold_run_lock(tmp_path, tmp_path / "serving"):
        raise ValueError("step")
    with hold_run_lock(tmp_path, tmp_path / "serving"):
        pass


def test_a_killed_one_leaves_a_file_and_no_lock(tmp_path):
    run, serving = tmp_path / "run", tmp_path / "serving"
    with held(run, serving) as holder:
        assert is_running(run)
        os.kill(holder.pid, signal.SIGKILL)
        holder.join(TIMEOUT_SECONDS)
        assert not is_running(run)
        files = [run / ".running.lock", serving / "releases" / ".running.lock"]
        assert [json.loads(file.read_text())["pid"] for file in files] == [holder.pid] * 2
        with hold_run_lock(run, serving):
            assert [json.loads(file.read_text())["pid"] for file in files] == [os.getpid()] * 2


def hold_and_fork(run: Path, serving: Path) -> None:
    with hold_run_lock(run, serving):
        orphan = start(time.sleep, 600)
        temporary = run / "orphan.tmp"
        temporary.write_text(str(orphan.pid))
        temporary.rename(run / "orphan")
        time.sleep(600)


def test_a_child_that_outlives_a_killed_one_holds_nothing(tmp_path):
    holder = start(hold_and_fork, tmp_path, tmp_path / "serving")
    wait_until((tmp_path / "orphan").exists)
    orphan = int((tmp_path / "orphan").read_text())
    try:
        os.kill(holder.pid, signal.SIGKILL)
        holder.join(TIMEOUT_SECONDS)
        os.kill(orphan, 0)
        with hold_run_lock(tmp_path, tmp_path / "serving"):
            pass
        os.kill(orphan, 0)
    finally:
        os.kill(orphan, signal.SIGKILL)


def leave_in_a_child(directory: Path) -> None:
    with contextlib.suppress(ValueError), hold_run_lock(directory, directory / "serving"):
        if os.fork() == 0:
            raise ValueError
        _, status = os.wait()
        (directory / "done").write_text(f"{status} {is_running(directory)}")


def test_a_child_that_leaves_has_nothing_to_let_go_of(tmp_path):
    start(leave_in_a_child, tmp_path).join(TIMEOUT_SECONDS)
    assert (tmp_path / "done").read_text() == "0 True"


@contextlib.contextmanager
def looking(directory: Path) -> Iterator[None]:
    """Hold the lock as one does who only looks whether it is held."""
    descriptor = os.open(directory / ".running.lock", os.O_RDWR | os.O_CREAT)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        yield
    finally:
        os.close(descriptor)


def test_who_looks_is_no_holder_and_is_waited_for(tmp_path):
    with contextlib.ExitStack() as stack:
        stack.enter_context(looking(tmp_path))
        assert not is_running(tmp_path)
        threading.Timer(0.2, stack.pop_all().close).start()
        with hold_run_lock(tmp_path, tmp_path / "serving"):
            assert is_running(tmp_path)


def test_a_holder_that_has_not_said_who_it_is(tmp_path):
    match = r"one that holds .*\.running\.lock and has not written there who it is"
    with (
        looking(tmp_path),
        pytest.raises(BusyError, match=match),
        hold_run_lock(tmp_path, tmp_path / "serving"),
    ):
        pytest.fail("two at a time")


def test_an_object_store_has_no_lock(tmp_path):
    with (
        held(tmp_path / "one", "s3://bucket/serving"),
        hold_run_lock(tmp_path / "two", "s3://bucket/serving"),
    ):
        pass


def test_where_nothing_can_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    match = r"serving\.directory: expected a folder in which .* can write .* set another serving\.dir"
    with pytest.raises(ConfigError, match=match), hold_run_lock(tmp_path / "run", tmp_path / "file"):
        pytest.fail("locked")
    assert not is_running(tmp_path / "nowhere")


def take_as_nobody(directory: Path, answer: Any) -> None:
    os.setuid(NOBODY)
    try:
        with hold_run_lock(directory, "s3://bucket/serving"):
            answer.put(("", ""))
    except (BusyError, ConfigError) as error:
        answer.put((type(error).__name__, str(error)))


@pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user, which root alone may")
def test_a_lock_that_belongs_to_another_user() -> None:
    with tempfile.TemporaryDirectory() as place:
        # Not below pytest's own folder, which other users may not enter.
        directory = Path(place)
        directory.chmod(0o755)
        answer = FORK.Queue()
        with held(directory, "s3://bucket/serving") as holder:
            start(take_as_nobody, directory, answer)
            kind, message = answer.get(timeout=TIMEOUT_SECONDS)
            assert kind == "BusyError"
            assert f"process {holder.pid} of root" in message
        start(take_as_nobody, directory, answer)
        kind, message = answer.get(timeout=TIMEOUT_SECONDS)
        assert kind == "ConfigError"
        assert f"this user can write {directory}/.running.lock. Received: [Errno 13] Permission" in message
        assert "Run this as a user who may write there" in message


def test_the_command_ends_with_a_status_of_its_own_before_it_does_anything(tmp_path):
    run = tmp_path / "run"
    options = [f"--set=run.directory={run}", f"--set=serving.directory={tmp_path}/serving"]
    with held(run, tmp_path / "elsewhere") as holder:
        done = CliRunner().invoke(main, ["run", *options])
        assert {path.name for path in run.iterdir()} == {"held", ".running.lock"}
    assert done.exit_code == 4
    assert f"Error: run.directory: expected no other process at work in {run}" in done.output
    assert f"process {holder.pid} of " in done.output
    assert "4 where another process" in CliRunner().invoke(main, ["run", "--help"]).output
