"""`dssm status`: the health of a chain of retrainings."""

import datetime
import sys
from typing import Final

import click

from pipeline.commands.options import follows_last_run, reports_errors

EXIT_UNHEALTHY: Final = 5
"""Exit status where something needs a person."""


@click.command("status")
@follows_last_run
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "json", "prometheus"]),
    default="text",
    show_default=True,
    help="How it is printed; prometheus: for the node exporter's textfile collector.",
)
@click.option(
    "--max-age-hours",
    type=click.FloatRange(min=0, min_open=True),
    help="From which age on the current release is a problem.  [default: at none]",
)
@click.option("--schedule", default="run", show_default=True, help="The name of the local schedule.")
@click.option(
    "--runs", "most_runs", type=click.IntRange(min=1), default=5, show_default=True, help="Last runs shown."
)
@reports_errors
def status_command(
    config: str,
    overrides: tuple[str, ...],
    form: str,
    max_age_hours: float | None,
    schedule: str,
    most_runs: int,
) -> None:
    """Show the last runs, the current release, what is due, who is at work, and the space that is used.

    Exit status: 0 where all is well, 1 on an error, 5 where something needs a person: the last run failed or
    its model was refused, there is no release or too old a one, or the next retraining would fail.
    """
    from pipeline.config import load_config
    from pipeline.retraining.status import read_status
    from pipeline.retraining.status_text import render_status, status_to_json, status_to_prometheus

    settings = load_config(config, overrides)
    now = datetime.datetime.now(datetime.UTC)
    status = read_status(
        settings,
        settings.load_features(),
        now=now,
        schedule=schedule,
        most_runs=most_runs,
        maximum_age=None if max_age_hours is None else datetime.timedelta(hours=max_age_hours),
    )
    if form == "text":
        click.echo(render_status(status, now))
    elif form == "json":
        click.echo(status_to_json(status))
    else:
        click.echo(status_to_prometheus(status), nl=False)
    if not status.is_healthy:
        sys.exit(EXIT_UNHEALTHY)
