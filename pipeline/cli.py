"""The command line: `dssm`. Every heavy import happens inside the command that needs it."""

import logging
import os
import sys
from typing import TextIO

import click

from pipeline.commands.check import check_command
from pipeline.commands.compare import compare_command
from pipeline.commands.compile import compile_command
from pipeline.commands.config import config_command
from pipeline.commands.embed import embed_command
from pipeline.commands.export import export_command
from pipeline.commands.fetch import fetch_command
from pipeline.commands.init import init_command
from pipeline.commands.lint import lint_command
from pipeline.commands.plot import plot_command
from pipeline.commands.prune import prune_command
from pipeline.commands.recommend import recommend_command
from pipeline.commands.refresh_index import refresh_index_command
from pipeline.commands.releases import releases_command
from pipeline.commands.report import report_command
from pipeline.commands.retrain import retrain_command
from pipeline.commands.run import run_command
from pipeline.commands.runs import runs_command
from pipeline.commands.schedule import schedule_command
from pipeline.commands.serve import serve_command
from pipeline.commands.status import status_command
from pipeline.commands.submit import submit_command
from pipeline.commands.synth import synth_command
from pipeline.commands.train import train_command
from schemas.contract import PROGRESS_LOGGER


class _Progress(logging.StreamHandler[TextIO]):
    """Tells progress to whoever reads it; where nobody does any more, the work goes on."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        """Pass by what nobody reads."""
        if not isinstance(sys.exc_info()[1], BrokenPipeError):
            super().handleError(record)


def prepare_process() -> None:
    """Set what must be set before anything imports TensorFlow, and show progress on the terminal."""
    # TensorFlow's start-up messages are of no use on a terminal.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    # tensorflow-transform and the towers are built on Keras 2.
    os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
    progress = logging.getLogger(PROGRESS_LOGGER)
    progress.setLevel(logging.INFO)
    progress.propagate = False
    progress.addHandler(_Progress(sys.stdout))


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="dssm-pipeline", prog_name="dssm")
def main() -> None:
    """Train, evaluate and release two-tower retrieval models (DSSM)."""
    prepare_process()


main.add_command(init_command)
main.add_command(check_command)
main.add_command(config_command)
main.add_command(compare_command)
main.add_command(compile_command)
main.add_command(export_command)
main.add_command(embed_command)
main.add_command(fetch_command)
main.add_command(lint_command)
main.add_command(submit_command)
main.add_command(run_command)
main.add_command(retrain_command)
main.add_command(runs_command)
main.add_command(status_command)
main.add_command(plot_command)
main.add_command(prune_command)
main.add_command(recommend_command)
main.add_command(refresh_index_command)
main.add_command(releases_command)
main.add_command(schedule_command)
main.add_command(serve_command)
main.add_command(train_command)
main.add_command(report_command)
main.add_command(synth_command)
