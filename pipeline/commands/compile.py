"""`dssm compile`: the pipeline as a file for Kubeflow Pipelines or Vertex AI."""

from pathlib import Path
from typing import Literal

import click

from pipeline.commands.kubeflow_options import compile_checked, load_prepared
from pipeline.commands.options import reports_errors, takes_config


@click.command("compile")
@takes_config
@click.option(
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    required=True,
    help="The file to write: YAML, or JSON for vertex.",
)
@click.option(
    "--format",
    "target",
    type=click.Choice(["kubeflow", "vertex"]),
    default="kubeflow",
    show_default=True,
    help="Where the pipeline shall run; vertex is untested against the service.",
)
@click.option(
    "--retraining",
    is_flag=True,
    help="What `dssm schedule kubeflow` runs: a run does what `dssm retrain` does, instead of `dssm run`.",
)
@reports_errors
def compile_command(
    config: str,
    overrides: tuple[str, ...],
    output: Path,
    target: Literal["kubeflow", "vertex"],
    retraining: bool,
) -> None:
    """Compile the pipeline for Kubeflow Pipelines; nothing runs, and only the output file is written."""
    from pipeline.kubeflow.preparation import left_out_for_vertex, relative_locations
    from pipeline.preflight import find_problems_here
    from schemas.errors import ConfigError

    if retraining and target != "kubeflow":
        raise ConfigError(
            "--retraining: expected --format kubeflow. Received: vertex. Leave one of them out."
        )
    prepared, features = load_prepared(config, overrides, target)
    for line in relative_locations(prepared):
        click.echo(f"Note: {line}", err=True)
    for problem in find_problems_here(prepared, features):
        click.echo(f"Note: with the tables that are here, a run would stop: {problem}", err=True)
    left_out = left_out_for_vertex(prepared) if target == "vertex" else []
    if left_out:
        click.echo(
            f"Note: Vertex AI has no such settings, so they are left out: {', '.join(left_out)}", err=True
        )
    text = compile_checked(prepared, features, target, retraining=retraining)
    try:
        output.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"--output: cannot write {output}: {error.strerror}.") from error
    click.echo(f"Pipeline {prepared.run.name} is in {output} ({len(text.encode()) / 1000:.0f} kB)")
