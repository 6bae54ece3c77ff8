"""What the commands share: their options, and how they report errors."""

import functools
import select
import shlex
import sys
import traceback
from collections.abc import Callable
from typing import Any, Final, TextIO

import click

DEFAULT_CONFIG: Final = "pipeline/configs/movielens_100k.yaml"
EXIT_FAILED: Final = 1
EXIT_BUSY: Final = 4
"""Exit status where another process is at work in the run directory or the serving directory."""


def reports_errors(command: Callable[..., None]) -> Callable[..., None]:
    """Print an error that a user can act on as one message, with a traceback only on --debug.

    Where nobody reads the output any more, as behind `| head`, the command ends in silence with status 1.
    """

    @click.option("--debug", is_flag=True, help="Show the traceback of an error.")
    @functools.wraps(command)
    def wrapped(*args: Any, debug: bool, **kwargs: Any) -> None:
        from schemas.errors import BusyError, DssmError

        try:
            command(*args, **kwargs)
            # What progress could not be told is an error here, and not when the interpreter ends.
            sys.stdout.flush()
        except DssmError as error:
            if debug:
                traceback.print_exc()
            click.echo(f"Error: {error}", err=True)
            sys.exit(EXIT_BUSY if isinstance(error, BusyError) else EXIT_FAILED)
        except Exception as error:
            if isinstance(error, BrokenPipeError) and _has_no_reader(sys.stdout):
                # Click ends in silence, and so that the interpreter flushes nothing.
                raise
            if debug:
                traceback.print_exc()
            click.echo(f"Unexpected error: {type(error).__name__}: {error} (--debug shows where)", err=True)
            sys.exit(EXIT_FAILED)

    return wrapped


def _has_no_reader(output: TextIO) -> bool:
    poll = select.poll()
    try:
        poll.register(output.fileno(), select.POLLOUT)
    # Of a stream that is no file.
    except OSError:
        return False
    return any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0))


def takes_config(command: Callable[..., None]) -> Callable[..., None]:
    """Add --config and --set, for a command that makes something of a configuration."""
    return click.option(
        "--config", default=DEFAULT_CONFIG, show_default=True, help="The configuration file."
    )(_takes_overrides(command))


def follows_last_run(command: Callable[..., None]) -> Callable[..., None]:
    """Add --config and --set, for a command that looks at what a run made: by default, the last run's."""

    @functools.wraps(command)
    def wrapped(*args: Any, config: str | None, overrides: tuple[str, ...], **kwargs: Any) -> None:
        # With --serving, the commands on releases read no configuration.
        if config is None and kwargs.get("serving") is None:
            config, overrides = _follow(overrides)
        command(*args, config=config or DEFAULT_CONFIG, overrides=overrides, **kwargs)

    return click.option(
        "--config",
        help=f"The configuration file.  [default: that of the last run in this folder, or {DEFAULT_CONFIG}]",
    )(_takes_overrides(wrapped))


def remember_configuration(config: str, overrides: tuple[str, ...]) -> None:
    """Let the commands that follow the last run take this configuration from now on.

    Args:
        config: The configuration file.
        overrides: The `--set` options.
    """
    from pipeline.last_run import remember_run

    problem = remember_run(config, overrides)
    if problem is not None:
        click.echo(f"Note: {problem}", err=True)


def _takes_overrides(command: Callable[..., None]) -> Callable[..., None]:
    return click.option(
        "--set",
        "overrides",
        multiple=True,
        metavar="SECTION.KEY=VALUE",
        help="Override one key of the configuration; repeatable.",
    )(command)


def _follow(overrides: tuple[str, ...]) -> tuple[str, tuple[str, ...]]:
    """Take the last run's options, and these after them, and say so where they are not the defaults."""
    from pipeline.last_run import find_last_run

    try:
        last = find_last_run()
    except ValueError as error:
        click.echo(f"Error: {error}", err=True)
        sys.exit(EXIT_FAILED)
    if last is None:
        return DEFAULT_CONFIG, overrides
    if (last.config, last.overrides) != (DEFAULT_CONFIG, ()):
        options = " ".join([last.config, *(f"--set {shlex.quote(text)}" for text in last.overrides)])
        # What a program reads of the command is on the other stream.
        click.echo(f"Configuration: {options}, as the last run here ({last.time})", err=True)
    return last.config, (*last.overrides, *overrides)
