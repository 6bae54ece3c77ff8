"""Steps in processes of their own: order, side by side, failures and kills, with TFX's own launcher."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from pipeline.retraining import lock

pytestmark = pytest.mark.integration

TIMEOUT_SECONDS = 300

# A, then B and C side by side, then D; what a step does stands in its property.
PROGRAM = """
import json, logging, os, signal, sys, time
from pathlib import Path
import apache_beam as beam
from tfx.dsl.components.base import base_component, executor_spec
from tfx.orchestration import metadata
from tfx.orchestration.pipeline import Pipeline
from tfx.types.channel import Channel
from tfx.types.component_spec import ChannelParameter, ComponentSpec, ExecutionParameter
from components.artifacts import Report
from components.execution import PlainExecutor, get_path
from pipeline import progress_screen
from pipeline.local_steps import StepRunner
from pipeline.retraining.lock import hold_run_lock
from schemas.contract import LIVE_LOGGER, PROGRESS_LOGGER
from schemas.errors import DataError, DssmError
from schemas.progress import StepProgress, report_progress


class StepExecutor(PlainExecutor):
    def Do(self, inputs, outputs, properties):
        name, action = properties["name"], properties["action"]
        start = time.time()
        (directory / f"{name}.started").write_text(str(os.getpid()))
        if action == "refuse":
            raise DataError("items.parquet: expected rows." + "x" * 200_000)
        if action == "fail":
            raise ValueError("first line\\nsecond line")
        if action == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        if action == "hold":
            hold = bytearray(400_000_000)
        if action == "count":
            for done in (0, 3_000, 6_000):
                report_progress(StepProgress(done, "rows read", 9_000))
                time.sleep(0.3)
            logging.getLogger(PROGRESS_LOGGER).warning("A line of the step.")
        if action == "beam":
            with beam.Pipeline(runner="FnApiRunner") as pipeline:
                pipeline | beam.Create(range(30)) | beam.Map(lambda _: time.sleep(0.1))
        time.sleep({"sleep": 3.0, "wait": 600.0}.get(action, 0.0))
        get_path(outputs, "report").joinpath("report.json").write_text(name)
        record = {"start": start, "end": time.time(), "pid": os.getpid()}
        (directory / f"{name}.json").write_text(json.dumps(record))


class StepSpec(ComponentSpec):
    PARAMETERS = {"name": ExecutionParameter(type=str), "action": ExecutionParameter(type=str)}
    INPUTS = {name: ChannelParameter(type=Report, optional=True) for name in ("first", "second")}
    OUTPUTS = {"report": ChannelParameter(type=Report)}


class Step(base_component.BaseComponent):
    SPEC_CLASS = StepSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(StepExecutor)

    def __init__(self, name, *inputs):
        channels = dict(zip(("first", "second"), (step.outputs["report"] for step in inputs)))
        action = actions.get(name, "")
        super().__init__(StepSpec(name=name, action=action, report=Channel(type=Report), **channels))
        self.with_id(name)


directory, side_by_side, actions = Path(sys.argv[1]), int(sys.argv[2]), json.loads(sys.argv[3])
if "--use-tensorflow" in sys.argv:
    import tensorflow as tf
    tf.constant(1.0) + 1.0
# A quarter of a second instead of thirty.
progress_screen.SECONDS_BETWEEN_LINES = 0.25 if "--impatient" in sys.argv else 30.0
screen = progress_screen.ProgressScreen(sys.stdout)
for name in (PROGRESS_LOGGER, LIVE_LOGGER):
    logging.getLogger(name).setLevel(logging.INFO)
    logging.getLogger(name).addHandler(screen)
a = Step("A"); b = Step("B", a); c = Step("C", a); d = Step("D", b, c)
pipeline = Pipeline(
    pipeline_name="steps", pipeline_root=str(directory / "artifacts"),
    components=[a, b, c, d], enable_cache=True,
    metadata_connection_config=metadata.sqlite_metadata_connection_config(str(directory / "metadata.sqlite")),
)
try:
    with hold_run_lock(directory, directory / "serving"):
        StepRunner(directory, side_by_side).run(pipeline)
except DssmError as error:
    print(f"{type(error).__name__}: {str(error)[:120]}")
"""


class Steps:
    """Runs the pipeline of `PROGRAM`, which begins where TFX has been imported."""

    def __init__(self, prepared: Any, directory: Path) -> None:
        self.prepared = prepared
        self.directory = directory
        self.program = directory / "program.py"
        self.program.write_text(PROGRAM)

    def start(self, side_by_side: int, *options: str, **actions: str) -> Any:
        log = self.directory / "log.txt"
        arguments = (self.directory, side_by_side, json.dumps(actions), *options)
        return self.prepared.start(self.program, arguments, stdout=log, stderr=log)

    def run(self, side_by_side: int, *options: str, **actions: str) -> list[str]:
        """Run the pipeline, and return the lines that it shows."""
        arguments = (self.directory, side_by_side, json.dumps(actions), *options)
        done = self.prepared.run(self.program, arguments, self.directory, timeout=TIMEOUT_SECONDS)
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()


@pytest.fixture
def steps(prepared: Any, tmp_path: Path) -> Steps:
    return Steps(prepared, tmp_path)


def read_records(directory: Path) -> dict[str, dict[str, Any]]:
    return {file.stem: json.loads(file.read_text()) for file in directory.glob("?.json")}


def test_steps_run_after_what_they_wait_for_and_side_by_side(steps: Steps, tmp_path: Path) -> None:
    screen = steps.run(2, B="sleep", C="sleep")
    times = read_records(tmp_path)
    assert times["A"]["end"] <= min(times["B"]["start"], times["C"]["start"])
    assert max(times["B"]["end"], times["C"]["end"]) <= times["D"]["start"]
    assert times["B"]["start"] < times["C"]["end"]
    assert times["C"]["start"] < times["B"]["end"]
    assert len({record["pid"] for record in times.values()}) == 4
    assert screen[0] == "[1/4] A"
    assert screen[1].startswith("[1/4] A took ")
    assert screen[-1].startswith("[4/4] D took ")


def test_one_after_the_other_and_memory_is_given_back(steps: Steps, tmp_path: Path) -> None:
    screen = steps.run(1, B="hold")
    times = read_records(tmp_path)
    first, second = sorted(("B", "C"), key=lambda name: times[name]["start"])
    assert times[first]["end"] <= times[second]["start"]
    peaks = {line.split()[1]: float(line.split()[-2]) for line in screen if "peak memory" in line}
    assert peaks["B"] > max(peaks["C"], peaks["D"]) + 0.3


def test_no_step_is_silent(steps: Steps, tmp_path: Path) -> None:
    screen = steps.run(2, "--impatient", B="beam", C="count")
    # Rows as the step itself counts them; its own lines come through as well.
    [*_, counted] = [line for line in screen if line.startswith("[3/4] C: ")]
    assert re.search(r"[36],000 of 9,000 rows read, \d+,\d+ a second", counted)
    assert "A line of the step." in screen
    # What Beam counts while it runs, and not only when it has ended: 30 elements of a tenth of a second each.
    seen = [int(found[1]) for line in screen if (found := re.match(r"\[2/4\] B: .* (\d+) elements", line))]
    assert seen == sorted(seen)
    assert len(set(seen)) >= 2
    # No line comes later than it should by more than the two ticks of half a second.
    begin, end = screen.index("[2/4] B"), next(i for i, line in enumerate(screen) if "B took" in line)
    lines = [line for line in screen[begin:end] if line.startswith("[2/4] B: ")]
    assert len(lines) >= (read_records(tmp_path)["B"]["end"] - read_records(tmp_path)["B"]["start"]) / 1.25


def test_a_finished_step_is_reused(steps: Steps, tmp_path: Path) -> None:
    steps.run(2)
    before = read_records(tmp_path)
    screen = steps.run(2, D="other")
    after = read_records(tmp_path)
    reused = {line.split()[1] for line in screen if "is reused: an earlier run did the same" in line}
    assert reused == {"A", "B", "C"}
    assert screen[-1].startswith("[4/4] D took ")
    assert {name for name in after if after[name] != before[name]} == {"D"}


@pytest.mark.parametrize(
    ("action", "message"),
    [
        ("refuse", "DataError: B: items.parquet: expected rows.xxx"),
        ("fail", "StepError: B failed: ValueError: second line"),
        (
            "die",
            "StepError: B failed: its process was killed by signal 9. The machine may have run out of mem",
        ),
    ],
)
def test_a_failed_step_says_why_and_the_one_beside_it_ends(
    steps: Steps, tmp_path: Path, action: str, message: str
) -> None:
    screen = steps.run(2, B=action, C="sleep")
    assert screen[-1].startswith(message)
    assert set(read_records(tmp_path)) == {"A", "C"}
    # What succeeded is not done again.
    before = read_records(tmp_path)
    steps.run(2, C="sleep")
    after = read_records(tmp_path)
    assert set(after) == {"A", "B", "C", "D"}
    assert [after[name] for name in ("A", "C")] == [before[name] for name in ("A", "C")]


def test_nothing_goes_on_once_the_run_is_killed(steps: Steps, tmp_path: Path) -> None:
    process = steps.start(2, B="wait", C="wait")
    deadline = time.monotonic() + TIMEOUT_SECONDS
    files = [tmp_path / "B.started", tmp_path / "C.started"]
    while not all(file.exists() and file.read_text() for file in files):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    running = [int(file.read_text()) for file in files]
    assert lock.is_running(tmp_path)
    process.send_signal(signal.SIGKILL)
    process.wait(TIMEOUT_SECONDS)
    while any(is_running(step) for step in running):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert not lock.is_running(tmp_path)


def is_running(process: int) -> bool:
    try:
        status = Path(f"/proc/{process}/stat").read_text()
    except FileNotFoundError:
        return False
    return status.rsplit(")", 1)[1].split()[0] != "Z"


def test_steps_stay_in_a_process_in_which_tensorflow_runs(steps: Steps, tmp_path: Path) -> None:
    screen = steps.run(2, "--use-tensorflow")
    assert len({record["pid"] for record in read_records(tmp_path).values()}) == 1
    assert screen[-1].startswith("[4/4] D took ")


IMPORT_THE_PIPELINE = """
import sys, threading
import pipeline.local
from tensorflow.python.eager import context
print(threading.active_count(), context.context()._initialized)
"""


def test_importing_the_pipeline_starts_nothing_that_a_fork_would_miss() -> None:
    path = os.pathsep.join(path or str(Path.cwd()) for path in sys.path)
    result = subprocess.run(
        [sys.executable, "-c", IMPORT_THE_PIPELINE],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stdout.splitlines()[-1] == "1 False"
