"""`dssm fetch`: public data sets, each with a configuration of its own."""

import pkgutil
import shlex
from pathlib import Path

import click

from pipeline.commands.options import reports_errors
from pipeline.datasets.registry import DATA_SETS


@click.command("fetch")
@click.argument("dataset", type=click.Choice(list(DATA_SETS)))
@click.option(
    "--output", type=click.Path(path_type=Path), help="Folder of the tables.  [default: data/DATASET]"
)
@reports_errors
def fetch_command(dataset: str, output: Path | None) -> None:
    """Download a public data set, write its three tables, and say how to train on it.

    movielens-100k: 100,000 ratings of films, 2 MB. completejourney: 1,469,307 purchases of a year of
    groceries, 32 MB. What comes out is in docs/datasets.md.
    """
    chosen = DATA_SETS[dataset]
    default = Path("data") / dataset
    directory = output or default
    pkgutil.resolve_name(chosen.function)(directory)
    command = ["dssm", "run", "--config", chosen.config]
    if directory != default:
        command += ["--set", f"data.directory={directory}"]
    click.echo(f"Next: {shlex.join(command)}")
