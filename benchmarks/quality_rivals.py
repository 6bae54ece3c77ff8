"""The rows of benchmarks/quality.py beside the pipeline's: how each other model is chosen and measured.

A model that is trained on the task alone is an entry of `baselines.TUNED`.
"""

import argparse
import json
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from baselines import FIXED, TUNED, Settings, Tuned, choose_settings, rank_known_users
from held_out import HeldOutTask
from quality_rows import Configured, fingerprint
from quality_table import Measured, slug
from sequence_models import MODELS, SequenceModels

from components.retrieval_evaluator.baselines.registry import BASELINES
from pipeline.config import load_config
from schemas.ranking import Ranks, score_by_inner_product

TFRS: Final = "tfrs"
RIVALS: Final = (*FIXED, *TUNED, TFRS, *MODELS)
SLOW: Final = (TFRS, *MODELS)
"""Not part of --quick."""


@dataclass(frozen=True)
class Experiment:
    """What all models are measured on."""

    validation: HeldOutTask
    """What is chosen on."""
    final: HeldOutTask
    """What is reported."""
    ks: tuple[int, ...]
    """The cut-offs."""
    seeds: Sequence[int]
    """The seeds."""
    ours: Configured
    """The first configuration."""
    outputs: Mapping[str, str]
    """Folders that the pipeline's steps have written with it."""
    jobs: Path
    """Where trainings in processes of their own on this data are kept."""
    threads: int
    """Of each."""
    sequence_seeds: int | None
    """How many of the seeds SASRec and gSASRec are trained with; None: all."""

    def measured(
        self,
        rank: Callable[[int], tuple[Ranks, float | None]],
        chosen: str = "",
        seeds: Sequence[int] | None = None,
    ) -> Measured:
        """Measure a model once for each seed.

        Args:
            rank: Gives the places of the held-out items and the seconds of the training with a seed.
            chosen: What was chosen.
            seeds: The seeds; None: all.

        Returns:
            What became of it.
        """
        found = [rank(seed) for seed in (self.seeds if seeds is None else seeds)]
        return Measured(
            metrics=[self.final.measure(ranks, self.ks) for ranks, _ in found],
            chosen=chosen,
            seconds=_median([seconds for _, seconds in found if seconds is not None]),
        )


def measure_fixed(name: str, experiment: Experiment) -> Measured:
    """Measure a baseline of the evaluator that has nothing to choose here.

    Args:
        name: Its name.
        experiment: The data.

    Returns:
        What became of it; its note stands in the place of what was chosen.
    """
    final = experiment.final
    found = BASELINES[name](final.log, final.queries, final.popularity)
    if found.ranks is None:
        return Measured(chosen=found.note or "not computed")
    return Measured([final.measure(found.ranks, experiment.ks)], found.note or "")


def measure_tuned(model: Tuned, experiment: Experiment, *, quick: bool) -> Measured:
    """Choose the settings of a model on validation and measure it.

    Args:
        model: The model.
        experiment: The data.
        quick: Whether to choose from its small grid.

    Returns:
        What became of it.
    """
    items = experiment.final.item_count
    if model.most_items is not None and items > model.most_items:
        return Measured(chosen=f"not run: {items:,} items, and it needs a matrix of items x items")
    grid = model.quick_grid if quick else model.grid
    settings = choose_settings(experiment.validation, model.score, grid)

    def rank(seed: int) -> tuple[Ranks, float | None]:
        run = {**settings, "seed": seed} if model.is_random else settings
        return rank_known_users(experiment.final, model.score(experiment.final, run)), None

    seeds = experiment.seeds if model.is_random else experiment.seeds[:1]
    return experiment.measured(rank, _describe(settings), seeds)


def measure_tfrs(experiment: Experiment) -> Measured:
    """Choose and train by tensorflow-recommenders.

    Args:
        experiment: The data.

    Returns:
        What became of it.
    """
    config = load_config(experiment.ours.file, experiment.ours.overrides)
    # It reads the configured features, width and batch, beside the interactions.
    read = (config.load_features(), config.trainer, sorted(experiment.outputs.items()))
    directory = experiment.jobs / f"{TFRS}-{fingerprint(*read)}"
    directory.mkdir(exist_ok=True)

    def run(seed: int, settings: Settings | None) -> dict[str, Any]:
        what = "choice" if settings is None else slug(_describe(settings))
        file = directory / f"{what}-{seed}.json"
        if not file.exists():
            command = [sys.executable, str(Path(__file__).with_name("tfrs_retrieval.py"))]
            command += ["--config", experiment.ours.file, "--outputs", json.dumps(experiment.outputs)]
            command += ["--k", str(max(experiment.ks)), "--threads", str(experiment.threads)]
            for key, value in (settings or {}).items():
                command.append(f"--{key.replace('_', '-')}={value}")
            for override in (*experiment.ours.overrides, f"training.seed={seed}"):
                command += ["--set", override]
            command += ["--embeddings", str(file.with_suffix(".npz")), "--json", str(file)]
            _run_program(command, file.with_suffix(".txt"))
        return json.loads(file.read_text()) | {"embeddings": file.with_suffix(".npz")}

    choice = run(experiment.seeds[0], None)
    settings = {name: choice[name] for name in ("epochs", "learning_rate")}

    def rank(seed: int) -> tuple[Ranks, float | None]:
        result = run(seed, settings)
        with np.load(result["embeddings"]) as file:
            ranks = experiment.final.rank(score_by_inner_product(file["users"], file["items"]))
        return ranks, result["seconds"]

    return experiment.measured(rank, _describe(settings))


def measure_sequence_model(name: str, experiment: Experiment, models: SequenceModels) -> Measured:
    """Choose and train SASRec or gSASRec.

    Args:
        name: Which of them.
        experiment: The data.
        models: The environment.

    Returns:
        What became of it.
    """
    missing = models.why_not()
    if missing is not None:
        return Measured(chosen=missing)
    choice = models.choose(name, experiment.validation, experiment.seeds[0])
    epochs = int(choice["epochs"])
    limited = f", the best within {models.most_seconds / 60:g} minutes" if choice["limited"] else ""
    seeds = experiment.seeds[: experiment.sequence_seeds]
    few = f", {len(seeds)} of {len(experiment.seeds)} seeds" if len(seeds) < len(experiment.seeds) else ""
    return experiment.measured(
        lambda seed: models.rank(name, experiment.final, epochs, seed),
        f"epochs {epochs}{limited}{few}",
        seeds,
    )


def measure_rivals(arguments: argparse.Namespace, experiment: Experiment) -> Iterator[tuple[str, Measured]]:
    """Measure the other models, one after the other.

    Args:
        arguments: The options.
        experiment: The data.

    Yields:
        The name of each, and what became of it.
    """
    models = SequenceModels(
        arguments.sequence_python,
        experiment.jobs,
        experiment.threads,
        60.0 * arguments.sequence_minutes,
    )
    for name in RIVALS:
        if name not in arguments.rivals:
            yield name, Measured(chosen="not run: not among --rivals")
        elif arguments.quick and name in SLOW:
            yield name, Measured(chosen="not run: not part of --quick")
        elif name in FIXED:
            yield name, measure_fixed(name, experiment)
        elif name in TUNED:
            yield name, measure_tuned(TUNED[name], experiment, quick=arguments.quick)
        elif name == TFRS:
            yield name, measure_tfrs(experiment)
        else:
            yield name, measure_sequence_model(name, experiment, models)


def _run_program(command: Sequence[str], log_file: Path) -> None:
    with log_file.open("w") as log:
        subprocess.run(command, stdout=log, stderr=subprocess.STDOUT, check=True)


def _median(values: Sequence[float]) -> float | None:
    return statistics.median(values) if values else None


def _describe(settings: Settings) -> str:
    return ", ".join(f"{key.replace('_', ' ')} {value:g}" for key, value in settings.items())
