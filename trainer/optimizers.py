"""Optimisers whose cost on an embedding table follows the rows of the step, not those of the table.

The gradient of an embedding lookup is sparse: a few rows of the table, some of them repeated. Repeated rows
are summed into one first, so that an update is the one that the dense formula gives; the replicas exchange
those rows alone; and where the rule allows it, only they are read and written in the table and in its slots.
"""

import logging
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import tensorflow as tf

from schemas.errors import ConfigError, TrainingError
from trainer.config import OptimizerConfig, OptimizerName, TrainingConfig
from trainer.tables import local_copy

_LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True)
class Slot:
    """A float32 tensor that a rule keeps for each variable."""

    initial: float
    """Value of all its elements before the first update."""
    per: Literal["element", "row", "variable"] = "element"
    """What has a value of its own: each element of the variable, each of its rows, or all of it one."""

    def shape_for(self, variable: tf.Variable) -> tf.TensorShape:
        """Give the slot's shape, which broadcasts to the variable's.

        Args:
            variable: Any shape; its first dimension counts its rows.

        Returns:
            For `element` the variable's shape, for `row` its first dimension and then ones, for `variable`
            that of a scalar.
        """
        shape = variable.shape
        return {
            "element": shape,
            "row": shape[:1] + [1] * len(shape[1:]),
            "variable": tf.TensorShape([]),
        }[self.per]


class UpdateRule(ABC):
    """How a gradient g changes a variable w with the learning rate a."""

    slots: ClassVar[Mapping[str, Slot]]
    """What the rule keeps for each variable, by name."""

    @abstractmethod
    def update(
        self,
        variable: tf.Variable,
        gradient: tf.Tensor,
        slots: Mapping[str, tf.Variable],
        rate: tf.Tensor,
    ) -> None:
        """Update the whole variable.

        Args:
            variable: Any shape, float32.
            gradient: Of the same shape.
            slots: By name, of the shapes that `Slot.shape_for` gives.
            rate: Scalar float32, a.
        """

    def update_rows(
        self,
        variable: tf.Variable,
        gradient: tf.IndexedSlices,
        slots: Mapping[str, tf.Variable],
        rate: tf.Tensor,
    ) -> None:
        """Update a table by a gradient that is zero but in some rows; by default as `update` does.

        Args:
            variable: [rows, dim] float32.
            gradient: The rows that are not zero, each once.
            slots: By name, of the shapes that `Slot.shape_for` gives.
            rate: Scalar float32, a.
        """
        self.update(variable, tf.convert_to_tensor(gradient), slots, rate)


class Sgd(UpdateRule):
    """Gradient descent: w -= a g. Rows without a gradient stay as they are."""

    slots: ClassVar[Mapping[str, Slot]] = {}

    def update(
        self,
        variable: tf.Variable,
        gradient: tf.Tensor,
        slots: Mapping[str, tf.Variable],
        rate: tf.Tensor,
    ) -> None:
        """Update the whole variable; see `UpdateRule.update`."""
        variable.assign_sub(rate * gradient)

    def update_rows(
        self,
        variable: tf.Variable,
        gradient: tf.IndexedSlices,
        slots: Mapping[str, tf.Variable],
        rate: tf.Tensor,
    ) -> None:
        """Update the rows of the step; see `UpdateRule.update_rows`."""
        variable.scatter_sub(tf.IndexedSlices(rate * gradient.values, gradient.indices))


class Adagrad(UpdateRule):
    """Adagrad (Duchi et al. 2011): s += g^2; w -= a g / (sqrt(s) + 1e-7), s being 0.1 at first.

    Rows without a gradient stay as they are, by the formula itself.
    """

    slots: ClassVar[Mapping[str, Slot]] = {"accumulator": Slot(0.1)}
    _EPSILON = 1e-7

    def update(
        self,
        variable: tf.Variable,
        gradient: tf.Tensor,
        slots: Mapping[str, tf.Variable],
        rate: tf.Tensor,
    ) -> None:
        """Update the whole variable; see `UpdateRule.update`."""
        tf.raw_ops.ResourceApplyAdagradV2(
            var=variable.handle,
            accum=slots["accumulator"].handle,
            lr=rate,
            epsilon=self._EPSILON,
            grad=gradient,
            use_locking=True,
        )

    def update_rows(
        self,
        variable: tf.Variable,
        gradient: tf.IndexedSlices,
        slots: Mapping[str, tf.Variable],
        rate: tf.Tensor,
    ) -> None:
        """Update the rows of the step; see `UpdateRule.update_rows`."""
        tf.raw_ops.ResourceSparseApplyAdagradV2(
            var=variable.handle,
            accum=slots["accumulator"].handle,
            lr=rate,
            epsilon=self._EPSILON,
            grad=gradient.values,
            indices=gradient.indices,
            use_locking=True,
        )


class Adam(UpdateRule):
    """Adam (Kingma and Ba 2015), in the order of computation that closes their section 2.

    m += (1 - b1) (g - m); v += (1 - b2) (g^2 - v); w -= a sqrt(1 - b2^t) / (1 - b1^t) m / (sqrt(v) + 1e-7),
    with b1 = 0.9 and b2 = 0.999. t counts the updates of this variable, this one included: m and v are
    averages of as many gradients. A row without a gradient moves, too, by what is left in its m.
    """

    slots: ClassVar[Mapping[str, Slot]] = {
        "m": Slot(0.0),
        "v": Slot(0.0),
        # Float32 is exact up to 2^24, and from 20,000 on the correction is 1.
        "steps": Slot(0.0, per="variable"),
    }
    _BETA_1, _BETA_2, _EPSILON = 0.9, 0.999, 1e-7

    def update(
        self,
        variable: tf.Variable,
        gradient: tf.Tensor,
        slots: Mapping[str, tf.Variable],
        rate: tf.Tensor,
    ) -> None:
        """Update the whole variable; see `UpdateRule.update`."""
        steps = slots["steps"] + 1.0
        slots["steps"].assign(steps)
        tf.raw_ops.ResourceApplyAdam(
            var=variable.handle,
            m=slots["m"].handle,
            v=slots["v"].handle,
            beta1_power=tf.pow(self._BETA_1, steps),
            beta2_power=tf.pow(self._BETA_2, steps),
            lr=rate,
            beta1=self._BETA_1,
            beta2=self._BETA_2,
            epsilon=self._EPSILON,
            grad=gradient,
            use_locking=True,
        )


class LazyAdam(Adam):
    """Adam that leaves the rows without a gradient, and what it keeps for them, as they are.

    Such a row's m and v do not decay, as if the steps without it had not been, and t counts the updates of
    each row: its first gradient moves it by about a, however late it comes. A gradient of zeros is none: it
    is that of a place which holds nothing, such as the padding of a history. A gradient that is not sparse
    updates every row.
    """

    slots: ClassVar[Mapping[str, Slot]] = {**Adam.slots, "steps": Slot(0.0, per="row")}

    def update(
        self,
        variable: tf.Variable,
        gradient: tf.Tensor,
        slots: Mapping[str, tf.Variable],
        rate: tf.Tensor,
    ) -> None:
        """Update the whole variable; see `UpdateRule.update`."""
        before = {name: tf.convert_to_tensor(slot) for name, slot in slots.items()}
        after, change = self._advance(before, gradient, rate)
        for name, values in after.items():
            slots[name].assign(values)
        variable.assign_sub(change)

    def update_rows(
        self,
        variable: tf.Variable,
        gradient: tf.IndexedSlices,
        slots: Mapping[str, tf.Variable],
        rate: tf.Tensor,
    ) -> None:
        """Update the rows of the step; see `UpdateRule.update_rows`."""
        is_moved = tf.reduce_any(tf.not_equal(gradient.values, 0.0), axis=1)
        rows, values = (tf.boolean_mask(each, is_moved) for each in (gradient.indices, gradient.values))
        before = {name: slot.sparse_read(rows) for name, slot in slots.items()}
        after, change = self._advance(before, values, rate)
        for name, moved in after.items():
            slots[name].scatter_update(tf.IndexedSlices(moved, rows))
        # On a CPU scatter_sub takes twice as long as to read the rows and to write them.
        variable.scatter_update(tf.IndexedSlices(variable.sparse_read(rows) - change, rows))

    def _advance(
        self, slots: Mapping[str, tf.Tensor], gradient: tf.Tensor, rate: tf.Tensor
    ) -> tuple[dict[str, tf.Tensor], tf.Tensor]:
        """Give the slots after an update, and what it takes from the weights."""
        m = slots["m"] + (1.0 - self._BETA_1) * (gradient - slots["m"])
        v = slots["v"] + (1.0 - self._BETA_2) * (tf.square(gradient) - slots["v"])
        steps = slots["steps"] + 1.0
        # 1 - b^t, which pow gives at twice the cost and, of a t that is small, with fewer digits.
        weight_1, weight_2 = (-tf.math.expm1(steps * math.log(beta)) for beta in (self._BETA_1, self._BETA_2))
        corrected = rate * tf.sqrt(weight_2) / weight_1
        return {"m": m, "v": v, "steps": steps}, corrected * m / (tf.sqrt(v) + self._EPSILON)


UPDATE_RULES: dict[OptimizerName, type[UpdateRule]] = {
    "adam": Adam,
    "lazy_adam": LazyAdam,
    "adagrad": Adagrad,
    "sgd": Sgd,
}


class RateSchedule:
    """A learning rate that rises linearly and then falls.

    With peak a, warm-up W, last step T and final share f, the rate of step t, counted from 1, is a t / W up
    to W. Afterwards it is a (f + (1 - f) h(p)) with p = (t - W) / (T - W): h = 1 for `constant`, 1 - p for
    `linear` and (1 + cos(pi p)) / 2 for `cosine` (Loshchilov and Hutter 2017).

    Args:
        peak: a.
        config: Warm-up and decay.
        total_steps: T; steps beyond it have its rate.

    Raises:
        ConfigError: The warm-up is as long as the training.
    """

    def __init__(self, peak: float, config: OptimizerConfig, total_steps: int) -> None:
        if config.warmup_steps >= total_steps:
            raise ConfigError(
                "training.optimizer.warmup_steps: expected fewer than the steps of the whole training, "
                f"{total_steps}. Received: {config.warmup_steps}."
            )
        self._peak, self._config, self._total_steps = peak, config, total_steps

    def rate(self, step: tf.Tensor) -> tf.Tensor:
        """Give the rate of a step.

        Args:
            step: Scalar float32, from 1 on.

        Returns:
            Scalar float32.
        """
        warmup, final_share = self._config.warmup_steps, self._config.final_share
        risen = tf.minimum(step / max(warmup, 1), 1.0)
        progress = tf.clip_by_value((step - warmup) / (self._total_steps - warmup), 0.0, 1.0)
        falling = {
            "constant": tf.ones_like(progress),
            "linear": 1.0 - progress,
            "cosine": 0.5 * (1.0 + tf.cos(math.pi * progress)),
        }[self._config.decay]
        return self._peak * risen * (final_share + (1.0 - final_share) * falling)


class Optimizer(tf.Module):
    """Updates tables and dense weights, each by their own rule.

    Made under the scope of the strategy that the variables belong to.

    Args:
        tables: Embedding tables, [rows, dim] float32 each.
        dense: The other weights.
        tables_rule: Updates the tables.
        dense_rule: Updates the other weights.
        tables_rate: The tables' learning rate.
        dense_rate: The other weights' learning rate.
    """

    def __init__(
        self,
        tables: Sequence[tf.Variable],
        dense: Sequence[tf.Variable],
        *,
        tables_rule: UpdateRule,
        dense_rule: UpdateRule,
        tables_rate: RateSchedule,
        dense_rate: RateSchedule,
    ) -> None:
        super().__init__(name="optimizer")
        self._updated = [*tables, *dense]
        self._rules = [tables_rule] * len(tables) + [dense_rule] * len(dense)
        self._schedules = [tables_rate] * len(tables) + [dense_rate] * len(dense)
        self.iterations = tf.Variable(
            0,
            dtype=tf.int64,
            trainable=False,
            name="iterations",
            aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA,
        )
        """Steps taken, of which the learning rate is a function."""
        self._slots = [
            {
                name: tf.Variable(
                    tf.fill(slot.shape_for(variable), slot.initial),
                    trainable=False,
                    name=f"{_stem(variable)}_{name}",
                )
                for name, slot in rule.slots.items()
            }
            for variable, rule in zip(self._updated, self._rules, strict=True)
        ]

    @property
    def variables(self) -> list[tf.Variable]:
        """The count of the steps and every slot; not the weights."""
        return [self.iterations, *(slot for slots in self._slots for slot in slots.values())]

    def slots(self, variable: tf.Variable) -> dict[str, tf.Variable]:
        """Give what the optimiser keeps for a variable.

        Args:
            variable: A table or another weight.

        Returns:
            By name, tensors of the shapes that `Slot.shape_for` gives; empty for plain gradient descent.

        Raises:
            TrainingError: The optimiser does not update the variable.
        """
        for known, slots in zip(self._updated, self._slots, strict=True):
            if known is variable:
                return dict(slots)
        raise TrainingError(
            f"Expected one of the variables that the optimiser updates: {[v.name for v in self._updated]}. "
            f"Received: {variable.name}."
        )

    def learning_rate(self, step: int) -> float:
        """Give the learning rate of the dense weights, for logs.

        Args:
            step: From 1 on.

        Returns:
            The rate with its warm-up and decay.
        """
        return float(self._schedules[-1].rate(tf.constant(step, tf.float32)))

    def apply(self, gradients: Sequence[tf.Tensor | tf.IndexedSlices | None]) -> None:
        """Sum the gradients over the replicas and take one step; called in replica context.

        Args:
            gradients: In the order of `tables` and then `dense`; those of lookups as IndexedSlices. A
                variable whose gradient is None stays as it is.

        Raises:
            TrainingError: There are more or fewer gradients than variables.
        """
        if len(gradients) != len(self._updated):
            raise TrainingError(
                f"Expected a gradient for each of {len(self._updated)} variables. Received: {len(gradients)}."
            )
        present = [index for index, gradient in enumerate(gradients) if gradient is not None]
        if len(present) < len(gradients):
            unreached = [
                v.name for v, gradient in zip(self._updated, gradients, strict=True) if gradient is None
            ]
            _LOGGER.warning("No gradient, and so no training, for %s", unreached)
        context = tf.distribute.get_replica_context()
        summed = [gradients[index] for index in present]
        if context.num_replicas_in_sync > 1:
            shortened = [_shorten(gradients[index], self._updated[index]) for index in present]
            summed = context.all_reduce(tf.distribute.ReduceOp.SUM, shortened)
        changes = {index: _sum_repeated_rows(found) for index, found in zip(present, summed, strict=True)}
        step = tf.cast(self.iterations + 1, tf.float32)
        rates = {schedule: schedule.rate(step) for schedule in dict.fromkeys(self._schedules)}
        context.merge_call(self._update, args=(changes, [rates[schedule] for schedule in self._schedules]))

    def _update(
        self,
        strategy: tf.distribute.Strategy,
        gradients: Mapping[int, tf.Tensor | tf.IndexedSlices],
        rates: Sequence[tf.Tensor],
    ) -> None:
        for index, gradient in gradients.items():
            arguments = (gradient, dict(self._slots[index]), rates[index], self._rules[index])
            strategy.extended.update(self._updated[index], _update_copy, args=arguments, group=False)
        self.iterations.assign_add(1)


def build_optimizer(
    config: TrainingConfig,
    *,
    replicas: int,
    total_steps: int,
    tables: Sequence[tf.Variable],
    dense: Sequence[tf.Variable],
) -> Optimizer:
    """Build the optimiser that the configuration asks for, under the strategy's scope.

    Args:
        config: The `training` section.
        replicas: Replicas in sync.
        total_steps: Steps of the whole training, where the decay ends.
        tables: Embedding tables, [rows, dim] float32 each.
        dense: All other trainable variables.

    Returns:
        The optimiser, before its first step.

    Raises:
        ConfigError: The warm-up is as long as the training.
    """
    settings = config.optimizer
    scale = scale_learning_rate(config, replicas) / config.learning_rate
    tables_peak = (
        config.learning_rate if settings.tables_learning_rate is None else settings.tables_learning_rate
    )
    return Optimizer(
        tables,
        dense,
        tables_rule=UPDATE_RULES[settings.tables](),
        dense_rule=UPDATE_RULES[settings.dense](),
        tables_rate=RateSchedule(tables_peak * scale, settings, total_steps),
        dense_rate=RateSchedule(config.learning_rate * scale, settings, total_steps),
    )


def scale_learning_rate(settings: TrainingConfig, replicas: int) -> float:
    """Adapt the learning rate to a global batch that grows with the replicas.

    Args:
        settings: `learning_rate`, that of one replica, and the rule `scale_learning_rate`.
        replicas: Replicas in sync.

    Returns:
        `learning_rate` times 1 (`none`), `replicas` (`linear`; Goyal et al. 2017) or their square root
        (`sqrt`; Krizhevsky 2014).
    """
    factors = {"none": 1.0, "linear": float(replicas), "sqrt": math.sqrt(replicas)}
    return settings.learning_rate * factors[settings.scale_learning_rate]


def _update_copy(
    variable: tf.Variable,
    gradient: tf.Tensor | tf.IndexedSlices,
    slots: Mapping[str, tf.Variable],
    rate: tf.Tensor,
    rule: UpdateRule,
) -> None:
    """Update one replica's copy of a variable."""
    slots = {name: local_copy(slot) for name, slot in slots.items()}
    change = rule.update_rows if isinstance(gradient, tf.IndexedSlices) else rule.update
    change(variable, gradient, slots, rate)


def _sum_repeated_rows(gradient: tf.Tensor | tf.IndexedSlices) -> tf.Tensor | tf.IndexedSlices:
    if not isinstance(gradient, tf.IndexedSlices):
        return gradient
    rows, positions = tf.unique(gradient.indices)
    values = tf.math.unsorted_segment_sum(gradient.values, positions, tf.size(rows))
    return tf.IndexedSlices(values, rows, gradient.dense_shape)


def _shorten(gradient: tf.Tensor | tf.IndexedSlices, table: tf.Variable) -> tf.Tensor | tf.IndexedSlices:
    """Bring the slices to the number of lookups, and never more than the table has rows.

    Collectives take the lengths to be equal on all replicas: with different ones they fail, although they
    have a path for it. And in the steps of one call of a function they keep the lengths of the first step, so
    that the longest of each step would not do either.
    """
    if not isinstance(gradient, tf.IndexedSlices):
        return gradient
    summed = _sum_repeated_rows(gradient)
    length = tf.minimum(tf.size(gradient.indices), table.shape[0])
    missing = length - tf.size(summed.indices)
    # Zeros for a row that is there already change neither the sum nor which rows are touched.
    return tf.IndexedSlices(
        tf.pad(summed.values, [[0, missing], [0, 0]]),
        tf.concat([summed.indices, tf.repeat(summed.indices[:1], missing)], axis=0),
        summed.dense_shape,
    )


def _stem(variable: tf.Variable) -> str:
    return variable.name.split(":")[0].replace("/", "_")
