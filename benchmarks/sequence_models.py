"""SASRec and gSASRec for benchmarks/quality.py, trained by RecTools in an environment of its own."""

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from baselines import Settings
from held_out import HeldOutTask
from ranked_lists import rank_in_lists

from components.retrieval_evaluator.baselines.fallback import fall_back_to_popularity
from schemas.ranking import Ranks

MODELS: Final = ("sasrec", "gsasrec")
"""As benchmarks/sequence_program.py calls them."""

_PROGRAM: Final = Path(__file__).with_name("sequence_program.py")


@dataclass(frozen=True)
class SequenceModels:
    """Trainings in processes of their own, each of them once."""

    python: Path
    """The interpreter of the environment."""
    directory: Path
    """Where their inputs and results are kept."""
    threads: int
    """Of PyTorch."""
    most_seconds: float
    """How long the best number of epochs is looked for."""

    def why_not(self) -> str | None:
        """Say why nothing can be trained here; None where it can."""
        if not self.python.is_file():
            return f"not run: there is no {self.python}; `make sequence-models` makes the environment"
        return None

    def choose(self, model: str, validation: HeldOutTask, seed: int) -> Settings:
        """Find the number of epochs that is best on validation.

        Args:
            model: Its name.
            validation: The validation task.
            seed: The seed.

        Returns:
            `epochs`, and `limited`, whether the time has ended the search.
        """
        return self._run(
            f"{model}-choice-{self.most_seconds:g}s-{seed}",
            ["--model", model, "--seed", str(seed), "--most-seconds", str(self.most_seconds)],
            self._write_task("validation", validation),
        )

    def rank(self, model: str, final: HeldOutTask, epochs: int, seed: int) -> tuple[Ranks, float]:
        """Train on all that is known and rank what is held out.

        Users of whom the model lists nothing, since it knows none of their items, get the popular ones.

        Args:
            model: Its name.
            final: The task.
            epochs: Passes over the interactions.
            seed: The seed.

        Returns:
            The places of the held-out items, and the seconds of the training.
        """
        name = f"{model}-{epochs}-{seed}"
        file = self.directory / f"{name}.npy"
        result = self._run(
            name,
            ["--model", model, "--seed", str(seed), "--epochs", str(epochs), "--lists", str(file)],
            self._write_task("final", final),
        )
        lists, queries = np.load(file), final.queries
        ranks, _ = fall_back_to_popularity(
            rank_in_lists(lists, queries.targets), queries, lists[:, 0] < 0, final.popularity
        )
        return ranks, result["seconds"]

    def _run(self, name: str, options: list[str], task: Path) -> dict[str, Any]:
        result = self.directory / f"{name}.json"
        if not result.exists():
            command = [str(self.python), str(_PROGRAM), *options, "--task", str(task)]
            command += ["--threads", str(self.threads), "--json", str(result)]
            with result.with_suffix(".txt").open("w") as log:
                subprocess.run(
                    command,
                    # Of the project the environment sees the sources alone.
                    env={**os.environ, "PYTHONPATH": str(_PROGRAM.parent.parent)},
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    check=True,
                )
        return json.loads(result.read_text())

    def _write_task(self, name: str, task: HeldOutTask) -> Path:
        file = self.directory / f"{name}.npz"
        queries = task.queries
        arrays: dict[str, Any] = {
            "offsets": task.log.offsets,
            "items": task.log.items,
            "users": task.users,
            "item_count": np.array(task.item_count),
            "masks_seen": np.array(queries.candidates == "new"),
            "k": np.array(queries.k),
        }
        # What is held out stays here; the validation is what the program stops early by.
        if name == "validation":
            arrays |= {"target_offsets": queries.targets.offsets, "target_items": queries.targets.items}
        np.savez(file, **arrays)
        return file
