"""What both sides of benchmarks/training.py train on: MovieLens-shaped features, already encoded."""

import json
import os
import resource
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

CORES = 2
USERS, OCCUPATIONS, AGES, GENDERS, YEARS, GENRES = 6_000, 21, 8, 2, 10, 19
GENRES_PER_ITEM, HISTORY = 6, 20
# Values by feature, an OOV row not counted; items are given by the program.
VALUES = {
    "user_id": USERS,
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
    items: int = 4_000
    """Rows of the item table, one of them for unknown items."""
    tables_optimizer: Literal["adagrad", "lazy_adam"] = "adagrad"
    """Optimiser of the embedding tables."""
    dense_optimizer: Literal["adagrad", "adam"] = "adagrad"
    """Optimiser of the other weights."""
    history: bool = False
    """Whether the user tower reads the last 20 items."""
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
    """Pattern of the transformed examples to train on; None for data in memory."""


def make_columns(program: Program, seed: int = 1) -> dict[str, np.ndarray]:
    """Draw train rows; the share of an item is as 1 over its rank, that of a user is uniform.

    Args:
        program: Rows and items.
        seed: Equal seeds give equal rows.

    Returns:
        [rows] int64 per feature, genres [rows, 6] padded with -1, and with a history [rows, 20].
    """
    generator = np.random.default_rng(seed)
    items = program.items - 1
    share = 1.0 / np.arange(1, items + 1)
    cumulated = np.cumsum(share / share.sum())

    def draw_items(count: int) -> np.ndarray:
        return np.minimum(np.searchsorted(cumulated, generator.random(count)), items - 1)

    columns = {name: generator.integers(0, VALUES[name], USERS) for name in ("age", "gender", "occupation")}
    users = generator.integers(0, USERS, program.rows)
    columns = {"user_id": users} | {name: of_user[users] for name, of_user in columns.items()}
    columns["item_id"] = item_ids = draw_items(program.rows)
    columns["year"] = generator.integers(0, YEARS, items)[item_ids]
    genres = generator.integers(0, GENRES, (items, GENRES_PER_ITEM))
    genres[np.arange(GENRES_PER_ITEM) > generator.integers(0, 4, items)[:, np.newaxis]] = -1
    columns["genres"] = genres[item_ids]
    if program.history:
        columns["history"] = draw_items(program.rows * HISTORY).reshape(program.rows, HISTORY)
    return columns


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
