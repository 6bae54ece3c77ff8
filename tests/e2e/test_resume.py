"""`dssm run` killed in the middle of the training and started again ends where it would have ended."""

import json
import os
import re
import shutil
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytestmark = pytest.mark.e2e

START_TIMEOUT_SECONDS = 400
RUN_TIMEOUT_SECONDS = 600


@dataclass(frozen=True)
class Resumed:
    """A run that was killed in the middle of its training, and then ran to its end."""

    screen: str
    """What it printed the second time."""
    model: Path
    """The Trainer's model."""


@pytest.fixture
def resumed(finished_run, prepared, tmp_path):
    """Kill a run with the settings of `finished_run` after its second checkpoint, and run it to its end.

    Its directory is a copy of that of `finished_run`, so that it begins with the Trainer, whose checkpoints
    are other settings.
    """
    cwd, runs = finished_run.workspace.directory, tmp_path / "runs"
    shutil.copytree(cwd / "runs", runs)
    before = find_models(runs)
    arguments = [
        "run", *finished_run.set_options,
        "--set", f"run.directory={runs}", "--set", f"serving.directory={tmp_path}/serving",
        "--set", "training.checkpoint.interval_steps=30",
    ]  # fmt: skip
    log = tmp_path / "killed.log"
    process = prepared.start(prepared.dssm, arguments, cwd=cwd, stdout=log, stderr=log)
    try:
        wait_for_checkpoints(runs / "checkpoints", process, log)
    finally:
        # All that it started, at once, and without a chance to tidy up.
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    completed = prepared.run(prepared.dssm, arguments, tmp_path, cwd=cwd, timeout=RUN_TIMEOUT_SECONDS)
    assert completed.returncode == 0, completed.stdout + completed.stderr
    [model] = find_models(runs) - before
    return Resumed(completed.stdout, model)


def find_models(runs: Path) -> set[Path]:
    return set(runs.glob("artifacts/Trainer/model/*/Format-Serving"))


def wait_for_checkpoints(folder: Path, process: Any, log: Path) -> None:
    deadline = time.monotonic() + START_TIMEOUT_SECONDS
    while len(list(folder.glob("*/*"))) < 2:
        assert process.poll() is None, f"ended before it could be killed:\n{log.read_text()}"
        assert time.monotonic() < deadline, f"no checkpoints in {folder}:\n{log.read_text()}"
        time.sleep(0.05)


def test_a_killed_run_goes_on_from_its_checkpoint_to_the_same_weights(resumed, finished_run, tmp_path):
    resumed_from = int(re.search(r"Training resumed from step (\d+)", resumed.screen)[1])
    assert resumed_from in range(30, 4 * 68, 30)
    model, expected = resumed.model, finished_run.model
    info, undisturbed = (json.loads((folder / "model.json").read_text()) for folder in (model, expected))
    assert info["resumed_from_step"] == resumed_from
    assert undisturbed["resumed_from_step"] is None
    assert info["steps"] == undisturbed["steps"] == 4 * 68
    assert info["final_loss"] == pytest.approx(undisturbed["final_loss"], rel=1e-6)
    with np.load(model / "state/weights.npz") as ours, np.load(expected / "state/weights.npz") as theirs:
        assert set(ours.files) == set(theirs.files)
        for name in theirs.files:
            np.testing.assert_array_equal(ours[name], theirs[name], err_msg=name)

    # What has ended needs no checkpoint.
    assert not [path for path in (tmp_path / "runs" / "checkpoints").rglob("*") if path.is_file()]
