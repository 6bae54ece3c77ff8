"""What the commands share: their options, and how they report errors."""

import functools
import select
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
    """Add --config and --set."""
    command = click.option(
        "--set",
        "overrides",
        multiple=True,
        metavar="SECTION.KEY=VALUE",
        help="Override one key of the configuration; repeatable.",
    )(command)
    return click.option(
        "--config", default=DEFAULT_CONFIG, show_default=True, help="The configuration file."
    )(command)
