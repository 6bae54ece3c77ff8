"""`dssm run`: the pipeline on this machine."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from pipeline.commands.options import remember_configuration, reports_errors, takes_config

if TYPE_CHECKING:
    from pipeline.config import PipelineConfig
    from pipeline.local import RunResult
    from schemas.features import FeatureSpec

EXIT_NOT_BLESSED: Final = 3
"""Exit status where the gate refused the model."""


@click.command("run")
@takes_config
@click.option("--no-cache", is_flag=True, help="Run every step, also where an earlier run did the same.")
@reports_errors
def run_command(config: str, overrides: tuple[str, ...], no_cache: bool) -> None:
    """Run the pipeline on this machine, from the tables to a release.

    One at a time in a run directory, and in a serving directory on this machine; an object store has no lock.

    Exit status: 0 with a release, 1 on an error, 3 where the model was not blessed, 4 where another process
    is at work in one of the two, which is then named.
    """
    from pipeline.config import load_config
    from pipeline.retraining.lock import hold_run_lock

    settings = load_config(config, overrides)
    features = settings.load_features()
    remember_configuration(config, overrides)
    with hold_run_lock(settings.run.directory, settings.serving.directory):
        result = run_and_show(settings, features, enable_cache=not no_cache)
    click.echo(_render_next_steps(result, config, overrides))
    if result.release is None:
        sys.exit(EXIT_NOT_BLESSED)


def _render_next_steps(result: RunResult, config: str, overrides: tuple[str, ...]) -> str:
    from pipeline.next_steps import find_a_user, render_next_steps
    from schemas.contract import REPORT_PAGE_FILE

    return render_next_steps(
        config,
        overrides,
        page=Path(result.output_uris["RunReport", "page"]) / REPORT_PAGE_FILE,
        user=find_a_user(Path(result.output_uris["RetrievalEvaluator", "report"])),
        is_released=result.release is not None,
    )


def _describe_data(settings: PipelineConfig, features: FeatureSpec) -> list[str]:
    from pipeline.data_check.start import describe_start

    return describe_start(settings, features)


def run_and_show(settings: PipelineConfig, features: FeatureSpec, *, enable_cache: bool = True) -> RunResult:
    """Run the pipeline on this machine, with its steps and its outcome on the screen and all else in a file.

    Args:
        settings: The checked configuration. The caller holds the locks of its directories.
        features: The features that it names.
        enable_cache: Whether a step with the same inputs and settings as in an earlier run is reused.

    Returns:
        The run.

    Raises:
        DssmError: As `pipeline.local.run_locally` says, or nothing can be written where releases go. What
            configuration and heads of the tables tell is told at once, before TFX is imported.
    """
    from components.tower_pusher.logic import check_writable
    from pipeline.console import noise_to_file
    from pipeline.forks import call_in_fork
    from pipeline.preflight import check_strategy, refuse_problems
    from pipeline.waiting import waiting

    check_strategy(settings.training)
    refuse_problems(settings, features)
    for name, default in settings.choose_defaults().items():
        click.echo(
            f"Note: {name} has no default in {settings.data.schema}; what has no metadata is given "
            f"{default!r} (ingest.missing_metadata)"
        )
    # A client of an object store has threads, which the steps' forks would miss.
    call_in_fork(check_writable, settings.serving.directory)

    start = time.monotonic()
    log_file = Path(settings.run.directory) / "logs" / time.strftime("%Y%m%d-%H%M%S.log")
    click.echo(f"Pipeline {settings.run.name}; everything that its libraries say is in {log_file}")
    for line in call_in_fork(_describe_data, settings, features):
        click.echo(line)
    with noise_to_file(log_file) as screen:
        with waiting("Importing TFX and TensorFlow", "about a minute the first time, ten seconds after that"):
            from pipeline.local import run_locally
        from pipeline.report import render_run

        result = run_locally(settings, features, enable_cache=enable_cache)
        click.echo(render_run(result, seconds=time.monotonic() - start), file=screen)
    return result
