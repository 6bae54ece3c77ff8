"""`dssm compile`: the pipeline as a file for Kubeflow Pipelines or Vertex AI."""

import os
from pathlib import Path
from typing import Literal

import click

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
@reports_errors
def compile_command(
    config: str, overrides: tuple[str, ...], output: Path, target: Literal["kubeflow", "vertex"]
) -> None:
    """Compile the pipeline for Kubeflow Pipelines; nothing runs, and only the output file is written."""
    from pipeline.config import load_config
    from pipeline.console import noise_to_file
    from pipeline.kubeflow.preparation import left_out_for_vertex, prepare_config, relative_locations
    from schemas.errors import ConfigError

    settings = load_config(config, overrides)
    features = settings.load_features()
    # Before TFX is imported, which takes as long as everything else.
    prepared = prepare_config(settings, target)
    for line in relative_locations(prepared):
        click.echo(f"Note: {line}", err=True)
    left_out = left_out_for_vertex(settings) if target == "vertex" else []
    if left_out:
        click.echo(
            f"Note: Vertex AI has no such settings, so they are left out: {', '.join(left_out)}", err=True
        )
    with noise_to_file(Path(os.devnull)):
        if target == "vertex":
            from pipeline.kubeflow.vertex import compile_for_vertex

            text = compile_for_vertex(settings, features)
        else:
            from pipeline.kubeflow.compiler import compile_pipeline
            from pipeline.kubeflow.lint import check_spec

            text = compile_pipeline(settings, features)
            check_spec(text)
    try:
        output.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"--output: cannot write {output}: {error.strerror}.") from error
    click.echo(f"Pipeline {prepared.run.name} is in {output} ({len(text.encode()) / 1000:.0f} kB)")
