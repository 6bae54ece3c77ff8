"""Settings of the towers, the loss and the training."""

from dataclasses import replace
from typing import Annotated, Any, Final, Literal

from pydantic import Field, model_validator
from pydantic.dataclasses import dataclass

from schemas.ranking import Candidates
from schemas.strict_config import STRICT

HistoryEncoderName = Literal["mean", "position_weighted", "last", "attention", "gru", "transformer"]
WINDOW_ENCODERS: Final[tuple[HistoryEncoderName, ...]] = ("mean", "position_weighted", "last", "transformer")
"""The encoders that give a vector of each position in one pass."""


@dataclass(frozen=True, config=STRICT)
class TransformerConfig:
    """The history encoder `transformer`."""

    depth: Annotated[int, Field(ge=1)] = 2
    """Blocks, one after the other."""
    heads: Annotated[int, Field(ge=1)] = 2
    """Heads of each block; a divisor of the width."""
    width: Annotated[int, Field(ge=1)] | None = None
    """Width of the blocks' states; null: that of a member of the model. With another one a matrix leads to it
    and one back."""
    feed_forward_width: Annotated[int, Field(ge=1)] | None = None
    """Width of each block's feed-forward layer; null: 4 times the states' under `gelu`, and two thirds of
    that, rounded up to a multiple of 8, under `swiglu`, which has three matrices where `gelu` has two."""
    activation: Literal["swiglu", "gelu"] = "swiglu"
    """Of the feed-forward layers: `swiglu` (Shazeer 2020) or `gelu` (Hendrycks and Gimpel 2016)."""
    positions: Literal["rotary", "learned"] = "rotary"
    """How attention knows the order: `rotary`, by how far apart two positions are (Su et al. 2021);
    `learned`, by a vector of each position, counted from the newest."""
    dropout: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.2
    """Share of what each attention and each feed-forward layer adds that is dropped in training."""


@dataclass(frozen=True, config=STRICT)
class ModelConfig:
    """The two towers."""

    dim: Annotated[int, Field(ge=1)] = 64
    """Width of every embedding and of both towers' outputs."""
    members: Annotated[int, Field(ge=1)] = 1
    """Pairs of towers that are trained side by side, a divisor of `dim`: each has its own part of every
    embedding, its own history encoders and MLPs, all of width `dim` / `members`, and its own loss. The score
    is the mean of their scores, as of an ensemble, and the release one pair of towers as ever."""
    user_layers: tuple[Annotated[int, Field(ge=1)], ...] = (128,)
    """Widths of the hidden layers of the user tower's MLP; a last layer of a member's width follows."""
    item_layers: tuple[Annotated[int, Field(ge=1)], ...] = (128,)
    """Widths of the hidden layers of the item tower's MLP; a last layer of a member's width follows."""
    history_encoders: tuple[HistoryEncoderName, ...] = ("mean", "position_weighted", "last")
    """How the history becomes vectors; each encoder named adds one vector of width `dim`."""
    attention_heads: Annotated[int, Field(ge=1)] = 2
    """Heads of the history encoder `attention`; a divisor of a member's width."""
    transformer: TransformerConfig = Field(default_factory=TransformerConfig)
    """The history encoder `transformer`."""
    dropout: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.2
    """Share of the embedded history and of the user MLP's input that is dropped in training."""
    user_tower: str | None = None
    """Dotted path of a function that builds the user tower, such as my_package.towers.build_user_tower; null:
    the project's own. docs/training.md says what it is given and must return."""

    @property
    def member(self) -> "ModelConfig":
        """The settings of one member alone."""
        return self if self.members == 1 else replace(self, dim=self.dim // self.members, members=1)

    @model_validator(mode="after")
    def _check(self) -> "ModelConfig":
        if self.dim % self.members:
            raise ValueError(
                "members: expected a divisor of dim, since each member has an equal part of it. Received: "
                f"{self.members}, with dim {self.dim}"
            )
        if self.members > 1:
            if self.user_tower is not None:
                raise ValueError(
                    "members: expected 1 with user_tower, since a tower of your own knows no members. "
                    f"Received: {self.members}"
                )
            # Its own check is that of the heads against its width.
            _ = self.member
        if "attention" in self.history_encoders and self.dim % self.attention_heads:
            raise ValueError(
                "attention_heads: expected a divisor of a member's width, since each head has an equal part "
                f"of it. Received: {self.attention_heads}, with a width of {self.dim}"
            )
        if "transformer" in self.history_encoders:
            self._check_transformer()
        return self

    def _check_transformer(self) -> None:
        heads, width = self.transformer.heads, self.transformer.width or self.dim
        if width % heads:
            raise ValueError(
                "transformer.heads: expected a divisor of the width, since each head has an equal part of "
                f"it. Received: {heads}, with width {width}"
            )
        if self.transformer.positions == "rotary" and width // heads % 2:
            raise ValueError(
                "transformer.positions: expected an even width of each head under rotary, which turns pairs "
                f"of numbers. Received: {width // heads}, the width {width} over {heads} heads. Set another "
                "width or number of heads, or positions to learned"
            )


@dataclass(frozen=True, config=STRICT)
class LossConfig:
    """The in-batch negative softmax."""

    negatives: Literal["in_batch", "rotation"] = "in_batch"
    """`in_batch`: every other row's item. `rotation`: a few other rows' items, drawn anew at every step."""
    negatives_scope: Literal["replica", "global"] = "replica"
    """Whose rows give a row its negatives: those of its own replica, or of all replicas."""
    rotation_negatives: Annotated[int, Field(ge=1)] = 20
    """Negatives per row under `rotation`; fewer than the rows that they are drawn from."""
    uniform_negatives: Annotated[int, Field(ge=0)] = 0
    """Items drawn uniformly from the catalogue at every step and on every replica, negatives of all its rows
    beside those of the batch (mixed negative sampling, Yang et al. 2020)."""
    cross_batch_negatives: Annotated[int, Field(ge=0)] = 0
    """Item embeddings of past batches that are kept, first in, first out, as more negatives (cross-batch
    negative sampling, Wang et al. 2021)."""
    cross_batch_warmup_steps: Annotated[int, Field(ge=0)] = 1000
    """Steps before past embeddings count, since those of an untrained tower change too fast."""
    temperature: Annotated[float, Field(gt=0.0)] = 0.1
    """What the cosine similarities are divided by."""
    logq: Literal["standard", "refined", "none"] | bool = "standard"
    """How logits are corrected for how often an item is a candidate: `standard` (or true), log q of each
    item, its share of the train rows, is subtracted; `refined`, from those of the negatives alone, since the
    row's own item is always there (Khrylchenko et al. 2025); `none` (or false), not at all."""
    mask_same_item: bool = True
    """Whether another row's item is no negative where it is the row's own item."""
    mask_same_user: Literal["history", "sequence"] | bool = "history"
    """Which items are no negatives for a user who has them as positives: `history` (or true), those in the
    batch or in the row's history; `sequence`, all that the user has in the train split; false: none."""
    maximum_logits_mib: Annotated[float, Field(gt=0.0)] = 4.0
    """Size of the logits of one replica's step, in MiB, above which they are never held whole: the loss
    streams over blocks of rows, and the two that are worked on at once (on a GPU: the one) are together no
    larger. 8 is faster from 16,384 candidates on."""

    @property
    def correction(self) -> Literal["standard", "refined", "none"]:
        """`logq` by its name."""
        if isinstance(self.logq, bool):
            return "standard" if self.logq else "none"
        return self.logq

    @model_validator(mode="after")
    def _check(self) -> "LossConfig":
        more = {
            name: getattr(self, name)
            for name in ("uniform_negatives", "cross_batch_negatives")
            if getattr(self, name)
        }
        if self.negatives == "rotation" and more:
            raise ValueError(
                f"expected no other negatives beside negatives: rotation. Received: {more}. Set them to 0, "
                "or negatives to in_batch"
            )
        return self


OptimizerName = Literal["adam", "lazy_adam", "adagrad", "sgd"]


@dataclass(frozen=True, config=STRICT)
class OptimizerConfig:
    """How gradients become updates; `training.learning_rate` is the peak of the rate."""

    tables: OptimizerName = "lazy_adam"
    """Of the embedding tables. `lazy_adam` and `adagrad` touch only the rows of the step; `adam` moves every
    row at every step, so its cost grows with the tables."""
    dense: OptimizerName = "adam"
    """Of all other weights."""
    tables_learning_rate: Annotated[float, Field(gt=0.0)] | None = None
    """The tables' learning rate for one replica; null: `training.learning_rate`."""
    warmup_steps: Annotated[int, Field(ge=0)] = 0
    """Steps in which the rate rises linearly from 0."""
    decay: Literal["constant", "linear", "cosine"] = "constant"
    """How the rate falls after the warm-up until the last step."""
    final_share: Annotated[float, Field(ge=0.0, le=1.0)] = 0.0
    """What is left of the rate at the last step, under `linear` and `cosine`."""


@dataclass(frozen=True, config=STRICT)
class CheckpointConfig:
    """When a training that is killed can be taken up again from where it was."""

    directory: str | None = None
    """Folder of the checkpoints, a path or a URI; each training has one of its own there, named by its input
    and settings. Null: `checkpoints` in the run's directory; a compiled pipeline then keeps none."""
    interval_steps: Annotated[int, Field(ge=1)] | None = None
    """Steps between two checkpoints; null: `interval_seconds` alone counts."""
    interval_seconds: Annotated[float, Field(gt=0.0)] | None = 300.0
    """Seconds between two checkpoints; null: `interval_steps` alone counts. With both, whichever is first;
    with neither, none is written."""
    keep: Annotated[int, Field(ge=1)] = 2
    """Newest checkpoints that are kept."""


@dataclass(frozen=True, config=STRICT)
class EarlyStoppingConfig:
    """Training ends when the validation split no longer gains; it needs `ingest.validation: true`."""

    k: Annotated[int, Field(ge=1)] | None = None
    """Recall@k over the validation split decides, after each epoch; null: 100, less where that is more than a
    fifth of the catalogue."""
    patience_epochs: Annotated[int, Field(ge=1)] = 3
    """Epochs without a better recall after which training ends."""
    refit: bool = False
    """Whether the model is then trained again from the start, on train and validation, for the steps that
    were best; if not, the best checkpoint is exported."""


@dataclass(frozen=True, config=STRICT)
class TrainingConfig:
    """How long, how fast, and on what."""

    per_replica_batch: Annotated[int, Field(ge=2)] = 512
    """Rows per replica and step; the global batch is this times the replicas."""
    rows: Literal["interactions", "windows"] = "interactions"
    """What rows are drawn and encoded by: `interactions`, each with a history of its own; `windows`,
    `window_length` rows that follow each other, whose histories a causal encoder reads in one pass, so that
    long histories cost next to nothing. Every row has its loss either way."""
    window_length: Annotated[int, Field(ge=2)] | None = None
    """Rows of a window under `windows`, a divisor of `per_replica_batch`; null: the history's length."""
    strategy: Literal["mirrored", "multi_worker"] = "mirrored"
    """`mirrored`: the devices of one machine. `multi_worker`: those of every worker that TF_CONFIG names."""
    replicas: Annotated[int, Field(ge=1)] | None = None
    """Replicas on each machine: GPUs, or logical devices where there is none. Null: every GPU, or one CPU."""
    intra_op_threads: Annotated[int, Field(ge=1)] | None = None
    """Threads that share one operation on the CPU. Null: 1 where the process may run on one core or two, the
    fastest on two; TensorFlow's own choice on more."""
    inter_op_threads: Annotated[int, Field(ge=1)] | None = None
    """Operations that run at once on the CPU. Null: TensorFlow's own choice, one for each core that the
    process may run on. Give both where a container may use fewer cores than it sees."""
    mixed_precision: bool = False
    """Whether dense layers compute in bfloat16; weights, embeddings and the loss stay float32."""
    epochs: Annotated[int, Field(ge=1)] = 15
    """Passes over the train split; with early stopping, at most."""
    learning_rate: Annotated[float, Field(gt=0.0)] = 1e-3
    """The learning rate for one replica."""
    scale_learning_rate: Literal["none", "linear", "sqrt"] = "linear"
    """What `learning_rate` is multiplied by, since the global batch grows with the replicas: `linear`, the
    replicas (Goyal et al. 2017); `sqrt`, their square root (Krizhevsky 2014); `none`, 1."""
    optimizer: OptimizerConfig = Field(default_factory=OptimizerConfig)
    """How gradients become updates."""
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 1
    """Seed of the initial weights, the shuffling, the dropout and the negatives that are drawn."""
    log_interval_steps: Annotated[int, Field(ge=1)] = 50
    """Steps between two points in TensorBoard; they run in one call of TensorFlow."""
    checkpoint: CheckpointConfig = Field(default_factory=CheckpointConfig)
    """When a training that is killed can be taken up again from where it was."""
    early_stopping: EarlyStoppingConfig | None = None
    """When training ends before the last epoch; null: never."""
    warm_start: bool = False
    """Whether training starts from the weights of the current release in the serving directory, or of the
    newest before it that has seen nothing of what is held out now: embedding rows go with their tokens, new
    tokens are initialised, and so is everything where there is no such release."""
    warm_epochs: Annotated[int, Field(ge=1)] | None = None
    """Passes over the train split of a training that starts from a release; null: `epochs`."""
    cold_every: Annotated[int, Field(ge=1)] | None = None
    """Every how many trainings one starts from nothing in spite of `warm_start`, so that no model rests on an
    endless row of earlier ones: 7 makes one of seven cold; null: none."""


@dataclass(frozen=True, config=STRICT)
class TrainerConfig:
    """Everything that the Trainer is given besides its input artifacts."""

    model: ModelConfig = Field(default_factory=ModelConfig)
    """The two towers."""
    loss: LossConfig = Field(default_factory=LossConfig)
    """The loss."""
    training: TrainingConfig = Field(default_factory=TrainingConfig)
    """The training."""
    candidates: Candidates = "new"
    """What the validation ranks and asks for: `evaluation.candidates`."""
    split: dict[str, Any] = Field(default_factory=lambda: {"kind": "latest_per_user"})
    """The rule of the split, `ingest.split`, which tells what a release has seen of what is held out."""

    @model_validator(mode="after")
    def _check(self) -> "TrainerConfig":
        check_negatives(self.loss, self.training)
        check_windows(self.model, self.training)
        return self


def check_negatives(loss: LossConfig, training: TrainingConfig) -> None:
    """Refuse more rotation negatives than a batch can give.

    Args:
        loss: The loss.
        training: The training.

    Raises:
        ValueError: `loss.rotation_negatives` is not below `training.per_replica_batch`.
    """
    if (
        loss.negatives == "rotation"
        and loss.negatives_scope == "replica"
        and loss.rotation_negatives >= training.per_replica_batch
    ):
        raise ValueError(
            "loss.rotation_negatives: expected fewer negatives than a replica's batch has rows"
            f" (training.per_replica_batch = {training.per_replica_batch})."
            f" Received: {loss.rotation_negatives}. Lower it, or raise the batch."
        )


def check_windows(model: ModelConfig, training: TrainingConfig) -> None:
    """Refuse what cannot be trained on windows, as far as the configuration tells.

    Args:
        model: The towers.
        training: The training.

    Raises:
        ValueError: A history encoder, learned positions or a user tower of one's own gives no vector of
            each position in one pass.
    """
    if training.rows != "windows":
        if training.window_length is not None:
            raise ValueError(
                "training.window_length: expected none where training.rows is interactions. Received: "
                f"{training.window_length}. Set training.rows to windows, or leave it out"
            )
        return
    if model.user_tower is not None:
        raise ValueError(
            "training.rows: expected interactions with a user tower of your own, which is given a history of "
            "each row. Received: windows"
        )
    unfit = [name for name in model.history_encoders if name not in WINDOW_ENCODERS]
    if unfit or not model.history_encoders:
        raise ValueError(
            f"model.history_encoders: expected one or more of {', '.join(WINDOW_ENCODERS)} where "
            f"training.rows is windows. Received: {', '.join(unfit) or 'none'}"
        )
    if "transformer" in model.history_encoders and model.transformer.positions != "rotary":
        raise ValueError(
            "model.transformer.positions: expected rotary where training.rows is windows, since learned "
            "positions are counted from the one newest item of a history. Received: "
            f"{model.transformer.positions}"
        )
