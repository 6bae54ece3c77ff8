"""`dssm retrain`: what a schedule runs."""

import sys
from pathlib import Path

import click

from pipeline.commands.options import remember_configuration, reports_errors, takes_config
from pipeline.commands.run import EXIT_NOT_BLESSED, run_and_show


@click.command("retrain")
@takes_config
@click.option("--dry-run", is_flag=True, help="Only say what would be done.")
@click.option(
    "--resume", is_flag=True, help="Take up the last run, which failed, with its own days, where it stopped."
)
@reports_errors
def retrain_command(config: str, overrides: tuple[str, ...], dry_run: bool, resume: bool) -> None:
    """Train on the days that end now, from the released model, and release what the gate blesses.

    Where nothing is new since the last training, that is said and nothing is done. Afterwards what
    retraining.retention no longer keeps is deleted, and who retraining.notify names is told.

    Exit status: 0 with a release or nothing to do, 1 on an error, 3 where the model was not blessed, 4 where
    another process is at work in the run directory or the serving directory.
    """
    from pipeline.config import load_config
    from pipeline.retraining.plan import make_plan
    from pipeline.retraining.plan_text import render_plan
    from pipeline.retraining.record import read_pipeline_runs
    from pipeline.retraining.retrain import retrain

    settings = load_config(config, overrides)
    features = settings.load_features()
    if dry_run:
        runs = read_pipeline_runs(Path(settings.run.directory), settings.run.name)
        click.echo(render_plan(make_plan(settings, features, runs, resume=resume)))
        return
    remember_configuration(config, overrides)
    outcome = retrain(
        settings,
        features,
        resume=resume,
        run=lambda of_training: run_and_show(of_training, features),
        say=click.echo,
    )
    if outcome == "refused":
        sys.exit(EXIT_NOT_BLESSED)
