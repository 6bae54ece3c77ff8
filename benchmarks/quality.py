"""Ranking quality of the pipeline beside well-known recommenders, on any data set and configuration.

    .venv/bin/python benchmarks/quality.py --json benchmarks/results/quality.json
    .venv/bin/python benchmarks/quality.py --dataset DIR --config FILE --seeds 3

The pipeline runs once per seed with the configuration, from tables to report. What its ingest has written is
the data of all others: the same users, held-out items, masks, ranking and metrics. All that is chosen is
chosen on validation, and what is held out is looked at once, by the models that are reported:

- the hyperparameters of EASE and ALS by NDCG over a grid, TFRS' learning rate and epochs by recall, SASRec's
  and gSASRec's epochs by NDCG@10, the last three with the first seed;
- each of these is then fitted to train and validation together; what the pipeline trains on and how long is
  its configuration's matter.

The script stops where its popularity baseline disagrees with the report's. Trainings that are done are kept
in --directory, and a second call with the same one goes on from there. docs/quality.md has the protocol.
"""

import argparse
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
from held_out import fingerprint_tasks, make_tasks, read_split_sequences
from quality_rivals import RIVALS, Experiment, measure_fixed, measure_rivals
from quality_rows import OURS, find_outputs, list_configured, measure_ours, read_user_metrics
from quality_table import Measured, draw_ratios, draw_table, find_intervals, make_figures
from reporting import Figure, benchmark_parser, describe_versions, write_json

from components.retrieval_evaluator.config import choose_protocol
from pipeline.cli import prepare_process
from pipeline.config import load_config
from pipeline.console import noise_to_file
from pipeline.datasets.tables import has_all_tables

DATASET: Final = "data/movielens-100k"
BARS: Final = {"recall_at_10": 0.28, "recall_at_100": 0.72, "ndcg_at_100": 0.245}
"""On MovieLens-100K, of the median over `SEEDS` seeds of the recipe."""
SEEDS: Final = 3


def check_popularity(experiment: Experiment, measured: Measured, report: Mapping[str, Any]) -> None:
    """Stop where the task is not the one that the pipeline's report is about.

    Args:
        experiment: The data.
        measured: What became of popularity.
        report: The pipeline's.
    """
    for metric, value in report["popularity"].items():
        here = measured.means(metric)[0]
        if not np.isclose(here, value, rtol=0, atol=1e-12):
            raise SystemExit(f"popularity {metric}: {here} here, {value} in the report")


def choose_bars(arguments: argparse.Namespace) -> Mapping[str, float]:
    """Say what is asked of the first row.

    Args:
        arguments: The options.

    Returns:
        `BARS` where the row is what they were set for, whatever is measured beside it; otherwise none.
    """
    other_row = arguments.dataset is not None or arguments.config or arguments.overrides or arguments.quick
    return {} if other_row or arguments.seeds != SEEDS else BARS


def measure(
    arguments: argparse.Namespace, directory: Path
) -> tuple[dict[str, Figure], list[str], dict[str, Any]]:
    """Measure everything.

    Args:
        arguments: The options.
        directory: Where runs and trainings are kept.

    Returns:
        The figures, the tables and the single measurements.
    """
    seeds = range(1, (1 if arguments.quick else arguments.seeds) + 1)
    rows = list_configured(arguments)
    measured: dict[str, Measured] = {}
    measured[OURS], runs = measure_ours(rows[0], seeds, directory)

    config = load_config(rows[0].file, rows[0].overrides)
    outputs = find_outputs(runs[0])
    sequences = read_split_sequences(
        Path(outputs["sequences"]), Path(outputs["catalogue"]), config.load_features()
    )
    ks = choose_protocol(config.evaluation, sequences.item_count).ks
    candidates = config.evaluation.candidates
    validation, final = make_tasks(sequences, candidates, max(ks))
    if not validation.queries.targets.query_count:
        raise SystemExit(
            f"{rows[0].file}: expected a user with a positive to choose on, before what is held out. "
            "Received: none. Give more data, or set ingest.validation: true."
        )
    jobs = directory / "trainings" / fingerprint_tasks(sequences, candidates, max(ks))
    jobs.mkdir(parents=True, exist_ok=True)
    experiment = Experiment(
        validation, final, ks, seeds, rows[0], outputs, jobs, arguments.threads, arguments.sequence_seeds
    )
    check_popularity(experiment, measure_fixed("popularity", experiment), runs[0].evaluation_report)

    users = read_user_metrics(runs[0])["user"].to_pylist()
    for row in rows[1:]:
        measured[row.name], _ = measure_ours(row, seeds, directory, users)
    measured.update(measure_rivals(arguments, experiment))
    figures = make_figures(measured, OURS, ks, choose_bars(arguments))
    intervals = find_intervals(measured, ks)
    raw = {
        "config": rows[0].file,
        "overrides": rows[0].overrides,
        "seeds": list(seeds),
        "users": final.queries.targets.query_count,
        "items": final.item_count,
        "known_interactions": len(final.log.items),
        "validation_users": validation.queries.targets.query_count,
        "chosen": {name: model.chosen for name, model in measured.items()},
        "not_run": [name for name, model in measured.items() if not model.metrics],
        "seconds": {name: model.seconds for name, model in measured.items()},
        "intervals": intervals,
    }
    return figures, [draw_table(measured, intervals, ks), draw_ratios(figures, measured, OURS, ks)], raw


def make_parser() -> argparse.ArgumentParser:
    """Make the parser of the options.

    Returns:
        The parser.
    """
    parser = benchmark_parser("Ranking quality beside well-known recommenders.")
    parser.add_argument(
        "--dataset",
        metavar="DIR",
        help=f"what dssm fetch, synth or init have written (default: {DATASET})",
    )
    parser.add_argument(
        "--config",
        nargs="+",
        metavar="FILE",
        help="configurations, each a row; the first one's split and evaluation hold for all "
        "(default: that of the data set)",
    )
    parser.add_argument("--set", action="append", default=[], dest="overrides", metavar="KEY=VALUE")
    parser.add_argument(
        "--variants", type=Path, metavar="FILE", help="YAML: for each name a list of KEY=VALUE, each a row"
    )
    parser.add_argument("--seeds", type=int, default=SEEDS, help="number of seeds (default: %(default)s)")
    parser.add_argument(
        "--rivals",
        nargs="*",
        choices=RIVALS,
        default=RIVALS,
        metavar="NAME",
        help=f"which of {', '.join(RIVALS)} (default: all)",
    )
    parser.add_argument("--threads", type=int, default=2, help="of each training (default: %(default)s)")
    parser.add_argument(
        "--sequence-python",
        type=Path,
        default=Path(".venv-sequence-models/bin/python"),
        metavar="FILE",
        help="the interpreter that has RecTools (default: %(default)s)",
    )
    parser.add_argument(
        "--sequence-minutes",
        type=float,
        default=60.0,
        metavar="MINUTES",
        help="how long SASRec's and gSASRec's epochs are each looked for (default: %(default)s)",
    )
    parser.add_argument(
        "--sequence-seeds",
        type=int,
        metavar="N",
        help="how many of the seeds SASRec and gSASRec are trained with (default: all)",
    )
    parser.add_argument(
        "--directory", type=Path, help="where runs and trainings are kept (default: a temporary folder)"
    )
    return parser


def main() -> None:
    """Parse the options, measure, print and write."""
    arguments = make_parser().parse_args()
    prepare_process()
    with tempfile.TemporaryDirectory() as temporary:
        directory = (arguments.directory or Path(temporary)).absolute()
        directory.mkdir(parents=True, exist_ok=True)
        if arguments.quick and arguments.dataset is None:
            from pipeline.datasets.synthetic import write_synthetic

            data = directory / "data"
            arguments.dataset = str(data)
            if not has_all_tables(data):
                write_synthetic(data, users=200, items=150, interactions=4_000, days=10, seed=1)
        with noise_to_file(directory / "quality.log") as screen:
            figures, drawn, raw = measure(arguments, directory)
            print("", *drawn, sep="\n\n", file=screen)
    if arguments.json:
        versions = describe_versions(["tfx", "tensorflow", "tensorflow-recommenders", "implicit", "numpy"])
        write_json(arguments.json, figures, versions, raw)
    missed = [name for name, figure in figures.items() if not figure.meets_bar]
    if missed:
        sys.exit("Below the bar: " + ", ".join(f"{name} {figures[name].value:.4f}" for name in missed))


if __name__ == "__main__":
    main()
