"""`dssm check`: a verdict on the data before anything is trained."""

import sys

import click

from pipeline.commands.options import EXIT_FAILED, reports_errors, takes_config


@click.command("check")
@takes_config
@click.option(
    "--sample",
    type=click.IntRange(min=1),
    help="Interactions that are read at most.  [default: 2,000,000]",
)
@click.option("--strict", is_flag=True, help="Fail on what is doubtful, too.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@reports_errors
def check_command(
    config: str, overrides: tuple[str, ...], sample: int | None, strict: bool, as_json: bool
) -> None:
    """Look at the data as the ingest does, and say what they are and whether a run would go through.

    Exit status: 0, or 1 on an error and where the run would stop; with --strict also on a warning.
    """
    from pipeline.config import load_config
    from pipeline.data_check.figures import measure_data
    from pipeline.data_check.reading import SAMPLE_ROWS, read_log
    from pipeline.data_check.report import check_to_json, render_check
    from pipeline.data_check.verdict import judge

    settings = load_config(config, overrides)
    features = settings.load_features()
    log = read_log(features, settings.ingest, settings.data.directory, sample or SAMPLE_ROWS)
    figures = measure_data(log, settings, features)
    findings = judge(figures, settings)
    click.echo(check_to_json(figures, findings) if as_json else render_check(figures, findings, settings))
    if any(strict or finding.level == "error" for finding in findings):
        sys.exit(EXIT_FAILED)
