"""`dssm recommend`: items for a user, by the current release."""

from pathlib import Path

import click

from pipeline.commands.options import reports_errors, takes_config


@click.command("recommend")
@takes_config
@click.option("--user", help="A user of the user table.")
@click.option(
    "--feature", "features", multiple=True, metavar="NAME=VALUE", help="A feature of a user never seen."
)
@click.option(
    "--history", multiple=True, metavar="ITEM_ID", help="An item that the user liked; oldest first."
)
@click.option("--k", type=click.IntRange(min=1), default=10, show_default=True, help="Number of items.")
@reports_errors
def recommend_command(
    config: str,
    overrides: tuple[str, ...],
    user: str | None,
    features: tuple[str, ...],
    history: tuple[str, ...],
    k: int,
) -> None:
    """Recommend items with the current release."""
    from pipeline.config import load_config
    from pipeline.console import noise_to_file
    from pipeline.recommend.offline import recommend_items

    settings = load_config(config, overrides)
    with noise_to_file(Path(settings.run.directory) / "logs" / "recommend.log") as screen:
        click.echo(recommend_items(settings, user=user, features=features, history=history, k=k), file=screen)
