"""Tests run against the installed package, and share one pipeline run."""

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
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


@dataclass(frozen=True)
class Workspace:
    """A folder with data, in which `dssm` runs as a user would run it."""

    directory: Path
    """The working directory of every command."""

    def dssm(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run the installed console script."""
        return subprocess.run(
            [DSSM, *arguments],
            cwd=self.directory,
            capture_output=True,
            text=True,
            timeout=RUN_TIMEOUT_SECONDS,
            check=False,
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
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """Return a workspace with small synthetic tables; nothing has run in it."""
    workspace = Workspace(tmp_path_factory.mktemp("workspace"))
    made = workspace.dssm(
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
    completed = workspace.run()
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
