"""Settings of the towers, the loss and the training."""

from typing import Annotated, Literal

from pydantic import Field, model_validator
from pydantic.dataclasses import dataclass

from schemas.strict_config import STRICT

HistoryEncoderName = Literal["mean", "position_weighted", "last"]


@dataclass(frozen=True, config=STRICT)
class ModelConfig:
    """The two towers."""

    dim: Annotated[int, Field(ge=1)] = 64
    """Width of every embedding and of both towers' outputs."""
    user_layers: tuple[Annotated[int, Field(ge=1)], ...] = (128,)
    """Widths of the hidden layers of the user tower's MLP; a last layer of width `dim` follows."""
    item_layers: tuple[Annotated[int, Field(ge=1)], ...] = (128,)
    """Widths of the hidden layers of the item tower's MLP; a last layer of width `dim` follows."""
    history_encoders: tuple[HistoryEncoderName, ...] = ("mean", "position_weighted", "last")
    """How the history becomes vectors; each encoder named adds one vector of width `dim`."""
    dropout: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.2
    """Share of the embedded history and of the user MLP's input that is dropped in training."""


@dataclass(frozen=True, config=STRICT)
class LossConfig:
    """The in-batch negative softmax."""

    negatives: Literal["in_batch", "rotation"] = "in_batch"
    """`in_batch`: every other row's item. `rotation`: a few other rows' items, drawn anew at every step."""
    rotation_negatives: Annotated[int, Field(ge=1)] = 20
    """Negatives per row under `rotation`; smaller than the per-replica batch."""
    temperature: Annotated[float, Field(gt=0.0)] = 0.1
    """What the cosine similarities are divided by."""
    logq: bool = True
    """Whether log q of each item, its share of the train rows, is subtracted from its logits."""
    mask_same_item: bool = True
    """Whether another row's item is no negative where it is the row's own item."""
    mask_same_user: bool = True
    """Whether an item is no negative for a user who has it as a positive in the batch or in the history."""


@dataclass(frozen=True, config=STRICT)
class TrainingConfig:
    """How long, how fast, and on what."""

    per_replica_batch: Annotated[int, Field(ge=2)] = 512
    """Rows per replica and step; the global batch is this times the replicas."""
    replicas: Annotated[int, Field(ge=1)] | None = None
    """Replicas: GPUs, or logical devices on a machine without one. Null: every GPU, or one CPU."""
    epochs: Annotated[int, Field(ge=1)] = 15
    """Passes over the train split."""
    learning_rate: Annotated[float, Field(gt=0.0)] = 1e-3
    """Adam's learning rate for one replica."""
    scale_learning_rate: Literal["none", "linear", "sqrt"] = "linear"
    """What `learning_rate` is multiplied by, since the global batch grows with the replicas: `linear`, the
    replicas (Goyal et al. 2017); `sqrt`, their square root (Krizhevsky 2014); `none`, 1."""
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 1
    """Seed of the initial weights, the shuffling, the dropout and the rotation offsets."""
    log_interval_steps: Annotated[int, Field(ge=1)] = 50
    """Steps between two points in TensorBoard; they run in one call of TensorFlow."""


@dataclass(frozen=True, config=STRICT)
class TrainerConfig:
    """Everything that the Trainer is given besides its input artifacts."""

    model: ModelConfig = Field(default_factory=ModelConfig)
    """The two towers."""
    loss: LossConfig = Field(default_factory=LossConfig)
    """The loss."""
    training: TrainingConfig = Field(default_factory=TrainingConfig)
    """The training."""

    @model_validator(mode="after")
    def _check(self) -> "TrainerConfig":
        check_negatives(self.loss, self.training)
        return self


def check_negatives(loss: LossConfig, training: TrainingConfig) -> None:
    """Refuse more rotation negatives than a batch can give.

    Args:
        loss: The loss.
        training: The training.

    Raises:
        ValueError: `loss.rotation_negatives` is not below `training.per_replica_batch`.
    """
    if loss.negatives == "rotation" and loss.rotation_negatives >= training.per_replica_batch:
        raise ValueError(
            "loss.rotation_negatives: expected fewer negatives than a replica's batch has rows"
            f" (training.per_replica_batch = {training.per_replica_batch})."
            f" Received: {loss.rotation_negatives}. Lower it, or raise the batch."
        )
