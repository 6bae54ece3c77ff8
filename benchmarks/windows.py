"""Training on windows beside training on interactions, on sequences of 200 interactions a user.

    .venv/bin/python benchmarks/windows.py --json benchmarks/results/windows.json

The tables are those of `dssm synth`, the features MovieLens-100K's, the history 50 items long. One run of the
pipeline leaves sequences and transform graphs, from which `dssm train` then trains, in turns:

- `windows`: the history encoder `transformer`, `training.rows: windows`;
- `rows`: the same towers, `training.rows: interactions`;
- `cheap_rows`: the three cheap encoders of the default configuration, `training.rows: interactions`.

All have the same batch, counted in rows, and the same loss. `windows_step_vs_cheap_rows` divides the seconds
of a step of `windows` by those of `cheap_rows`. After each epoch the recall on the validation split is
measured: `windows_seconds_to_recall_vs_rows` divides the seconds of training until `windows` reaches the best
recall of `rows` by those until `rows` does. Seconds are those of steps, tracing included.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml
from reporting import Figure, benchmark_parser, describe_versions, write_json
from tabulate import tabulate
from whole_run import CONFIG, DSSM, set_options

SCHEMA: Final = Path(__file__).parents[1] / "schemas" / "movielens_100k.yaml"
HISTORY_LENGTH: Final = 50
STEP_BAR: Final = 2.0
RECALL_BAR: Final = 0.5
K: Final = 50
COMMON: Final = ("loss.mask_same_user=sequence", "training.per_replica_batch=1000")
TRANSFORMER: Final = ("model.history_encoders=[transformer]",)
PROGRAMS: Final[Mapping[str, tuple[str, ...]]] = {
    "windows": (*TRANSFORMER, "training.rows=windows"),
    "rows": TRANSFORMER,
    "cheap_rows": (),
}


@dataclass(frozen=True)
class Scale:
    """How much is measured."""

    users: int
    items: int
    interactions_per_user: int
    epochs: Mapping[str, int]
    """Of each program: until its recall no longer rises."""
    rounds: int


FULL: Final = Scale(300, 1_000, 200, {"windows": 20, "rows": 6, "cheap_rows": 4}, rounds=2)
QUICK: Final = Scale(100, 200, 30, {"windows": 1, "rows": 1, "cheap_rows": 1}, rounds=1)


@dataclass(frozen=True)
class Training:
    """What a training came to."""

    recall_by_epoch: list[float]
    epoch_seconds: float

    @property
    def best_recall(self) -> float:
        """The best epoch's."""
        return max(self.recall_by_epoch)

    def seconds_until(self, recall: float) -> float | None:
        """Tell when a recall was reached; None: never."""
        for epoch, reached in enumerate(self.recall_by_epoch, start=1):
            if reached >= recall:
                return epoch * self.epoch_seconds
        return None


def prepare(scale: Scale, folder: Path) -> list[str]:
    """Write tables, run the pipeline once.

    Args:
        scale: The tables' size.
        folder: Gets everything.

    Returns:
        The options of `dssm train` that are the same for all programs.
    """
    sizes = {
        "users": scale.users,
        "items": scale.items,
        "interactions": scale.users * scale.interactions_per_user,
    }
    options = [part for name, size in sizes.items() for part in (f"--{name}", str(size))]
    subprocess.run(
        [DSSM, "synth", *options, "--days", "90", "--output", folder / "data"],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    schema = yaml.safe_load(SCHEMA.read_text(encoding="utf-8"))
    schema["history"]["length"] = HISTORY_LENGTH
    (folder / "schema.yaml").write_text(yaml.safe_dump(schema), encoding="utf-8")
    settings = [
        f"data.schema={folder}/schema.yaml",
        f"data.directory={folder}/data",
        f"run.directory={folder}/runs",
        f"serving.directory={folder}/serving",
        "ingest.validation=true",
        "evaluation.blessing_minimum=0.0",
        *COMMON,
    ]
    run = subprocess.run(
        [DSSM, "run", "--config", CONFIG, *set_options([*settings, "training.epochs=1"])],
        capture_output=True,
        text=True,
        check=False,
    )
    # A model that is not blessed has left everything behind, too.
    if run.returncode not in (0, 3):
        sys.exit(f"dssm run failed with exit status {run.returncode}:\n{run.stdout}{run.stderr}")
    artifacts = {
        "sequences": "InteractionIngest/sequences",
        "catalogue": "InteractionIngest/catalogue",
        "user-transform": "UserTransform/transform_graph",
        "item-transform": "ItemTransform/transform_graph",
    }
    found = {
        option: next((folder / "runs" / "artifacts").glob(f"{output}/*"))
        for option, output in artifacts.items()
    }
    inputs = [part for option, path in found.items() for part in (f"--{option}", str(path))]
    return [*set_options([*settings, "training.checkpoint.directory=null"]), *inputs]


def train(program: str, scale: Scale, options: list[str], folder: Path) -> Training:
    """Train once.

    Args:
        program: One of `PROGRAMS`.
        scale: How many epochs.
        options: What `prepare` returned.
        folder: For the model; new.

    Returns:
        What it came to.
    """
    epochs = scale.epochs[program]
    settings = [
        *PROGRAMS[program],
        f"training.epochs={epochs}",
        f"training.early_stopping={{k: {K}, patience_epochs: {epochs}}}",
    ]
    parts: list[str | Path] = [DSSM, "train", "--config", CONFIG, *options, *set_options(settings)]
    finished = subprocess.run([*parts, "--output", folder], capture_output=True, text=True, check=False)
    if finished.returncode:
        sys.exit(f"{program} failed:\n{finished.stdout}{finished.stderr}")
    info = json.loads(next(folder.rglob("model.json")).read_text(encoding="utf-8"))
    steps = info["train_rows"] // info["global_batch"]
    return Training(info["recall_by_epoch"], steps * info["global_batch"] / info["examples_per_second"])


def measure(scale: Scale, folder: Path) -> dict[str, list[Training]]:
    """Train with every program in turn.

    Args:
        scale: How much.
        folder: For data and models.

    Returns:
        The trainings by program.
    """
    options = prepare(scale, folder)
    found: dict[str, list[Training]] = {program: [] for program in PROGRAMS}
    for number in range(scale.rounds):
        for program in PROGRAMS:
            found[program].append(train(program, scale, options, folder / f"{program}_{number}"))
    return found


def make_figures(found: Mapping[str, list[Training]]) -> dict[str, Figure]:
    """Make the figures of the trainings.

    Args:
        found: The trainings by program.

    Returns:
        Each figure by its name; that of the recall is left out where windows never reached it.
    """

    def summarise(values: list[float], unit: str, bar: float | None = None) -> Figure:
        low, high = min(values), max(values)
        return Figure(statistics.median(values), unit, bar, at_most=True, lowest=low, highest=high)

    pairs = list(zip(*(found[name] for name in PROGRAMS), strict=True))
    figures = {
        "windows_step_vs_cheap_rows": summarise(
            [windows.epoch_seconds / cheap.epoch_seconds for windows, _, cheap in pairs], "1", STEP_BAR
        )
    }
    ratios = []
    for windows, rows, _ in pairs:
        reached, needed = (training.seconds_until(rows.best_recall) for training in (windows, rows))
        if reached is not None and needed is not None:
            ratios.append(reached / needed)
    if len(ratios) == len(pairs):
        figures["windows_seconds_to_recall_vs_rows"] = summarise(ratios, "1", RECALL_BAR)
    for name, trainings in found.items():
        figures[f"epoch_seconds_{name}"] = summarise([one.epoch_seconds for one in trainings], "s")
        recalls = [one.best_recall for one in trainings]
        figures[f"recall_at_{K}_{name}"] = summarise(recalls, "1")
    return figures


def describe(found: Mapping[str, list[Training]]) -> dict[str, Any]:
    """Give every single measurement."""
    return {
        name: [{"recall_by_epoch": one.recall_by_epoch, "epoch_seconds": one.epoch_seconds} for one in all_of]
        for name, all_of in found.items()
    }


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = benchmark_parser(__doc__.splitlines()[0])
    return parser.parse_args()


def main() -> None:
    """Measure, print and write."""
    arguments = parse_arguments()
    scale = QUICK if arguments.quick else FULL
    with tempfile.TemporaryDirectory(prefix="dssm-benchmark-") as temporary:
        found = measure(scale, Path(temporary))
    figures = make_figures(found)
    rows = [
        (name, figure.value, figure.unit, "" if figure.bar is None else figure.bar)
        for name, figure in figures.items()
    ]
    print(tabulate(rows, headers=("", "value", "unit", "bar"), floatfmt=".3f"))
    if "windows_seconds_to_recall_vs_rows" not in figures:
        print("windows never reached the recall of rows")
    if arguments.json:
        versions = describe_versions(["tensorflow", "tf_keras", "numpy"])
        write_json(arguments.json, figures, versions, describe(found))


if __name__ == "__main__":
    main()
