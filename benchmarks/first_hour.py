"""The first hour with one's own data: `dssm init` and `dssm run` in sequence, with no file edited.

    .venv/bin/python benchmarks/first_hour.py --json benchmarks/results/first_hour.json

Five data sets of different shape, each written as a new user would have it: a shop's export of three CSV
files with traps (first_hour_data.write_shop says which), a music service's plays and tracks in Parquet with
others (write_plays), a log alone in JSON Lines (write_log_alone), MovieLens-100K and a grocery log. The last
two are fetched by `dssm fetch`; where it knows no grocery log, or the network has none, that is said, and the
data set counts as not run. `runs_without_an_edit` counts the data sets whose run ends in a release, with the
metric that decides above that of every baseline in its report. `init_seconds` is the slowest of `dssm init`
on a million interactions, the whole command, as Parquet and as CSV.

With --quick there is the shop alone, and nothing is fetched. It is so tiny that a model need not be above the
baselines, so what is counted is less, and has another name: `runs_that_ended` counts the data sets whose run
came to its end, with a release or without one.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from first_hour_data import Size, plant_log, write_log_alone, write_million, write_plays, write_shop
from reporting import Figure, benchmark_parser, describe_versions, write_json
from tabulate import tabulate

DSSM: Final = Path(sys.executable).with_name("dssm")
INIT_ROWS: Final = 1_000_000
INIT_BAR_SECONDS: Final = 10.0
RUNS_BAR: Final = 5
FULL: Final = Size(4_000, 1_500, 150_000)
QUICK: Final = Size(300, 60, 6_000)
QUICK_INIT_ROWS: Final = 20_000
NOT_BLESSED: Final = 3


@dataclass(frozen=True)
class FirstHour:
    """What became of a data set."""

    init_seconds: float
    run_seconds: float
    metric: str
    """The metric that decides."""
    value: float
    """The model's."""
    baselines: Mapping[str, float]
    """The baselines', by label."""
    is_released: bool
    problem: str = ""
    """What the commands said where one of them failed, or why there is no data set."""

    @property
    def is_above_all(self) -> bool:
        """Whether the model is above every baseline."""
        return bool(self.baselines) and self.value > max(self.baselines.values())


def not_run(problem: str, init_seconds: float = 0.0) -> FirstHour:
    """Say why there is no run."""
    return FirstHour(init_seconds, 0.0, "", 0.0, {}, False, problem)


def run_first_hour(paths: Sequence[Path], folder: Path) -> FirstHour:
    """Run `dssm init` and `dssm run`.

    Args:
        paths: The tables.
        folder: Where everything is written.

    Returns:
        What became of it.
    """
    start = time.perf_counter()
    init = run_dssm("init", *map(str, paths), "--output", str(folder))
    init_seconds = time.perf_counter() - start
    if init.returncode:
        return not_run(init.stdout + init.stderr, init_seconds)
    start = time.perf_counter()
    run = run_dssm("run", "--config", str(folder / "config.yaml"))
    run_seconds = time.perf_counter() - start
    if run.returncode not in (0, NOT_BLESSED):
        return not_run(run.stdout[-2_000:] + run.stderr[-2_000:], init_seconds)
    [path] = folder.glob("runs/artifacts/RetrievalEvaluator/report/*/evaluation_report.json")
    report = json.loads(path.read_text())
    metric = report["gate"]["metric"]
    values = {
        model["label"]: model["metrics"][metric]["value"] for model in report["models"] if model["metrics"]
    }
    model = report["metrics"][metric]
    baselines = dict(list(values.items())[1:])
    return FirstHour(init_seconds, run_seconds, metric, model, baselines, run.returncode == 0)


def run_dssm(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    return subprocess.run([DSSM, *arguments], capture_output=True, text=True, check=False)


def fetch(name: str, folder: Path) -> list[Path] | str:
    """Fetch a data set.

    Args:
        name: As `dssm fetch` knows it.
        folder: Where its tables are written.

    Returns:
        The tables, or why there are none.
    """
    result = run_dssm("fetch", name, "--output", str(folder))
    if result.returncode:
        return f"dssm fetch {name}: {(result.stderr or result.stdout).strip()[-500:]}"
    return sorted(folder.glob("*.parquet"))


def list_data_sets(quick: bool, scratch: Path) -> dict[str, Callable[[], list[Path] | str]]:
    """Name the data sets, each with what writes its tables."""
    size = QUICK if quick else FULL

    def plant(write: Callable[..., list[Path]], name: str, seed: int) -> Callable[[], list[Path]]:
        return lambda: write(plant_log(size, scratch / f"{name}_planted", seed), scratch / name)

    planted: dict[str, Callable[[], list[Path] | str]] = {
        "shop": plant(write_shop, "shop", 3),
        "plays": plant(write_plays, "plays", 4),
        "log_alone": plant(write_log_alone, "log_alone", 5),
    }
    if quick:
        return {"shop": planted["shop"]}
    return planted | {
        "movielens": lambda: fetch("movielens-100k", scratch / "movielens"),
        "grocery": lambda: fetch("completejourney", scratch / "grocery"),
    }


def measure_init(rows: int, scratch: Path) -> dict[str, float]:
    """Measure `dssm init` on many rows, by format."""
    seconds = {}
    for name, paths in write_million(scratch / "million", rows).items():
        start = time.perf_counter()
        result = run_dssm("init", *map(str, paths), "--output", str(scratch / "million" / f"{name}_project"))
        seconds[name] = time.perf_counter() - start
        if result.returncode:
            sys.exit(f"dssm init failed on {rows:,} rows of {name}:\n{result.stdout}{result.stderr}")
    return seconds


def count_runs(found: Mapping[str, FirstHour], quick: bool) -> dict[str, Figure]:
    """Count the data sets whose first hour ended well.

    Args:
        found: What became of each.
        quick: Whether a run counts that ended, whatever the model is worth.

    Returns:
        The number, under a name that says what was counted.
    """
    if quick:
        ended = sum(not one.problem for one in found.values())
        return {"runs_that_ended": Figure(ended, "data sets, with a release or without", 1)}
    good = sum(one.is_released and one.is_above_all for one in found.values())
    return {"runs_without_an_edit": Figure(good, "data sets with a release above every baseline", RUNS_BAR)}


def describe(found: Mapping[str, FirstHour]) -> dict[str, Any]:
    """Write down every measurement."""
    return {
        name: {
            "init_seconds": one.init_seconds,
            "run_seconds": one.run_seconds,
            "metric": one.metric,
            "model": one.value,
            "baselines": dict(one.baselines),
            "released": one.is_released,
            "above_every_baseline": one.is_above_all,
            "problem": one.problem,
        }
        for name, one in found.items()
    }


def show(found: Mapping[str, FirstHour]) -> str:
    """Show the data sets in a table."""
    rows = []
    for name, one in found.items():
        best = max(one.baselines.items(), key=lambda pair: pair[1], default=("", 0.0))
        rows.append(
            (
                name,
                one.init_seconds,
                one.run_seconds,
                one.metric,
                one.value,
                best[1],
                best[0],
                one.is_released,
            )
        )
    headers = ("", "init s", "run s", "metric", "model", "best baseline", "which", "released")
    lines = [tabulate(rows, headers=headers, floatfmt=".3f")]
    lines += [f"{name} was not run: {one.problem}" for name, one in found.items() if one.problem]
    return "\n".join(lines)


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = benchmark_parser(__doc__.splitlines()[0])
    parser.add_argument("--only", action="append", metavar="NAME", help="one data set; repeatable")
    parser.add_argument("--directory", type=Path, help="where data and outputs go, and stay")
    return parser.parse_args()


def main() -> None:
    """Measure, print and write."""
    arguments = parse_arguments()
    scratch = arguments.directory or Path(tempfile.mkdtemp(prefix="first-hour-"))
    try:
        found = {}
        for name, write in list_data_sets(arguments.quick, scratch).items():
            if arguments.only and name not in arguments.only:
                continue
            paths = write()
            project = scratch / f"{name}_project"
            found[name] = not_run(paths) if isinstance(paths, str) else run_first_hour(paths, project)
            print(show({name: found[name]}), flush=True)
        seconds = measure_init(QUICK_INIT_ROWS if arguments.quick else INIT_ROWS, scratch)
    finally:
        if arguments.directory is None:
            shutil.rmtree(scratch, ignore_errors=True)
    figures = {
        **count_runs(found, arguments.quick),
        "init_seconds": Figure(max(seconds.values()), "s", INIT_BAR_SECONDS, at_most=True),
        **{f"init_seconds_{name}": Figure(value, "s") for name, value in seconds.items()},
    }
    print("\n" + show(found))
    for name, figure in figures.items():
        print(f"{name}: {figure.value:g} {figure.unit}" + ("" if figure.meets_bar else " misses its bar"))
    if arguments.json is not None:
        versions = describe_versions(["tfx", "tensorflow", "pyarrow"])
        write_json(arguments.json, figures, versions, raw={"data_sets": describe(found), "init": seconds})


if __name__ == "__main__":
    main()
