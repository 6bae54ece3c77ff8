"""`dssm synth`: tables of a planted model."""

from pathlib import Path

import click

from pipeline.commands.options import reports_errors


@click.command("synth")
@click.option("--users", type=click.IntRange(min=1), default=1_000, show_default=True)
@click.option("--items", type=click.IntRange(min=1), default=500, show_default=True)
@click.option("--interactions", type=click.IntRange(min=1), default=50_000, show_default=True)
@click.option("--days", type=click.IntRange(min=1), default=30, show_default=True)
@click.option("--seed", type=int, default=1, show_default=True)
@click.option("--output", type=click.Path(path_type=Path), default=Path("data/synthetic"), show_default=True)
@reports_errors
def synth_command(users: int, items: int, interactions: int, days: int, seed: int, output: Path) -> None:
    """Write the three tables of a data set from a planted latent model."""
    from pipeline.datasets.synthetic import write_synthetic

    write_synthetic(output, users=users, items=items, interactions=interactions, days=days, seed=seed)
    click.echo(f"Wrote {interactions:,} interactions of {users:,} users with {items:,} items to {output}")
