"""Ranking quality on MovieLens-100K: the pipeline, its switches one by one, and well-known recommenders.

    .venv/bin/python benchmarks/quality.py --json benchmarks/results/quality.json

Each user's latest interaction is held out and looked at once, by the models that are reported. All that is
chosen is chosen on the interaction before it, the validation split:

- a variant's epochs, by early stopping on Recall@100 with the first seed; of TFRS, its learning rate too;
- the hyperparameters of EASE and ALS, by NDCG@100 over a grid.

Every model is then trained on train and validation. The pipeline itself runs once per seed with the
committed configuration, from tables to report, and the bars are checked on its reports; the variants are that
training in a process each, on the sequences and transform graphs that one more run has written. The script
stops where its popularity baseline disagrees with the report's. Trainings that are done are kept in
--directory, and a second call with the same one goes on from there.
"""

import argparse
import itertools
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import scipy.stats
from baselines import score_als, score_bpr, score_ease, score_item_knn, score_popularity
from ranking_task import RankingTask
from ranking_variants import VARIANTS, read_log
from reporting import Figure, benchmark_parser, describe_versions, write_json
from tabulate import tabulate

from pipeline.cli import prepare_process
from pipeline.config import load_config
from pipeline.console import noise_to_file
from schemas.ranking.metrics import show_metric

CONFIG = "pipeline/configs/movielens_100k.yaml"
CONFIGURED = "as configured"
TFRS = "TFRS Retrieval, its defaults"
SHOWN = ("recall_at_10", "recall_at_100", "ndcg_at_100")
BARS = {"recall_at_10": 0.235, "recall_at_100": 0.69, "ndcg_at_100": 0.215}
RATIO_BAR, LOWER_BAR = 1.3, 1.2
MOST_EPOCHS = 15
RESAMPLES = 9_999
QUICK = (
    "training.epochs=1",
    "training.per_replica_batch=64",
    "model.dim=8",
    "model.user_layers=[]",
    "model.item_layers=[]",
    "evaluation.blessing_minimum=0.0",
)
WITH_VALIDATION = ("ingest.validation=true", "training.early_stopping={refit: true}")
QUICK_VARIANTS = (CONFIGURED, "history with both")

Score = Callable[..., np.ndarray]
FIXED_BASELINES: dict[str, Score] = {"popularity": score_popularity, "itemknn": score_item_knn}
SEEDED_BASELINES: dict[str, Score] = {"bpr": score_bpr}
GRIDS: dict[str, tuple[Score, dict[str, Sequence[float]]]] = {
    "ease": (score_ease, {"l2_weight": (50, 100, 160, 250, 400, 700, 1200)}),
    "als": (score_als, {"factors": (64, 256), "regularization": (5.0, 15.0, 30.0), "alpha": (1.0, 2.0)}),
}
QUICK_GRIDS = {
    "ease": (score_ease, {"l2_weight": (50, 160)}),
    "als": (score_als, {"factors": (8,), "regularization": (1.0, 15.0)}),
}

Metrics = dict[str, float]


@dataclass(frozen=True)
class Ranked:
    """What one model made of the held-out interactions, once per seed."""

    ranks: list[np.ndarray]
    """[ranked users] each."""
    metrics: list[Metrics]
    """Their averages."""
    chosen: str = ""
    """What was chosen on validation."""
    seconds_per_epoch: float | None = None
    """Median over the seeds."""


def run_pipeline(overrides: Sequence[str], directory: Path) -> Any:
    """Run the pipeline and return its result."""
    from pipeline.local import run_locally

    config = load_config(
        CONFIG,
        (*overrides, f"run.directory={directory / 'runs'}", f"serving.directory={directory / 'serving'}"),
    )
    return run_locally(config, config.load_features())


def write_artifacts(common: Sequence[str], directory: Path) -> dict[str, str]:
    """Run the pipeline with a validation split, for what its ingest and its Transform steps write."""
    outputs_file = directory / "outputs.json"
    if not outputs_file.exists():
        overrides = [*common, *WITH_VALIDATION, "training.epochs=1", "evaluation.blessing_minimum=0.0"]
        outputs = find_outputs(run_pipeline(overrides, directory / "artifacts"))
        outputs_file.write_text(json.dumps(outputs))
    return json.loads(outputs_file.read_text())


def find_outputs(run: Any) -> dict[str, str]:
    """Find the folders that the variants are trained on."""
    uris = run.output_uris
    return {
        "sequences": uris["InteractionIngest", "sequences"],
        "catalogue": uris["InteractionIngest", "catalogue"],
        "user_graph": uris["UserTransform", "transform_graph"],
        "item_graph": uris["ItemTransform", "transform_graph"],
    }


@dataclass(frozen=True)
class Trainings:
    """Trainings in processes of their own, each of them once."""

    common: Sequence[str]
    """Overrides of the configuration."""
    outputs: Mapping[str, str]
    """Folders of the artifacts."""
    directory: Path
    """Where their results are kept."""
    threads: int
    """Of TensorFlow, for each process."""

    def run(self, name: str, seed: int, chosen: Mapping[str, float] | None) -> dict[str, Any]:
        """Train one model with what was chosen for it, or choose; or read what that gave."""
        what = "choice" if chosen is None else _slug(_describe(chosen))
        file = self.directory / f"{_slug(name)}-{what}-{seed}.json"
        if not file.exists():
            program = "tfrs_retrieval.py" if name == TFRS else "ranking_variants.py"
            most = [f"training.epochs={MOST_EPOCHS}"] if chosen is None else []
            command = [
                sys.executable,
                str(Path(__file__).with_name(program)),
                *("--config", CONFIG, "--outputs", json.dumps(self.outputs), "--threads", str(self.threads)),
                *(() if name == TFRS else ("--variant", name)),
                *(f"--{key.replace('_', '-')}={value}" for key, value in (chosen or {}).items()),
                *("--json", str(file)),
            ]
            for override in (*most, *self.common, f"training.seed={seed}"):
                command += ["--set", override]
            with file.with_suffix(".txt").open("w") as log:
                subprocess.run(command, stdout=log, stderr=subprocess.STDOUT, check=True)
        return json.loads(file.read_text())

    def rank(self, name: str, seeds: Sequence[int]) -> Ranked:
        """Choose with the first seed, then train with each."""
        chosen = self.run(name, seeds[0], None)["chosen"]
        results = [self.run(name, seed, chosen) for seed in seeds]
        return Ranked(
            ranks=[np.array(result["ranks"]) for result in results],
            metrics=[result["metrics"] for result in results],
            chosen=_describe(chosen),
            seconds_per_epoch=statistics.median(result["seconds_per_epoch"] for result in results),
        )


def score_ranked(task: RankingTask, score: Score, settings: Mapping[str, Any]) -> np.ndarray:
    """Score all items for the ranked users of a task."""
    return score(task.users, task.items, task.shape, **settings)[task.ranked]


def rank_baselines(
    validation: RankingTask, final: RankingTask, grids: Mapping[str, Any], seeds: Sequence[int]
) -> dict[str, Ranked]:
    """Choose each baseline's hyperparameters on validation and rank the held-out interactions with them."""

    def rank(score: Score, runs: Sequence[dict[str, float]], chosen: str = "") -> Ranked:
        ranks = [final.rank(score_ranked(final, score, run)) for run in runs]
        return Ranked(ranks=ranks, metrics=[final.metrics(each) for each in ranks], chosen=chosen)

    ranked = {name: rank(score, [{}]) for name, score in FIXED_BASELINES.items()}
    for name, (score, grid) in grids.items():
        points = [dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())]
        found = [
            validation.metrics(validation.rank(score_ranked(validation, score, point)))["ndcg_at_100"]
            for point in points
        ]
        best = points[int(np.argmax(found))]
        runs = [{**best, "seed": seed} for seed in seeds] if score is score_als else [best]
        ranked[name] = rank(score, runs, _describe(best))
    for name, score in SEEDED_BASELINES.items():
        ranked[name] = rank(score, [{"seed": seed} for seed in seeds])
    return ranked


def compare(task: RankingTask, ours: Ranked, theirs: Ranked) -> tuple[float, float, float]:
    """Give the ratio of the NDCG@100 of two models, and its 95 % interval by paired bootstrap over users."""
    mean = [np.mean([task.ndcg_by_user(ranks) for ranks in model.ranks], axis=0) for model in (ours, theirs)]
    interval = scipy.stats.bootstrap(
        mean,
        lambda left, right, axis: left.mean(axis=axis) / right.mean(axis=axis),
        paired=True,
        n_resamples=RESAMPLES,
        method="percentile",
        random_state=np.random.default_rng(0),
    ).confidence_interval
    return float(mean[0].mean() / mean[1].mean()), float(interval.low), float(interval.high)


def measure(arguments: argparse.Namespace, directory: Path) -> tuple[dict[str, Figure], str, dict[str, Any]]:
    """Measure everything; return the figures, a table and the single measurements."""
    seeds = range(1, (1 if arguments.quick else arguments.seeds) + 1)
    common = [f"data.directory={arguments.data}", *(QUICK if arguments.quick else ())]
    # On tiny data one run is for both: the report, and what the variants are trained on.
    further = WITH_VALIDATION if arguments.quick else ()
    runs = [
        run_pipeline([*common, *further, f"training.seed={seed}"], directory / "pipeline") for seed in seeds
    ]
    reports = [run.evaluation_report for run in runs]

    outputs = find_outputs(runs[0]) if arguments.quick else write_artifacts(common, directory)
    log = read_log(load_config(CONFIG).load_features(), outputs)
    assert log.data.validation is not None
    validation = log.make_task(log.data.train, log.data.validation)
    final = log.make_task(log.final.train, log.held_out)
    baselines = rank_baselines(validation, final, QUICK_GRIDS if arguments.quick else GRIDS, seeds)
    for metric, value in baselines["popularity"].metrics[0].items():
        if metric in reports[0]["popularity"] and not np.isclose(
            value, reports[0]["popularity"][metric], rtol=0, atol=1e-12
        ):
            raise SystemExit(
                f"popularity {metric}: {value} here, {reports[0]['popularity'][metric]} in the report"
            )

    names = [*(QUICK_VARIANTS if arguments.quick else VARIANTS), *(() if arguments.quick else (TFRS,))]
    names = [name for name in names if not arguments.only or name in (CONFIGURED, *arguments.only)]
    jobs = directory / "trainings"
    jobs.mkdir(parents=True, exist_ok=True)
    trainings = Trainings(common, outputs, jobs, threads=max(1, arguments.threads // arguments.jobs))
    with ThreadPoolExecutor(arguments.jobs) as pool:
        variants = dict(zip(names, pool.map(lambda name: trainings.rank(name, seeds), names), strict=True))

    pipeline = [report["metrics"] for report in reports]
    figures = {
        metric: _figure([run[metric] for run in pipeline], None if arguments.quick else BARS[metric])
        for metric in SHOWN
    }
    for name, model in {**variants, **baselines}.items():
        for metric in SHOWN:
            figures[f"{_slug(name)}_{metric}"] = _figure([run[metric] for run in model.metrics])
    for rival in grids_of(arguments):
        ratio, low, high = compare(final, variants[CONFIGURED], baselines[rival])
        bars = (None, None) if arguments.quick else (RATIO_BAR, LOWER_BAR)
        figures[f"ndcg_at_100_vs_{rival}"] = Figure(ratio, "1", bars[0], lowest=low, highest=high)
        figures[f"ndcg_at_100_vs_{rival}_lower"] = Figure(low, "1", bars[1])
    chosen = {name: model.chosen for name, model in {**variants, **baselines}.items()}
    seconds = {name: model.seconds_per_epoch for name, model in variants.items()}
    return (
        figures,
        _draw_table(pipeline, variants, baselines),
        {"chosen": chosen, "seconds_per_epoch": seconds},
    )


def grids_of(arguments: argparse.Namespace) -> Mapping[str, Any]:
    """Give the baselines that are tuned."""
    return QUICK_GRIDS if arguments.quick else GRIDS


def _figure(values: Sequence[float], bar: float | None = None) -> Figure:
    return Figure(statistics.median(values), "1", bar, lowest=min(values), highest=max(values))


def _draw_table(
    pipeline: Sequence[Metrics], variants: Mapping[str, Ranked], baselines: Mapping[str, Ranked]
) -> str:
    models = {"the pipeline's report": Ranked([], list(pipeline)), **variants, **baselines}
    rows = []
    for name, model in models.items():
        cells = [
            f"{figure.value:.3f} ({figure.lowest:.3f}-{figure.highest:.3f})"
            for figure in (_figure([run[metric] for run in model.metrics]) for metric in SHOWN)
        ]
        seconds = "" if model.seconds_per_epoch is None else f"{model.seconds_per_epoch:.1f}"
        rows.append((name, model.chosen, *cells, seconds))
    headers = [show_metric(metric) for metric in SHOWN]
    return tabulate(rows, headers=("", "chosen on validation", *headers, "s an epoch"), disable_numparse=True)


def _describe(chosen: Mapping[str, float]) -> str:
    return ", ".join(f"{key.replace('_', ' ')} {value:g}" for key, value in chosen.items())


def _slug(name: str) -> str:
    return "_".join("".join(c if c.isalnum() else " " for c in name.lower()).split())


def main() -> None:
    """Parse the options, measure, print and write."""
    parser = benchmark_parser("Ranking quality on MovieLens-100K beside well-known recommenders.")
    parser.add_argument("--data", default="data/movielens-100k", help="the tables (default: %(default)s)")
    parser.add_argument("--seeds", type=int, default=3, help="number of seeds (default: %(default)s)")
    parser.add_argument("--jobs", type=int, default=2, help="trainings at a time (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=2, help="threads of all (default: %(default)s)")
    parser.add_argument(
        "--only", nargs="+", metavar="VARIANT", help="these variants beside the configured one"
    )
    parser.add_argument(
        "--directory", type=Path, help="where runs and trainings are kept (default: a temporary folder)"
    )
    arguments = parser.parse_args()
    prepare_process()
    with tempfile.TemporaryDirectory() as temporary:
        directory = (arguments.directory or Path(temporary)).absolute()
        directory.mkdir(parents=True, exist_ok=True)
        if arguments.quick:
            from pipeline.datasets.synthetic import write_synthetic

            arguments.data = str(directory / "data")
            write_synthetic(Path(arguments.data), users=200, items=150, interactions=4_000, days=10, seed=1)
        with noise_to_file(directory / "quality.log") as screen:
            figures, table, raw = measure(arguments, directory)
            print(f"\n{table}", file=screen)
    if arguments.json:
        versions = describe_versions(["tfx", "tensorflow", "tensorflow-recommenders", "implicit", "numpy"])
        write_json(arguments.json, figures, versions, raw)
    missed = [name for name, figure in figures.items() if not figure.meets_bar]
    if missed:
        sys.exit("Below the bar: " + ", ".join(f"{name} {figures[name].value:.4f}" for name in missed))


if __name__ == "__main__":
    main()
