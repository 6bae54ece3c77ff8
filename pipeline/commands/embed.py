"""`dssm embed`: a table of users or items through a release's tower, to Parquet."""

import datetime
from pathlib import Path
from typing import Literal, cast

import click

from pipeline.commands.options import follows_last_run, reports_errors


@click.command("embed")
@click.argument("table", type=click.Choice(["users", "items"]))
@follows_last_run
@click.option(
    "--input",
    "source",
    metavar="FILES",
    help="A file, folder or pattern, a path or URI.  [default: the schema file's table]",
)
@click.option(
    "--format",
    "file_format",
    type=click.Choice(["parquet", "csv", "jsonl", "tfrecord", "avro"]),
    help="The format of --input.  [default: what the names of its files end in]",
)
@click.option("--output", metavar="DIR", required=True, help="Folder of the embeddings, new or empty.")
@click.option(
    "--release", "version", type=click.IntRange(min=1), metavar="VERSION", help="Instead of the current one."
)
@click.option(
    "--now",
    type=click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"]),
    help="UTC; the time that the embeddings are for. Without it, how long ago the items of histories were "
    "counts up to the newest interaction that the release knows, and parts of the log's time that the table "
    "has no column of are those of the clock.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the manifest as JSON.")
@reports_errors
def embed_command(
    table: str,
    config: str,
    overrides: tuple[str, ...],
    source: str | None,
    file_format: str | None,
    output: str,
    version: int | None,
    now: datetime.datetime | None,
    as_json: bool,
) -> None:
    """Embed a table of users or items with the current release, into Parquet files.

    The columns are called as in the schema file. Users may have a column with their history, lists of item
    ids with the oldest first; without it, that of the release's user with the same id is taken.
    """
    from pipeline.config import load_config
    from pipeline.console import noise_to_file

    settings = load_config(config, overrides)
    features = settings.load_features()
    log_file = Path(settings.run.directory) / "logs" / "embed.log"
    with noise_to_file(log_file, shows_progress=not as_json) as screen:
        from pipeline.embed.report import render_report, report_to_json
        from pipeline.embed.run import EmbedRequest, embed
        from schemas.features import Format

        request = EmbedRequest(
            table=cast(Literal["users", "items"], table),
            output=output,
            input=source,
            format=cast(Format | None, file_format),
            version=version,
            now=None if now is None else int(now.replace(tzinfo=datetime.UTC).timestamp()),
        )
        report = embed(settings, features, request)
        click.echo(report_to_json(report) if as_json else render_report(report, output), file=screen)
