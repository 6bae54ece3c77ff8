"""Signs that a training goes wrong while its loss is still finite.

On a sample of train rows with n different items, u_i and v_j the embeddings of row i's user and row j's item
and tau the temperature:

- the mean and the standard deviation of the cosines <u_i, v_j>, i != j. Independent random directions in R^d
  have mean 0 and deviation 1 / sqrt(d). A tower that has collapsed gives every row the same vector, so that
  the deviation goes to 0 (and the mean to 1, if both have collapsed to the same one).
- the mean over the rows of max_j p_ij, p_i the softmax of <u_i, v_j> / tau over j. Where it is close to 1 the
  softmax is a maximum: its gradient goes to 0 in every row that is right, and one item has all of it in every
  row that is wrong.
- the mean and the largest norm of the rows of each embedding table, over at most 4,096 evenly spaced rows.

And of what was trained on: the share of the candidate negatives that were masked. Where all are, as in the
log of one user, the own item is alone in its softmax: the loss is 0 and so is every gradient.
"""

import logging
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import tensorflow as tf

from schemas.contract import PROGRESS_LOGGER
from trainer.data.batches import FEATURES, ITEMS
from trainer.data.stream import Gather
from trainer.tables import lookup
from trainer.towers import Towers

_PROGRESS = logging.getLogger(PROGRESS_LOGGER)

SAMPLE_ROWS: Final = 256
_CANDIDATE_ROWS: Final = 16 * SAMPLE_ROWS
_TABLE_ROWS: Final = 4096
# Of the deviation that random directions have.
COLLAPSED_SHARE: Final = 0.1
SATURATED_PROBABILITY: Final = 0.99
MASKED_FRACTION: Final = 0.99
PATIENCE_MEASURES: Final = 3


@dataclass(frozen=True)
class Health:
    """The signs, at one step."""

    cosine_mean: float
    """Mean cosine of a user and another row's item."""
    cosine_deviation: float
    """Standard deviation of these cosines."""
    top_probability: float
    """Mean over the users of the highest softmax probability of an item."""
    norms: Mapping[str, tuple[float, float]]
    """Mean and largest norm of the rows of each table, by the table's name."""

    def scalars(self) -> dict[str, float]:
        """Name the signs for TensorBoard.

        Returns:
            By tag.
        """
        norms = {
            f"embedding_norm/{table}/{kind}": value
            for table, values in self.norms.items()
            for kind, value in zip(("mean", "max"), values, strict=True)
        }
        return {
            "cosine_mean": self.cosine_mean,
            "cosine_deviation": self.cosine_deviation,
            "top_probability": self.top_probability,
            **norms,
        }


class HealthMonitor:
    """Measures the health of two towers in training, and warns once of each sign.

    Args:
        towers: The towers.
        gather: Makes a batch of train rows.
        rows: Number of train rows.
        temperature: Of the loss.
        seed: Of the sample.
    """

    def __init__(
        self,
        towers: Towers,
        gather: Gather,
        rows: int,
        temperature: float,
        seed: int,
    ) -> None:
        self._towers = towers
        self._temperature = temperature
        self._warned: set[str] = set()
        self._bad_in_a_row: Counter[str] = Counter()
        self._sample = gather(tf.constant(sample_rows(gather, rows, seed)))[FEATURES]
        self._look = tf.function(self._look_once)

    def measure(self) -> Health:
        """Embed the sample, without dropout, and look at the tables.

        Returns:
            The signs.
        """
        users, items, norms = self._look(self._sample)
        users, items = users.numpy(), items.numpy()
        mean, deviation = cosine_spread(users, items)
        return Health(
            mean,
            deviation,
            top_probability(users, items, self._temperature),
            {table: tuple(values.numpy().tolist()) for table, values in norms.items()},
        )

    def warn(self, health: Health, dim: int, *, epoch_ended: bool) -> None:
        """Warn once of each sign that is bad as an epoch ends, or `PATIENCE_MEASURES` times in a row.

        Args:
            health: The signs.
            dim: Width of the embeddings.
            epoch_ended: Whether they were measured at the end of an epoch.
        """
        random_deviation = 1 / math.sqrt(dim)
        if self._lasts("collapse", health.cosine_deviation < COLLAPSED_SHARE * random_deviation, epoch_ended):
            self._warn_once(
                "collapse",
                f"The embeddings have collapsed: the cosines of users and other rows' items are "
                f"{health.cosine_mean:.4f} +- {health.cosine_deviation:.4f}, and random directions "
                f"would have a deviation of {random_deviation:.4f}. Lower training.learning_rate or raise "
                "loss.temperature.",
            )
        if self._lasts("saturation", health.top_probability > SATURATED_PROBABILITY, epoch_ended):
            self._warn_once(
                "saturation",
                f"The temperature saturates the softmax: one item has a probability of "
                f"{health.top_probability:.4f} on average, so that hardly any gradient is left. Raise "
                f"loss.temperature ({self._temperature:g}).",
            )

    def warn_of_masks(self, masked_fraction: float, loss: float, *, epoch_ended: bool) -> None:
        """Warn once where (nearly) no negative is left, as `warn` does.

        Args:
            masked_fraction: Share of the candidate negatives that were masked since the last measure.
            loss: The mean loss since then; an exact 0 is that of rows without any negative.
            epoch_ended: Whether an epoch has ended.
        """
        is_bad = masked_fraction > MASKED_FRACTION or loss == 0.0
        if self._lasts("no negatives", is_bad, epoch_ended):
            self._warn_once(
                "no negatives",
                f"Next to nothing is learnt: expected negatives for the rows of a batch. Received: "
                f"{100 * masked_fraction:.2f} % of them masked, at a loss of {loss:.4f}. The users have "
                "nearly all items of their batches. Train on more users and items, raise "
                "training.per_replica_batch, add loss.uniform_negatives, or set loss.mask_same_user to false "
                "where users want again what they have.",
            )

    def _lasts(self, sign: str, is_bad: bool, epoch_ended: bool) -> bool:
        """Count a sign, and tell whether it is certain."""
        self._bad_in_a_row[sign] = self._bad_in_a_row[sign] + 1 if is_bad else 0
        return self._bad_in_a_row[sign] >= (1 if epoch_ended else PATIENCE_MEASURES)

    def _look_once(
        self, sample: Mapping[str, tf.Tensor]
    ) -> tuple[tf.Tensor, tf.Tensor, dict[str, tf.Tensor]]:
        norms = {}
        for name, table in self._towers.tables.items():
            stride = math.ceil(table.shape[0] / _TABLE_ROWS)
            lengths = tf.norm(lookup(table, tf.range(0, table.shape[0], stride)), axis=1)
            norms[name] = tf.stack([tf.reduce_mean(lengths), tf.reduce_max(lengths)])
        return self._towers.user(sample), self._towers.item(sample), norms

    def _warn_once(self, sign: str, message: str) -> None:
        if sign not in self._warned:
            self._warned.add(sign)
            _PROGRESS.warning(message)


def sample_rows(gather: Gather, rows: int, seed: int) -> np.ndarray:
    """Choose rows with different items, so that no row's item is another row's too.

    Args:
        gather: Makes a batch of rows.
        rows: Their number.
        seed: Equal seeds give equal samples.

    Returns:
        [n] int64, n at most `SAMPLE_ROWS`.
    """
    generator = np.random.default_rng(seed)
    candidates = generator.choice(rows, min(rows, _CANDIDATE_ROWS), replace=False, shuffle=True)
    _, first = np.unique(gather(tf.constant(candidates))[ITEMS].numpy(), return_index=True)
    return candidates[np.sort(first)[:SAMPLE_ROWS]]


def cosine_spread(users: np.ndarray, items: np.ndarray) -> tuple[float, float]:
    """Describe the cosines of every user and every other row's item.

    Args:
        users: [n, dim] float32, L2-normalised.
        items: [n, dim] float32, L2-normalised.

    Returns:
        Mean and standard deviation; 0 and infinity for fewer than two rows, which have none.
    """
    count = len(users)
    if count < 2:
        return 0.0, math.inf
    cosines = (users @ items.T)[~np.eye(count, dtype=bool)]
    return float(cosines.mean()), float(cosines.std())


def top_probability(users: np.ndarray, items: np.ndarray, temperature: float) -> float:
    """Average the highest softmax probability of the users.

    Args:
        users: [n, dim] float32, L2-normalised.
        items: [n, dim] float32, L2-normalised.
        temperature: What the cosines are divided by.

    Returns:
        Between 1 / n and 1; 0 for fewer than two rows, which have nothing to choose from.
    """
    if len(users) < 2:
        return 0.0
    logits = (users @ items.T).astype(np.float64) / temperature
    return float(np.mean(1 / np.exp(logits - logits.max(axis=1, keepdims=True)).sum(axis=1)))
