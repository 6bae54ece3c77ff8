"""`dssm run` killed in the middle of the training and started again ends where it would have ended."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

pytestmark = pytest.mark.e2e

START_TIMEOUT_SECONDS = 400
RUN_TIMEOUT_SECONDS = 600


@pytest.fixture
def resumed(finished_run, tmp_path):
    """Kill a run with the settings of `finished_run` after its second checkpoint, and run it to its end."""
    command = [
        str(Path(sys.executable).with_name("dssm")), "run", *finished_run.set_options,
        "--set", f"run.directory={tmp_path}/runs", "--set", f"serving.directory={tmp_path}/serving",
        "--set", "training.checkpoint.interval_steps=30",
    ]  # fmt: skip
    cwd = finished_run.workspace.directory
    with (tmp_path / "killed.log").open("w") as log:
        process = subprocess.Popen(command, cwd=cwd, stdout=log, stderr=log, start_new_session=True)
        try:
            wait_for_checkpoints(tmp_path / "runs" / "checkpoints", process, tmp_path / "killed.log")
        finally:
            # All that it started, at once, and without a chance to tidy up.
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    completed = subprocess.run(
        command, cwd=cwd, capture_output=True, text=True, timeout=RUN_TIMEOUT_SECONDS, check=False
    )
    assert completed.returncode == 0, completed.stdout + completed.stderr
    return completed.stdout


def wait_for_checkpoints(folder: Path, process: subprocess.Popen, log: Path) -> None:
    deadline = time.monotonic() + START_TIMEOUT_SECONDS
    while len(list(folder.glob("*/*"))) < 2:
        assert process.poll() is None, f"ended before it could be killed:\n{log.read_text()}"
        assert time.monotonic() < deadline, f"no checkpoints in {folder}:\n{log.read_text()}"
        time.sleep(0.05)


def test_a_killed_run_goes_on_from_its_checkpoint_to_the_same_weights(resumed, finished_run, tmp_path):
    resumed_from = int(re.search(r"Training resumed from step (\d+)", resumed)[1])
    assert resumed_from in range(30, 4 * 68, 30)
    [model] = (tmp_path / "runs").glob("artifacts/Trainer/model/*/Format-Serving")
    expected = finished_run.model
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
