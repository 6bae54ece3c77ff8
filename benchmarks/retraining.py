"""A simulated month of `dssm retrain`: what goes wrong in one, and what the daily models are worth.

    .venv/bin/python benchmarks/retraining.py --json benchmarks/results/retraining.json \
        --plot docs/retraining_recall.svg

Each day brings a file of the log, in which interests drift, users and items join and a few rows are
malformed (benchmarks/drifting_log.py), and tables with those who have joined. `dssm retrain` trains on the
last ten days but the newest, which is held out, from the last release. In the month one day is missing, one
comes late, one has a file that is cut off, one run is killed in its training, the machine is off for three
days, one model is ruined by a setting and refused, and one release is taken back by hand.

On the data of each run two more models are asked for the same day: one that began from nothing, and that of
day 1, frozen, with the items that it had. The recall is that of the release which is current after the run.

Days that are done are kept in --directory, and a second call with the same one goes on from there.
"""

import argparse
import dataclasses
import json
import statistics
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import yaml
from drifting_log import DriftingLog, Size, make_schema, name_day
from reporting import Figure, benchmark_parser, describe_versions, write_json
from retraining_accounts import find_wrong_days
from retraining_chain import DECIDES, EXIT_REFUSED, NOTHING_TO_DO, Chain, ColdModels, UnexpectedEndError
from retraining_plot import plot_recall
from tabulate import tabulate

Fault = Literal["missing", "late", "corrupt", "killed", "off", "refused", "rolled back"]

WINDOW_DAYS: Final = 10
MAXIMUM_MISSING_DAYS: Final = 2
LATE_DAYS: Final = 2
RECALL_BAR, STEPS_BAR, IDLE_BAR_SECONDS = 0.98, 1 / 3, 10.0
"""The least recall of warm in terms of cold's, the greatest number of steps likewise, and the seconds."""
DAYS_OF_RECALL, DAYS_ABOVE_FROZEN = 20, 11
"""The last days whose median is reported, and over which warm and frozen are compared."""
RESAMPLES: Final = 9_999
RUINED: Final = ("training.warm_start=false", "training.epochs=1", "training.learning_rate=1.0e-7")
FAULTS: Final[Mapping[int, Fault]] = {
    4: "missing",
    7: "late",
    11: "corrupt",
    14: "killed",
    16: "off",
    17: "off",
    18: "off",
    22: "refused",
    25: "rolled back",
}
QUICK_FAULTS: Final[Mapping[int, Fault]] = {2: "missing"}


@dataclasses.dataclass(frozen=True)
class Scale:
    """How large the data and the trainings are."""

    days: int
    size: Size
    training: Mapping[str, Any]
    model: Mapping[str, Any]
    evaluation: Mapping[str, Any]
    faults: Mapping[int, Fault]


def make_scale(quick: bool, days: int | None) -> Scale:
    """Choose how large the simulation is.

    Args:
        quick: Whether it is to show only that it works.
        days: The days that it lasts; None: the usual number.

    Returns:
        The scale.
    """
    evaluation = {"ks": [10, 50], "blessing_metric": DECIDES, "baselines": ["recent_popularity"]}
    if quick:
        days = days or 3
        return Scale(
            days=days,
            size=Size(users=300, items=200, interactions_per_day=400, days=days + WINDOW_DAYS - 1),
            training={"per_replica_batch": 64, "epochs": 3, "warm_epochs": 1},
            model={"dim": 16, "user_layers": [16], "item_layers": [16]},
            # So few users show nothing.
            evaluation=evaluation
            | {"blessing_margin": 1.0, "blessing_slice_margin": 1.0, "blessing_baselines": []},
            faults=QUICK_FAULTS,
        )
    days = days or 30
    return Scale(
        days=days,
        size=Size(users=2_000, items=1_000, interactions_per_day=3_000, days=days + WINDOW_DAYS - 1),
        training={"per_replica_batch": 256, "epochs": 4, "warm_epochs": 1},
        model={},
        evaluation=evaluation,
        faults=FAULTS,
    )


def make_config(scale: Scale, seed: int, data: Path, schema: Path) -> dict[str, Any]:
    """Write down the chain's configuration, but for its directories."""
    return {
        "run": {"name": "month"},
        "data": {"schema": str(schema), "directory": str(data)},
        "ingest": {
            "split": {"kind": "last_days", "days": 1},
            "window": {"last_days": WINDOW_DAYS, "maximum_missing_days": MAXIMUM_MISSING_DAYS},
        },
        "model": dict(scale.model),
        "training": {
            **scale.training,
            "seed": seed,
            "warm_start": True,
            "checkpoint": {"interval_steps": 25},
        },
        "evaluation": dict(scale.evaluation),
        "retraining": {
            "retention": {"releases": {"keep": 5, "days": 0}, "runs": {"keep": 3, "days": 0}},
        },
    }


class Month:
    """The simulation, day by day.

    Args:
        scale: How large it is.
        seed: Seed of the data and of the trainings.
        directory: Gets everything.
    """

    def __init__(self, scale: Scale, seed: int, directory: Path) -> None:
        self._scale, self._data, self._results = scale, directory / "data", directory / "days.json"
        self._log = DriftingLog(scale.size, seed, directory / "drawn")
        schema = directory / "schema.yaml"
        schema.write_text(yaml.safe_dump(make_schema("log/{date}.csv.gz", 20)), encoding="utf-8")
        self._chain = Chain(directory / "chain", make_config(scale, seed, self._data, schema))
        self._cold = ColdModels(self._chain, directory / "cold")
        self.days: list[dict[str, Any]] = (
            json.loads(self._results.read_text()) if self._results.exists() else []
        )

    def live(self) -> None:
        """Go through the days that are not done yet.

        Raises:
            UnexpectedEndError: Something went otherwise than the day asks for.
        """
        for day in range(len(self.days) + 1, self._scale.days + 1):
            fault = self._scale.faults.get(day)
            record: dict[str, Any] = {"day": day, "fault": fault, "idle_seconds": []}
            self._publish(day, fault)
            if fault != "off":
                record |= self._retrain(day, fault, record["idle_seconds"])
            self.days.append(record)
            self._results.write_text(json.dumps(self.days, indent=1) + "\n")
            print(f"Day {day}{f' ({fault})' if fault else ''}: {describe_day(record)}", flush=True)

    def finish(self) -> int:
        """Look at what is there at the end.

        Returns:
            The runs that began before an earlier one had come to its end.

        Raises:
            UnexpectedEndError: The current release is not what was pushed.
        """
        self._chain.call("releases", "verify")
        return self._chain.count_overlaps()

    def _retrain(self, day: int, fault: Fault | None, idle_seconds: list[float]) -> dict[str, Any]:
        chain = self._chain
        if fault in ("missing", "late"):
            idle_seconds.append(self._idle())
            return {}
        if fault == "corrupt":
            ended = chain.call("retrain", expected=1)
            if name_day(self._number(day)) not in ended.screen:
                raise UnexpectedEndError(f"Expected the file that is cut off to be named.\n{ended.screen}")
            return {}
        if fault == "killed":
            busy = chain.kill_in_training()
            chain.call("retrain", "--resume")
            run = chain.read_finished_run() | {"busy_seconds": busy.seconds}
        elif fault == "refused":
            chain.call("retrain", settings=RUINED, expected=EXIT_REFUSED)
            run = chain.read_finished_run()
            # What was refused is not trained again on the same data.
            idle_seconds.append(self._idle())
        else:
            run = self._retrain_or_find()
        if day == 1:
            self._cold.freeze()
        found: dict[str, Any] = {"warm": run, "there": self._list_there(day)}
        if day > 1:
            found["cold"] = self._cold.measure(run["window"], MAXIMUM_MISSING_DAYS)
            if found["cold"]["queries"] != run["queries"]:
                raise UnexpectedEndError(f"Day {day}: expected warm and cold to be asked for the same items.")
        if fault == "rolled back":
            before = max(one["warm"]["release"] or 0 for one in self.days if "warm" in one)
            chain.call("releases", "rollback", str(before), "--reason", "A simulated fault.")
            found["current"] = before
        self._check_base(run)
        return found

    def _retrain_or_find(self) -> dict[str, Any]:
        """Retrain, or find the run of a call of this script that was interrupted after it."""
        ended = self._chain.call("retrain", expected=None)
        run = self._chain.read_finished_run()
        known = {one["warm"]["run"] for one in self.days if "warm" in one}
        if ended.status not in (0, EXIT_REFUSED) or run["run"] in known:
            raise UnexpectedEndError(f"Expected a run that comes to its end.\n{ended.screen}")
        return run

    def _idle(self) -> float:
        ended = self._chain.call("retrain")
        if NOTHING_TO_DO not in ended.screen:
            raise UnexpectedEndError(f"Expected nothing to do.\n{ended.screen}")
        return ended.seconds

    def _check_base(self, run: Mapping[str, Any]) -> None:
        current = None
        for one in self.days:
            current = one.get("current", one.get("warm", {}).get("release")) or current
        if run["base"] is not None and run["base"] != current:
            raise UnexpectedEndError(
                f"Expected a warm start from release {current}. Received: {run['base']}."
            )

    def _publish(self, day: int, fault: Fault | None) -> None:
        """Put in place what the day brings."""
        if day == 1:
            for number in range(WINDOW_DAYS - 1):
                self._log.write_log(number, self._file(number))
        for earlier, kind in self._scale.faults.items():
            came = {"late": earlier + LATE_DAYS, "corrupt": earlier + 1}.get(kind)
            if came == day:
                self._log.write_log(self._number(earlier), self._file(self._number(earlier)))
        number = self._number(day)
        if fault in ("missing", "late"):
            return
        if fault == "corrupt":
            self._log.write_cut_off_log(number, self._file(number))
        else:
            self._log.write_log(number, self._file(number))
        self._log.write_tables(number, self._number(1), self._data)

    def _list_there(self, day: int) -> dict[str, int]:
        """List the days whose whole file is there, with their rows, by what the faults say."""
        there = {}
        for number in range(self._number(day) + 1):
            of_day = number - self._number(0)
            kind = self._scale.faults.get(of_day)
            is_absent = kind == "missing" or (kind == "late" and day < of_day + LATE_DAYS)
            if not is_absent and not (kind == "corrupt" and day == of_day):
                there[name_day(number)] = self._log.rows(number)
        return there

    def _number(self, day: int) -> int:
        """Give the number of the day in the log, which begins before the simulation does."""
        return day + WINDOW_DAYS - 2

    def _file(self, number: int) -> Path:
        return self._data / "log" / f"{name_day(number)}.csv.gz"


def describe_day(record: Mapping[str, Any]) -> str:
    """Say in a line what a day brought."""
    if "warm" not in record:
        return "no run" if not record["idle_seconds"] else f"nothing new, {record['idle_seconds'][0]:.1f} s"
    warm = record["warm"]
    text = f"{warm['status']}, Recall@50 {warm['recall']:.4f} after {warm['steps']} steps"
    cold = record.get("cold")
    if cold is None:
        return text
    return f"{text}; cold {cold['recall']:.4f} after {cold['steps']}; of day 1 {cold['released_recall']:.4f}"


def read_current_recall(warm: Mapping[str, Any], name: str) -> float:
    """Give the recall of the release that is current after a run."""
    value = warm[name] if warm["status"] == "released" else warm[f"released_{name}"]
    if value is None:
        raise UnexpectedEndError(f"Expected run {warm['run']} to tell {name}. Received: nothing.")
    return float(value)


def bootstrap_mean(differences: Sequence[float]) -> tuple[float, float, float]:
    """Give a mean over days and its 95 % interval, by a bootstrap over the days."""
    values = np.asarray(differences)
    drawn = np.random.default_rng(0).integers(0, len(values), (RESAMPLES, len(values)))
    low, high = np.quantile(values[drawn].mean(axis=1), [0.025, 0.975])
    return float(values.mean()), float(low), float(high)


def make_figures(days: Sequence[Mapping[str, Any]], last_day: int, overlaps: int) -> dict[str, Figure]:
    """Make the figures of a month."""
    with_run = [one for one in days if "warm" in one]
    wrong = find_wrong_days(
        [one["warm"] for one in with_run], [one["there"] for one in with_run], WINDOW_DAYS
    )
    compared = [one for one in with_run if "cold" in one]
    late = [one for one in compared if one["day"] > last_day - DAYS_OF_RECALL]
    # A model that was ruined on purpose says nothing of what a warm start costs.
    trained = [one for one in late if one["fault"] != "refused"]
    recalls = [read_current_recall(one["warm"], "recall") / one["cold"]["recall"] for one in late]
    steps = [one["warm"]["steps"] / one["cold"]["steps"] for one in trained]
    idle = [seconds for one in days for seconds in one["idle_seconds"]]
    figures = {
        "warm_recall_vs_cold": median_of(recalls, "1", RECALL_BAR),
        "warm_steps_vs_cold": median_of(steps, "1", STEPS_BAR, at_most=True),
        "days_wrong": Figure(wrong.count, "days", 0.0, at_most=True),
        "runs_at_once": Figure(overlaps, "runs", 0.0, at_most=True),
        "idle_seconds": median_of(idle, "s", IDLE_BAR_SECONDS, at_most=True),
        "recall_at_50_warm": median_of([read_current_recall(one["warm"], "recall") for one in late], "1"),
        "recall_at_50_cold": median_of([one["cold"]["recall"] for one in late], "1"),
        "recall_at_50_frozen": median_of([one["cold"]["released_recall"] for one in late], "1"),
    }
    above = [one for one in compared if one["day"] > last_day - DAYS_ABOVE_FROZEN]
    for name, field in (("above_frozen", "recall"), ("above_frozen_on_new_items", "recall_on_new")):
        differences = [
            read_current_recall(one["warm"], field) - one["cold"][f"released_{field}"] for one in above
        ]
        value, low, _ = bootstrap_mean(differences)
        figures[name] = Figure(value, "1", 0.0, lowest=min(differences), highest=max(differences))
        figures[f"{name}_lower"] = Figure(low, "1", 0.0)
    return figures


def median_of(
    values: Sequence[float], unit: str, bar: float | None = None, *, at_most: bool = False
) -> Figure:
    """Make a figure of several measurements."""
    return Figure(statistics.median(values), unit, bar, at_most, min(values), max(values))


def main() -> None:
    """Parse the options, live through the days, print and write."""
    parser = benchmark_parser(__doc__.splitlines()[0])
    parser.add_argument("--days", type=int, help="how many days it lasts (30; with --quick 3)")
    parser.add_argument("--seed", type=int, default=1, help="of the data and of the trainings (1)")
    parser.add_argument("--directory", type=Path, help="where everything goes, and stays")
    parser.add_argument("--plot", type=Path, metavar="PATH", help="draw the recall by day")
    arguments: argparse.Namespace = parser.parse_args()
    scale = make_scale(arguments.quick, arguments.days)
    with tempfile.TemporaryDirectory(prefix="dssm-benchmark-") as temporary:
        directory = (arguments.directory or Path(temporary)).resolve()
        directory.mkdir(parents=True, exist_ok=True)
        month = Month(scale, arguments.seed, directory)
        try:
            month.live()
            figures = make_figures(month.days, scale.days, month.finish())
        except UnexpectedEndError as error:
            sys.exit(str(error))
    rows = [(name, figure.value, figure.unit, figure.bar) for name, figure in figures.items()]
    print("\n" + tabulate(rows, headers=("figure", "value", "unit", "bar"), floatfmt=".4f"))
    if arguments.plot:
        plot_recall(month.days, arguments.plot)
    if arguments.json:
        versions = describe_versions(["tfx", "tensorflow", "apache-beam", "pyarrow"])
        write_json(arguments.json, figures, versions, {"days": month.days})
    missed = [name for name, figure in figures.items() if not figure.meets_bar]
    if missed and not arguments.quick:
        sys.exit(f"Not kept: {', '.join(missed)}")


if __name__ == "__main__":
    main()
