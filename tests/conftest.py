"""Tests run against the installed package, and share one pipeline run."""

import hashlib
import json
import multiprocessing
import os
import runpy
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

# Of TensorFlow, here and in the processes that tests start: with more threads an operation, sums differ in
# their last bit from one run to the next. A machine of two cores has one by the Trainer's default.
os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")

REPOSITORY = Path(__file__).resolve().parent.parent
DSSM = Path(sys.executable).with_name("dssm")
RUN_TIMEOUT_SECONDS = 600


def pytest_sessionstart(session: pytest.Session) -> None:
    """Refuse to test the working tree unasked: `make test` installs the wheel first."""
    import schemas

    from_tree = Path(schemas.__file__).is_relative_to(REPOSITORY / "schemas")
    if from_tree and "PYTHONPATH" not in os.environ:
        raise pytest.UsageError(
            "The tests found the working tree instead of the installed package. Run `make test`, or ask for"
            " the working tree with PYTHONPATH=. .venv/bin/pytest."
        )


class Started:
    """A program in a process forked from the prepared one; of subprocess.Popen, what tests use."""

    def __init__(self, process: BaseProcess) -> None:
        self._process = process
        assert process.pid is not None
        self.pid: int = process.pid
        """It leads a session, and so a process group."""

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    def poll(self) -> int | None:
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        self._process.join(timeout)
        if self._process.exitcode is None:
            raise subprocess.TimeoutExpired(f"process {self.pid}", timeout or 0.0)
        return self._process.exitcode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        if self.poll() is None:
            self._process.kill()


@dataclass
class Prepared:
    """A process that has imported TensorFlow and TFX, and started nothing; programs are forked from it.

    A program that is started anew takes ten seconds of imports first. What a new process is there to show
    (that a command finds its imports itself, and what it imports) has tests of its own, which start one.
    """

    modules: Sequence[str]
    """What it imports."""
    dssm: Path = REPOSITORY / "tests" / "dssm_program.py"
    """The program that the console script runs."""
    started: list[Started] = field(default_factory=list)

    def start(
        self,
        program: str | Path,
        arguments: Sequence[object] = (),
        *,
        stdout: Path,
        stderr: Path,
        cwd: Path | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> Started:
        """Start a module, or a file whose name ends in .py, as `python -m` or `python` would.

        Args:
            program: The module or the file.
            arguments: Its arguments.
            stdout: The file to append its output to.
            stderr: The same for its errors; it may be the same file.
            cwd: The working directory.
            environment: The variables; None: those of this process.

        Returns:
            The process.
        """
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(list(self.modules))
        job = SimpleNamespace(
            program=str(program),
            arguments=[str(argument) for argument in arguments],
            stdout=str(stdout),
            stderr=str(stderr),
            cwd=str(cwd or Path.cwd()),
            environment=dict(os.environ if environment is None else environment),
        )
        main = str(REPOSITORY / "tests" / "forked_program.py")
        process = context.Process(target=runpy.run_path, args=(main, {"JOB": job}, "__main__"))
        # Read by TensorFlow's libraries as they are loaded.
        loading = {"TF_CPP_MIN_LOG_LEVEL": "2", "TF_USE_LEGACY_KERAS": "1", "CUDA_VISIBLE_DEVICES": "-1"}
        before = {name: os.environ.get(name) for name in loading}
        os.environ.update(loading)
        try:
            process.start()
        finally:
            for name, value in before.items():
                if value is None:
                    del os.environ[name]
                else:
                    os.environ[name] = value
        started = Started(process)
        self.started.append(started)
        # From then on it can be killed with all that it starts.
        while started.poll() is None and os.getsid(started.pid) != started.pid:
            time.sleep(0.001)
        return started

    def run(
        self,
        program: str | Path,
        arguments: Sequence[object],
        directory: Path,
        *,
        cwd: Path | None = None,
        environment: Mapping[str, str] | None = None,
        timeout: float,
    ) -> subprocess.CompletedProcess[str]:
        """Run a program to its end.

        Args:
            program: The module or the file.
            arguments: Its arguments.
            directory: Gets files of what it prints.
            cwd: The working directory.
            environment: The variables; None: those of this process.
            timeout: The most seconds that it may take.

        Returns:
            Status, output and errors.
        """
        number = len(self.started)
        stdout, stderr = (directory / f"{number}.{name}" for name in ("stdout", "stderr"))
        started = self.start(
            program, arguments, stdout=stdout, stderr=stderr, cwd=cwd, environment=environment
        )
        try:
            status = started.wait(timeout)
        finally:
            started.kill()
        texts = [file.read_text() if file.exists() else "" for file in (stdout, stderr)]
        return subprocess.CompletedProcess([str(program), *map(str, arguments)], status, *texts)

    def end(self) -> None:
        """Kill what still runs."""
        for process in self.started:
            process.kill()


@pytest.fixture(scope="session")
def prepared() -> Iterator[Prepared]:
    """Return the process that has imported what `dssm run` imports; it starts when it is first used."""
    # A process of multiprocessing imports the main program of its parent, too.
    prepared = Prepared(["pipeline.local", "pipeline.cli", "trainer.worker", "trainer.run_fn", "pytest"])
    yield prepared
    prepared.end()


@dataclass(frozen=True)
class Workspace:
    """A folder with data, in which `dssm` runs as a user would run it."""

    directory: Path
    """The working directory of every command."""
    prepared: Prepared
    """Where all but the first commands are forked from."""
    output: Path
    """Gets what they print."""

    def dssm_anew(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run the installed console script."""
        return subprocess.run(
            [DSSM, *arguments],
            cwd=self.directory,
            capture_output=True,
            text=True,
            timeout=RUN_TIMEOUT_SECONDS,
            check=False,
        )

    def dssm(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run the console script in a process that has the imports."""
        return self.prepared.run(
            self.prepared.dssm, arguments, self.output, cwd=self.directory, timeout=RUN_TIMEOUT_SECONDS
        )

    def run(self, *overrides: str) -> subprocess.CompletedProcess[str]:
        """Run the pipeline on the workspace's data."""
        return self.dssm("run", *_set_options(overrides))

    @property
    def serving(self) -> Path:
        """The serving directory of the runs."""
        return self.directory / "serving"


_SMALL_RUN = (
    "run.directory=runs",
    "data.directory=data",
    "serving.directory=serving",
    "evaluation.blessing_metric=recall_at_10",
    "evaluation.blessing_minimum=0.0",
    "training.per_replica_batch=64",
    "training.replicas=2",
    "training.epochs=4",
    "training.log_interval_steps=20",
    "model.dim=16",
    "model.user_layers=[16]",
    "model.item_layers=[16]",
)


def _set_options(overrides: Sequence[str]) -> list[str]:
    return [part for override in (*_SMALL_RUN, *overrides) for part in ("--set", override)]


@pytest.fixture(scope="session")
def repository() -> Path:
    """Return the root of the checkout."""
    return REPOSITORY


@pytest.fixture(scope="session")
def workspace(tmp_path_factory: pytest.TempPathFactory, prepared: Prepared) -> Workspace:
    """Return a workspace with small synthetic tables; nothing has run in it."""
    workspace = Workspace(
        tmp_path_factory.mktemp("workspace"), prepared, tmp_path_factory.mktemp("workspace_output")
    )
    made = workspace.dssm_anew(
        "synth",
        "--users",
        "300",
        "--items",
        "120",
        "--interactions",
        "9000",
        "--days",
        "20",
        "--output",
        "data",
    )
    assert made.returncode == 0, made.stderr
    return workspace


@dataclass(frozen=True)
class FinishedRun:
    """One run of the pipeline that ended with a release."""

    workspace: Workspace
    """Where it ran."""
    screen: str
    """What it printed."""
    set_options: Sequence[str]
    """The --set options it ran with, for other commands on the same release."""
    model: Path
    """The Trainer's model; later runs in the workspace put theirs beside it."""


@pytest.fixture(scope="session")
def finished_run(workspace: Workspace) -> FinishedRun:
    """Run the whole pipeline once per session of pytest."""
    completed = workspace.dssm_anew("run", *_set_options(()))
    assert completed.returncode == 0, completed.stdout + completed.stderr
    [model] = workspace.directory.glob("runs/artifacts/Trainer/model/*/Format-Serving")
    return FinishedRun(workspace, completed.stdout, _set_options(()), model)


class WrittenReleases:
    """A serving directory whose files are written by hand: it is what other programs rely on."""

    def __init__(self, serving: Path) -> None:
        self.serving = serving
        """The serving directory."""

    def add(
        self,
        version: int,
        parts: Sequence[str] = ("user_tower", "item_tower", "index", "state"),
        hashes: str = "files",
        **changes: Any,
    ) -> dict[str, Any]:
        """Write a release whose data are its version, 4,000 bytes each.

        Args:
            version: Its number.
            parts: What it has.
            hashes: What the manifest has hashes of: `files`, once the `folder`, before that `nothing`.
            changes: Keys of the manifest, instead of or beside those that are written.

        Returns:
            The manifest.
        """
        model_id = changes.get("model_id", f"m{version}")
        described = {}
        for part in parts:
            name = "assets.extra/dssm_part.json" if part in _SAVED_MODELS else "dssm_part.json"
            contents = {
                name: json.dumps({"model_id": model_id, "part": part}).encode(),
                "data.bin": f"{version:4}".encode() * 1_000,
            }
            if part == "state":
                report = {"gate": {"metric": "recall_at_10"}}
                contents["evaluation_report.json"] = json.dumps(report).encode()
            for file, content in contents.items():
                path = self.serving / part / str(version) / file
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
            digests = {file: hashlib.sha256(content).hexdigest() for file, content in contents.items()}
            lines = "".join(f"{digests[file]}  ./{file}\n" for file in sorted(digests))
            described[part] = {
                "path": f"{part}/{version}",
                "files": {file: len(content) for file, content in contents.items()},
                "sha256": "" if hashes == "nothing" else hashlib.sha256(lines.encode()).hexdigest(),
                "hashes": digests if hashes == "files" else {},
            }
        manifest = {
            "version": version,
            "created": f"2026-11-{version:02}T10:00:00+00:00",
            "run_id": f"run-{version}",
            "model_id": model_id,
            "dim": 4,
            "temperature": 0.1,
            "items": 7,
            "schema_sha256": "00",
            "transform_sha256": "11",
            "metrics": {"ndcg_at_10": 0.5, "recall_at_10": version / 16},
            "popularity": {"recall_at_10": 0.03125},
            "parts": described,
        } | changes
        folder = self.serving / "releases" / str(version)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / ".tmp-manifest.json").write_text(json.dumps(manifest))
        (folder / ".tmp-manifest.json").rename(folder / "manifest.json")
        return manifest

    def file(self, part: str, version: int, name: str = "data.bin") -> Path:
        """Name a file of a part."""
        return self.serving / part / str(version) / name

    def versions(self, part: str = "releases") -> list[int]:
        """List what is in the folder of a part, or of the manifests."""
        return sorted(int(entry.name) for entry in (self.serving / part).iterdir() if entry.is_dir())


_SAVED_MODELS = ("user_tower", "item_tower", "retriever")


@pytest.fixture
def releases(tmp_path: Path) -> WrittenReleases:
    """Return an empty serving directory to write releases to."""
    serving = tmp_path / "serving"
    serving.mkdir()
    return WrittenReleases(serving)
