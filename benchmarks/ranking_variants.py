"""The pipeline's training with single switches turned, on the examples of one run of the pipeline.

A process of its own for each training, started by benchmarks/quality.py.
"""

import argparse
import dataclasses
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from ranking_task import Columns, RankingTask, make_task

from pipeline.config import load_config
from schemas.contract import EVAL_SPLIT, TRAIN_SPLIT, VALIDATION_SPLIT
from schemas.features import FeatureSpec
from trainer.config import TrainerConfig

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
    "without logQ": Variant(loss={"logq": False}),
    "without masks": Variant(loss={"mask_same_item": False, "mask_same_user": False}),
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
class Examples:
    """Transformed examples of one run of the pipeline."""

    spec: FeatureSpec
    """Their features."""
    train: Columns
    """The train split."""
    validation: Columns
    """The validation split."""
    held_out: Columns
    """The eval split."""
    catalogue: Columns
    """Every item."""
    transform_graph: str
    """Folder of the transform graph."""


def extend_history(spec: FeatureSpec) -> FeatureSpec:
    """Add to a schema what the variants may read of the history's items.

    Args:
        spec: A schema with a history.

    Returns:
        The schema whose examples serve every variant.
    """
    if spec.history is None:
        raise ValueError("expected a schema with a history")
    history = dataclasses.replace(
        spec.history, item_features=HISTORY_FEATURES, time_gap_buckets=TIME_GAP_BUCKETS
    )
    return dataclasses.replace(spec, history=history)


def read_examples(spec: FeatureSpec, outputs: Mapping[str, str]) -> Examples:
    """Read what the pipeline's Transform step wrote.

    Args:
        spec: What `extend_history` gave, with which the pipeline ran.
        outputs: Folders of `examples`, Transform's, of `transform_graph` and of `catalogue`.

    Returns:
        The examples.
    """
    import tensorflow_transform as tft

    from trainer.catalogue import read_catalogue
    from trainer.input import read_columns

    transform_output = tft.TFTransformOutput(outputs["transform_graph"])
    parsing = transform_output.transformed_feature_spec()
    train, validation, held_out = (
        read_columns([f"{outputs['examples']}/Split-{split}/*"], parsing)
        for split in (TRAIN_SPLIT, VALIDATION_SPLIT, EVAL_SPLIT)
    )
    catalogue = read_catalogue(outputs["catalogue"], spec, transform_output)
    return Examples(spec, train, validation, held_out, catalogue, outputs["transform_graph"])


def choose(variant: Variant, spec: FeatureSpec, config: TrainerConfig) -> tuple[FeatureSpec, TrainerConfig]:
    """Turn the switches of a variant.

    Args:
        variant: The variant.
        spec: What `extend_history` gave.
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
    )


def concatenate(first: Columns, second: Columns) -> dict[str, np.ndarray]:
    """Put the rows of one split after those of another.

    Args:
        first: Columns by name, [rows, ...].
        second: The same columns; multi-valued ones may be of another width.

    Returns:
        The columns of both, padded with -1 to one width.
    """
    return {name: np.concatenate(_widen(first[name], second[name])) for name in first}


def _widen(*parts: np.ndarray) -> list[np.ndarray]:
    if parts[0].ndim == 1:
        return list(parts)
    width = max(part.shape[1] for part in parts)
    return [
        np.pad(
            part,
            [(0, 0), (0, width - part.shape[1]), *[(0, 0)] * (part.ndim - 2)],
            constant_values=-1,
        )
        for part in parts
    ]


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


def score(towers: Any, task: RankingTask, held_out: Columns, catalogue: Columns) -> np.ndarray:
    """Score all items for the ranked users.

    Args:
        towers: The trained towers.
        task: Whose users are ranked.
        held_out: The columns that `task` was made of.
        catalogue: The items.

    Returns:
        [ranked users, items] float32 cosine similarities.
    """
    queries = {name: column[task.queries] for name, column in held_out.items()}
    return embed(towers.user, queries) @ embed(towers.item, catalogue).T


def measure_variant(
    variant: Variant, examples: Examples, config: TrainerConfig, directory: Path, *, epochs: int | None
) -> dict[str, Any]:
    """Find a variant's best number of epochs, or train it for as many and rank the held-out interaction.

    Args:
        variant: The variant.
        examples: The examples.
        config: The committed settings, with the seed.
        directory: For TensorBoard's files.
        epochs: Passes over train and validation together, ranking the held-out interaction; None: train on
            train alone until the recall on validation no longer rises.

    Returns:
        `seconds_per_epoch` beside `chosen` and `recall_by_epoch`, or beside `ranks` and `metrics`.
    """
    import tensorflow_transform as tft

    from trainer.config import EarlyStoppingConfig
    from trainer.strategy import create_strategy
    from trainer.training import TrainingData, train
    from trainer.validation import build_recall
    from trainer.vocabularies import encoded_sizes, item_log_q

    spec, settings = choose(variant, examples.spec, config)
    transform_output = tft.TFTransformOutput(examples.transform_graph)
    if epochs is None:
        stopping = EarlyStoppingConfig(k=STOP_AT_RECALL, patience_epochs=PATIENCE_EPOCHS)
        changed = dataclasses.replace(settings.training, early_stopping=stopping)
        data = TrainingData(examples.train, examples.validation, examples.catalogue)
        recall = build_recall(spec, examples.validation, examples.train, examples.catalogue, STOP_AT_RECALL)
    else:
        changed = dataclasses.replace(settings.training, epochs=epochs)
        data = TrainingData(concatenate(examples.train, examples.validation), None, examples.catalogue)
        recall = None
    started = time.monotonic()
    result = train(
        data,
        spec,
        dataclasses.replace(settings, training=changed),
        encoded_sizes(spec, transform_output),
        item_log_q(spec, transform_output),
        create_strategy(1),
        log_directory=str(directory),
        checkpoint_directory=None,
        recall=recall,
    )
    seconds_per_epoch = (time.monotonic() - started) / result.epochs_run
    if epochs is None:
        return {
            "seconds_per_epoch": seconds_per_epoch,
            "chosen": {"epochs": result.best_epoch},
            "recall_by_epoch": list(result.recall_by_epoch),
        }
    task = make_task(data.train, examples.held_out, examples.catalogue, spec.user_id.name, spec.item_id.name)
    ranks = task.rank(score(result.towers, task, examples.held_out, examples.catalogue))
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
    spec = extend_history(config.load_features())
    examples = read_examples(spec, json.loads(arguments.outputs))
    result = measure_variant(
        VARIANTS[arguments.variant],
        examples,
        config.trainer,
        arguments.json.with_suffix(".log"),
        epochs=arguments.epochs,
    )
    arguments.json.write_text(json.dumps(result))


if __name__ == "__main__":
    main()
