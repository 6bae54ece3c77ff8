"""`dssm releases`: the releases of a serving directory, and which of them is current."""

import sys
from collections.abc import Callable

import click

from pipeline.commands.options import EXIT_FAILED, follows_last_run, reports_errors


def takes_serving(command: Callable[..., None]) -> Callable[..., None]:
    """Add --config, --set and --serving."""
    return follows_last_run(
        click.option(
            "--serving",
            metavar="DIR",
            help="The folder of releases, a path or URI, instead of the configuration's.",
        )(command)
    )


def _locate(config: str, overrides: tuple[str, ...], serving: str | None) -> str:
    if serving is not None:
        return serving
    from pipeline.config import load_config

    return load_config(config, overrides).serving.directory


@click.group("releases")
def releases_command() -> None:
    """List, show, verify, take back and remove releases."""


@releases_command.command("list")
@takes_serving
@click.option("--json", "as_json", is_flag=True, help="Print JSON, with every metric.")
@reports_errors
def list_command(config: str, overrides: tuple[str, ...], serving: str | None, as_json: bool) -> None:
    """List the releases, newest first: which is current, model, metric, warm start, size."""
    from pipeline.releases import read_releases, releases_to_json, render_releases

    found = read_releases(_locate(config, overrides, serving))
    click.echo(releases_to_json(found) if as_json else render_releases(found))


@releases_command.command("show")
@click.argument("version", type=click.IntRange(min=1))
@takes_serving
@click.option("--json", "as_json", is_flag=True, help="Print the manifest as JSON.")
@reports_errors
def show_command(
    version: int, config: str, overrides: tuple[str, ...], serving: str | None, as_json: bool
) -> None:
    """Say what release VERSION is, and what it was made from."""
    from pipeline.releases import release_to_json, render_release

    directory = _locate(config, overrides, serving)
    click.echo((release_to_json if as_json else render_release)(directory, version))


@releases_command.command("rollback")
@click.argument("version", type=click.IntRange(min=1))
@takes_serving
@click.option("--reason", default="", help="Why; `dssm releases list` shows it.")
@reports_errors
def rollback_command(
    version: int, config: str, overrides: tuple[str, ...], serving: str | None, reason: str
) -> None:
    """Make release VERSION the current one, until a newer one than there is now is pushed.

    The newest release's VERSION takes a rollback back.
    """
    from schemas.release import roll_back

    decision = roll_back(_locate(config, overrides, serving), version, reason)
    click.echo(
        f"Release {version} is current. The next run compares with it and starts from it; "
        f"a release above {decision.over} takes over."
    )


@releases_command.command("prune")
@takes_serving
@click.option("--keep", type=click.IntRange(min=1), required=True, help="How many of the newest stay.")
@click.option("--dry-run", is_flag=True, help="Only say what would be removed.")
@reports_errors
def prune_command(
    config: str, overrides: tuple[str, ...], serving: str | None, keep: int, dry_run: bool
) -> None:
    """Remove old releases.

    What stays, too: the current one, the one before it, what a warm start of one that stays began from, and
    what is being read.
    """
    from pipeline.releases import render_pruned
    from schemas.release import prune

    pruned = prune(_locate(config, overrides, serving), keep, dry_run)
    click.echo(render_pruned(pruned, dry_run))
    for reason in pruned.failed.values():
        click.echo(f"Error: {reason}", err=True)
    if pruned.failed:
        sys.exit(EXIT_FAILED)


@releases_command.command("verify")
@click.argument("version", type=click.IntRange(min=1), required=False)
@takes_serving
@reports_errors
def verify_command(version: int | None, config: str, overrides: tuple[str, ...], serving: str | None) -> None:
    """Read every byte of release VERSION, or the current one, and compare it with what was pushed.

    Of the current one, models.config is looked at, too: whether TensorFlow Serving is told to load it.
    """
    from pipeline.releases import render_checks, verify
    from schemas.release import require_current_version

    directory = _locate(config, overrides, serving)
    version = version or require_current_version(directory)
    click.echo(render_checks(version, verify(directory, version)))
