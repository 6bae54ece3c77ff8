"""The computation of the retriever: a user tower, exact search over all items, exclusions and a filter."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from components.candidate_indexer.labels import ItemLabels
from components.candidate_indexer.text_rows import TextRows
from schemas.contract import (
    EMBEDDING_OUTPUT,
    EXCLUDE_INPUT,
    FILTER_INPUT,
    ITEM_IDS_OUTPUT,
    K_INPUT,
    RAW_SIGNATURE,
    RETRIEVER_INPUTS,
    SCORES_OUTPUT,
    VERSION_OUTPUT,
)


class LabelFilter(tf.Module):
    """Tells which items have any of some values.

    Args:
        labels: The items' values.
    """

    def __init__(self, labels: ItemLabels) -> None:
        super().__init__()
        # '' is never found, and with it there is always a row.
        self._values = TextRows(["", *labels.values])
        sizes = np.array([len(members) for members in labels.sets])
        members = np.array([value + 1 for members in labels.sets for value in members], np.int32)
        self._members = tf.Variable(members, trainable=False)
        ends = np.cumsum(sizes, dtype=np.int32)
        self._starts = tf.Variable(ends - sizes.astype(np.int32), trainable=False)
        self._ends = tf.Variable(ends, trainable=False)
        self._set_of_item = tf.Variable(labels.set_of_item, trainable=False)

    def choose_sets(self, values: tf.Tensor) -> tf.Tensor:
        """Choose the sets with any of the values that a request names.

        Args:
            values: [batch, values] string, '' for none; unknown values are in no set.

        Returns:
            [batch, sets] bool; all true for a row without any value.
        """
        places = self._values.find(values)
        named = tf.where(places >= 0)
        indices = tf.stack([tf.cast(named[:, 0], tf.int32), tf.gather_nd(places, named)], axis=1)
        shape = [tf.shape(values)[0], self._values.texts.shape[0]]
        wanted = tf.scatter_nd(indices, tf.ones_like(indices[:, 0]), shape)
        # The members of a set stand side by side: how many are wanted is a difference of running sums.
        sums = tf.cumsum(tf.gather(wanted, self._members, axis=1), axis=1)
        sums = tf.pad(sums, [[0, 0], [1, 0]])
        counts = tf.gather(sums, self._ends, axis=1) - tf.gather(sums, self._starts, axis=1)
        is_unfiltered = tf.reduce_all(tf.equal(values, ""), axis=1, keepdims=True)
        return (counts > 0) | is_unfiltered

    def pass_items(self, chosen: tf.Tensor, start: tf.Tensor, end: tf.Tensor) -> tf.Tensor:
        """Tell which items of a block pass.

        Args:
            chosen: What `choose_sets` gave.
            start: The block's first item.
            end: The item behind its last one.

        Returns:
            [batch, end - start] bool.
        """
        return tf.gather(chosen, self._set_of_item[start:end], axis=1)


class Retriever(tf.Module):
    """A user tower and exact search in one.

    Args:
        tower: A loaded user tower with its signature of raw inputs.
        embeddings: [items, dim] float32.
        ids: [items] every item's id.
        labels: What items can be filtered by, or None.
        history: The input with ids that are left out beside those of `exclude`, or None.
        version_file: A file with a whole number, which every answer carries; it is copied to the assets.
        block_items: How many items are scored at a time.
    """

    def __init__(
        self,
        tower: Any,
        embeddings: npt.NDArray[np.float32],
        ids: Sequence[str],
        labels: ItemLabels | None,
        history: str | None,
        version_file: Path,
        block_items: int,
    ) -> None:
        super().__init__()
        self._tower = tower
        self._embeddings = tf.Variable(embeddings, trainable=False)
        self._items = len(ids)
        self._rows = TextRows(ids)
        self._filter = None if labels is None else LabelFilter(labels)
        self._history = history
        self._block_items = block_items
        # Read once, when the model is loaded: the folder may be gone by the time of a request.
        self._version = tf.lookup.StaticHashTable(
            tf.lookup.TextFileInitializer(
                str(version_file), tf.int64, tf.lookup.TextFileIndex.LINE_NUMBER, tf.int64, 0
            ),
            default_value=0,
        )

    def make_signature(self) -> Any:
        """Make the function that is served.

        Returns:
            A concrete function of the tower's inputs, `exclude`, `k` and, with labels, `filter`.
        """
        inputs = self._tower.signatures[RAW_SIGNATURE].structured_input_signature[1]
        # A loaded specification's own name is in small letters, and that is what an input would be called.
        specs = {name: tf.TensorSpec(spec.shape, spec.dtype, name) for name, spec in inputs.items()}
        specs[EXCLUDE_INPUT] = tf.TensorSpec([None, None], tf.string, EXCLUDE_INPUT)
        specs[K_INPUT] = tf.TensorSpec([None], tf.int32, K_INPUT)
        if self._filter is not None:
            specs[FILTER_INPUT] = tf.TensorSpec([None, None], tf.string, FILTER_INPUT)
        return tf.function(self._answer, autograph=False).get_concrete_function(**specs)

    def _answer(self, **inputs: Any) -> dict[str, Any]:
        own: dict[str, Any] = {name: inputs.pop(name) for name in RETRIEVER_INPUTS if name in inputs}
        users = self._tower.signatures[RAW_SIGNATURE](**inputs)[EMBEDDING_OUTPUT]
        batch = tf.shape(users)[0]
        with tf.control_dependencies(_check_requests(own, batch)):
            users = tf.identity(users)
        left_out = own[EXCLUDE_INPUT]
        if self._history is not None:
            left_out = tf.concat([left_out, inputs[self._history]], axis=1)
        chosen = None if self._filter is None else self._filter.choose_sets(own[FILTER_INPUT])
        # No more than there are: a request cannot make the answer as large as it likes.
        width = tf.minimum(tf.reduce_max(tf.concat([own[K_INPUT], [0]], axis=0)), self._items)
        scores, rows = self._search(users, self._rows.find(left_out), chosen, width)
        is_asked = tf.range(width) < own[K_INPUT][:, tf.newaxis]
        scores = tf.where(is_asked, scores, -np.inf)
        ids = tf.where(tf.math.is_inf(scores), "", tf.gather(self._rows.texts, rows))
        version = self._version.lookup(tf.constant(0, tf.int64))
        return {ITEM_IDS_OUTPUT: ids, SCORES_OUTPUT: scores, VERSION_OUTPUT: tf.fill([batch], version)}

    def _search(self, users: Any, left_out: Any, chosen: Any, width: Any) -> tuple[Any, Any]:
        """Find the best items.

        Args:
            users: [batch, dim].
            left_out: [batch, n] int32 rows of items, -1 for none.
            chosen: What `LabelFilter.choose_sets` gave, or None.
            width: How many.

        Returns:
            [batch, width] scores, falling, -inf where no item is left, and [batch, width] int32 rows; of
            equal scores the lower row first.
        """
        if self._items <= self._block_items:
            return self._search_block(users, left_out, chosen, width, 0, self._items)
        batch = tf.shape(users)[0]

        def step(start: Any, scores: Any, rows: Any) -> tuple[Any, Any, Any]:
            end = tf.minimum(start + self._block_items, self._items)
            block_scores, block_rows = self._search_block(users, left_out, chosen, width, start, end)
            # Those of the blocks before come first, and have the lower rows.
            scores = tf.concat([scores, block_scores], axis=1)
            rows = tf.concat([rows, block_rows], axis=1)
            best = tf.math.top_k(scores, tf.minimum(width, tf.shape(scores)[1]))
            return end, best.values, tf.gather(rows, best.indices, axis=1, batch_dims=1)

        any_width = tf.TensorShape([None, None])
        _, scores, rows = tf.while_loop(
            lambda start, *_: start < self._items,
            step,
            (0, tf.zeros([batch, 0]), tf.zeros([batch, 0], tf.int32)),
            shape_invariants=(tf.TensorShape([]), any_width, any_width),
            # Side by side, the blocks would need the memory that they save.
            parallel_iterations=1,
        )
        return scores, rows

    def _search_block(
        self, users: Any, left_out: Any, chosen: Any, width: Any, start: Any, end: Any
    ) -> tuple[Any, Any]:
        scores = tf.linalg.matmul(users, self._embeddings[start:end], transpose_b=True)
        if self._filter is not None:
            scores = tf.where(self._filter.pass_items(chosen, start, end), scores, -np.inf)
        places = tf.where((left_out >= start) & (left_out < end))
        indices = tf.stack([tf.cast(places[:, 0], tf.int32), tf.gather_nd(left_out, places) - start], axis=1)
        scores = tf.tensor_scatter_nd_update(scores, indices, tf.fill(tf.shape(indices)[:1], -np.inf))
        best = tf.math.top_k(scores, tf.minimum(width, end - start))
        return best.values, best.indices + start


def _check_requests(own: dict[str, Any], batch: Any) -> list[Any]:
    checks = [
        tf.debugging.assert_equal(
            tf.shape(value)[0],
            batch,
            message=f"Expected {name} with a row for each user. Received another number of rows.",
        )
        for name, value in own.items()
    ]
    message = "Expected k of at least 1 in every row. Received a smaller one."
    return [*checks, tf.debugging.assert_positive(own[K_INPUT], message=message)]
