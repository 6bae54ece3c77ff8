"""A few days of `dssm retrain` in which much goes wrong, through the console script.

tests/unit/pipeline/retraining/test_month.py goes through thirty days without a pipeline, and
benchmarks/retraining.py through thirty with one.
"""

import datetime
import gzip
import json
import os
import re
import signal
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from fixtures.runs import Workspace

pytestmark = pytest.mark.e2e

START = datetime.datetime(2024, 1, 1, tzinfo=datetime.UTC)
START_TIMEOUT_SECONDS = 400
# What no good run would do: next to no training, from nothing.
RUINED = ("training.warm_start=false", "training.epochs=1", "training.learning_rate=1.0e-7")
MALFORMED = ("u1,i1", "u1,i1,4,yesterday", ",i1,4,1704067200")


@dataclass
class Chain:
    """Daily logs, and retrainings on them."""

    workspace: Workspace
    directory: Path
    schema: Path
    steps: dict[str, subprocess.CompletedProcess[str]] = field(default_factory=dict)
    """What was called, by what the tests call it."""

    def write(self, *days: int, cut_off: bool = False) -> None:
        """Write the files of some days, or the first halves of them."""
        log = pq.read_table(self.workspace.directory / "data" / "interactions.parquet")
        for day in days:
            start = int(START.timestamp()) + day * 86_400
            is_of_day = pc.and_(
                pc.greater_equal(log["timestamp"], start), pc.less(log["timestamp"], start + 86_400)
            )
            rows = log.filter(is_of_day).to_pylist()
            lines = [",".join(log.column_names), *(",".join(map(str, row.values())) for row in rows)]
            content = gzip.compress("\n".join([*lines, *MALFORMED, ""]).encode(), mtime=0)
            self.file(day).write_bytes(content[: len(content) // 2] if cut_off else content)

    def file(self, day: int) -> Path:
        return self.directory / "data" / "log" / f"{name_day(day)}.csv.gz"

    def retrain(self, step: str, *overrides: str, resume: bool = False) -> None:
        arguments = ["retrain", *(["--resume"] if resume else []), *self.options(overrides)]
        self.steps[step] = self.workspace.dssm(*arguments)

    def kill_in_training(self) -> None:
        """Start a retraining, try a second one, and kill the first after its second checkpoint."""
        log = self.directory / "killed.log"
        prepared = self.workspace.prepared
        process = prepared.start(
            prepared.dssm, ["retrain", *self.options(())], cwd=self.directory, stdout=log, stderr=log
        )
        try:
            self._wait(process, log, lambda: log.exists() and "[1/15]" in log.read_text())
            self.retrain("second at once")
            checkpoints = self.directory / "runs" / "checkpoints"
            self._wait(process, log, lambda: len(list(checkpoints.glob("*/*"))) >= 2)
        finally:
            # All that it started, at once, and without a chance to tidy up.
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def options(self, overrides: tuple[str, ...]) -> list[str]:
        settings = (
            f"data.schema={self.schema}",
            f"data.directory={self.directory}/data",
            f"run.directory={self.directory}/runs",
            f"serving.directory={self.directory}/serving",
            "ingest.split={kind: last_days, days: 1}",
            "ingest.window={last_days: 6, maximum_missing_days: 1}",
            "model.dim=16",
            "model.user_layers=[16]",
            "model.item_layers=[16]",
            "training.per_replica_batch=64",
            "training.epochs=6",
            "training.warm_epochs=3",
            "training.learning_rate=5.0e-3",
            "training.warm_start=true",
            "training.checkpoint.interval_steps=20",
            "evaluation.ks=[10]",
            "evaluation.blessing_metric=recall_at_10",
            "evaluation.blessing_minimum=0.0",
            # So few users show nothing but that a model is better than chance.
            "evaluation.baselines=[]",
            "evaluation.blessing_baselines=[]",
            "evaluation.blessing_margin=1.0",
            "evaluation.blessing_slice_margin=1.0",
            *overrides,
        )
        return [part for setting in settings for part in ("--set", setting)]

    def manifest(self, version: int) -> dict[str, Any]:
        return json.loads((self.directory / f"serving/releases/{version}/manifest.json").read_text())

    def read_ingest_reports(self) -> list[dict[str, Any]]:
        """Read the reports of all ingests that came to their end, the oldest first."""
        files = self.directory.glob("runs/artifacts/InteractionIngest/report/*/ingest_report.json")
        return [json.loads(file.read_text()) for file in sorted(files, key=lambda one: int(one.parts[-2]))]

    def _wait(self, process: Any, log: Path, is_there: Any) -> None:
        deadline = time.monotonic() + START_TIMEOUT_SECONDS
        while not is_there():
            assert process.poll() is None, f"ended before it could be killed:\n{log.read_text()}"
            assert time.monotonic() < deadline, f"not trained in time:\n{log.read_text()}"
            time.sleep(0.05)


def name_day(day: int) -> str:
    return (START + datetime.timedelta(days=day)).date().isoformat()


@pytest.fixture(scope="module")
def chain(workspace, repository, tmp_path_factory) -> Chain:
    """Live through four days: one comes late, a run is killed, a model is ruined, a file is cut off."""
    directory = tmp_path_factory.mktemp("month")
    (directory / "data" / "log").mkdir(parents=True)
    for table in ("users", "items"):
        (directory / "data" / f"{table}.parquet").symlink_to(workspace.directory / f"data/{table}.parquet")
    text = (repository / "schemas" / "movielens_100k.yaml").read_text()
    schema = directory / "schema.yaml"
    schema.write_text(text.replace("file: interactions.parquet", 'file: "log/{date}.csv.gz"'))
    chain = Chain(workspace, directory, schema)

    chain.write(4, 5, 6, 8, 9)
    chain.retrain("first day")
    chain.retrain("nothing new")

    chain.write(7, 10)
    chain.kill_in_training()
    chain.retrain("resumed", resume=True)

    chain.write(11)
    chain.retrain("ruined", *RUINED)
    chain.retrain("after the ruined one")

    rollback = ("releases", "rollback", "1", *chain.options(()))
    chain.steps["rolled back"] = workspace.dssm(*rollback)
    chain.write(12, cut_off=True)
    chain.retrain("cut off")
    chain.write(12)
    chain.retrain("whole again")
    chain.steps["verified"] = workspace.dssm("releases", "verify", *chain.options(()))
    return chain


def test_every_command_ends_as_the_day_asks_for(chain):
    assert {step: ended.returncode for step, ended in chain.steps.items()} == {
        "first day": 0,
        "nothing new": 0,
        "second at once": 4,
        "resumed": 0,
        "ruined": 3,
        "after the ruined one": 0,
        "rolled back": 0,
        "cut off": 1,
        "whole again": 0,
        "verified": 0,
    }, "\n".join(ended.stdout + ended.stderr for ended in chain.steps.values())
    assert "Traceback" not in "".join(ended.stdout + ended.stderr for ended in chain.steps.values())


@pytest.mark.parametrize("step", ["nothing new", "after the ruined one"])
def test_without_a_new_day_nothing_is_done(chain, step):
    screen = chain.steps[step].stdout
    assert "Nothing to do" in screen
    assert "InteractionIngest" not in screen


def test_the_file_that_is_cut_off_is_named(chain):
    assert chain.file(12).name in chain.steps["cut off"].stderr


def test_every_day_is_read_once_per_window(chain):
    reports = chain.read_ingest_reports()
    read = [
        [re.search(r"\d{4}-\d\d-\d\d", file)[0] for file in one["files"]["interactions"]] for one in reports
    ]
    # Of the first day, of the run that was killed (which the resumed one goes on from), of the ruined model
    # and of the last one; the days that have left the six are no more.
    expected = [(4, 5, 6, 8, 9), range(5, 11), range(6, 12), range(7, 13)]
    assert read == [[name_day(day) for day in days] for days in expected]
    log = pq.read_table(chain.workspace.directory / "data" / "interactions.parquet")["timestamp"]
    day = pc.floor(pc.divide(pc.cast(pc.subtract(log, int(START.timestamp())), pa.float64()), 86_400.0))
    for one, days in zip(reports, expected, strict=True):
        good = pc.sum(pc.is_in(day, value_set=pa.array([float(number) for number in days]))).as_py()
        assert one["rows_kept"] == good
        assert one["rows_read"] == good + len(MALFORMED) * len(days)


def test_the_killed_run_goes_on_from_its_checkpoint(chain):
    assert re.search(r"Training resumed from step \d+", chain.steps["resumed"].stdout)
    # The steps before the training are those of the run that was killed.
    assert not re.search(r"Ingest: .* interactions read", chain.steps["resumed"].stdout.split("Trainer")[0])


def test_each_release_begins_from_the_one_that_was_current(chain):
    assert chain.manifest(1)["warm_start"] is None
    assert chain.manifest(2)["warm_start"]["release"] == 1
    # The second one was taken back, and the ruined model left none.
    assert chain.manifest(3)["warm_start"]["release"] == 1
    releases = chain.directory / "serving" / "releases"
    assert sorted(path.parent.name for path in releases.glob("*/manifest.json")) == ["1", "2", "3"]
