"""Tests run against the installed package; what they share is in fixtures/, one file a purpose."""

import logging
import os
import sys
from pathlib import Path

import pytest

# Of TensorFlow, here and in the processes that tests start. With more threads an operation, sums differ in
# their last bit from one run to the next. A machine of two cores has one by the Trainer's default.
os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")
# On some processors oneDNN's products do the same where the machine is busy: of 160 trainings beside others
# 10 differed, and none of 149 without it.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
# Without it TensorFlow imports Keras 3 and scikit-learn, which nothing here uses: half as long again.
os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
# The tests start some hundred processes that import TensorFlow or TFX, and each would compile all of it.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False
# No command of a test follows a run that another test, or whoever works here, made in the same folder.
os.environ["DSSM_LAST_RUN"] = ""

pytest_plugins = [
    "fixtures.processes",
    "fixtures.releases",
    "fixtures.runs",
    "fixtures.shop",
    "fixtures.toy_serving",
]

REPOSITORY = Path(__file__).resolve().parent.parent


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


@pytest.fixture(scope="session")
def repository() -> Path:
    """Return the root of the checkout."""
    return REPOSITORY
