"""The loss of a step on one replica, with every kind of negative that the configuration asks for."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from schemas.errors import ConfigError
from trainer.config import LossConfig
from trainer.cross_batch import PastItems
from trainer.false_negatives import BatchKeys, KnownPositives
from trainer.losses import Candidates, LossSum, candidate_softmax, draw_rotation_offsets, rotation_softmax

EmbedItems = Callable[[Mapping[str, tf.Tensor]], tf.Tensor]
"""The item tower in training mode: transformed features by name -> [items, dim] float32, L2-normalised."""


@dataclass(frozen=True)
class _Columns:
    """Items that are candidates, or become some."""

    embeddings: tf.Tensor
    """[columns, dim] float32."""
    items: tf.Tensor
    """[columns] int64."""
    users: tf.Tensor
    """[columns] int64; [0] for items that are nobody's."""


class Objective:
    """The loss of one replica's batch with every kind of negative that the configuration asks for.

    The candidates of a row are the items of its replica's batch, or, with `negatives_scope: global`, of the
    global batch, gathered inside the step; after them the queue of past items, and the uniform ones, which
    each replica draws for itself. Built under a `tf.distribute` scope.

    With B columns from batches, F usable ones from the queue, U uniform ones and N items in the catalogue, a
    candidate's expected share, whose log is subtracted from its logits, is

        Q(j) = ((B + F) q_j + U / N) / (B + F + U)

    for every candidate, the row's own included, since each of them could have come either way (Yang et al.
    2020, "Mixed negative sampling for learning two-tower neural networks in recommendations"); `refined` uses
    it for the negatives alone (trainer/losses.py), and with `logq: none` nothing is corrected.

    Args:
        config: The `loss` section.
        per_replica_batch: Rows per replica.
        dim: Width of an embedding.
        seed: Seed of the negatives that are drawn.
        item_log_q: [items] float32, log of each item's share of the train rows, in the catalogue's order.
        catalogue: [items, ...] transformed item features by name, in the same order, which uniform negatives
            are drawn from.
        positives: What each user has in train, for `mask_same_user: sequence`.
        members: Members that the embeddings are of (trainer/towers.py).

    Raises:
        ConfigError: There are no more rows to draw from than `rotation` needs negatives.
    """

    def __init__(
        self,
        config: LossConfig,
        *,
        per_replica_batch: int,
        dim: int,
        seed: int,
        item_log_q: np.ndarray,
        catalogue: Mapping[str, np.ndarray],
        positives: KnownPositives | None = None,
        members: int = 1,
    ) -> None:
        self._config, self._members = config, members
        self._batch, self._dim = per_replica_batch, dim
        self._replicas = tf.distribute.get_strategy().num_replicas_in_sync
        self._is_global = config.negatives_scope == "global"
        self._batch_columns = per_replica_batch * (self._replicas if self._is_global else 1)
        self._seed = seed
        self._log_q = tf.constant(item_log_q, tf.float32)
        self._item_count = len(item_log_q)
        self._positives = positives
        self._past: PastItems | None = None
        if config.negatives == "rotation" and config.rotation_negatives >= self._batch_columns:
            raise ConfigError(
                "loss.rotation_negatives: expected fewer negatives than there are rows to draw them from, "
                f"{self._batch_columns} (training.per_replica_batch = {per_replica_batch}, "
                f"loss.negatives_scope: {config.negatives_scope}). Received: {config.rotation_negatives}. "
                "Lower the one or raise the other."
            )
        # Made here, outside of the traced step: a constant in its graph could not exceed 2 GiB.
        self._catalogue = (
            {name: tf.constant(values) for name, values in catalogue.items()}
            if config.uniform_negatives
            else {}
        )
        if config.cross_batch_negatives:
            self._past = PastItems(
                config.cross_batch_negatives,
                dim,
                per_replica_batch * self._replicas,
                config.cross_batch_warmup_steps,
            )

    @property
    def variables(self) -> list[tf.Variable]:
        """What a checkpoint must hold besides the weights: the queue of past items, where there is one."""
        return [] if self._past is None else self._past.variables

    def __call__(
        self,
        users: tf.Tensor,
        items: tf.Tensor,
        keys: BatchKeys,
        weights: tf.Tensor | None,
        step: tf.Tensor,
        embed_items: EmbedItems,
    ) -> LossSum:
        """Compute the loss of a replica's batch; called in replica context, once per step.

        The replicas' sums, each divided by the global batch, add up to the mean loss, and so do their
        gradients: that of a gathered item comes from all replicas.

        Args:
            users: [batch, dim] float32, L2-normalised.
            items: [batch, dim] float32, L2-normalised.
            keys: The keys of the rows.
            weights: [batch] float32, what each row's loss is multiplied by; None: 1.
            step: Scalar int64, from 1 on. What is drawn depends on it, the seed and the replica alone.
            embed_items: The item tower, for uniform negatives.

        Returns:
            The summed loss and the masked share of the candidate negatives.
        """
        step = tf.cast(step, tf.int64)
        replica = tf.cast(tf.distribute.get_replica_context().replica_id_in_sync_group, tf.int64)
        users = tf.ensure_shape(users, [self._batch, self._dim])
        own = _Columns(tf.ensure_shape(items, [self._batch, self._dim]), keys.items, keys.users)
        needs_all = self._is_global or self._past is not None
        everything = _gather(own, self._batch * self._replicas) if needs_all and self._replicas > 1 else own
        columns = [everything if self._is_global else own]
        first_own = tf.cast(replica, tf.int32) * self._batch if self._is_global else 0
        draw = tf.stack([tf.constant(self._seed, tf.int64), step * self._replicas + replica])
        if self._config.negatives == "rotation":
            # Rows that share their candidates share the offsets, whichever replica they are on.
            draw = tf.stack([tf.constant(self._seed, tf.int64), step]) if self._is_global else draw
            offsets = draw_rotation_offsets(self._batch_columns, self._config.rotation_negatives, draw)
            return rotation_softmax(
                users,
                self._candidates(columns, first_own, step),
                keys,
                offsets,
                self._config,
                weights,
                self._positives,
                self._members,
            )
        if self._past is not None:
            columns.append(_Columns(*self._past.read(step)))
            self._past.add(step, everything.embeddings, everything.items, everything.users)
        if self._config.uniform_negatives:
            columns.append(self._draw_uniform(draw, embed_items))
        return candidate_softmax(
            users,
            self._candidates(columns, first_own, step),
            keys,
            self._config,
            weights,
            self._positives,
            self._members,
        )

    def _candidates(self, columns: list[_Columns], first_own: tf.Tensor | int, step: tf.Tensor) -> Candidates:
        items = tf.concat([part.items for part in columns], axis=0)
        return Candidates(
            embeddings=tf.concat([part.embeddings for part in columns], axis=0),
            items=items,
            users=tf.concat([part.users for part in columns], axis=0),
            log_share=self._log_share(items, step) if self._config.correction != "none" else None,
            first_own=first_own,
        )

    def _draw_uniform(self, seed: tf.Tensor, embed_items: EmbedItems) -> _Columns:
        count = self._config.uniform_negatives
        drawn = tf.random.stateless_uniform([count], seed, 0, self._item_count, tf.int64)
        features = {name: tf.gather(values, drawn) for name, values in self._catalogue.items()}
        embeddings = tf.ensure_shape(embed_items(features), [count, self._dim])
        return _Columns(embeddings, drawn, tf.zeros([0], tf.int64))

    def _log_share(self, items: tf.Tensor, step: tf.Tensor) -> tf.Tensor:
        log_q = tf.gather(self._log_q, tf.maximum(items, 0))
        if not self._config.uniform_negatives:
            return log_q
        from_batches = tf.constant(self._batch_columns, tf.float32)
        if self._past is not None:
            from_batches += tf.cast(self._past.usable(step), tf.float32)
        return log_mixture_share(log_q, from_batches, self._config.uniform_negatives, self._item_count)


def log_mixture_share(log_q: tf.Tensor, from_batches: tf.Tensor, uniform: int, catalogue: int) -> tf.Tensor:
    """Compute log Q(j), Q(j) = (B q_j + U / N) / (B + U).

    Args:
        log_q: [columns] float32, log of the items' shares of the train rows.
        from_batches: B, the candidates that are items of train rows; scalar float32.
        uniform: U, the candidates that are drawn uniformly from the catalogue.
        catalogue: N, its items.

    Returns:
        [columns] float32.
    """
    return tf.math.log((from_batches * tf.exp(log_q) + uniform / catalogue) / (from_batches + uniform))


def _gather(own: _Columns, columns: int) -> _Columns:
    """Concatenate the replicas' columns in the order of the replicas."""
    context = tf.distribute.get_replica_context()
    # One collective for both keys.
    keys = context.all_gather(tf.stack([own.items, own.users], axis=1), axis=0)
    keys = tf.ensure_shape(keys, [columns, 2])
    # The gradient is summed over the replicas, and each takes its rows of it. The sum needs a dense gradient,
    # which a reshape makes of any.
    embeddings = context.all_gather(own.embeddings, axis=0)
    embeddings = tf.reshape(embeddings, [columns, own.embeddings.shape[1]])
    return _Columns(embeddings, keys[:, 0], keys[:, 1])
