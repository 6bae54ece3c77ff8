"""Which items are no negatives of a row, since its user is known to like them.

Candidates are sorted by item, so that every masked item of a row is one range of columns. The ranges are made
for a few rows at a time: nothing here grows with rows x candidates, and work is done for masked pairs alone,
which are few among all pairs.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from trainer.config import LossConfig
from trainer.data.sequences import Rows


@dataclass(frozen=True)
class BatchKeys:
    """What tells the rows of a batch apart; equal keys are equal ids."""

    users: tf.Tensor
    """[rows] int64 numbers of users."""
    items: tf.Tensor
    """[rows] int64 catalogue rows."""
    histories: tf.Tensor | None = None
    """[rows, length] int64 catalogue rows, negative where there is none; None without a history."""


@dataclass(frozen=True)
class KnownPositives:
    """Every item that each user has in the train split, in the host's memory."""

    items: tf.Tensor
    """[pairs] int32 catalogue rows: those of a user ascending and each once, users one after the other."""
    offsets: tf.Tensor
    """[users + 1] int64: the place of the user's first item; the last entry is the number of pairs."""

    @classmethod
    def of_rows(cls, items: npt.NDArray[np.int32], rows: Rows) -> "KnownPositives":
        """Take the items of a split's rows.

        Args:
            items: [positions] catalogue rows.
            rows: The split's rows.

        Returns:
            What each user has. Sorted once here, it need not be sorted at every step.
        """
        distinct, counts = [np.empty(0, np.int32)], [np.zeros(1, np.int64)]
        for part in rows.blocks():
            owners = np.repeat(np.arange(len(part.begins)), np.diff(part.offsets))
            pairs = np.unique((owners << _PLACE_BITS) + items[part.positions()])
            distinct.append((pairs & (2**_PLACE_BITS - 1)).astype(np.int32))
            counts.append(np.bincount(pairs >> _PLACE_BITS, minlength=len(part.begins)))
        with tf.device("CPU"):
            return cls(tf.constant(np.concatenate(distinct)), tf.constant(np.cumsum(np.concatenate(counts))))

    def of_users(self, users: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """List what some users have.

        Args:
            users: [n] int64 numbers of users.

        Returns:
            [pairs] int64 places in `users`, ascending, and [pairs] int64 catalogue rows, ascending at each
            place.
        """
        with tf.device("CPU"):
            begins, ends = tf.gather(self.offsets, users), tf.gather(self.offsets, users + 1)
            numbers = tf.range(tf.size(users, tf.int64))
            # tf.repeat would make users x the longest of them first.
            places, offsets = _unpack(_concatenate_ranges(_pack(numbers, 0), _pack(numbers, ends - begins)))
            items = tf.gather(self.items, tf.gather(begins, places) + offsets)
        return places, tf.cast(items, tf.int64)


class FalseNegatives:
    """The candidates that are masked in each row.

    Candidate j is masked in row i when it is another copy of row i's item (`mask_same_item`), or when it is
    an item that user i has as a positive: among the candidates or in row i's history (`mask_same_user:
    history`), or anywhere in train (`sequence`). A row's own column never is.

    Args:
        keys: Users, items and histories of the rows.
        candidate_items: [columns] int64 catalogue rows of the candidates; negative where a column holds
            nothing.
        candidate_users: [known] int64: the users that the first `known` candidates are positives of; the
            rows' own users are among them.
        first_own: The column of row 0's own item; row i's is `first_own` + i.
        config: Which masks apply.
        positives: What each user has in train; for `sequence`.
    """

    order: tf.Tensor
    """[columns] int32: the candidates sorted by item."""
    rank: tf.Tensor
    """[columns] int32: the place of each candidate in `order`."""
    own: tf.Tensor
    """[rows] int64: the place of each row's own column in `order`."""

    def __init__(
        self,
        keys: BatchKeys,
        candidate_items: tf.Tensor,
        candidate_users: tf.Tensor,
        first_own: tf.Tensor | int,
        config: LossConfig,
        positives: KnownPositives | None = None,
    ) -> None:
        self._config = config
        self._first_own = first_own
        self._rows = tf.size(keys.items)
        self._columns = tf.size(candidate_items, tf.int64)
        self.order = tf.argsort(candidate_items)
        self.rank = tf.math.invert_permutation(self.order)
        self.own = tf.cast(self.rank[first_own : first_own + self._rows], tf.int64)
        sorted_items = tf.gather(candidate_items, self.order)
        # An item goes by the place of its first copy.
        self._first = tf.searchsorted(sorted_items, sorted_items, out_type=tf.int64)
        self._end = tf.searchsorted(sorted_items, sorted_items, side="right", out_type=tf.int64)
        self._own_first = tf.gather(self._first, self.own)
        self._history: tf.Tensor | None = None
        if config.mask_same_user == "sequence":
            if positives is None:
                raise ValueError("mask_same_user: sequence needs the users' train positives. Received: none")
            self._index_sequences(keys, sorted_items, positives)
        elif config.mask_same_user:
            self._index_batch(keys, candidate_items, candidate_users)
            if keys.histories is not None:
                places, found = _find(sorted_items, keys.histories)
                # The row's own item is one that the user has anyway.
                self._history = tf.where(found, places, self._own_first[:, None])

    @property
    def own_copies(self) -> tf.Tensor:
        """[rows] int64: the candidates of each row that are masked as other copies of its own item."""
        if not self._masks_any:
            return tf.zeros_like(self.own)
        return tf.gather(self._end, self.own) - self._own_first - 1

    def in_own_columns(self, values: tf.Tensor) -> tf.Tensor:
        """Place a vector of each row in the row's own column.

        Args:
            values: [rows, dim] float32.

        Returns:
            [columns, dim] float32, zeros in all other columns.
        """
        after = tf.cast(self._columns, tf.int32) - self._rows - self._first_own
        return tf.pad(values, [[self._first_own, after], [0, 0]])

    def of_own_columns(self, values: tf.Tensor) -> tf.Tensor:
        """Take what stands in each row's own column.

        Args:
            values: [columns, ...].

        Returns:
            [rows, ...].
        """
        return values[self._first_own : self._first_own + self._rows]

    def in_rows(self, start: tf.Tensor | int, stop: tf.Tensor | int) -> tf.Tensor:
        """List the masked candidates of some rows.

        Args:
            start: The first row.
            stop: The row after the last.

        Returns:
            [masked] int64, each once: (row - `start`) * columns + the place of the column in `order`.
        """
        if not self._masks_any:
            return tf.zeros([0], tf.int64)
        own, own_first = self.own[start:stop], self._own_first[start:stop]
        rows = tf.range(tf.size(own, tf.int64))
        first_cell = rows * self._columns
        begins = [first_cell + own_first, first_cell + own + 1]
        ends = [first_cell + own, first_cell + tf.gather(self._end, own)]
        if self._config.mask_same_user:
            row, first = _unpack(self._positives_in(start, stop, rows))
            end = tf.where(first == tf.gather(own_first, row), first, tf.gather(self._end, first))
            begins.append(row * self._columns + first)
            ends.append(row * self._columns + end)
        return _concatenate_ranges(tf.concat(begins, axis=0), tf.concat(ends, axis=0))

    def among(self, columns: tf.Tensor) -> tf.Tensor:
        """Tell for a few candidates of each row whether they are masked.

        Args:
            columns: [rows, negatives] int32, the columns, none of them the row's own.

        Returns:
            [rows, negatives] bool.
        """
        masked = self.own_copies_among(columns)
        first = self._first_places(columns)
        if self._config.mask_same_user:
            masked |= _find(self._positives, _pack(self._row_users[:, None], first))[1]
            if self._history is not None:
                masked |= tf.reduce_any(first[:, :, None] == self._history[:, None, :], axis=2)
        return masked

    def own_copies_among(self, columns: tf.Tensor) -> tf.Tensor:
        """Tell for a few candidates of each row whether they are masked as other copies of its own item.

        Args:
            columns: [rows, negatives] int32, the columns, none of them the row's own.

        Returns:
            [rows, negatives] bool.
        """
        if not self._masks_any:
            return tf.zeros_like(columns, tf.bool)
        return self._first_places(columns) == self._own_first[:, None]

    @property
    def _masks_any(self) -> bool:
        return bool(self._config.mask_same_item or self._config.mask_same_user)

    def _first_places(self, columns: tf.Tensor) -> tf.Tensor:
        return tf.gather(self._first, tf.gather(self.rank, columns))

    def _index_sequences(self, keys: BatchKeys, sorted_items: tf.Tensor, positives: KnownPositives) -> None:
        """Index which candidates each row's user has anywhere in train."""
        users, self._row_users = tf.unique(keys.users, out_idx=tf.int64)
        owners, items = positives.of_users(users)
        places, found = _find(sorted_items, items)
        # Ascending and distinct as they are: users and items are, and first places follow the items.
        self._index_pairs(tf.boolean_mask(_pack(owners, places), found))

    def _index_batch(self, keys: BatchKeys, candidate_items: tf.Tensor, candidate_users: tf.Tensor) -> None:
        """Index which candidates are positives of each row's user."""
        known = tf.size(candidate_users)
        sorted_users = tf.sort(candidate_users)
        users = tf.searchsorted(sorted_users, candidate_users, out_type=tf.int64)
        pairs = _pack(users, tf.gather(self._first, self.rank[:known]))
        self._row_users = tf.searchsorted(sorted_users, keys.users, out_type=tf.int64)
        pairs = tf.boolean_mask(pairs, candidate_items[:known] >= 0)
        self._index_pairs(tf.unique(tf.sort(pairs)).y)

    def _index_pairs(self, pairs: tf.Tensor) -> None:
        """Take pairs of a user and an item's first place, ascending and distinct: a user's are one range."""
        self._positives = pairs
        self._positives_begin, self._positives_end = (
            tf.searchsorted(self._positives, _pack(users, 0), out_type=tf.int64)
            for users in (self._row_users, self._row_users + 1)
        )

    def _positives_in(self, start: tf.Tensor | int, stop: tf.Tensor | int, rows: tf.Tensor) -> tf.Tensor:
        """Return the rows of a block, packed with what their users have as positives, each pair once."""
        row, place = _unpack(
            _concatenate_ranges(
                _pack(rows, self._positives_begin[start:stop]), _pack(rows, self._positives_end[start:stop])
            )
        )
        _, first = _unpack(tf.gather(self._positives, place))
        positives = _pack(row, first)
        if self._history is None:
            return positives
        histories = tf.reshape(_pack(rows[:, None], self._history[start:stop]), [-1])
        return tf.unique(tf.concat([positives, histories], axis=0)).y


# Two numbers in one, the lesser one below 2^32: bits, since a division of int64 costs far more.
_PLACE_BITS = 32


def _pack(high: tf.Tensor, place: tf.Tensor | int) -> tf.Tensor:
    return high * 2**_PLACE_BITS + place


def _unpack(packed: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    bits = tf.constant(_PLACE_BITS, tf.int64)
    return tf.bitwise.right_shift(packed, bits), tf.bitwise.bitwise_and(packed, 2**_PLACE_BITS - 1)


def _concatenate_ranges(begins: tf.Tensor, ends: tf.Tensor) -> tf.Tensor:
    ranges = tf.raw_ops.RaggedRange(starts=begins, limits=ends, deltas=tf.ones([], tf.int64))
    return ranges.rt_dense_values


def _find(sorted_keys: tf.Tensor, keys: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Return the first place of each key in the sorted keys, and whether it is there; no negative key is."""
    flat = tf.reshape(keys, [-1])
    places = tf.searchsorted(sorted_keys, flat, out_type=tf.int64)
    places = tf.minimum(places, tf.size(sorted_keys, tf.int64) - 1)
    found = (tf.gather(sorted_keys, places) == flat) & (flat >= 0)
    return tf.reshape(places, tf.shape(keys)), tf.reshape(found, tf.shape(keys))
