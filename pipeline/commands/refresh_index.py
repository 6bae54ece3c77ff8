"""`dssm refresh-index`: the items of today into a new release, without a training."""

import contextlib
from pathlib import Path

import click

from pipeline.commands.options import follows_last_run, reports_errors


@click.command("refresh-index")
@follows_last_run
@click.option("--dry-run", is_flag=True, help="Only say what would change; nothing is pushed.")
@click.option(
    "--maximum-gone",
    type=click.FloatRange(0.0, 1.0),
    default=0.5,
    show_default=True,
    help="The largest share of the release's items that may be gone.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@reports_errors
def refresh_index_command(
    config: str, overrides: tuple[str, ...], dry_run: bool, maximum_gone: float, as_json: bool
) -> None:
    """Release the items of the item table as it is now with the current release's towers.

    Nothing is trained. Where new items have values that no training has seen, it says that a training is due.

    Exit status: 0 where a release was pushed, or there was nothing to do; 1 on an error; 4 where another
    process is at work in the run directory or the serving directory.
    """
    from pipeline.config import load_config
    from pipeline.console import noise_to_file
    from pipeline.retraining.lock import hold_run_lock

    settings = load_config(config, overrides)
    features = settings.load_features()
    log_file = Path(settings.run.directory) / "logs" / "refresh-index.log"
    # Whoever only looks is in nobody's way.
    lock = (
        contextlib.nullcontext()
        if dry_run
        else hold_run_lock(settings.run.directory, settings.serving.directory)
    )
    with lock, noise_to_file(log_file, shows_progress=not as_json) as screen:
        from pipeline.retraining.refresh_index import refresh_index
        from pipeline.retraining.refresh_report import refresh_to_json, render_refresh

        refresh = refresh_index(settings, features, dry_run=dry_run, maximum_gone=maximum_gone)
        text = refresh_to_json(refresh) if as_json else render_refresh(refresh, dry_run)
        click.echo(text, file=screen)
