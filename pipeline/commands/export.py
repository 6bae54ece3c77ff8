"""`dssm export`: the item embeddings of a release for another vector search."""

import click

from pipeline.commands.options import reports_errors
from pipeline.commands.releases import takes_serving
from pipeline.export.formats import MODULES


@click.command("export")
@takes_serving
@click.option(
    "--format",
    "format_name",
    type=click.Choice(sorted(MODULES)),
    required=True,
    help="Whose layout the files have.",
)
@click.option(
    "--output", metavar="DIR", required=True, help="A folder that is empty or not there: a path or URI."
)
@click.option(
    "--release",
    "version",
    type=click.IntRange(min=1),
    help="The release whose items are exported.  [default: the current one]",
)
@click.option(
    "--since",
    type=click.IntRange(min=1),
    metavar="RELEASE",
    help="The release that the target holds: only what differs is written, and what is to be deleted.",
)
@click.option(
    "--columns",
    metavar="A,B",
    help="Columns of the catalogue that go along; '' for none.  [default: all of them]",
)
@click.option(
    "--rows-per-file", type=click.IntRange(min=1), help="Items of a file.  [default: by the format]"
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@reports_errors
def export_command(
    config: str,
    overrides: tuple[str, ...],
    serving: str | None,
    format_name: str,
    output: str,
    version: int | None,
    since: int | None,
    columns: str | None,
    rows_per_file: int | None,
    as_json: bool,
) -> None:
    """Write the item embeddings of a release, with ids and columns, for another vector search."""
    from pipeline.config import load_config
    from pipeline.export.export import export_items
    from pipeline.export.report import export_to_json, render_export

    settings = load_config(config, overrides)
    manifest = export_items(
        settings,
        settings.load_features(),
        format_name,
        output,
        serving_directory=serving,
        version=version,
        since=since,
        columns=None if columns is None else [name for name in map(str.strip, columns.split(",")) if name],
        rows_per_file=rows_per_file,
    )
    click.echo((export_to_json if as_json else render_export)(manifest, output))
