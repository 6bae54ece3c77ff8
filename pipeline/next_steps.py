"""What a person may want to do after a run."""

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import pyarrow.parquet as pq

from pipeline.commands.options import DEFAULT_CONFIG
from schemas.contract import PER_USER_METRICS_FILE

# Sections of the configuration that say what the commands read; how the model was trained is done.
_SECTIONS: Final = ("run", "data", "serving", "ingest", "evaluation")


def find_a_user(evaluation: Path) -> str:
    """Find a user to try a recommendation with.

    Args:
        evaluation: RetrievalEvaluator's report, which has at least one user.

    Returns:
        The id of the first that was evaluated.
    """
    users = next(pq.ParquetFile(evaluation / PER_USER_METRICS_FILE).iter_batches(1, columns=["user"]))
    return str(users.column(0)[0])


def render_next_steps(
    config: str, overrides: Sequence[str], *, page: Path, user: str, is_released: bool
) -> str:
    """Say what there is to do after a run, as commands that can be copied.

    Args:
        config: The run's --config.
        overrides: Its --set options.
        page: The report's page.
        user: A user to recommend to.
        is_released: Whether there is a release.

    Returns:
        Seven lines at most.
    """
    options = [] if config == DEFAULT_CONFIG else ["--config", config]
    for override in overrides:
        if override.partition(".")[0] in _SECTIONS:
            options += ["--set", override]
    steps = []
    if is_released:
        steps += [
            (["recommend", *options, "--user", user], "what this model recommends"),
            (["serve", *options], "the same over HTTP, with a page to try it"),
        ]
    steps += [
        (["report", *options, "--open"], "the report's page in a browser"),
        (["plot", "run", *options], "learning curves, and how to open TensorBoard"),
    ]
    commands = [(f"  dssm {shlex.join(words)}", what) for words, what in steps]
    # Where the options are long, what a command does stands right behind it.
    width = min(60, max(len(command) for command, _ in commands))
    lines = [f"{command:<{width}}  {what}" for command, what in commands]
    return "\n".join(["", "Next:", *lines, f"The report: {page}"])
