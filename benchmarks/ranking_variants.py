"""The pipeline's training with single switches turned, on what one run of the pipeline has written.

A process of its own for each training, started by benchmarks/quality.py.
"""

import argparse
import dataclasses
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from ranking_task import RankingTask, make_task

from pipeline.config import load_config
from schemas.features import FeatureSpec
from trainer.config import TrainerConfig

if TYPE_CHECKING:
    from trainer.data.batches import TrainingData
    from trainer.data.load import InputFolders
    from trainer.data.sequences import Rows

Columns = Mapping[str, np.ndarray]

HISTORY_FEATURES = ("genres", "year")
TIME_GAP_BUCKETS = 16
# Early stopping looks so many epochs further before it says which was best.
PATIENCE_EPOCHS = 2
STOP_AT_RECALL = 100
EMBED_ROWS = 8192


@dataclass(frozen=True)
class Variant:
    """The committed configuration with some switches turned."""

    model: Mapping[str, Any] = field(default_factory=dict)
    """What differs in the section `model`."""
    loss: Mapping[str, Any] = field(default_factory=dict)
    """What differs in the section `loss`."""
    training: Mapping[str, Any] = field(default_factory=dict)
    """What differs in the section `training`."""
    history_features: tuple[str, ...] = ()
    """Item features of the history's items that the user tower reads."""
    time_gap: bool = False
    """Whether it reads the time since each of them."""
    unread: tuple[str, ...] = ()
    """Features that no tower reads."""


def _encoders(*names: str) -> Variant:
    return Variant(model={"history_encoders": names})


VARIANTS: dict[str, Variant] = {
    "as configured": Variant(),
    "without logQ": Variant(loss={"logq": "none"}),
    "without masks": Variant(loss={"mask_same_item": False, "mask_same_user": False}),
    "masks over the whole sequence": Variant(loss={"mask_same_user": "sequence"}),
    "rotation, 20 negatives": Variant(loss={"negatives": "rotation", "rotation_negatives": 20}),
    "mixed, 512 uniform negatives": Variant(loss={"uniform_negatives": 512}),
    "cross-batch, 2048 past items": Variant(
        loss={"cross_batch_negatives": 2048, "cross_batch_warmup_steps": 390}
    ),
    "without history": _encoders(),
    "history: mean": _encoders("mean"),
    "history: position weights": _encoders("position_weighted"),
    "history: last item": _encoders("last"),
    "history: attention": _encoders("attention"),
    "history: GRU": _encoders("gru"),
    "history: mean, last": _encoders("mean", "last"),
    "history: mean, GRU": _encoders("mean", "gru"),
    "history: mean, attention": _encoders("mean", "attention"),
    "history with genres and year": Variant(history_features=HISTORY_FEATURES),
    "history with time gaps": Variant(time_gap=True),
    "history with both": Variant(history_features=HISTORY_FEATURES, time_gap=True),
    "without user id": Variant(unread=("user_id",)),
    "temperature 0.05": Variant(loss={"temperature": 0.05}),
    "temperature 0.2": Variant(loss={"temperature": 0.2}),
    "batch 2,048, rate 4 times": Variant(training={"per_replica_batch": 2048, "learning_rate": 4e-3}),
}


@dataclass(frozen=True)
class Log:
    """The interactions of one run of the pipeline, with the features of a schema."""

    spec: FeatureSpec
    """The features."""
    folders: "InputFolders"
    """The artifacts."""
    data: "TrainingData"
    """Train and validation; behind each user's sequence stand the held-out positives, which are no rows."""
    held_out: "Rows"
    """The positives of the eval split."""

    @property
    def final(self) -> "TrainingData":
        """The data of the last training: on train and validation."""
        return dataclasses.replace(self.data, train=self.data.fitted, validation=None)

    def make_task(self, train: "Rows", held_out: "Rows") -> RankingTask:
        """Make the task to rank the items of some rows, given those of others.

        Args:
            train: Rows to train on.
            held_out: Rows after them.

        Returns:
            The task, its users those of the sequences and its items those of the catalogue.
        """
        sequences = self.data.sequences
        (users, positions), (held_out_users, held_out_positions) = (
            rows.locate(np.arange(len(rows))) for rows in (train, held_out)
        )
        return make_task(
            users,
            sequences.items[positions],
            held_out_users,
            sequences.items[held_out_positions],
            (len(sequences.offsets) - 1, self.data.item_count),
        )

    def queries(self, held_out: "Rows", ranked: np.ndarray) -> dict[str, np.ndarray]:
        """Give what the user tower reads for some users with held-out rows, as of the first of them.

        Args:
            held_out: The held-out rows.
            ranked: [ranked users] their numbers, ascending.

        Returns:
            [ranked users, ...] transformed features by name.
        """
        is_ranked = np.zeros(len(held_out.begins), bool)
        is_ranked[ranked] = True
        first = dataclasses.replace(held_out, offsets=np.concatenate([[0], np.cumsum(is_ranked)]))
        return self.columns(first)

    def columns(self, rows: "Rows") -> dict[str, np.ndarray]:
        """Give what the towers read for every row.

        Args:
            rows: The rows.

        Returns:
            [rows, ...] transformed features by name.
        """
        from trainer.data.batches import FEATURES, BatchMaker

        batch = BatchMaker(self.data, self.spec).of_rows(rows)(np.arange(len(rows)))
        return {name: values.numpy() for name, values in batch[FEATURES].items()}


def read_log(spec: FeatureSpec, outputs: Mapping[str, str]) -> Log:
    """Read what the pipeline's ingest and Transform steps wrote.

    Args:
        spec: The features; the history may be another than the pipeline ran with.
        outputs: Folders of `sequences`, `catalogue`, `user_graph` and `item_graph`.

    Returns:
        The interactions.
    """
    import pyarrow.parquet as pq

    from schemas.contract import CATALOGUE_FILE, EVAL_END, VALIDATION_END
    from schemas.sequences import read_sequences
    from trainer.data.load import InputFolders, load_training_data
    from trainer.data.sequences import FlatSequences, Rows
    from trainer.data.transform_graphs import TransformGraphs

    folders = InputFolders(
        outputs["sequences"],
        outputs["catalogue"],
        TransformGraphs(user=outputs["user_graph"], item=outputs["item_graph"]),
    )
    data = load_training_data(folders, spec, read_validation=True, fits_validation=True)
    # A training reads no further than to the end of validation; what is held out is read here.
    item = spec.item_id.name
    ids = pq.read_table(Path(outputs["catalogue"]) / CATALOGUE_FILE, columns=[item])[item].combine_chunks()
    parts = list(read_sequences(Path(outputs["sequences"]), spec, ids, position_columns=[spec.timestamp]))
    starts = np.cumsum([0, *(len(part.items) for part in parts)])
    counts = np.concatenate([np.diff(part.offsets) for part in parts])
    ends = {
        name: np.concatenate([start + part.ends[name] for start, part in zip(starts, parts, strict=False)])
        for name in (VALIDATION_END, EVAL_END)
    }
    offsets = np.concatenate([[0], np.cumsum(counts)])
    moved = offsets[:-1] - data.sequences.offsets[:-1]
    seconds = np.concatenate([part.columns[spec.timestamp].to_numpy() for part in parts])
    sequences = FlatSequences(
        offsets=offsets,
        items=np.concatenate([part.items for part in parts]),
        seconds=None if data.gap_boundaries is None else seconds,
    )
    assert data.validation is not None
    return Log(
        spec,
        folders,
        dataclasses.replace(
            data,
            sequences=sequences,
            train=dataclasses.replace(data.train, begins=data.train.begins + moved),
            validation=dataclasses.replace(data.validation, begins=data.validation.begins + moved),
        ),
        Rows.between(ends[VALIDATION_END], ends[EVAL_END]),
    )


def choose(variant: Variant, spec: FeatureSpec, config: TrainerConfig) -> tuple[FeatureSpec, TrainerConfig]:
    """Turn the switches of a variant.

    Args:
        variant: The variant.
        spec: The committed features.
        config: The committed settings.

    Returns:
        Features and settings of the variant.
    """
    assert spec.history is not None
    history = dataclasses.replace(
        spec.history,
        item_features=variant.history_features,
        time_gap_buckets=TIME_GAP_BUCKETS if variant.time_gap else None,
    )
    features = tuple(
        dataclasses.replace(feature, encoding=None) if feature.name in variant.unread else feature
        for feature in spec.features
    )
    return dataclasses.replace(spec, history=history, features=features), TrainerConfig(
        model=dataclasses.replace(config.model, **variant.model),
        loss=dataclasses.replace(config.loss, **variant.loss),
        training=dataclasses.replace(config.training, **variant.training),
        candidates=config.candidates,
    )


def embed(tower: Any, columns: Columns) -> np.ndarray:
    """Embed every row.

    Args:
        tower: A trained tower.
        columns: Transformed columns.

    Returns:
        [rows, dim] float32.
    """
    rows = len(next(iter(columns.values())))
    return np.concatenate(
        [
            tower({name: column[start : start + EMBED_ROWS] for name, column in columns.items()}).numpy()
            for start in range(0, rows, EMBED_ROWS)
        ]
    )


def score(towers: Any, queries: Columns, items: Columns) -> np.ndarray:
    """Score all items for some users.

    Args:
        towers: The trained towers.
        queries: [users, ...] what the user tower reads.
        items: [items, ...] what the item tower reads.

    Returns:
        [users, items] float32 cosine similarities.
    """
    return embed(towers.user, queries) @ embed(towers.item, items).T


def measure_variant(
    variant: Variant,
    spec: FeatureSpec,
    outputs: Mapping[str, str],
    config: TrainerConfig,
    directory: Path,
    *,
    epochs: int | None,
) -> dict[str, Any]:
    """Find a variant's best number of epochs, or train it for as many and rank the held-out interaction.

    Args:
        variant: The variant.
        spec: The committed features.
        outputs: What `read_log` takes.
        config: The committed settings, with the seed.
        directory: For TensorBoard's files.
        epochs: Passes over train and validation together, ranking the held-out interaction; None: train on
            train alone until the recall on validation no longer rises.

    Returns:
        `seconds_per_epoch` beside `chosen` and `recall_by_epoch`, or beside `ranks` and `metrics`.
    """
    from trainer.config import EarlyStoppingConfig
    from trainer.strategy import create_strategy
    from trainer.training import train
    from trainer.vocabularies import encoded_sizes

    spec, settings = choose(variant, spec, config)
    log = read_log(spec, outputs)
    if epochs is None:
        stopping = EarlyStoppingConfig(k=STOP_AT_RECALL, patience_epochs=PATIENCE_EPOCHS)
        changed = dataclasses.replace(settings.training, early_stopping=stopping)
        data = log.data
    else:
        changed = dataclasses.replace(settings.training, epochs=epochs)
        data = log.final
    started = time.monotonic()
    result = train(
        data,
        spec,
        dataclasses.replace(settings, training=changed),
        encoded_sizes(spec, log.folders.graphs),
        create_strategy(1),
        log_directory=str(directory),
    )
    seconds_per_epoch = (time.monotonic() - started) / result.epochs_run
    if epochs is None:
        return {
            "seconds_per_epoch": seconds_per_epoch,
            "chosen": {"epochs": result.best_epoch},
            "recall_by_epoch": list(result.recall_by_epoch),
        }
    task = log.make_task(data.train, log.held_out)
    ranks = task.rank(score(result.towers, log.queries(log.held_out, task.ranked), data.items))
    return {
        "seconds_per_epoch": seconds_per_epoch,
        "ranks": ranks.tolist(),
        "metrics": task.metrics(ranks),
    }


def main() -> None:
    """Measure one variant and write what came out as JSON."""
    parser = argparse.ArgumentParser(description="One training of benchmarks/quality.py.")
    parser.add_argument("--config", required=True)
    parser.add_argument("--set", action="append", default=[], dest="overrides", metavar="KEY=VALUE")
    parser.add_argument("--variant", required=True, choices=VARIANTS)
    parser.add_argument("--epochs", type=int, help="leave out to find the best number of them")
    parser.add_argument("--outputs", required=True, help="JSON: folders of the pipeline's outputs")
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--json", required=True, type=Path)
    arguments = parser.parse_args()

    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(arguments.threads)
    config = load_config(arguments.config, tuple(arguments.overrides))
    result = measure_variant(
        VARIANTS[arguments.variant],
        config.load_features(),
        json.loads(arguments.outputs),
        config.trainer,
        arguments.json.with_suffix(".log"),
        epochs=arguments.epochs,
    )
    arguments.json.write_text(json.dumps(result))


if __name__ == "__main__":
    main()
