"""A reader sees the old release whole or the new one whole, wherever a pusher is killed or fails."""

import errno
import inspect
import io
import itertools
import json
import os
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from components.tower_pusher.compose import PushInputs, TableInputs
from components.tower_pusher.logic import push_release
from schemas.errors import ReleaseError, StorageError
from schemas.release import Release, read_current_release, read_release, roll_back

pytestmark = [
    pytest.mark.integration,
    # The processes that a test forks never return to Python's own clean-up.
    pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning"),
]

SERVED = ("index", "ann", "item_tower", "user_tower", "retriever")
SAVED_MODELS = ("item_tower", "user_tower", "retriever")
FOLDERS = ("state", "users", *SERVED, "releases")
NOBODY = 65534


def locate_inputs(base: Path) -> PushInputs:
    """Name the folders that `write_inputs` writes."""
    parts = ("schema", "transform", "statistics")
    user, item = (TableInputs(*(base / table / part for part in parts)) for table in ("user", "item"))
    return PushInputs(
        base / "model",
        base / "index",
        base / "report",
        base / "ingest_report",
        user=user,
        item=item,
        ann=base / "ann",
        retriever=base / "retriever",
        sequences=base / "sequences",
    )


# Forks a pusher a line, so that starting one takes no imports; says when it has begun and when it is dead.
PUSHERS = f"""
import itertools, os, sys
from pathlib import Path
from components.tower_pusher.compose import PushInputs, TableInputs
from components.tower_pusher.logic import push_release
{inspect.getsource(locate_inputs)}
os.fsync = lambda descriptor: None
base, serving = Path(sys.argv[1]), sys.argv[2]
for line in sys.stdin:
    pusher = os.fork()
    if pusher == 0:
        for number in itertools.count():
            push_release(locate_inputs(base / "ab"[number % 2]), serving, run_id=str(number))
    print(pusher, flush=True)
    os.waitpid(pusher, 0)
    print("dead", flush=True)
"""

PUSH_AND_HANG = f"""
import sys
from pathlib import Path
from components.tower_pusher import local_store
from components.tower_pusher.compose import PushInputs, TableInputs
from components.tower_pusher.logic import push_release
{inspect.getsource(locate_inputs)}
base, serving, part = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
flush = local_store._flush
def hang(path):
    flush(path)
    if path.name.startswith(".tmp-") and path.parent.name == part:
        print("hanging", flush=True)
        sys.stdin.readline()
local_store._flush = hang
print(push_release(locate_inputs(base), serving, run_id="slow").version, flush=True)
"""

PUSH_TO_A_SMALL_DISK = f"""
import json, os, sys
from pathlib import Path
from components.tower_pusher.compose import PushInputs, TableInputs
from components.tower_pusher.logic import push_release
from schemas.errors import ReleaseError
from schemas.release import read_current_release
{inspect.getsource(locate_inputs)}
base, serving = Path(sys.argv[1]), Path(sys.argv[2])
old = push_release(locate_inputs(base / "old"), serving, run_id="old")
before = sorted(str(path) for path in serving.rglob("*"))
try:
    push_release(locate_inputs(base / "large"), serving, run_id="new")
except ReleaseError as error:
    message = str(error)
after = sorted(str(path) for path in serving.rglob("*"))
print(json.dumps([message, after == before, read_current_release(serving) == old]))
"""


def write_inputs(base: Path, model_id: str) -> PushInputs:
    """Fake folders in which every file names the training that it comes from."""
    parts: dict[Path, dict[str, Any]] = {
        base / "model" / "model.json": {"dim": 2, "temperature": 0.1, "warm_start": None},
        base / "model" / "state" / "training_state.json": {},
        base / "index" / "dssm_part.json": {"part": "index", "dim": 2, "items": 3},
        base / "ann" / "dssm_part.json": {"part": "ann"},
        base / "report" / "evaluation_report.json": {
            "metrics": {"recall_at_10": 0.5},
            "popularity": {},
            "trained_on": {"until": 90, "log_until": 100, "splits": [{"kind": "latest_per_user"}]},
        },
        base / "ingest_report" / "ingest_report.json": {"sequence_figures": {}, "day_fingerprints": {}},
    }
    saved_models = {
        "item_tower": base / "model" / "item_tower",
        "user_tower": base / "model" / "user_tower",
        "retriever": base / "retriever",
    }
    for part, folder in saved_models.items():
        parts[folder / "assets.extra" / "dssm_part.json"] = {"part": part}
    for file, content in parts.items():
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(content | {"model_id": model_id}))
    texts = [
        base / "report" / "per_user_metrics.parquet",
        base / "index" / "marker.txt",
        base / "ann" / "marker.txt",
        base / "sequences" / "sequences-00000-of-00001.parquet",
        base / "retriever" / "assets" / "release_version.txt",
        *(folder / name for folder in saved_models.values() for name in ("saved_model.pb", "variables/data")),
        *(
            base / table / folder / "marker.txt"
            for table in ("user", "item")
            for folder in ("schema", "transform")
        ),
        *(base / table / "statistics" / "Split-all" / "FeatureStats.pb" for table in ("user", "item")),
    ]
    for file in texts:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(model_id)
    return locate_inputs(base)


def list_files(folder: Path) -> set[str]:
    return {file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file()}


SAVED_MODEL_FILES = {"saved_model.pb", "variables/data", "assets.extra/dssm_part.json"}
PART_FILES = {
    "index": {"marker.txt", "dssm_part.json"},
    "ann": {"marker.txt", "dssm_part.json"},
    "item_tower": SAVED_MODEL_FILES,
    "user_tower": SAVED_MODEL_FILES,
    "retriever": SAVED_MODEL_FILES | {"assets/release_version.txt"},
    "users": {"sequences-00000-of-00001.parquet", "dssm_part.json"},
}


def check_whole(serving: Path, release: Release) -> None:
    """Compare the files of all parts, without trusting what the code under test checks itself."""
    version = str(release.version)
    assert {release.user_tower.name, release.item_tower.name, release.index.name} == {version}
    for part, expected in PART_FILES.items():
        folder = serving / part / version
        assert list_files(folder) == expected
        for name in expected:
            text = (folder / name).read_text()
            if name == "assets/release_version.txt":
                assert text == version
            elif name.endswith(".json"):
                content = json.loads(text)
                assert (content["part"], content["model_id"]) == (part, release.manifest.model_id)
            else:
                assert text == release.manifest.model_id


def read_models_config(serving: Path) -> int:
    """Read the one version that model servers are told to load."""
    [version] = set(re.findall(r"versions: (\d+)", (serving / "models.config").read_text()))
    return int(version)


def check_servers_see_whole_models(serving: Path) -> None:
    """A model server must not see half a SavedModel, whether it is told what to load or watches a folder."""
    assert (serving / "releases" / str(read_models_config(serving)) / "manifest.json").is_file()
    for part in SAVED_MODELS:
        for folder in (serving / part).glob("[0-9]*"):
            assert list_files(folder) == PART_FILES[part]


def list_leftovers(serving: Path) -> list[str]:
    """Everything but whole releases and the one lock file."""
    published = {file.parent.name for file in (serving / "releases").glob("*/manifest.json")}
    extra = [
        entry
        for folder in FOLDERS
        for entry in (serving / folder).iterdir()
        if entry.name not in published and entry.name != ".lock"
    ]
    extra += [file for file in (serving / "releases").glob("*/*") if file.name != "manifest.json"]
    extra += [file for file in serving.iterdir() if file.name not in (*FOLDERS, "models.config")]
    return sorted(entry.relative_to(serving).as_posix() for entry in extra)


class WatchedFile:
    """A file of Python's whose writes are seen, each in two halves."""

    def __init__(self, file: Any, happen: Callable[[str], None]) -> None:
        self._file = file
        self._happen = happen

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def __enter__(self) -> "WatchedFile":
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()

    def write(self, content: Any) -> None:
        for half in (content[: len(content) // 2], content[len(content) // 2 :]):
            self._happen("write")
            self._file.write(half)
            self._file.flush()


def watch_changes(serving: Path, happen: Callable[[str], None]) -> None:
    """Have a function called before each change that this process makes to files, for good.

    Python's audit events tell of opening, making, renaming, removing and locking. Writing and flushing have
    none: their functions are wrapped, and everything is written in two halves. A process that is killed
    before it reads leaves the same files as one that is killed before its next change.
    """
    events = ("os.rename", "os.mkdir", "os.remove", "os.rmdir", "fcntl.flock")
    writing = os.O_WRONLY | os.O_RDWR
    sendfile, open_file = os.sendfile, io.open

    def audit(event: str, arguments: tuple[Any, ...]) -> None:
        if event in events:
            happen(event)
        elif event == "open" and str(serving) in str(arguments[0]) and arguments[2] & writing:
            happen("open")

    def send_in_halves(target: int, source: int, offset: int, count: int) -> int:
        happen("write")
        return sendfile(
            target, source, offset, os.fstat(source).st_size // 2 or count if offset == 0 else count
        )

    def open_watched(file: Any, mode: str = "r", *options: Any, **more: Any) -> Any:
        opened = open_file(file, mode, *options, **more)
        return WatchedFile(opened, happen) if mode != "r" and str(serving) in str(file) else opened

    os.sendfile, io.open = send_in_halves, open_watched  # type: ignore[assignment]
    # A killed process loses nothing that it wrote, so hundreds of pushes need not wait for the disk.
    os.fsync = lambda descriptor: happen("fsync")  # type: ignore[assignment]
    sys.addaudithook(audit)


def push_in_fork(inputs: PushInputs, serving: Path, prepare: Callable[[], None]) -> tuple[int, str]:
    """Push in a forked process.

    Returns the number of the signal that killed it or 0, and the message of its error or ''.
    """
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            prepare()
            push_release(inputs, serving, run_id="forked")
            status = 0
        # The latter once the release stands, and models.config cannot be written.
        except (ReleaseError, StorageError) as error:
            os.write(writer, str(error).encode())
            status = 0
        finally:
            os._exit(status)
    os.close(writer)
    with os.fdopen(reader) as stream:
        message = stream.read()
    status = os.waitpid(child, 0)[1]
    if os.WIFSIGNALED(status):
        return os.WTERMSIG(status), message
    assert os.waitstatus_to_exitcode(status) == 0
    return 0, message


def push_and_die(inputs: PushInputs, serving: Path, change: int | str) -> bool:
    """Push in a forked process that is killed before its n-th change, or before it makes the manifest stand.

    Returns whether the push came to its end.
    """

    def prepare() -> None:
        seen = 0

        def die(event: str) -> None:
            nonlocal seen
            seen += 1
            if seen == change:
                os.kill(os.getpid(), signal.SIGKILL)

        def die_at_the_manifest(event: str, arguments: tuple[Any, ...]) -> None:
            if event == "os.rename" and str(change) in str(arguments):
                os.kill(os.getpid(), signal.SIGKILL)

        if isinstance(change, int):
            watch_changes(serving, die)
        else:
            sys.addaudithook(die_at_the_manifest)

    died, message = push_in_fork(inputs, serving, prepare)
    assert message == ""
    assert died in (0, signal.SIGKILL)
    return died == 0


@pytest.fixture
def old(tmp_path: Path, no_fsync: None) -> Path:
    """Return a serving directory with a release, to be copied."""
    serving = tmp_path / "serving-old"
    push_release(write_inputs(tmp_path / "old", "old"), serving, run_id="first")
    return serving


@pytest.fixture
def no_fsync(monkeypatch: pytest.MonkeyPatch) -> None:
    """A killed process loses nothing that it wrote, so hundreds of pushes need not wait for the disk."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


def test_killed_before_each_change_of_a_file(tmp_path: Path, old: Path) -> None:
    inputs = write_inputs(tmp_path / "new", "new")
    seen = set()
    for change in range(1, 500):
        serving = Path(shutil.copytree(old, tmp_path / f"serving-{change}"))
        finished = push_and_die(inputs, serving, change)
        release = read_current_release(serving)
        check_whole(serving, release)
        check_servers_see_whole_models(serving)
        seen.add(release.manifest.model_id)
        if finished:
            break
        # The next push cleans up after the killed one, and takes a version never used before.
        highest = max(int(e.name) for e in serving.glob("*/*") if e.name.isdigit())
        assert push_release(inputs, serving, run_id="next").version == highest + 1
        check_whole(serving, read_current_release(serving))
        assert read_models_config(serving) == highest + 1
        assert list_leftovers(serving) == []
        shutil.rmtree(serving)
    assert finished
    # Each of the 25 files of the release is opened, written in two halves and flushed.
    assert change > 100
    assert seen == {"old", "new"}


def roll_back_and_die(serving: Path, version: int, change: int) -> bool:
    """Roll back in a forked process that is killed before its n-th change; return whether it was not."""
    child = os.fork()
    if child == 0:
        changes = itertools.count(1)
        try:
            watch_changes(serving, lambda _: next(changes) == change and os.kill(os.getpid(), signal.SIGKILL))
            roll_back(serving, version)
            os._exit(0)
        finally:
            os._exit(1)
    status = os.waitpid(child, 0)[1]
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL
        return False
    assert os.waitstatus_to_exitcode(status) == 0
    return True


def test_a_rollback_killed_before_each_change_of_a_file(tmp_path: Path, old: Path) -> None:
    inputs = write_inputs(tmp_path / "new", "new")
    push_release(inputs, old, run_id="second")
    seen = []
    for change in range(1, 50):
        serving = Path(shutil.copytree(old, tmp_path / f"serving-{change}"))
        finished = roll_back_and_die(serving, 1, change)
        release = read_current_release(serving)
        check_whole(serving, release)
        # Whichever release TensorFlow Serving is told to load is there as a whole.
        check_servers_see_whole_models(serving)
        seen.append((release.version, read_models_config(serving)))
        if finished:
            break
        # Whatever is done next, both follow the same release.
        for name, next_step, expected in (
            ("again", lambda serving: roll_back(serving, 1), 1),
            ("taken back", lambda serving: roll_back(serving, 2), 2),
            ("pushed", lambda serving: push_release(inputs, serving, run_id="third"), 3),
        ):
            after = Path(shutil.copytree(serving, tmp_path / name))
            next_step(after)
            assert (read_current_release(after).version, read_models_config(after)) == (expected, expected)
            # What the killed one had not finished, the next rollback writes over.
            assert name == "pushed" or list(after.rglob(".tmp-*")) == []
            shutil.rmtree(after)
        shutil.rmtree(serving)
    assert finished
    # Readers follow first, and TensorFlow Serving for a moment goes on with the release that it has.
    assert list(dict.fromkeys(seen)) == [(2, 2), (1, 2), (1, 1)]


def test_killed_again_while_cleaning_up(tmp_path: Path, old: Path) -> None:
    inputs = write_inputs(tmp_path / "new", "new")
    assert not push_and_die(inputs, old, ".tmp-manifest.json")
    assert {f"{part}/2" for part in PART_FILES} <= set(list_leftovers(old))
    # Removing it takes fewer changes than this; what comes then, the test before has seen.
    for change in range(1, 90):
        serving = Path(shutil.copytree(old, tmp_path / f"serving-{change}"))
        assert not push_and_die(inputs, serving, change)
        check_whole(serving, read_current_release(serving))
        check_servers_see_whole_models(serving)
        removed = "index/2" not in list_leftovers(serving)
        push_release(inputs, serving, run_id="last")
        assert list_leftovers(serving) == []
        shutil.rmtree(serving)
    assert removed


def test_a_disk_that_is_full_from_any_change_on(tmp_path: Path, old: Path) -> None:
    inputs = write_inputs(tmp_path / "new", "new")
    for change in range(1, 500):
        serving = Path(shutil.copytree(old, tmp_path / f"serving-{change}"))

        def prepare(serving: Path = serving, change: int = change) -> None:
            seen = 0

            def fill(event: str) -> None:
                nonlocal seen
                seen += 1
                # What a full disk refuses: removing, renaming and locking go on.
                if seen >= change and event in ("open", "os.mkdir", "write", "fsync"):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

            watch_changes(serving, fill)

        died, message = push_in_fork(inputs, serving, prepare)
        assert died == 0
        release = read_current_release(serving)
        check_whole(serving, release)
        check_servers_see_whole_models(serving)
        if not message:
            break
        assert "[Errno 28] No space left on device" in message
        if release.version == 1:
            assert re.match(rf"Cannot write (releases )?to {serving}(/releases)?: \[Errno 28\]", message)
            assert list_leftovers(serving) == []
        push_release(inputs, serving, run_id="next")
        assert list_leftovers(serving) == []
        shutil.rmtree(serving)
    assert message == ""
    assert change > 100


def test_a_file_that_the_system_does_not_write_whole(tmp_path: Path, old: Path) -> None:
    inputs = write_inputs(tmp_path / "new", "new")
    (inputs.model / "user_tower" / "variables" / "data").write_bytes(b"." * 20_000)

    def prepare() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))

    died, message = push_in_fork(inputs, old, prepare)
    assert died == 0
    assert message.startswith(f"Cannot write releases to {old}: [Errno 27] File too large")
    check_whole(old, read_current_release(old))
    assert list_leftovers(old) == []


def test_a_disk_that_is_full_indeed(tmp_path: Path) -> None:
    write_inputs(tmp_path / "old", "old")
    large = write_inputs(tmp_path / "large", "large")
    (large.model / "user_tower" / "variables" / "data").write_bytes(b"." * 2_000_000)
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["unshare", "-Urm", "sh", "-c", 'mount -t tmpfs -o size=1m tmpfs "$0" && exec "$@"', str(disk)]
    if not shutil.which("unshare") or subprocess.run([*mount, "true"], check=False).returncode:
        pytest.skip("needs the right to mount a file system in a namespace of its own")
    push = [sys.executable, "-c", PUSH_TO_A_SMALL_DISK, str(tmp_path), str(disk / "serving")]
    pushed = subprocess.run([*mount, *push], capture_output=True, text=True, check=True, timeout=60)
    message, is_as_before, reads_old = json.loads(pushed.stdout)
    assert f"Cannot write releases to {disk / 'serving'}: [Errno 28] No space left on device" in message
    assert is_as_before
    assert reads_old


@pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user, which root alone may")
@pytest.mark.parametrize("part", ["releases", "retriever"])
def test_a_folder_that_belongs_to_another_user(old: Path, part: str) -> None:
    with tempfile.TemporaryDirectory() as place:
        # Not below pytest's own folder, which other users may not enter.
        Path(place).chmod(0o755)
        inputs = write_inputs(Path(place) / "new", "new")
        serving = Path(shutil.copytree(old, Path(place) / "serving"))
        for folder in (serving, *(serving / name for name in FOLDERS if name != part)):
            folder.chmod(0o777)
        (serving / "releases" / ".lock").chmod(0o666)
        before = sorted(serving.rglob("*"))

        died, message = push_in_fork(inputs, serving, lambda: os.setuid(NOBODY))
        assert died == 0
        assert message.startswith(f"Cannot write releases to {serving}: [Errno 13] Permission denied")
        check_whole(serving, read_current_release(serving))
        assert sorted(serving.rglob("*")) == before


class Poller:
    """Looks at the servables all the time, as model servers do: by models.config, or the highest number."""

    def __init__(self, serving: Path) -> None:
        self._serving = serving
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self.looks = 0
        self.versions: set[int] = set()
        self.failures: list[BaseException] = []

    def __enter__(self) -> "Poller":
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        self._thread.join(timeout=30)
        assert not self._thread.is_alive()

    def _watch(self) -> None:
        released = 0
        try:
            while not self._stop.is_set():
                for part in SAVED_MODELS:
                    self._look(part)
                version = read_models_config(self._serving)
                for part in SAVED_MODELS:
                    assert list_files(self._serving / part / str(version)) == PART_FILES[part]
                release = read_current_release(self._serving)
                check_whole(self._serving, release)
                assert release.version >= released
                released = release.version
                self.looks += 1
                time.sleep(0.001)
        except BaseException as error:
            self.failures.append(error)

    def _look(self, part: str) -> None:
        folder = max((self._serving / part).glob("[0-9]*"), key=lambda entry: int(entry.name))
        found = list_files(folder)
        # A version that a failed push takes back goes as a whole, too: its folder is renamed at once.
        if found != PART_FILES[part]:
            assert not folder.exists(), f"{folder} with {found}"
        self.versions.add(int(folder.name))


def test_killed_at_random_under_a_poller(tmp_path: Path) -> None:
    for model_id in "ab":
        write_inputs(tmp_path / model_id, model_id)
    serving = tmp_path / "serving"
    push_release(locate_inputs(tmp_path / "a"), serving, run_id="first")
    delays = random.Random(1)
    interrupted = 0
    command = [sys.executable, "-c", PUSHERS, str(tmp_path), str(serving)]
    with (
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as pushers,
        Poller(serving) as poller,
    ):
        assert pushers.stdin is not None
        assert pushers.stdout is not None
        for _ in range(25):
            before = read_current_release(serving).version
            pushers.stdin.write("\n")
            pushers.stdin.flush()
            pusher = int(pushers.stdout.readline())
            time.sleep(delays.uniform(0.0, 0.2))
            os.kill(pusher, signal.SIGKILL)
            assert pushers.stdout.readline() == "dead\n"
            release = read_current_release(serving)
            check_whole(serving, release)
            assert release.version >= before
            interrupted += bool(list_leftovers(serving))
        pushers.stdin.close()
    assert poller.failures == []
    assert poller.looks > 25
    assert len(poller.versions) > 3
    assert interrupted >= 3

    last = push_release(locate_inputs(tmp_path / "b"), serving, run_id="last")
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
    check_whole(serving, read_release(serving, 1))
    check_whole(serving, read_current_release(serving))
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
        check_whole(serving, read_release(serving, version))
    assert list_leftovers(serving) == []
