"""`dssm recommend`: the current release, asked in a terminal."""

from pathlib import Path
from typing import Final

import click

from pipeline.commands.options import follows_last_run, reports_errors
from schemas.errors import ConfigError

_LOG: Final = Path("logs", "recommend.log")


@click.command("recommend")
@follows_last_run
@click.option("--user", help="A user of the tables.")
@click.option(
    "--feature", "features", multiple=True, metavar="NAME=VALUE", help="A feature of a user never seen."
)
@click.option(
    "--history", multiple=True, metavar="ITEM_ID", help="An item that the user liked; oldest first."
)
@click.option("--k", type=click.IntRange(min=1), default=10, show_default=True, help="Number of items.")
@click.option(
    "--repeats/--no-repeats",
    default=None,
    help="Whether what the user has can be recommended.  [default: as evaluation.candidates says]",
)
@click.option(
    "--explain",
    "explains",
    is_flag=True,
    help="Show which items of the history pulled each recommendation up: what its score would lose without "
    "them.",
)
@click.option("--similar", metavar="ITEM_ID", help="Show the items nearest to this one instead.")
@click.option(
    "--batch",
    metavar="FILES",
    help="Recommend to all users of a table instead, of any format: a file, folder or pattern, a path or a "
    "URI. Of context features, parts of the log's time are those of the start, the others stand at their "
    "defaults.",
)
@click.option(
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The Parquet file that --batch writes; one that is there is replaced.",
)
@reports_errors
def recommend_command(
    config: str,
    overrides: tuple[str, ...],
    user: str | None,
    features: tuple[str, ...],
    history: tuple[str, ...],
    k: int,
    repeats: bool | None,
    explains: bool,
    similar: str | None,
    batch: str | None,
    output: Path | None,
) -> None:
    """Recommend items with the current release.

    To one user: a known one by the source tables, or one who is described. --similar asks for the nearest
    items of an item, and --batch for the recommendations to many users, as the release knows them.
    """
    asked = [user is not None or bool(features) or bool(history), similar is not None, batch is not None]
    if sum(asked) > 1:
        raise ConfigError(
            "Expected one of: a user (--user, --feature, --history), --similar, --batch. Received: several."
        )
    if (batch is None) != (output is None):
        raise ConfigError("Expected --batch and --output together. Received: one of them.")
    if explains and any(asked[1:]):
        raise ConfigError("Expected --explain with one user. Received: --similar or --batch.")
    if repeats is not None and similar is not None:
        raise ConfigError("Expected --similar without --repeats. Received: both.")

    from pipeline.config import load_config
    from pipeline.console import noise_to_file
    from schemas.arrow_alone import use_arrow_alone

    settings = load_config(config, overrides)
    use_arrow_alone()
    with noise_to_file(Path(settings.run.directory) / _LOG, shows_progress=False) as screen:
        if similar is not None:
            from pipeline.recommend.similar import find_similar, render_similar

            text = render_similar(find_similar(settings, similar, k))
        elif batch is not None and output is not None:
            from pipeline.recommend.batch import recommend_batch, render_batch

            text = render_batch(recommend_batch(settings, batch, output, k, repeats), output)
        else:
            from pipeline.recommend.offline import recommend_items

            text = recommend_items(settings, user, features, history, k, repeats=repeats, explains=explains)
        click.echo(text, file=screen)
