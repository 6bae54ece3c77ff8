"""Drives `dssm retrain` from outside, as a schedule and an operator do, and reads what its runs left."""

import itertools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

DSSM: Final = Path(sys.executable).with_name("dssm")
DECIDES: Final = "recall_at_50"
EXIT_REFUSED: Final = 3
EXIT_BUSY: Final = 4
NOTHING_TO_DO: Final = "Nothing to do"

_POLL_SECONDS: Final = 0.02
_TRAINING_TIMEOUT_SECONDS: Final = 1_800.0
_SLICE_OF_NEW_ITEMS: Final = ("joined", "later")


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    status: int
    """Its exit status; that of a signal is negative."""
    screen: str
    """What it printed."""
    seconds: float
    """How long it took."""


class UnexpectedEndError(Exception):
    """A command ended otherwise than the day asks for."""


class Chain:
    """A chain of retrainings on this machine: its configuration, its run directory and its releases.

    Args:
        directory: Gets everything.
        config: The configuration without the directories of runs and releases.
    """

    def __init__(self, directory: Path, config: Mapping[str, Any]) -> None:
        self.directory = directory
        self.runs, self.serving = directory / "runs", directory / "serving"
        self._config = directory / "config.yaml"
        self._name = config["run"]["name"]
        directory.mkdir(parents=True, exist_ok=True)
        whole = dict(config) | {
            "run": config["run"] | {"directory": str(self.runs)},
            "serving": {"directory": str(self.serving)},
        }
        self._config.write_text(yaml.safe_dump(whole), encoding="utf-8")

    def call(self, *arguments: str, settings: Sequence[str] = (), expected: int | None = 0) -> Ended:
        """Run a command of `dssm` to its end.

        Args:
            arguments: The command and its arguments.
            settings: What `--set` is given.
            expected: The exit status; None: whatever it is.

        Returns:
            How it ended.

        Raises:
            UnexpectedEndError: It ended with another status.
        """
        start = time.perf_counter()
        completed = subprocess.run(
            self._command(arguments, settings), capture_output=True, text=True, check=False
        )
        ended = Ended(completed.returncode, completed.stdout + completed.stderr, time.perf_counter() - start)
        if expected is not None and ended.status != expected:
            raise UnexpectedEndError(
                f"dssm {' '.join(arguments)}: expected exit status {expected}. Received: {ended.status}.\n"
                f"{ended.screen}"
            )
        return ended

    def kill_in_training(self) -> Ended:
        """Start a retraining, find a second one refused, and kill the first after its first checkpoint.

        Returns:
            How the second one ended.

        Raises:
            UnexpectedEndError: The first one ended before it could be killed, or the second was not refused.
        """
        screen = self.directory / "killed.log"
        checkpoints = self.runs / "checkpoints"
        with screen.open("w") as file:
            process = subprocess.Popen(
                self._command(["retrain"], []), stdout=file, stderr=file, start_new_session=True
            )
        try:
            self._wait(process, screen, lambda: "Importing TFX" in screen.read_text())
            second = self.call("retrain", expected=EXIT_BUSY)
            self._wait(process, screen, lambda: any(map(Path.is_file, checkpoints.rglob("*"))))
        finally:
            # With all that it started, and without a chance to tidy up.
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        return second

    def read_finished_run(self) -> dict[str, Any]:
        """Read what the newest run found, as plain values.

        Returns:
            Run, status, release, recall, training and what was read.

        Raises:
            UnexpectedEndError: The newest run did not come to its end.
        """
        from pipeline.retraining.record import read_pipeline_runs

        run = read_pipeline_runs(self.runs, self._name)[0]
        if run.status not in ("released", "not blessed") or run.report is None or run.ingest_report is None:
            raise UnexpectedEndError(
                f"Expected run {run.run_id} to have come to its end. Received: {run.status}."
            )
        training = read_training(self.runs)
        ingest = json.loads((run.ingest_report / "ingest_report.json").read_text())
        return {
            "run": run.run_id,
            "seconds": run.seconds,
            "status": run.status,
            "release": run.release,
            **read_recall(run.report),
            "steps": training["steps"],
            "resumed_from_step": training["resumed_from_step"],
            "base": None if training["warm_start"] is None else training["warm_start"]["release"],
            "window": [ingest["window_from"], ingest["window_to"]],
            "files": ingest["files"]["interactions"],
            "rows_read": ingest["rows_read"],
            "rejected": ingest["rejected"],
            "fingerprints": ingest["day_fingerprints"],
        }

    def count_overlaps(self) -> int:
        """Count the runs that began before an earlier one had come to its end."""
        from pipeline.retraining.record import read_pipeline_runs

        runs = read_pipeline_runs(self.runs, self._name)[::-1]
        return sum(
            later.started.timestamp() < earlier.started.timestamp() + earlier.seconds
            for earlier, later in itertools.pairwise(runs)
        )

    def _command(self, arguments: Sequence[str], settings: Sequence[str]) -> list[str]:
        options = [part for setting in settings for part in ("--set", setting)]
        return [str(DSSM), *arguments, "--config", str(self._config), *options]

    def _wait(self, process: "subprocess.Popen[bytes]", screen: Path, is_there: Any) -> None:
        deadline = time.monotonic() + _TRAINING_TIMEOUT_SECONDS
        while not is_there():
            if process.poll() is not None or time.monotonic() > deadline:
                raise UnexpectedEndError(f"A run that was to be killed ended before:\n{screen.read_text()}")
            time.sleep(_POLL_SECONDS)


class ColdModels:
    """Models that begin from nothing on the data of a chain's last run, beside the first release.

    Each is trained and evaluated by `dssm run` in a run directory of its own, which has ML Metadata's file of
    the chain, so that all steps before the training are reused. None is released, by a minimum that no model
    reaches: so the first release stays the one that each is compared with on the same queries.

    Args:
        chain: The chain.
        directory: Gets runs and the first release.
    """

    def __init__(self, chain: Chain, directory: Path) -> None:
        self._chain, self._runs, self._serving = chain, directory / "runs", directory / "serving"

    def freeze(self) -> None:
        """Keep the chain's only release as the one that is compared with."""
        shutil.rmtree(self._serving, ignore_errors=True)
        shutil.copytree(self._chain.serving, self._serving)

    def measure(self, window: Sequence[str], maximum_missing_days: int) -> dict[str, Any]:
        """Train and evaluate one.

        Args:
            window: The first and the last day of the chain's last run.
            maximum_missing_days: What the chain's configuration says.

        Returns:
            Recall and steps of the model, and the recall of the first release.
        """
        shutil.rmtree(self._runs, ignore_errors=True)
        self._runs.mkdir(parents=True)
        shutil.copy2(self._chain.runs / "metadata.sqlite", self._runs)
        days = f"first: {window[0]}, last: {window[1]}, maximum_missing_days: {maximum_missing_days}"
        ended = self._chain.call(
            "run",
            settings=[
                f"run.directory={self._runs}",
                f"serving.directory={self._serving}",
                f"ingest.window={{{days}}}",
                "training.warm_start=false",
                "evaluation.blessing_minimum=1.0",
            ],
            expected=EXIT_REFUSED,
        )
        [report] = self._runs.glob("artifacts/RetrievalEvaluator/report/*")
        return {
            **read_recall(report),
            "steps": read_training(self._runs)["steps"],
            "executed": re.findall(r"\] (\w+) took", ended.screen),
        }


def read_training(runs: Path) -> dict[str, Any]:
    """Read what the Trainer says of the newest model in a run directory."""
    models = runs.glob("artifacts/Trainer/model/*/Format-Serving/model.json")
    newest = max(models, key=lambda file: int(file.parts[-3]))
    found: dict[str, Any] = json.loads(newest.read_text())
    return found


def read_recall(report: Path) -> dict[str, Any]:
    """Read the recall of a model, and of the release that it was compared with.

    Args:
        report: The folder of the evaluation's report.

    Returns:
        Over all users and over those who chose an item that was not there at first, None where nobody did or
        no release was compared with; the users; the fingerprint of the queries.
    """
    document = json.loads((report / "evaluation_report.json").read_text())
    recall = document["metrics"][DECIDES]
    models = {model["name"]: model["metrics"][DECIDES]["value"] for model in document["models"]}
    on_new = next(
        (part for part in document["slices"] if (part["group"], part["label"]) == _SLICE_OF_NEW_ITEMS), None
    )
    recall_on_new = released_on_new = None
    if on_new is not None:
        recall_on_new = on_new["metrics"][DECIDES]["value"]
        if on_new["difference"] is not None:
            released_on_new = recall_on_new - on_new["difference"]["value"]
    return {
        "recall": recall,
        "recall_on_new": recall_on_new,
        "released_recall": models.get("released"),
        "released_recall_on_new": released_on_new,
        "users": document["users"],
        "users_on_new": 0 if on_new is None else on_new["users"],
        "queries": document["data_fingerprint"],
    }
