"""`dssm lint`: checks a file of `dssm compile`."""

from pathlib import Path

import click

from pipeline.commands.options import reports_errors


@click.command("lint")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@reports_errors
def lint_command(file: Path) -> None:
    """Check a file of `dssm compile` for what Kubeflow Pipelines refuses late or gets wrong silently.

    It is for files of this project, as they were written or changed since; in one of another origin it may
    pass by mistakes that no such file can hold.

    Exit status: 0 where nothing was found, 1 with findings.
    """
    from pipeline.kubeflow.lint.spec import check_spec, render_findings
    from schemas.errors import ConfigError

    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"Cannot read {file}: {error}") from error
    check_spec(text)
    click.echo(f"{file}: {render_findings([])}")
