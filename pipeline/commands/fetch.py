"""`dssm fetch`: a public data set as the three tables."""

from pathlib import Path

import click

from pipeline.commands.options import reports_errors


@click.command("fetch")
@click.argument("dataset", type=click.Choice(["movielens-100k"]))
@click.option(
    "--output", type=click.Path(path_type=Path), help="Folder of the tables.  [default: data/DATASET]"
)
@reports_errors
def fetch_command(dataset: str, output: Path | None) -> None:
    """Download a public data set and write its three tables."""
    from pipeline.datasets.movielens import fetch_movielens_100k

    fetch_movielens_100k(output or Path("data") / dataset)
