"""`dssm plot`: a training's curves and a log's shape, as pictures or on the terminal."""

from __future__ import annotations

import shlex
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from pipeline.commands.options import reports_errors, takes_config

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pipeline.plots.plot import Plot

_LOGS: Final = Path("artifacts", "Trainer", "model_run")
_SEQUENCES: Final = Path("artifacts", "InteractionIngest", "sequences")


@click.group("plot")
def plot_command() -> None:
    """Draw the newest run of a configuration, or its data."""


_output = click.option(
    "--output",
    type=click.Path(path_type=Path),
    help="Folder of the PNG files.  [default: RUN.DIRECTORY/plots]",
)
_terminal = click.option("--terminal", is_flag=True, help="Draw with characters, and write no file.")


@plot_command.command("run")
@takes_config
@_output
@_terminal
@reports_errors
def plot_run_command(config: str, overrides: tuple[str, ...], output: Path | None, terminal: bool) -> None:
    """Draw the newest training: its loss by step, and its recall on validation by epoch.

    A training that has not ended is drawn as far as it is.
    """
    from components.run_report.event_files import read_scalars
    from components.run_report.inputs import REFIT
    from pipeline.config import load_config
    from pipeline.plots.of_run import plot_training

    directory = Path(load_config(config, overrides).run.directory)
    logs = find_newest(directory / _LOGS, "a training")
    plots = plot_training(read_scalars(logs), read_scalars(logs / REFIT))
    _show(plots, output or directory / "plots", terminal)
    if not any(plot.name == "recall" for plot in plots):
        click.echo(
            "No recall by epoch: it is measured where ingest.validation is true and "
            "training.early_stopping is set."
        )
    click.echo(f"More figures (pip install tensorboard): tensorboard --logdir {shlex.quote(str(logs))}")


@plot_command.command("data")
@takes_config
@_output
@_terminal
@reports_errors
def plot_data_command(config: str, overrides: tuple[str, ...], output: Path | None, terminal: bool) -> None:
    """Draw what the newest run has kept of its log: by day, by item and by user.

    These are the positives of all splits, after the rules of the ingest.
    """
    from pipeline.config import load_config
    from pipeline.plots.of_data import count_log, plot_data

    settings = load_config(config, overrides)
    features = settings.load_features()
    directory = Path(settings.run.directory)
    counts = count_log(find_newest(directory / _SEQUENCES, "an ingest"), features)
    history = features.history.length if features.history is not None else None
    _show(plot_data(counts, history), output or directory / "plots", terminal)


def find_newest(folder: Path, what: str) -> Path:
    """Find what a step has written last, by the files alone.

    Args:
        folder: The step's folder of one output.
        what: What it is the output of, for the message.

    Returns:
        The folder of the newest execution.

    Raises:
        ConfigError: There is none.
    """
    from schemas.errors import ConfigError

    executions = [found for found in folder.glob("*") if found.name.isdecimal() and any(found.iterdir())]
    if not executions:
        raise ConfigError(
            f"Expected {what} in {folder}. Received: none. Run `dssm run` first, or name its configuration "
            "with --config."
        )
    # TFX numbers them in the order in which they began.
    return max(executions, key=lambda found: int(found.name))


def _show(plots: Sequence[Plot], folder: Path, terminal: bool) -> None:
    from pipeline.plots.png import write_png
    from pipeline.plots.terminal import render_plot
    from schemas.errors import ConfigError

    if terminal:
        width = shutil.get_terminal_size().columns
        for plot in plots:
            click.echo(f"{render_plot(plot, width)}\n")
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for plot in plots:
            write_png(plot, folder / f"{plot.name}.png")
            click.echo(f"{folder / plot.name}.png: {plot.title}")
    except OSError as error:
        raise ConfigError(f"--output: expected a folder that can be written. Received: {error}.") from error
