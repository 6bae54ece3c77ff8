"""What a warm start is worth on the next day: recall after one epoch, from the last release and from nothing.

    .venv/bin/python benchmarks/warm_start.py --json benchmarks/results/warm_start.json

On synthetic data whose interests and items change over time (pipeline/datasets/synthetic.py) a model is
trained on a window of days and stopped early by the day after it, the day before yesterday: that is the last
release. Then one more is trained for one epoch on the window that ends yesterday, with other vocabularies:
once warm, from the release's state, and once cold. Both are asked for today's interactions: Recall@50 among
all items that there are, without those that the user has in the window. Data, release and trainings are made
anew with each seed.
"""

import dataclasses
import statistics
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from reporting import Figure, benchmark_parser, describe_versions, write_json
from tabulate import tabulate

from pipeline.cli import prepare_process

K = 50
HISTORY_LENGTH = 20
WINDOW_DAYS = 14
SECONDS_PER_DAY = 86_400


@dataclasses.dataclass(frozen=True)
class Scale:
    """How large the data and the trainings are."""

    users: int
    items: int
    interactions: int
    days: int
    release_epochs: int
    """At most."""
    per_replica_batch: int
    dim: int
    seeds: Sequence[int]


FULL = Scale(
    users=1_500, items=1_500, interactions=100_000, days=30, release_epochs=10, per_replica_batch=512, dim=64,
    seeds=(1, 2, 3),
)  # fmt: skip
QUICK = Scale(
    users=300, items=200, interactions=12_000, days=18, release_epochs=3, per_replica_batch=64, dim=16,
    seeds=(1,),
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Log:
    """Interactions in the order of time."""

    user: np.ndarray
    item: np.ndarray
    day: np.ndarray

    def between(self, first: int, last: int) -> "Log":
        """Keep the days from `first` to `last`."""
        kept = (self.day >= first) & (self.day <= last)
        return Log(self.user[kept], self.item[kept], self.day[kept])


@dataclasses.dataclass(frozen=True)
class Vocabulary:
    """The values of a window, the most frequent first, as Transform orders them."""

    tokens: np.ndarray
    rows: np.ndarray
    """How often each of them occurs."""

    def keys(self, values: np.ndarray) -> np.ndarray:
        """Give the keys that Transform gives: the place, or a number of their own above all places."""
        order = np.argsort(self.tokens)
        place = np.minimum(np.searchsorted(self.tokens, values, sorter=order), len(order) - 1)
        known = self.tokens[order[place]] == values
        return np.where(known, order[place], len(self.tokens) + values)


def draw_log(scale: Scale, seed: int) -> Log:
    """Draw the interactions of the planted model."""
    from pipeline.datasets.synthetic import START_SECONDS, draw_interactions, plant_model

    generator = np.random.default_rng(seed)
    model = plant_model(scale.users, scale.items, scale.days, generator)
    batches = list(draw_interactions(model, scale.interactions, generator))

    def number(name: str) -> np.ndarray:
        return np.array([int(text[1:]) for batch in batches for text in batch[name].to_pylist()])

    seconds = np.concatenate([batch["timestamp"].to_numpy() for batch in batches]) - START_SECONDS
    return Log(number("user_id"), number("item_id"), seconds // SECONDS_PER_DAY)


def learn_vocabulary(values: np.ndarray) -> Vocabulary:
    """Count the values and sort them, the most frequent first."""
    tokens, rows = np.unique(values, return_counts=True)
    order = np.lexsort((tokens, -rows))
    return Vocabulary(tokens[order], rows[order])


def make_columns(past: Log, asked: Log, users: Vocabulary, items: Vocabulary) -> dict[str, np.ndarray]:
    """Make transformed columns, the history of each row being the user's items before it.

    Args:
        past: What is known before the first row that is asked for.
        asked: The rows.
        users: The users' vocabulary.
        items: The items' vocabulary.

    Returns:
        `user_id` and `item_id` [rows] and `history` [rows, length] int64.
    """
    recent: dict[int, list[int]] = {}
    for user, item in zip(past.user.tolist(), items.keys(past.item).tolist(), strict=True):
        recent.setdefault(user, []).append(item)
    keys = items.keys(asked.item)
    history = np.full((len(keys), HISTORY_LENGTH), -1, np.int64)
    for row, (user, key) in enumerate(zip(asked.user.tolist(), keys.tolist(), strict=True)):
        known = recent.setdefault(user, [])
        if known:
            last = known[-HISTORY_LENGTH:]
            history[row, -len(last) :] = last
        known.append(key)
    return {"user_id": users.keys(asked.user), "item_id": keys, "history": history}


class Window:
    """The days that a model is trained on, with vocabularies of their own, and the day after them.

    Args:
        log: All interactions.
        first: The first day.
        last: The last day.
    """

    def __init__(self, log: Log, first: int, last: int) -> None:
        train, after = log.between(first, last), log.between(last + 1, last + 1)
        self.users, self.items = learn_vocabulary(train.user), learn_vocabulary(train.item)
        self.train = make_columns(log.between(0, -1), train, self.users, self.items)
        self.after = make_columns(train, after, self.users, self.items)
        self.catalogue = {"item_id": self.items.keys(np.unique(log.between(0, last + 1).item))}
        self.rows = {
            "user_id": [*(("token", b"u%d" % token) for token in self.users.tokens), ("oov", b"0/1")],
            "item_id": [*(("token", b"i%d" % token) for token in self.items.tokens), ("oov", b"0/1")],
        }

    def ask(self, spec: Any) -> Any:
        """Prepare the recall of the interactions of the day after."""
        from trainer.validation import build_recall

        return build_recall(spec, self.after, self.train, self.catalogue, K)

    def fit(self, spec: Any, config: Any, directory: Path, **more: Any) -> Any:
        """Train on these days."""
        import tensorflow as tf

        from trainer.training import TrainingData, train
        from trainer.vocabularies import EncodedSize

        return train(
            TrainingData(train=self.train, validation=self.after),
            spec,
            config,
            {name: EncodedSize(len(rows) - 1, 1) for name, rows in self.rows.items()},
            np.log(np.append(self.items.rows, 1) / self.items.rows.sum()).astype(np.float32),
            tf.distribute.get_strategy(),
            log_directory=str(directory),
            **more,
        )


def measure_seed(scale: Scale, seed: int, directory: Path) -> dict[str, float]:
    """Train the release, then warm and cold, and ask all three for today's interactions."""
    from schemas.features import Feature, FeatureSpec, History, VocabularyEncoding
    from trainer.config import EarlyStoppingConfig, ModelConfig, TrainerConfig, TrainingConfig
    from trainer.warm_start import WarmStart, list_tower_inputs, take_state

    encoding = VocabularyEncoding(kind="vocabulary")
    spec = FeatureSpec(
        name="synthetic",
        features=(
            Feature(name="user_id", dtype="string", tower="user", role="user_id", encoding=encoding),
            Feature(name="item_id", dtype="string", tower="item", role="item_id", encoding=encoding),
        ),
        history=History(length=HISTORY_LENGTH),
    )
    model = ModelConfig(dim=scale.dim)
    settings = TrainingConfig(per_replica_batch=scale.per_replica_batch, epochs=1, seed=seed)
    one_epoch = TrainerConfig(model=model, training=settings)
    stopped = TrainerConfig(
        model=model,
        training=dataclasses.replace(
            settings, epochs=scale.release_epochs, early_stopping=EarlyStoppingConfig(k=K, patience_epochs=1)
        ),
    )

    log = draw_log(scale, seed)
    today = scale.days - 1
    before, now = (Window(log, last - WINDOW_DAYS + 1, last) for last in (today - 3, today - 1))
    release = before.fit(spec, stopped, directory, recall=before.ask(spec))
    state = take_state(
        release.towers, release.optimizer, model_id="release", spec=spec, config=model, rows=before.rows
    )
    base = WarmStart(1, state, now.rows, list_tower_inputs(spec, model))
    warm = now.fit(spec, one_epoch, directory, warm_start=base)
    cold = now.fit(spec, one_epoch, directory)
    ask = now.ask(spec)
    items = warm.warm_start.tables["item_id"]
    return {
        "warm": ask(warm.towers),
        "cold": ask(cold.towers),
        "release_epochs": release.best_epoch,
        "items_new": items.new,
        "items_dropped": items.dropped,
    }


def main() -> None:
    """Parse the options, measure, print and write."""
    arguments = benchmark_parser("Recall on the next day after one epoch, warm and cold.").parse_args()
    prepare_process()
    scale = QUICK if arguments.quick else FULL
    with tempfile.TemporaryDirectory() as directory:
        runs = [measure_seed(scale, seed, Path(directory)) for seed in scale.seeds]

    gains = [run["warm"] - run["cold"] for run in runs]
    figures = {
        "warm_start_recall_gain": Figure(
            statistics.median(gains), "1", bar=0.0, lowest=min(gains), highest=max(gains)
        ),
        **{
            f"recall_at_{K}_{name}": Figure(
                statistics.median(run[name] for run in runs),
                "1",
                lowest=min(run[name] for run in runs),
                highest=max(run[name] for run in runs),
            )
            for name in ("warm", "cold")
        },
    }
    print(tabulate(runs, headers="keys", floatfmt=".4f"))
    print(f"Recall@{K} after one epoch, warm less cold: {figures['warm_start_recall_gain'].value:+.4f}")
    if arguments.json:
        raw = {name: [run[name] for run in runs] for name in runs[0]}
        write_json(arguments.json, figures, describe_versions(["tensorflow", "numpy"]), raw)
    if min(gains) <= 0.0:
        sys.exit(f"Below the bar: warm_start_recall_gain {min(gains):.4f}")


if __name__ == "__main__":
    main()
