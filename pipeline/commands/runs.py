"""`dssm runs`: the runs of a run directory."""

from pathlib import Path

import click

from pipeline.commands.options import follows_last_run, reports_errors


@click.command("runs")
@follows_last_run
@click.option(
    "--most",
    type=click.IntRange(min=0),
    default=20,
    show_default=True,
    help="Show this many of the newest; 0: all.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON, with every metric.")
@reports_errors
def runs_command(config: str, overrides: tuple[str, ...], most: int, as_json: bool) -> None:
    """List the runs in run.directory, newest first: status, metrics, seconds, release."""
    from pipeline.config import load_config
    from pipeline.run_table import render_runs, runs_to_json
    from pipeline.runs import read_runs

    settings = load_config(config, overrides)
    shown = most or None
    # One more tells whether there are more.
    runs = read_runs(Path(settings.run.directory), most=shown and shown + 1)
    click.echo(runs_to_json(runs, shown) if as_json else render_runs(runs, shown))
