import os
import subprocess
import sys

import click
import pytest
from click.testing import CliRunner

from pipeline.commands.options import reports_errors
from schemas.errors import DataError

pytestmark = pytest.mark.unit

# A command that tells progress, and then says something where it is told to.
PROGRAM = """
import logging, sys
import click
from pipeline.cli import prepare_process
from pipeline.commands.options import reports_errors

@click.command()
@click.option("--echo", is_flag=True)
@reports_errors
def command(echo):
    prepare_process()
    logging.getLogger("dssm.progress").info("half of it is done")
    if echo:
        click.echo("all of it is done")
    print("the end", file=sys.stderr)

command()
"""


def make_command(error):
    @click.command()
    @reports_errors
    def command():
        raise error

    return command


@pytest.mark.parametrize("options", [[], ["--echo"]])
def test_output_that_nobody_reads_ends_a_command_in_silence(options):
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer) as output:
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM, *options],
            stdout=output,
            stderr=subprocess.PIPE,
            # With it nothing is left to be flushed at the end.
            env={name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"},
            text=True,
            check=False,
        )
    # Work that only tells its progress is not given up.
    assert (done.returncode, done.stderr) == (1, "" if options else "the end\n")


def test_another_pipe_that_breaks_is_an_error():
    result = CliRunner().invoke(make_command(BrokenPipeError(32, "Broken pipe")))
    assert result.exit_code == 1
    assert "Unexpected error: BrokenPipeError: [Errno 32] Broken pipe (--debug shows where)" in result.output


def test_an_error_that_a_user_can_act_on_is_one_message():
    result = CliRunner().invoke(make_command(DataError("Expected a table. Received: none.")))
    assert (result.exit_code, result.output) == (1, "Error: Expected a table. Received: none.\n")
