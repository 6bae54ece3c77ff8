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

    def encode(self, values: np.ndarray) -> np.ndarray:
        """Give the embedding rows that Transform gives: the place, or the one behind all places."""
        order = np.argsort(self.tokens)
        place = np.minimum(np.searchsorted(self.tokens, values, sorter=order), len(order) - 1)
        known = self.tokens[order[place]] == values
        return np.where(known, order[place], len(self.tokens))


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
    return Vocabulary(tokens[np.lexsort((tokens, -rows))])


def make_data(train: Log, after: Log, catalogue: np.ndarray) -> Any:
    """Make what a training reads, the rows after the train rows being its validation split.

    Args:
        train: The rows to train on.
        after: The rows after them.
        catalogue: [items] the items that there are, ascending.

    Returns:
        The `TrainingData`.
    """
    from trainer.data.batches import TrainingData
    from trainer.data.sequences import FlatSequences, Rows

    user_vocabulary, item_vocabulary = learn_vocabulary(train.user), learn_vocabulary(train.item)
    users, numbers = np.unique(np.concatenate([train.user, after.user]), return_inverse=True)
    items = np.searchsorted(catalogue, np.concatenate([train.item, after.item]))
    train_rows = np.bincount(numbers[: len(train.user)], minlength=len(users))
    offsets = np.concatenate([[0], np.cumsum(np.bincount(numbers))])
    item_rows = item_vocabulary.encode(catalogue)
    return TrainingData(
        # The log is in the order of time, and so are the rows of each user.
        sequences=FlatSequences(offsets, items[np.argsort(numbers, kind="stable")].astype(np.int32)),
        users={"user_id": user_vocabulary.encode(users)},
        items={"item_id": item_rows},
        item_count=len(catalogue),
        train=Rows.between(offsets[:-1], offsets[:-1] + train_rows),
        validation=Rows.between(offsets[:-1] + train_rows, offsets[1:]),
        history_items={"history": item_rows},
    )


class Window:
    """The days that a model is trained on, with vocabularies of their own, and the day after them.

    Args:
        log: All interactions.
        first: The first day.
        last: The last day.
    """

    def __init__(self, log: Log, first: int, last: int) -> None:
        train = log.between(first, last)
        self.data = make_data(
            train, log.between(last + 1, last + 1), np.unique(log.between(0, last + 1).item)
        )
        users, items = learn_vocabulary(train.user), learn_vocabulary(train.item)
        self.rows = {
            "user_id": [*(("token", b"u%d" % token) for token in users.tokens), ("oov", b"0/1")],
            "item_id": [*(("token", b"i%d" % token) for token in items.tokens), ("oov", b"0/1")],
        }

    def ask(self, spec: Any) -> Any:
        """Prepare the recall of the interactions of the day after."""
        from trainer.data.batches import BatchMaker
        from trainer.validation import build_recall

        return build_recall(self.data, self.data.validation, BatchMaker(self.data, spec), K, "new")

    def fit(self, spec: Any, config: Any, directory: Path, **more: Any) -> Any:
        """Train on these days."""
        import tensorflow as tf

        from trainer.training import train
        from trainer.vocabularies import EncodedSize

        return train(
            self.data,
            spec,
            config,
            {name: EncodedSize(len(rows) - 1, 1) for name, rows in self.rows.items()},
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
    release = before.fit(spec, stopped, directory)
    state = take_state(
        release.towers, release.optimizer, model_id="release", spec=spec, config=model, rows=before.rows
    )
    base = WarmStart(
        release=1, in_a_row=1, state=state, rows=now.rows, tower_inputs=list_tower_inputs(spec, model)
    )
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
