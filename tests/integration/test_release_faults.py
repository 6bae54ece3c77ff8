"""A reader sees the old release whole or the new one whole, wherever a pusher is killed."""

import inspect
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from components.tower_pusher.logic import PushInputs, TableInputs, push_release
from schemas.errors import ReleaseError
from schemas.release import Release, read_current_release, read_release

pytestmark = [
    pytest.mark.integration,
    # The processes that a test forks never return to Python's own clean-up.
    pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning"),
]


def locate_inputs(base: Path) -> PushInputs:
    """Name the folders that `write_inputs` writes."""
    parts = ("schema", "transform", "statistics")
    user, item = (TableInputs(*(base / table / part for part in parts)) for table in ("user", "item"))
    return PushInputs(
        base / "model", base / "index", base / "report", base / "ingest_report", user=user, item=item
    )


LOCATE_INPUTS = f"""
from pathlib import Path
from components.tower_pusher.logic import PushInputs, TableInputs
{inspect.getsource(locate_inputs)}
"""

PUSH_FOREVER = f"""{LOCATE_INPUTS}
import itertools, sys
from components.tower_pusher.logic import push_release
base, serving = Path(sys.argv[1]), sys.argv[2]
folders = [locate_inputs(base / "a"), locate_inputs(base / "b")]
print("ready", flush=True)
for number in itertools.count():
    push_release(folders[number % 2], serving, run_id=str(number))
"""

PUSH_AND_HANG = f"""{LOCATE_INPUTS}
import shutil, sys
from components.tower_pusher import logic
base, serving, part = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
copy = shutil.copytree
def hang(source, target, *options, **more):
    copy(source, target, *options, **more)
    if getattr(target, "parent", Path()).name == part:
        print("hanging", flush=True)
        sys.stdin.readline()
logic.shutil.copytree = hang
print(logic.push_release(locate_inputs(base), serving, run_id="slow").version, flush=True)
"""


def write_inputs(base: Path, model_id: str) -> PushInputs:
    """Fake folders in which every file names the training that it comes from."""
    parts = {
        base / "model" / "user_tower" / "assets.extra" / "dssm_part.json": {"part": "user_tower"},
        base / "model" / "item_tower" / "assets.extra" / "dssm_part.json": {"part": "item_tower"},
        base / "model" / "model.json": {"dim": 2, "temperature": 0.1, "warm_start": None},
        base / "model" / "state" / "training_state.json": {},
        base / "index" / "dssm_part.json": {"part": "index", "dim": 2, "items": 3},
        base / "report" / "evaluation_report.json": {
            "metrics": {"recall_at_10": 0.5},
            "popularity": {},
            "trained_on": {"until": 90, "log_until": 100, "splits": [{"kind": "latest_per_user"}]},
        },
        base / "ingest_report" / "ingest_report.json": {"sequence_figures": {}},
    }
    for file, content in parts.items():
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(content | {"model_id": model_id}))
    (base / "report" / "per_user_metrics.parquet").write_text(model_id)
    for folder in ("model/user_tower", "model/item_tower", "index"):
        (base / folder).mkdir(parents=True, exist_ok=True)
        (base / folder / "marker.txt").write_text(model_id)
    for table in ("user", "item"):
        for folder in ("schema", "transform/transform_fn"):
            (base / table / folder).mkdir(parents=True, exist_ok=True)
            (base / table / folder / "marker.txt").write_text(model_id)
        (base / table / "statistics" / "Split-all").mkdir(parents=True, exist_ok=True)
        (base / table / "statistics" / "Split-all" / "FeatureStats.pb").write_text(model_id)
    return locate_inputs(base)


def check_whole(release: Release) -> None:
    """Compare the files of all parts, without trusting what the code under test checks itself."""
    markers = {
        (folder / "marker.txt").read_text()
        for folder in (release.user_tower, release.item_tower, release.index)
    }
    assert markers == {release.manifest.model_id}
    assert {folder.name for folder in (release.user_tower, release.item_tower, release.index)} == {
        str(release.version)
    }


def check_no_part_of_a_part(serving: Path) -> None:
    """A model server that only watches its own folder must not see half a SavedModel either."""
    for tower in ("user_tower", "item_tower"):
        for folder in (serving / tower).glob("[0-9]*"):
            files = {file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file()}
            assert files == {"marker.txt", "assets.extra/dssm_part.json"}


def list_leftovers(serving: Path) -> list[str]:
    """Everything but whole releases and the one lock file."""
    published = {file.parent.name for file in (serving / "releases").glob("*/manifest.json")}
    extra = [
        entry
        for folder in ("user_tower", "item_tower", "index", "releases")
        for entry in (serving / folder).iterdir()
        if entry.name not in published and entry.name != ".lock"
    ]
    extra += [file for file in (serving / "releases").glob("*/*") if file.name != "manifest.json"]
    return sorted(entry.relative_to(serving).as_posix() for entry in extra)


def push_and_die(inputs: PushInputs, serving: Path, operation: int | str) -> bool:
    """Push in a forked process that kills itself before its n-th file operation, or the first on a name.

    Returns whether the push came to its end.
    """
    child = os.fork()
    if child == 0:
        seen = 0

        def count(event: str, arguments: tuple[object, ...]) -> None:
            nonlocal seen
            writes = event in ("os.rename", "os.mkdir", "os.remove", "os.rmdir", "fcntl.flock")
            if writes or (event == "open" and str(serving) in str(arguments[0])):
                seen += 1
                if seen == operation or (isinstance(operation, str) and operation in str(arguments)):
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(count)
        try:
            push_release(inputs, serving, run_id="forked")
            os._exit(0)
        except BaseException:
            os._exit(1)
    status = os.waitpid(child, 0)[1]
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL
        return False
    assert os.waitstatus_to_exitcode(status) == 0
    return True


@pytest.fixture
def no_fsync(monkeypatch: pytest.MonkeyPatch) -> None:
    """A killed process loses nothing that it wrote, so hundreds of pushes need not wait for the disk."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


@pytest.mark.usefixtures("no_fsync")
def test_killed_before_each_file_operation(tmp_path: Path) -> None:
    old, new = write_inputs(tmp_path / "old", "old"), write_inputs(tmp_path / "new", "new")
    seen = set()
    for operation in range(1, 200):
        serving = tmp_path / f"serving-{operation}"
        push_release(old, serving, run_id="first")
        finished = push_and_die(new, serving, operation)
        release = read_current_release(serving)
        check_whole(release)
        check_no_part_of_a_part(serving)
        seen.add(release.manifest.model_id)
        if finished:
            break
        # The next push cleans up after the killed one, and takes a version never used before.
        highest = max(int(e.name) for e in serving.glob("*/*") if e.name.isdigit())
        assert push_release(old, serving, run_id="next").version == highest + 1
        assert list_leftovers(serving) == []
    assert finished
    assert operation > 40
    assert seen == {"old", "new"}


@pytest.mark.usefixtures("no_fsync")
def test_killed_again_while_cleaning_up(tmp_path: Path) -> None:
    inputs = write_inputs(tmp_path / "inputs", "m")
    for operation in range(1, 200):
        serving = tmp_path / f"serving-{operation}"
        push_release(inputs, serving, run_id="first")
        assert not push_and_die(inputs, serving, ".tmp-manifest.json")
        assert {f"{part}/2" for part in ("index", "item_tower", "user_tower")} <= set(list_leftovers(serving))
        finished = push_and_die(inputs, serving, operation)
        check_whole(read_current_release(serving))
        check_no_part_of_a_part(serving)
        push_release(inputs, serving, run_id="last")
        assert list_leftovers(serving) == []
        if finished:
            break
    assert finished


def test_killed_at_random_under_a_reader(tmp_path: Path) -> None:
    write_inputs(tmp_path / "a", "a")
    write_inputs(tmp_path / "b", "b")
    serving = tmp_path / "serving"
    push_release(write_inputs(tmp_path / "a", "a"), serving, run_id="first")
    delays = random.Random(1)
    failures: list[BaseException] = []
    reads = 0
    stop = threading.Event()

    def read_all_the_time() -> None:
        nonlocal reads
        version = 0
        try:
            while not stop.is_set():
                release = read_current_release(serving)
                check_whole(release)
                assert release.version >= version
                version = release.version
                reads += 1
                time.sleep(0.002)
        except BaseException as error:
            failures.append(error)

    reader = threading.Thread(target=read_all_the_time)
    reader.start()
    interrupted = 0
    try:
        for _ in range(12):
            before = read_current_release(serving).version
            child = subprocess.Popen(
                [sys.executable, "-c", PUSH_FOREVER, str(tmp_path), str(serving)],
                stdout=subprocess.PIPE,
                text=True,
            )
            assert child.stdout is not None
            assert child.stdout.readline() == "ready\n"
            time.sleep(delays.uniform(0.0, 0.3))
            child.kill()
            child.wait()
            child.stdout.close()
            release = read_current_release(serving)
            check_whole(release)
            assert release.version >= before
            interrupted += bool(list_leftovers(serving))
    finally:
        stop.set()
        reader.join()
    assert failures == []
    assert reads > 12
    assert interrupted >= 3

    last = push_release(write_inputs(tmp_path / "b", "b"), serving, run_id="last")
    assert read_current_release(serving) == last
    assert list_leftovers(serving) == []


@pytest.mark.parametrize("part", ["index", "user_tower"])
def test_a_live_pusher_is_left_alone_and_a_killed_one_is_not(tmp_path: Path, part: str) -> None:
    write_inputs(tmp_path / "slow", "slow")
    fast = write_inputs(tmp_path / "fast", "fast")
    serving = tmp_path / "serving"
    command = [sys.executable, "-c", PUSH_AND_HANG, str(tmp_path / "slow"), str(serving), part]

    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as live:
        assert live.stdout is not None
        assert live.stdin is not None
        assert live.stdout.readline() == "hanging\n"
        assert push_release(fast, serving, run_id="fast").version == 2
        assert (serving / part / ".tmp-1").is_dir()
        assert read_current_release(serving).version == 2
        with pytest.raises(ReleaseError, match=r"No release 1 in .*its releases are 2\."):
            read_release(serving, 1)
        live.stdin.write("\n")
        live.stdin.flush()
        assert live.stdout.readline() == "1\n"
    check_whole(read_release(serving, 1))
    check_whole(read_current_release(serving))
    assert list_leftovers(serving) == []

    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as killed:
        assert killed.stdout is not None
        assert killed.stdout.readline() == "hanging\n"
        killed.kill()
    assert f"{part}/.tmp-3" in list_leftovers(serving)
    assert push_release(fast, serving, run_id="fast").version == 4
    assert list_leftovers(serving) == []


@pytest.mark.usefixtures("no_fsync")
def test_pushers_at_the_same_time_get_different_versions(tmp_path: Path) -> None:
    inputs = write_inputs(tmp_path / "m", "m")
    serving = tmp_path / "serving"
    children = []
    for _ in range(6):
        child = os.fork()
        if child == 0:
            try:
                for number in range(5):
                    push_release(inputs, serving, run_id=str(number))
                os._exit(0)
            except BaseException:
                os._exit(1)
        children.append(child)
    assert [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children] == [0] * 6
    for version in range(1, 31):
        check_whole(read_release(serving, version))
    assert list_leftovers(serving) == []
