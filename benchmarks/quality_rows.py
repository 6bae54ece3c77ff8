"""The pipeline's own rows of benchmarks/quality.py: a configuration each, and its runs with each seed."""

import argparse
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from quality_table import Measured, slug

from pipeline.config import load_config
from pipeline.datasets.registry import DATA_SETS
from pipeline.first_look.rendering import CONFIG_FILE, SCHEMA_FILE
from schemas.contract import PER_USER_METRICS_FILE

CONFIG: Final = "pipeline/configs/movielens_100k.yaml"
RECIPE: Final = "pipeline/configs/recipes/few_long_sequences.yaml"
"""That of MovieLens-100K's kind of data."""
OURS: Final = "this pipeline"
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


@dataclass(frozen=True)
class Configured:
    """A configuration of the pipeline, a row of the table."""

    name: str
    """What the table calls it."""
    file: str
    """The configuration."""
    overrides: tuple[str, ...] = ()
    """As of `--set`."""


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
    return f"{slug(Path(row.file).stem)}-{fingerprint(config, config.load_features())}"


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


def fingerprint(*read: object) -> str:
    """Tell settings from all others.

    Args:
        *read: What has a `repr` that says all of it.

    Returns:
        16 hexadecimal digits.
    """
    return hashlib.sha256(repr(read).encode()).hexdigest()[:16]
