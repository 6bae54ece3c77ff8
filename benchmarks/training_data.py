"""What both sides of benchmarks/training.py train on: MovieLens-shaped features, already encoded."""

import json
import os
import resource
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

CORES = 2
OCCUPATIONS, AGES, GENDERS, YEARS, GENRES = 21, 8, 2, 10, 19
GENRES_PER_ITEM = 6
# Values by feature, an OOV row not counted; the program gives those of the ids.
VALUES = {
    "age": AGES,
    "gender": GENDERS,
    "occupation": OCCUPATIONS,
    "year": YEARS,
    "genres": GENRES,
}
USER_FEATURES = ("user_id", "age", "gender", "occupation")
ITEM_FEATURES = ("item_id", "year", "genres")


@dataclass(frozen=True)
class Program:
    """One training to measure."""

    batch: int
    """Rows per step."""
    rows: int
    """Train rows."""
    epochs: int = 1
    """Passes over them."""
    users: int = 6_000
    """Rows of the user table, that for unknown users left out."""
    items: int = 4_000
    """Rows of the item table, one of them for unknown items."""
    tables_optimizer: Literal["adagrad", "lazy_adam"] = "adagrad"
    """Optimiser of the embedding tables."""
    dense_optimizer: Literal["adagrad", "adam"] = "adagrad"
    """Optimiser of the other weights."""
    dim: int = 64
    """Width of the embeddings."""
    hidden: int = 128
    """Width of the hidden layer of both towers."""
    temperature: float = 0.1
    """What the similarities are divided by."""
    dropout: float = 0.2
    """Share of the user MLP's input that is dropped."""
    learning_rate: float = 0.05
    """Of every weight."""
    warmup_steps: int = 50
    """Steps before the clock starts."""
    files: str | None = None
    """Folder of the artifacts to load, with histories of 20 items; None for rows in memory, without."""


@dataclass(frozen=True)
class Log:
    """Train rows as the positives of each user, and the encoded features of users and items."""

    offsets: np.ndarray
    """[users + 1] int64: user u has the rows offsets[u] to offsets[u + 1]."""
    item_of_row: np.ndarray
    """[rows] int32."""
    users: Mapping[str, np.ndarray]
    """[users] int64 by feature."""
    items: Mapping[str, np.ndarray]
    """[items] int64 by feature, genres [items, 6] padded with -1."""

    def columns(self, seed: int = 1) -> dict[str, np.ndarray]:
        """Give the features of every row, the rows in an order drawn at random.

        Args:
            seed: Of the order.

        Returns:
            [rows] int64 by feature, genres [rows, 6].
        """
        order = np.random.default_rng(seed).permutation(len(self.item_of_row))
        user_of_row = np.repeat(np.arange(len(self.offsets) - 1), np.diff(self.offsets))[order]
        columns = {name: values[user_of_row] for name, values in self.users.items()}
        return columns | {name: values[self.item_of_row[order]] for name, values in self.items.items()}


def make_log(program: Program, seed: int = 1) -> Log:
    """Draw train rows; the share of an item is as 1 over its rank, that of a user is uniform.

    Args:
        program: Rows, users and items.
        seed: Equal seeds give equal rows.

    Returns:
        The rows.
    """
    generator = np.random.default_rng(seed)
    items = program.items - 1
    share = 1.0 / np.arange(1, items + 1)
    cumulated = np.cumsum(share / share.sum())
    draws = generator.random(program.rows)
    counts = np.bincount(generator.integers(0, program.users, program.rows), minlength=program.users)
    genres = generator.integers(0, GENRES, (items, GENRES_PER_ITEM))
    genres[np.arange(GENRES_PER_ITEM) > generator.integers(0, 4, items)[:, np.newaxis]] = -1
    return Log(
        offsets=np.concatenate([[0], np.cumsum(counts)]),
        item_of_row=np.minimum(np.searchsorted(cumulated, draws), items - 1).astype(np.int32),
        users={
            "user_id": np.arange(program.users),
            **{
                name: generator.integers(0, VALUES[name], program.users)
                for name in ("age", "gender", "occupation")
            },
        },
        items={
            "item_id": np.arange(items),
            "year": generator.integers(0, YEARS, items),
            "genres": genres,
        },
    )


def count_values(program: Program) -> dict[str, int]:
    """Count the values of every feature, OOV rows not counted.

    Args:
        program: Users and items.

    Returns:
        By feature.
    """
    return {"user_id": program.users, **VALUES, "item_id": program.items - 1}


def use_two_cores() -> None:
    """Bind the process to two of the cores it may run on; before TensorFlow counts them."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:CORES])


def answer(run: Callable[[Program], dict[str, float]]) -> None:
    """Run the program that the command line describes, and print what it found.

    The settings are JSON. To what the program returns is added `bytes`: the peak of the process above what it
    held when its imports were done.

    Args:
        run: The program.
    """
    program = Program(**json.loads(sys.argv[1]))
    idle_bytes = int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
    found = run(program)
    peak_bytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps(found | {"bytes": peak_bytes - idle_bytes}))
