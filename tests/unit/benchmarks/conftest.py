import importlib
from pathlib import Path

import numpy as np
import pytest


@pytest.fixture
def benchmarks(monkeypatch) -> Path:
    """The folder of the benchmarks, which are no part of the installed package, for imports."""
    folder = Path(__file__).resolve().parents[3] / "benchmarks"
    monkeypatch.syspath_prepend(str(folder))
    return folder


@pytest.fixture
def block_tasks(benchmarks):
    """Two groups of ten users with ten items each; the one that a user lacks is held out."""
    held_out = importlib.import_module("held_out")
    items = np.concatenate([np.roll(np.arange(10), -1 - user) + 10 * (user // 10) for user in range(20)])
    offsets = np.arange(21) * 10
    sequences = held_out.SplitSequences(
        offsets=offsets,
        items=items.astype(np.int32),
        times=np.zeros(200, np.int64),
        train_ends=offsets[1:] - 1,
        known_ends=offsets[1:] - 1,
        eval_ends=offsets[1:],
        item_count=20,
    )
    return held_out.make_tasks(sequences, "new", k=5)
