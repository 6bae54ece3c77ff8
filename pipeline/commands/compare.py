"""`dssm compare`: two releases or runs that were evaluated on the same data."""

from pathlib import Path

import click

from pipeline.commands.options import follows_last_run, reports_errors


@click.command("compare")
@click.argument("first", metavar="A")
@click.argument("second", metavar="B")
@follows_last_run
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@reports_errors
def compare_command(first: str, second: str, config: str, overrides: tuple[str, ...], as_json: bool) -> None:
    """Compare two evaluations on the same data, user by user, with 95 % intervals of the difference.

    A and B are each a release in serving.directory (3 or release:3), or a run in run.directory: its id, the
    beginning of it, or last.
    """
    from pipeline.comparison import compare_evaluations
    from pipeline.comparison_table import comparison_to_json, render_comparison
    from pipeline.config import load_config
    from pipeline.evaluations import read_evaluation

    settings = load_config(config, overrides)
    runs, serving = Path(settings.run.directory), settings.serving.directory
    comparison = compare_evaluations(
        read_evaluation(first, runs, serving), read_evaluation(second, runs, serving)
    )
    click.echo(comparison_to_json(comparison) if as_json else render_comparison(comparison))
