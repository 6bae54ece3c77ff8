"""Tests run against the installed package, and share one pipeline run."""

import hashlib
import json
import logging
import multiprocessing
import os
import runpy
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

# Of TensorFlow, here and in the processes that tests start: with more threads an operation, sums differ in
# their last bit from one run to the next. A machine of two cores has one by the Trainer's default.
os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")

REPOSITORY = Path(__file__).resolve().parent.parent
DSSM = Path(sys.executable).with_name("dssm")
RUN_TIMEOUT_SECONDS = 600


@pytest.fixture(autouse=True)
def _fresh_progress_logger(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take back what the command line, called in this process by an earlier test, does to the logger."""
    progress = logging.getLogger("dssm.progress")
    monkeypatch.setattr(progress, "propagate", True)
    monkeypatch.setattr(progress, "handlers", [])
    progress.setLevel(logging.NOTSET)


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


_TOY_ITEMS = ["10", "11", "12", "13", "a b", "c,d"]
_TOY_SCHEMA: dict[str, Any] = {
    "name": "toy",
    "tables": {"items": {"display": ["title", "year"]}},
    "history": {"name": "history", "length": 3},
    "features": [
        {"name": "user_id", "dtype": "string", "tower": "user", "role": "user_id"},
        {"name": "age", "dtype": "int", "tower": "user", "encoding": {"kind": "z_score"}, "minimum": 0,
         "maximum": 120},
        {"name": "gender", "dtype": "string", "tower": "user", "encoding": {"kind": "vocabulary"},
         "values": ["F", "M"]},
        {"name": "tags", "dtype": "string", "tower": "user", "multi_valued": True,
         "encoding": {"kind": "vocabulary"}},
        {"name": "taste", "dtype": "float", "length": 2, "tower": "user", "encoding": {"kind": "vector"},
         "default": 0.5},
        {"name": "item_id", "dtype": "string", "tower": "item", "role": "item_id",
         "encoding": {"kind": "vocabulary"}},
        {"name": "genres", "dtype": "string", "tower": "item", "multi_valued": True,
         "encoding": {"kind": "vocabulary"}},
    ],
}  # fmt: skip


class ToyServing:
    """A serving directory with releases of SavedModels that are small enough to compute by hand.

    The vector of item i in release v is row i + v of six unit vectors, so that releases answer differently. A
    user's embedding is the history's vectors times (1, 2, 5), the newest last, at unit length.
    """

    items = _TOY_ITEMS
    titles: ClassVar = ["Ten", "Eleven", "Twelve", "Thirteen", "A and B", "C, then D"]
    genres: ClassVar = [["x"], ["y"], ["x", "y"], [], ["y"], ["x"]]
    known: ClassVar = {"1": ["10", "11", "a b"], "2": ["12"], "21": [], "ü": ["13", "13"]}
    # No two items are equally near to anything.
    vectors = np.random.default_rng(0).normal(size=(6, 3)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)

    def __init__(self, directory: Path, models: dict[tuple[str, int], Path]) -> None:
        self.directory = directory / "serving"
        self.config = directory / "config.yaml"
        schema = directory / "schema.yaml"
        schema.write_text(yaml.safe_dump(_TOY_SCHEMA))
        content = {
            "run": {"name": "toy", "directory": str(directory / "run")},
            "data": {"schema": str(schema), "directory": str(directory / "no data")},
            "serving": {"directory": str(self.directory)},
        }
        self.config.write_text(yaml.safe_dump(content))
        # What another test has saved is copied.
        self._models = models

    def publish(
        self, version: int, *, users: bool = True, retriever: bool = True, mixed: bool = False
    ) -> None:
        """Publish a release; if it is mixed, its user tower comes from another training than the rest."""
        parts = ["index", "item_tower", "user_tower", *["users"] * users, *["retriever"] * retriever]
        for part in parts:
            folder = self.directory / part / str(version)
            if (part, version % 6) in self._models:
                shutil.copytree(self._models[part, version % 6], folder)
            else:
                getattr(self, f"_write_{part}")(folder, version)
                self._models[part, version % 6] = folder
            # The towers and the rest of one release come from one training.
            for file in folder.rglob("dssm_part.json"):
                content = json.loads(file.read_text())
                file.write_text(json.dumps(content | {"model_id": f"m{version}"}))
        if retriever:
            file = self.directory / "retriever" / str(version) / "assets" / "release_version.txt"
            file.write_text(f"{version}\n")
        if mixed:
            file = self.directory / "user_tower" / str(version) / "assets.extra" / "dssm_part.json"
            file.write_text(json.dumps({"model_id": "another", "part": "user_tower"}))
        manifest = {
            "version": version,
            "created": "2026-01-01T00:00:00+00:00",
            "run_id": "run",
            "model_id": f"m{version}",
            "dim": 3,
            "temperature": 0.1,
            "items": 6,
            "schema_sha256": "s",
            "transform_sha256": "t",
            "metrics": {"recall_at_10": 0.5},
            "popularity": {},
            "parts": {part: {"path": f"{part}/{version}", "files": {}} for part in parts},
        }
        folder = self.directory / "releases" / str(version)
        folder.mkdir(parents=True)
        unfinished = folder / ".tmp"
        unfinished.write_text(json.dumps(manifest))
        unfinished.rename(folder / "manifest.json")

    def roll_back(self, version: int, over: int) -> None:
        """Make an older release the current one."""
        content = {"version": version, "over": over, "since": "2026-01-01T00:00:00+00:00", "reason": "test"}
        unfinished = self.directory / "releases" / ".tmp-current"
        unfinished.write_text(json.dumps(content))
        unfinished.rename(self.directory / "releases" / "current.json")

    def scores(self, version: int, *history: str) -> np.ndarray:
        """The score of every item for a history, the newest last."""
        vectors = self._vectors(version)
        weights = [1, 2, 5][3 - len(history[-3:]) :]
        user = sum(
            (w * vectors[self.items.index(item)] for w, item in zip(weights, history[-3:], strict=True)),
            np.zeros(3),
        )
        return vectors @ (user / max(np.linalg.norm(user), 1e-6))

    def best(self, version: int, *history: str, k: int = 10, without: Sequence[str] = ()) -> list[str]:
        """The best items for a history, which are not in it."""
        scores = self.scores(version, *history)
        left = [row for row, item in enumerate(self.items) if item not in {*history, *without}]
        return [self.items[row] for row in sorted(left, key=lambda row: -scores[row])][:k]

    def _vectors(self, version: int) -> np.ndarray:
        return np.roll(self.vectors, -version, axis=0)

    def _write_index(self, folder: Path, version: int) -> None:
        folder.mkdir(parents=True)
        np.save(folder / "embeddings.npy", self._vectors(version))
        catalogue = {
            "item_id": self.items,
            "genres": self.genres,
            "title": self.titles,
            "year": [2010, 2011, 2012, 2013, None, 2015],
        }
        pq.write_table(pa.table(catalogue), folder / "catalogue.parquet")
        part = {"model_id": f"m{folder.name}", "part": "index", "dim": 3, "items": 6}
        (folder / "dssm_part.json").write_text(json.dumps(part))

    def _write_users(self, folder: Path, version: int) -> None:
        folder.mkdir(parents=True)
        lengths = [len(items) for items in self.known.values()]
        users = {
            "user_id": list(self.known),
            "age": pa.array([20, 31, None, 30], pa.int64()),
            "gender": ["F", "M", None, "M"],
            "tags": [["u", "v"], [], None, ["w"]],
            "taste": pa.array([[0.25, 1], [0, 0], None, [0.5, 1]], pa.list_(pa.float32())),
            "item_id": list(self.known.values()),
            "timestamp": [list(range(n)) for n in lengths],
            # Of user 1, the newest positive is in no split.
            "train_end": pa.array([1, 1, 0, 1], pa.int32()),
            "validation_end": pa.array([1, 1, 0, 1], pa.int32()),
            "eval_end": pa.array([2, 1, 0, 2], pa.int32()),
        }
        pq.write_table(pa.table(users), folder / "sequences-00000-of-00001.parquet")
        part = {"model_id": f"m{folder.name}", "part": "users"}
        (folder / "dssm_part.json").write_text(json.dumps(part))

    def _write_user_tower(self, folder: Path, version: int) -> None:
        import tensorflow as tf

        text, whole = tf.string, tf.int64
        vectors, rows = self._tables(version)

        @tf.function(
            input_signature=[
                tf.TensorSpec([None], whole, name="age"),
                tf.TensorSpec([None], text, name="gender"),
                tf.TensorSpec([None, None], text, name="tags"),
                tf.TensorSpec([None, 2], tf.float32, name="taste"),
                tf.TensorSpec([None, 3], text, name="history"),
            ]
        )
        def call(age, gender, tags, taste, history):
            history = tf.gather(vectors, rows.lookup(history))
            total = tf.einsum("bnd,n->bd", history, tf.constant([1.0, 2.0, 5.0]))
            # Finite inputs that overflow give an embedding that is no number.
            total += 0.0 * tf.reduce_sum(taste * taste, axis=1, keepdims=True)
            return {"embedding": tf.math.l2_normalize(total, axis=1)}

        self._save(folder, "user_tower", vectors, rows, call)

    def _write_item_tower(self, folder: Path, version: int) -> None:
        import tensorflow as tf

        vectors, rows = self._tables(version)

        @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="item_id")])
        def call(item_id):
            return {"embedding": tf.gather(vectors, rows.lookup(item_id))}

        self._save(folder, "item_tower", vectors, rows, call)

    def _write_retriever(self, folder: Path, version: int) -> None:
        from components.candidate_indexer.retriever import build_retriever

        tower, index = (self.directory / part / str(version) for part in ("user_tower", "index"))
        build_retriever(tower, index, folder, "item_id", "genres", "history")

    def _tables(self, version: int):
        import tensorflow as tf

        vectors = tf.Variable(np.concatenate([self._vectors(version), np.zeros((1, 3), np.float32)]))
        keys = tf.lookup.KeyValueTensorInitializer(self.items, tf.range(6, dtype=tf.int64))
        return vectors, tf.lookup.StaticHashTable(keys, default_value=6)

    def _save(self, folder: Path, part: str, vectors, rows, call) -> None:
        import tensorflow as tf

        module = tf.Module()
        module.vectors, module.rows, module.call = vectors, rows, call
        tf.saved_model.save(module, str(folder), signatures={"serving_default": call})
        extra = folder / "assets.extra"
        extra.mkdir()
        # The retriever is made of parts of one training.
        model_id = f"m{folder.name}"
        (extra / "dssm_part.json").write_text(json.dumps({"model_id": model_id, "part": part}))


@pytest.fixture(scope="session")
def make_toy_serving() -> Callable[[Path], ToyServing]:
    """Make a serving directory without a release, in a folder."""
    models: dict[tuple[str, int], Path] = {}
    return lambda folder: ToyServing(folder, models)


@pytest.fixture
def toy_serving(tmp_path: Path, make_toy_serving: Callable[[Path], ToyServing]) -> ToyServing:
    """Return a serving directory without a release."""
    return make_toy_serving(tmp_path)
