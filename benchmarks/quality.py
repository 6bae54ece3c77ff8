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
import hashlib
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from baselines import FIXED, TUNED, Settings, Tuned, choose_settings, rank_known_users
from held_out import HeldOutTask, fingerprint_tasks, make_tasks, read_split_sequences
from quality_table import Measured, draw_ratios, draw_table, find_intervals, make_figures, slug
from reporting import Figure, benchmark_parser, describe_versions, write_json
from sequence_models import MODELS, SequenceModels

from components.retrieval_evaluator.baselines.registry import BASELINES
from components.retrieval_evaluator.config import choose_protocol
from pipeline.cli import prepare_process
from pipeline.config import load_config
from pipeline.console import noise_to_file
from pipeline.datasets.registry import DATA_SETS
from pipeline.datasets.tables import has_all_tables
from pipeline.first_look.rendering import CONFIG_FILE, SCHEMA_FILE
from schemas.contract import PER_USER_METRICS_FILE
from schemas.ranking import Ranks, score_by_inner_product

DATASET: Final = "data/movielens-100k"
CONFIG: Final = "pipeline/configs/movielens_100k.yaml"
RECIPE: Final = "pipeline/configs/recipes/few_long_sequences.yaml"
"""That of MovieLens-100K's kind of data."""
OURS: Final = "this pipeline"
BARS: Final = {"recall_at_10": 0.28, "recall_at_100": 0.72, "ndcg_at_100": 0.245}
"""On MovieLens-100K, of the median over `SEEDS` seeds of the recipe."""
SEEDS: Final = 3
# What it is compared with is computed here, on all users; a release of another seed is no rival.
ALL_USERS: Final = (
    "evaluation.users=null",
    "evaluation.baselines=[]",
    "evaluation.blessing_baselines=null",
    "evaluation.blessing_minimum=0.0",
)
QUICK: Final = (
    "training.epochs=1",
    "training.per_replica_batch=64",
    "model.dim=8",
    "model.user_layers=[]",
    "model.item_layers=[]",
)
TFRS: Final = "tfrs"
RIVALS: Final = (*FIXED, *TUNED, TFRS, *MODELS)
SLOW: Final = (TFRS, *MODELS)
"""Not part of --quick."""


@dataclass(frozen=True)
class Configured:
    """A configuration of the pipeline, a row of the table."""

    name: str
    """What the table calls it."""
    file: str
    """The configuration."""
    overrides: tuple[str, ...] = ()
    """As of `--set`."""


@dataclass(frozen=True)
class Experiment:
    """What all models are measured on."""

    validation: HeldOutTask
    """What is chosen on."""
    final: HeldOutTask
    """What is reported."""
    ks: tuple[int, ...]
    """The cut-offs."""
    seeds: Sequence[int]
    """The seeds."""
    ours: Configured
    """The first configuration."""
    outputs: Mapping[str, str]
    """Folders that the pipeline's steps have written with it."""
    jobs: Path
    """Where trainings in processes of their own on this data are kept."""
    threads: int
    """Of each."""
    sequence_seeds: int | None
    """How many of the seeds SASRec and gSASRec are trained with; None: all."""

    def measured(
        self,
        rank: Callable[[int], tuple[Ranks, float | None]],
        chosen: str = "",
        seeds: Sequence[int] | None = None,
    ) -> Measured:
        """Measure a model once for each seed.

        Args:
            rank: Gives the places of the held-out items and the seconds of the training with a seed.
            chosen: What was chosen.
            seeds: The seeds; None: all.

        Returns:
            What became of it.
        """
        found = [rank(seed) for seed in (self.seeds if seeds is None else seeds)]
        return Measured(
            metrics=[self.final.measure(ranks, self.ks) for ranks, _ in found],
            chosen=chosen,
            seconds=_median([seconds for _, seconds in found if seconds is not None]),
        )


def find_config(dataset: str | None, configs: Sequence[str] | None) -> list[str]:
    """Find the configurations of a data set.

    Args:
        dataset: A folder as `dssm fetch`, `dssm synth` or `dssm init` leave it; None: MovieLens-100K.
        configs: The configurations that were named.

    Returns:
        Those, or the folder's own, or that of a downloaded data set by the folder's name, or that of
        MovieLens-100K, which is the form of `dssm synth`. Of MovieLens-100K itself the recipe of its kind of
        data, and that one beside it.
    """
    if configs:
        return list(configs)
    if dataset is None:
        return [RECIPE, CONFIG]
    own = Path(dataset) / CONFIG_FILE
    if own.is_file():
        return [str(own)]
    known = DATA_SETS.get(Path(dataset).name)
    return [CONFIG if known is None else known.config]


def locate_tables(dataset: str | None) -> tuple[str, ...]:
    """Say where the tables of a data set are.

    Args:
        dataset: A folder as `find_config` takes it.

    Returns:
        The overrides of every configuration: the folder, and the schema file where it holds one; of a folder
        of `dssm init` what its configuration says of both.
    """
    if dataset is None:
        return ()
    folder = Path(dataset)
    if (folder / CONFIG_FILE).is_file():
        data = load_config(str(folder / CONFIG_FILE)).data
        found = {"directory": data.directory, "schema": data.schema}
    else:
        found = {"directory": str(folder.absolute())}
        if (folder / SCHEMA_FILE).is_file():
            found["schema"] = str((folder / SCHEMA_FILE).absolute())
    return tuple(f"data.{key}={json.dumps(value)}" for key, value in found.items())


def list_configured(arguments: argparse.Namespace) -> list[Configured]:
    """List the rows of the pipeline: the configurations, and the variants of the first.

    Args:
        arguments: The options.

    Returns:
        At least one, the first under the name of `OURS`.
    """
    files = find_config(arguments.dataset, arguments.config)
    common = (*locate_tables(arguments.dataset), *(QUICK if arguments.quick else ()))
    rows = [
        Configured(Path(file).stem if number else OURS, file, (*common, *arguments.overrides))
        for number, file in enumerate(files)
    ]
    if arguments.variants is not None:
        variants = yaml.safe_load(arguments.variants.read_text(encoding="utf-8"))
        rows += [
            Configured(name, files[0], (*rows[0].overrides, *overrides))
            for name, overrides in variants.items()
        ]
    return rows


def name_serving(row: Configured) -> str:
    """Name the serving directory of a row.

    Args:
        row: The configuration.

    Returns:
        Its file's name, and a hash of what it says: a release that another configuration has left there would
        be this one's rival, the reference of its drift, and what its training starts from.
    """
    config = load_config(row.file, row.overrides)
    return f"{slug(Path(row.file).stem)}-{_hash(config, config.load_features())}"


def run_pipeline(row: Configured, seed: int, directory: Path) -> Any:
    """Run the pipeline; steps that an earlier run has done with the same settings are not done again.

    Args:
        row: The configuration.
        seed: The training's.
        directory: Of the runs.

    Returns:
        The result of the run.
    """
    from pipeline.local import run_locally

    config = load_config(
        row.file,
        (
            *row.overrides,
            *ALL_USERS,
            f"training.seed={seed}",
            f"run.directory={directory / 'runs'}",
            f"serving.directory={directory / 'serving' / name_serving(row) / str(seed)}",
        ),
    )
    return run_locally(config, config.load_features())


def measure_ours(
    row: Configured, seeds: Sequence[int], directory: Path, users: Sequence[str] | None = None
) -> tuple[Measured, list[Any]]:
    """Run the pipeline with each seed.

    Args:
        row: The configuration.
        seeds: The seeds.
        directory: Of the runs.
        users: Who is asked about; None: whoever is.

    Returns:
        What the reports say of each user, and the results of the runs.
    """
    runs = [run_pipeline(row, seed, directory) for seed in seeds]
    metrics = []
    for run in runs:
        table = read_user_metrics(run)
        if users is not None and table["user"].to_pylist() != users:
            raise SystemExit(
                f"{row.file}, {row.name}: expected the held-out items of the first configuration. Received: "
                f"{table.num_rows:,} users with others. Give it the same ingest and evaluation."
            )
        metrics.append({name: table[name].to_numpy() for name in table.column_names if name != "user"})
    return Measured(metrics, "as configured"), runs


def read_user_metrics(run: Any) -> pa.Table:
    """Read what a run's report says of each user.

    Args:
        run: The result of a run.

    Returns:
        [queries] `user` and the metrics by name.
    """
    folder = Path(run.output_uris["RetrievalEvaluator", "report"])
    return pq.read_table(folder / PER_USER_METRICS_FILE)


def find_outputs(run: Any) -> dict[str, str]:
    """Find the folders that the other models read.

    Args:
        run: The result of a run.

    Returns:
        What `tfrs_retrieval.read_log` takes.
    """
    uris = run.output_uris
    outputs = {
        "sequences": uris["InteractionIngest", "sequences"],
        "catalogue": uris["InteractionIngest", "catalogue"],
        "user_graph": uris["UserTransform", "transform_graph"],
        "item_graph": uris["ItemTransform", "transform_graph"],
    }
    context = uris.get(("ContextTransform", "transform_graph"))
    return outputs if context is None else outputs | {"context_graph": context}


def measure_fixed(name: str, experiment: Experiment) -> Measured:
    """Measure a baseline of the evaluator that has nothing to choose here.

    Args:
        name: Its name.
        experiment: The data.

    Returns:
        What became of it; its note stands in the place of what was chosen.
    """
    final = experiment.final
    found = BASELINES[name](final.log, final.queries, final.popularity)
    if found.ranks is None:
        return Measured(chosen=found.note or "not computed")
    return Measured([final.measure(found.ranks, experiment.ks)], found.note or "")


def measure_tuned(model: Tuned, experiment: Experiment, *, quick: bool) -> Measured:
    """Choose the settings of a model on validation and measure it.

    Args:
        model: The model.
        experiment: The data.
        quick: Whether to choose from its small grid.

    Returns:
        What became of it.
    """
    items = experiment.final.item_count
    if model.most_items is not None and items > model.most_items:
        return Measured(chosen=f"not run: {items:,} items, and it needs a matrix of items x items")
    grid = model.quick_grid if quick else model.grid
    settings = choose_settings(experiment.validation, model.score, grid)

    def rank(seed: int) -> tuple[Ranks, float | None]:
        run = {**settings, "seed": seed} if model.is_random else settings
        return rank_known_users(experiment.final, model.score(experiment.final, run)), None

    seeds = experiment.seeds if model.is_random else experiment.seeds[:1]
    return experiment.measured(rank, _describe(settings), seeds)


def measure_tfrs(experiment: Experiment) -> Measured:
    """Choose and train by tensorflow-recommenders.

    Args:
        experiment: The data.

    Returns:
        What became of it.
    """
    config = load_config(experiment.ours.file, experiment.ours.overrides)
    # It reads the configured features, width and batch, beside the interactions.
    read = (config.load_features(), config.trainer, sorted(experiment.outputs.items()))
    directory = experiment.jobs / f"{TFRS}-{_hash(*read)}"
    directory.mkdir(exist_ok=True)

    def run(seed: int, settings: Settings | None) -> dict[str, Any]:
        what = "choice" if settings is None else slug(_describe(settings))
        file = directory / f"{what}-{seed}.json"
        if not file.exists():
            command = [sys.executable, str(Path(__file__).with_name("tfrs_retrieval.py"))]
            command += ["--config", experiment.ours.file, "--outputs", json.dumps(experiment.outputs)]
            command += ["--k", str(max(experiment.ks)), "--threads", str(experiment.threads)]
            for key, value in (settings or {}).items():
                command.append(f"--{key.replace('_', '-')}={value}")
            for override in (*experiment.ours.overrides, f"training.seed={seed}"):
                command += ["--set", override]
            command += ["--embeddings", str(file.with_suffix(".npz")), "--json", str(file)]
            _run_program(command, file.with_suffix(".txt"))
        return json.loads(file.read_text()) | {"embeddings": file.with_suffix(".npz")}

    choice = run(experiment.seeds[0], None)
    settings = {name: choice[name] for name in ("epochs", "learning_rate")}

    def rank(seed: int) -> tuple[Ranks, float | None]:
        result = run(seed, settings)
        with np.load(result["embeddings"]) as file:
            ranks = experiment.final.rank(score_by_inner_product(file["users"], file["items"]))
        return ranks, result["seconds"]

    return experiment.measured(rank, _describe(settings))


def measure_sequence_model(name: str, experiment: Experiment, models: SequenceModels) -> Measured:
    """Choose and train SASRec or gSASRec.

    Args:
        name: Which of them.
        experiment: The data.
        models: The environment.

    Returns:
        What became of it.
    """
    missing = models.why_not()
    if missing is not None:
        return Measured(chosen=missing)
    choice = models.choose(name, experiment.validation, experiment.seeds[0])
    epochs = int(choice["epochs"])
    limited = f", the best within {models.most_seconds / 60:g} minutes" if choice["limited"] else ""
    seeds = experiment.seeds[: experiment.sequence_seeds]
    few = f", {len(seeds)} of {len(experiment.seeds)} seeds" if len(seeds) < len(experiment.seeds) else ""
    return experiment.measured(
        lambda seed: models.rank(name, experiment.final, epochs, seed),
        f"epochs {epochs}{limited}{few}",
        seeds,
    )


def measure_rivals(arguments: argparse.Namespace, experiment: Experiment) -> Iterator[tuple[str, Measured]]:
    """Measure the other models, one after the other.

    Args:
        arguments: The options.
        experiment: The data.

    Yields:
        The name of each, and what became of it.
    """
    models = SequenceModels(
        arguments.sequence_python,
        experiment.jobs,
        experiment.threads,
        60.0 * arguments.sequence_minutes,
    )
    for name in RIVALS:
        if name not in arguments.rivals:
            yield name, Measured(chosen="not run: not among --rivals")
        elif arguments.quick and name in SLOW:
            yield name, Measured(chosen="not run: not part of --quick")
        elif name in FIXED:
            yield name, measure_fixed(name, experiment)
        elif name in TUNED:
            yield name, measure_tuned(TUNED[name], experiment, quick=arguments.quick)
        elif name == TFRS:
            yield name, measure_tfrs(experiment)
        else:
            yield name, measure_sequence_model(name, experiment, models)


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


def _run_program(command: Sequence[str], log_file: Path) -> None:
    with log_file.open("w") as log:
        subprocess.run(command, stdout=log, stderr=subprocess.STDOUT, check=True)


def _hash(*read: object) -> str:
    return hashlib.sha256(repr(read).encode()).hexdigest()[:16]


def _median(values: Sequence[float]) -> float | None:
    return statistics.median(values) if values else None


def _describe(settings: Settings) -> str:
    return ", ".join(f"{key.replace('_', ' ')} {value:g}" for key, value in settings.items())


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
