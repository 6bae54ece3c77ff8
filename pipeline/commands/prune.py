"""`dssm prune`: deletes what is no longer kept of releases, runs, checkpoints, logs and work files."""

import datetime
import sys

import click

from pipeline.commands.options import EXIT_FAILED, follows_last_run, reports_errors


@click.command("prune")
@follows_last_run
@click.option("--dry-run", is_flag=True, help="Only say what would go.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, with every folder.")
@reports_errors
def prune_command(config: str, overrides: tuple[str, ...], dry_run: bool, as_json: bool) -> None:
    """Delete old releases, artifacts of runs, checkpoints, logs and work files.

    How many stay, and how long, says retraining.retention in the configuration. The current release, the one
    before it, their bases, the runs that made them and a run in progress always stay.

    Exit status: 0, or 1 on an error and where something could not be deleted.
    """
    from pipeline.config import load_config
    from pipeline.retraining.retention import apply_retention, plan_retention
    from pipeline.retraining.retention_table import render_failures, render_retention, retention_to_json

    plan = plan_retention(load_config(config, overrides), datetime.datetime.now(datetime.UTC))
    result = None if dry_run else apply_retention(plan)
    click.echo((retention_to_json if as_json else render_retention)(plan, result))
    if result is not None and result.failed:
        click.echo(render_failures(result), err=True)
        sys.exit(EXIT_FAILED)
