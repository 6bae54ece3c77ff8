"""Ranking quality on MovieLens-100K: the pipeline's own steps beside well-known recommenders.

    .venv/bin/python benchmarks/quality.py --json benchmarks/results/quality.json

Runs the pipeline once per seed (ingest and Transform are reused between seeds), takes the metrics from
its report, and scores the baselines on the very same examples with the pipeline's own evaluation.
The script stops if its popularity baseline disagrees with the report's.

    .venv/bin/python benchmarks/quality.py --select training.epochs=10 training.epochs=20

chooses settings: it evaluates on the interaction before the held-out one, which then is in no split.
"""

import argparse
import statistics
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from baselines import score_als, score_bpr, score_ease, score_item_knn, score_popularity
from reporting import Figure, benchmark_parser, describe_versions, write_json
from tabulate import tabulate

from pipeline.cli import prepare_process
from pipeline.config import PipelineConfig, load_config
from pipeline.console import noise_to_file
from schemas.contract import CATALOGUE_FILE, EVAL_SPLIT, TRAIN_SPLIT

CONFIG = "pipeline/configs/movielens_100k.yaml"
SHOWN = ("recall_at_10", "recall_at_100", "ndcg_at_100")
BARS = {"recall_at_10": 0.21, "recall_at_100": 0.66, "ndcg_at_100": 0.20}
SEEDED_BASELINES: dict[str, Callable[..., np.ndarray]] = {"als": score_als, "bpr": score_bpr}
BASELINES: dict[str, Callable[..., np.ndarray]] = {
    "popularity": score_popularity,
    "itemknn": score_item_knn,
    "ease": score_ease,
}
VALIDATION = "ingest.split={kind: latest_per_user, skip_latest: 1}"
QUICK = (
    "training.epochs=1",
    "training.per_replica_batch=64",
    "model.dim=8",
    "model.user_layers=[]",
    "model.item_layers=[]",
    "evaluation.blessing_minimum=0.0",
)

Metrics = dict[str, float]


def run_pipeline(
    overrides: Sequence[str], directory: Path
) -> tuple[PipelineConfig, Metrics, dict[tuple[str, str], str]]:
    """Run the pipeline and return its configuration, its report's metrics and its outputs' folders."""
    from pipeline.local import run_locally

    config = load_config(
        CONFIG,
        (*overrides, f"run.directory={directory / 'runs'}", f"serving.directory={directory / 'serving'}"),
    )
    result = run_locally(config, config.load_features())
    report = result.evaluation_report
    popularity = {f"popularity_{name}": value for name, value in report["popularity"].items()}
    return config, {**report["metrics"], **popularity}, dict(result.output_uris)


def evaluate_baselines(
    config: PipelineConfig, outputs: dict[tuple[str, str], str], seeds: Sequence[int]
) -> dict[str, list[Metrics]]:
    """Score and evaluate every baseline on the examples of a run; seeded ones once per seed."""
    from components.retrieval_evaluator.logic import evaluate_scores, read_evaluation_data, read_examples

    features = config.load_features()
    user, item = features.user_id.name, features.item_id.name
    examples = Path(outputs["InteractionIngest", "examples"])
    train, evaluation = examples / f"Split-{TRAIN_SPLIT}", examples / f"Split-{EVAL_SPLIT}"
    catalogue = pq.read_table(Path(outputs["InteractionIngest", "catalogue"]) / CATALOGUE_FILE)[
        item
    ].combine_chunks()
    data = read_evaluation_data(train, evaluation, catalogue, features, tower_inputs=[user])

    rows = pa.Table.from_batches(read_examples(train, {user: "string", item: "string"}))
    # The evaluated users come first, in the evaluation's order; the others only train the baselines.
    train_users = rows[user].combine_chunks()
    everyone = pa.concat_arrays([data.user_ids, train_users]).unique()
    users = _positions(train_users, everyone)
    items = _positions(rows[item].combine_chunks(), catalogue.cast(pa.large_binary()))
    shape = (len(everyone), len(catalogue))

    def evaluate(scores: np.ndarray) -> Metrics:
        return evaluate_scores(
            lambda block: scores[block].copy(),
            data.targets,
            data.seen,
            shape[1],
            config.evaluation.ks,
            data.unreachable,
        )

    results = {name: [evaluate(score(users, items, shape))] for name, score in BASELINES.items()}
    for name, score in SEEDED_BASELINES.items():
        results[name] = [evaluate(score(users, items, shape, seed=seed)) for seed in seeds]
    return results


def _positions(values: pa.Array, value_set: pa.Array) -> np.ndarray:
    import pyarrow.compute as pc

    return pc.index_in(values.cast(pa.large_binary()), value_set=value_set.cast(pa.large_binary())).to_numpy()


def measure(arguments: argparse.Namespace, directory: Path) -> tuple[dict[str, Figure], str]:
    """Run the model for every seed and the baselines, and return the figures and a table."""
    seeds = range(1, (1 if arguments.quick else arguments.seeds) + 1)
    common = [f"data.directory={arguments.data}", *(QUICK if arguments.quick else ())]
    runs: list[Metrics] = []
    for seed in seeds:
        config, metrics, outputs = run_pipeline([*common, f"training.seed={seed}"], directory)
        runs.append(metrics)
    baselines = evaluate_baselines(config, outputs, seeds)
    for name, value in baselines["popularity"][0].items():
        if not np.isclose(value, runs[0][f"popularity_{name}"], rtol=0, atol=1e-12):
            raise SystemExit(
                f"popularity {name}: {value} here, {runs[0][f'popularity_{name}']} in the report"
            )

    by_name = {"this pipeline": runs, **baselines}
    table = tabulate(
        [
            (
                name,
                len(results),
                *(
                    f"{_median(results, m):.4f} ({_low(results, m):.4f}-{_high(results, m):.4f})"
                    for m in SHOWN
                ),
            )
            for name, results in by_name.items()
        ],
        headers=("", "seeds", *(f"{metric.replace('_at_', '@')} median (range)" for metric in SHOWN)),
    )
    figures = {m: Figure(_median(runs, m), "1", None if arguments.quick else BARS[m]) for m in SHOWN}
    for name, results in baselines.items():
        figures |= {f"{name}_{metric}": Figure(_median(results, metric), "1") for metric in SHOWN}
    return figures, table


def select(arguments: argparse.Namespace, directory: Path) -> str:
    """Run the pipeline with each override on the validation interaction and return a table."""
    rows = []
    for override in arguments.select:
        runs = []
        for seed in range(1, arguments.seeds + 1):
            chosen = [
                f"data.directory={arguments.data}",
                VALIDATION,
                *override.split(),
                f"training.seed={seed}",
            ]
            runs.append(run_pipeline(chosen, directory)[1])
        rows.append((override, *(_median(runs, metric) for metric in SHOWN)))
    return tabulate(rows, headers=("on the interaction before the held-out one", *SHOWN), floatfmt=".4f")


def _median(runs: Sequence[Metrics], metric: str) -> float:
    return statistics.median(run[metric] for run in runs)


def _low(runs: Sequence[Metrics], metric: str) -> float:
    return min(run[metric] for run in runs)


def _high(runs: Sequence[Metrics], metric: str) -> float:
    return max(run[metric] for run in runs)


def main() -> None:
    """Parse the options, measure, print and write."""
    parser = benchmark_parser("Ranking quality on MovieLens-100K beside well-known recommenders.")
    parser.add_argument("--data", default="data/movielens-100k", help="the tables (default: %(default)s)")
    parser.add_argument("--seeds", type=int, default=3, help="number of seeds (default: %(default)s)")
    parser.add_argument(
        "--directory", type=Path, help="where the runs are kept (default: a temporary folder)"
    )
    parser.add_argument(
        "--select",
        nargs="+",
        metavar="KEY=VALUE",
        help="compare overrides on the validation interaction instead",
    )
    arguments = parser.parse_args()
    prepare_process()
    with tempfile.TemporaryDirectory() as temporary:
        directory = arguments.directory or Path(temporary)
        if arguments.quick:
            from pipeline.datasets.synthetic import write_synthetic

            arguments.data = str(directory / "data")
            write_synthetic(Path(arguments.data), users=200, items=80, interactions=4_000, days=10, seed=1)
        with noise_to_file(directory / "quality.log") as screen:
            if arguments.select:
                print(select(arguments, directory), file=screen)
                return
            figures, table = measure(arguments, directory)
            print(f"\n{table}", file=screen)
    if arguments.json:
        write_json(arguments.json, figures, describe_versions(["tfx", "tensorflow", "implicit", "numpy"]))
    missed = [
        name for name, figure in figures.items() if figure.bar is not None and figure.value < figure.bar
    ]
    if missed:
        sys.exit("Below the bar: " + ", ".join(f"{name} {figures[name].value:.4f}" for name in missed))


if __name__ == "__main__":
    main()
