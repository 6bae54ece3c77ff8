"""Seconds and memory of a whole `dssm run`, step by step, on tables of `dssm synth`.

    .venv/bin/python benchmarks/pipeline.py --json benchmarks/results/pipeline.json
    .venv/bin/python benchmarks/pipeline.py --scale 100m --json benchmarks/results/pipeline_100m.json

The configuration is that of MovieLens-100K with its history of 20, one epoch. Of a run, `rest` is everything
but the ingest and the epoch: the imports of the command, schema, statistics, validation, Transforms, the
Trainer's loading, tracing and export, index, evaluation and push. It is divided by the seconds of ingest and
epoch; the epoch's are the Trainer's own, its rows divided by its examples per second.

A step's memory is the peak of its process, which shares what has been imported with the process that started
it; the whole run's is the most that all of them held at one time, shared pages counted once. The Trainer's
bytes an interaction are those of `dssm train` on the same artifacts with embeddings of width 4, so that
tables and slots are next to nothing, above a process that has imported the same and done nothing.
"""

import argparse
import dataclasses
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from reporting import Figure, benchmark_parser, describe_versions, write_json
from tabulate import tabulate

DSSM: Final = Path(sys.executable).with_name("dssm")
CONFIG: Final = "pipeline/configs/movielens_100k.yaml"
SETTINGS: Final = ("training.epochs=1", "evaluation.blessing_minimum=0.0", "training.log_interval_steps=1000")
SAMPLE_SECONDS: Final = 0.5
REST_BARS: Final = {"1m": 2.0, "10m": 0.35}
TRAINER_BYTES_BAR: Final = 40.0


@dataclass(frozen=True)
class Scale:
    """How large the tables are."""

    interactions: int
    users: int
    items: int
    evaluated_users: int | None = None
    """The evaluation's sample; None: all."""


SCALES: Final = {
    "1m": Scale(1_000_000, 20_000, 5_000),
    "10m": Scale(10_000_000, 100_000, 50_000, evaluated_users=20_000),
    "100m": Scale(100_000_000, 2_000_000, 500_000, evaluated_users=20_000),
}
QUICK: Final = Scale(10_000, 500, 200)


@dataclass(frozen=True)
class Run:
    """One run of the pipeline."""

    seconds: float
    """Of the whole command."""
    ingest_seconds: float
    epoch_seconds: float
    step_seconds: dict[str, float]
    step_bytes: dict[str, float]
    """The peak of each step's process."""
    peak_bytes: float
    """The most that all processes of the command held at one time."""
    artifact_bytes: float
    """On disk: every artifact of the run."""
    input_bytes: float
    """On disk: the tables."""

    @property
    def rest(self) -> float:
        """Everything but ingest and epoch, in terms of both."""
        own = self.ingest_seconds + self.epoch_seconds
        return (self.seconds - own) / own


def run_pipeline(scale: Scale, directory: Path) -> Run:
    """Write tables and run the pipeline on them.

    Args:
        scale: The tables' size.
        directory: Gets `data`, `runs` and `serving`.

    Returns:
        What it took.
    """
    data = directory / "data"
    sizes = ("users", "items", "interactions")
    options = [part for name in sizes for part in (f"--{name}", str(getattr(scale, name)))]
    subprocess.run(
        [DSSM, "synth", *options, "--days", "90", "--output", data], check=True, stdout=subprocess.DEVNULL
    )
    settings = [
        *SETTINGS,
        f"data.directory={data}",
        f"run.directory={directory}/runs",
        f"serving.directory={directory}/serving",
    ]
    if scale.evaluated_users is not None:
        settings.append(f"evaluation.users={scale.evaluated_users}")
    start = time.perf_counter()
    process = subprocess.Popen(
        [DSSM, "run", "--no-cache", "--config", CONFIG, *set_options(settings)],
        stdout=subprocess.PIPE,
        text=True,
    )
    watch = MemoryWatch(process.pid)
    screen, _ = process.communicate()
    seconds = time.perf_counter() - start
    # A model that is not blessed has gone through every step, too.
    if process.returncode not in (0, 3):
        sys.exit(f"dssm run failed with exit status {process.returncode}:\n{screen}")
    return read_run(screen, seconds, watch.stop(), directory)


def set_options(settings: Sequence[str]) -> list[str]:
    """Make --set options."""
    return [part for setting in settings for part in ("--set", setting)]


def read_run(screen: str, seconds: float, peak_bytes: float, directory: Path) -> Run:
    """Put together what a run showed and left behind."""
    found = re.findall(r"^\[\d+/\d+\] (\w+) took ([\d.]+) s, peak memory ([\d.]+) GB$", screen, re.MULTILINE)
    step_seconds = {step: float(took) for step, took, _ in found}
    [model] = directory.glob("runs/artifacts/Trainer/model/*/Format-Serving/model.json")
    info = json.loads(model.read_text())
    return Run(
        seconds=seconds,
        ingest_seconds=step_seconds["InteractionIngest"],
        epoch_seconds=info["steps"] * info["global_batch"] / info["examples_per_second"],
        step_seconds=step_seconds,
        step_bytes={step: float(peak) * 1e9 for step, _, peak in found},
        peak_bytes=peak_bytes,
        artifact_bytes=size_on_disk(directory / "runs" / "artifacts"),
        input_bytes=size_on_disk(directory / "data"),
    )


def size_on_disk(folder: Path) -> float:
    """Add up the bytes of the files below a folder."""
    return float(sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()))


class MemoryWatch:
    """Samples the memory of a process and of those that it has started, shared pages counted once."""

    def __init__(self, process: int) -> None:
        self._process = process
        self._peak = 0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self._thread.start()

    def stop(self) -> float:
        """End it, and return the peak in bytes."""
        self._ended.set()
        self._thread.join()
        return float(self._peak)

    def _sample(self) -> None:
        while not self._ended.wait(SAMPLE_SECONDS):
            self._peak = max(self._peak, sum(map(proportional_bytes, list_tree(self._process))))


def list_tree(process: int) -> list[int]:
    """List a process and those that it has started."""
    found, waiting = [], [process]
    while waiting:
        current = waiting.pop()
        found.append(current)
        for children in Path(f"/proc/{current}/task").glob("*/children"):
            try:
                waiting += map(int, children.read_text().split())
            except OSError:
                continue
    return found


def proportional_bytes(process: int) -> int:
    """Read a process' memory, its share of shared pages alone; 0 where it has ended."""
    try:
        text = Path(f"/proc/{process}/smaps_rollup").read_text()
    except OSError:
        return 0
    match = re.search(r"^Pss:\s+(\d+) kB", text, re.MULTILINE)
    return int(match[1]) * 1024 if match else 0


def measure_trainer(directory: Path, interactions: int) -> float:
    """Measure the Trainer's memory on a run's artifacts.

    Args:
        directory: Where the pipeline ran.
        interactions: Its number of interactions.

    Returns:
        Bytes an interaction above the idle process.
    """
    artifacts = {
        option: next((directory / "runs" / "artifacts").glob(f"{output}/*"))
        for option, output in (
            ("sequences", "InteractionIngest/sequences"),
            ("catalogue", "InteractionIngest/catalogue"),
            ("user-transform", "UserTransform/transform_graph"),
            ("item-transform", "ItemTransform/transform_graph"),
        )
    }
    options = [part for name, path in artifacts.items() for part in (f"--{name}", str(path))]
    settings = set_options([*SETTINGS, "model.dim=4"])
    used = peak_of([DSSM, "train", "--config", CONFIG, *settings, *options, "--output", directory / "model"])
    idle = peak_of([sys.executable, "-c", "import trainer.worker"])
    return (used - idle) / interactions


def peak_of(command: Sequence[str | Path]) -> float:
    """Run a command, and return the most memory that it held, in bytes."""
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2", "TF_USE_LEGACY_KERAS": "1"}
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, env=environment)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"{command[:2]} failed with exit status {process.returncode}.")
    return usage.ru_maxrss * 1024.0


def measure_bars(quick: bool, directory: Path) -> tuple[dict[str, Figure], dict[str, Any]]:
    """Run the two scales that have bars.

    Args:
        quick: Whether one small run stands for both.
        directory: Where data and outputs go.

    Returns:
        The figures, and every measurement by scale.
    """
    figures, raw = {}, {}
    runs: dict[str, Run] = {}
    for name, bar in REST_BARS.items():
        folder = directory / ("quick" if quick else name)
        scale = QUICK if quick else SCALES[name]
        if name == "1m" or not quick:
            runs[name] = run_pipeline(scale, folder)
        else:
            runs[name] = runs["1m"]
        figures[f"rest_vs_ingest_and_epoch_{name}"] = Figure(runs[name].rest, "1", bar, at_most=True)
        figures |= describe_run(name, runs[name], scale)
        raw[name] = dataclasses.asdict(runs[name])
        if name == "10m":
            trainer_bytes = measure_trainer(folder, scale.interactions)
            figures["trainer_bytes_per_interaction"] = Figure(
                trainer_bytes, "bytes", TRAINER_BYTES_BAR, at_most=True
            )
        elif not quick:
            shutil.rmtree(folder)
    return figures, raw


def describe_run(name: str, run: Run, scale: Scale) -> dict[str, Figure]:
    """Make the figures of a run that have no bar."""
    return {
        f"seconds_{name}": Figure(run.seconds, "s"),
        f"ingest_seconds_{name}": Figure(run.ingest_seconds, "s"),
        f"epoch_seconds_{name}": Figure(run.epoch_seconds, "s"),
        f"peak_gb_{name}": Figure(run.peak_bytes / 1e9, "GB"),
        f"artifact_bytes_per_interaction_{name}": Figure(run.artifact_bytes / scale.interactions, "bytes"),
        f"input_bytes_per_interaction_{name}": Figure(run.input_bytes / scale.interactions, "bytes"),
    }


def print_steps(raw: dict[str, Any]) -> None:
    """Print each step's seconds and memory."""
    for name, run in raw.items():
        rows = [(step, took, run["step_bytes"][step] / 1e9) for step, took in run["step_seconds"].items()]
        print(f"\n{name}:\n" + tabulate(rows, headers=("step", "seconds", "peak GB"), floatfmt=".2f"))


def main() -> None:
    """Measure, print and write."""
    parser = benchmark_parser(__doc__.splitlines()[0])
    parser.add_argument(
        "--scale", choices=["100m"], help="one run of this many interactions instead of those with bars"
    )
    parser.add_argument("--directory", type=Path, help="where data and outputs go, and stay")
    arguments: argparse.Namespace = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="dssm-benchmark-") as temporary:
        directory = arguments.directory or Path(temporary)
        if arguments.scale:
            scale = SCALES[arguments.scale]
            run = run_pipeline(scale, directory / arguments.scale)
            figures, raw = (
                describe_run(arguments.scale, run, scale),
                {arguments.scale: dataclasses.asdict(run)},
            )
        else:
            figures, raw = measure_bars(arguments.quick, directory)
    print_steps(raw)
    rows = [(name, figure.value, figure.unit, figure.bar) for name, figure in figures.items()]
    print("\n" + tabulate(rows, headers=("figure", "value", "unit", "bar"), floatfmt=".3f"))
    if arguments.json:
        versions = describe_versions(["tfx", "tensorflow", "apache-beam", "pyarrow"])
        write_json(arguments.json, figures, versions, raw)


if __name__ == "__main__":
    main()
