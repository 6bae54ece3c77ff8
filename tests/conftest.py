"""Tests run against the installed package, and share one pipeline run."""

import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

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
