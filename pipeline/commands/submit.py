"""`dssm submit`: one run on Kubeflow Pipelines."""

from __future__ import annotations

import sys
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pipeline.commands.kubeflow_options import read_pipeline, takes_endpoint, takes_pipeline
from pipeline.commands.options import EXIT_FAILED, reports_errors

if TYPE_CHECKING:
    from pipeline.kubeflow.client import Endpoint


@click.command("submit")
@takes_endpoint
@takes_pipeline
@click.option("--run-name", help="What the run is called.  [default: the pipeline's name and the time]")
@click.option("--no-wait", is_flag=True, help="Start the run and do not follow it.")
@click.option(
    "--poll-seconds",
    type=click.FloatRange(min=0.1),
    default=10.0,
    show_default=True,
    help="Pause between two looks at the run.",
)
@reports_errors
def submit_command(
    endpoint: Endpoint,
    pipeline_file: Path | None,
    config: str | None,
    overrides: tuple[str, ...],
    parameters: tuple[str, ...],
    pipeline_name: str | None,
    experiment: str,
    pipeline_root: str | None,
    service_account: str | None,
    run_name: str | None,
    no_wait: bool,
    poll_seconds: float,
) -> None:
    """Start a run on Kubeflow Pipelines and follow it to its end.

    The pipeline is uploaded once per content. Exit status: 0 where the run succeeded (with --no-wait:
    started), 1 on an error or where it failed.
    """
    from pipeline.kubeflow.upload import choose_pipeline_root, read_parameters

    compiled = read_pipeline(pipeline_file, config, overrides)
    values = read_parameters(parameters, compiled)
    root = choose_pipeline_root(pipeline_root, compiled)

    from pipeline.kubeflow.client import Kubeflow
    from pipeline.kubeflow.submit import RunRequest, follow_run, has_succeeded, start_run
    from pipeline.kubeflow.upload import upload

    kubeflow = Kubeflow(endpoint)
    version = upload(kubeflow, compiled, pipeline_name)
    request = RunRequest(
        name=run_name or f"{compiled.name} {datetime.now():%Y-%m-%d %H-%M-%S}",
        experiment=experiment,
        parameters=values,
        pipeline_root=root,
        service_account=service_account,
    )
    run_id = start_run(kubeflow, version, request)
    link = kubeflow.link("runs", run_id)
    click.echo(
        f"Pipeline: {kubeflow.link('pipelines', f'{version.pipeline_id}/version/{version.version_id}')}"
    )
    click.echo(f"Run:      {link}")
    if no_wait:
        return
    try:
        state = follow_run(kubeflow, run_id, compiled.tasks, poll_seconds)
    except KeyboardInterrupt:
        click.echo(f"The run goes on: {link}")
        raise
    if not has_succeeded(state):
        click.echo(f"Error: the run ended as {state}: {link}", err=True)
        sys.exit(EXIT_FAILED)
