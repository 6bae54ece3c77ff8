"""The interactions of a training as flat arrays, and the rows among them.

A row is a position in a user's sequence: its positive is the item there, its history the window before it. So
a row costs a few bytes whatever the length of its history.
"""

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import numpy.typing as npt

from schemas.ranges import list_positions

_ROWS_PER_BLOCK: Final = 1_000_000


@dataclass(frozen=True)
class FlatSequences:
    """The positives of every user one after the other: from offsets[u] on those of user u."""

    offsets: npt.NDArray[np.int64]
    """[users + 1]."""
    items: npt.NDArray[np.int32]
    """[positions] row of each item in the catalogue."""
    seconds: npt.NDArray[np.int64] | None = None
    """[positions] time since 1970; None where nothing reads it."""
    weights: npt.NDArray[np.float32] | None = None
    """[positions] what a row's loss is multiplied by; None: 1."""
    contexts: Mapping[str, np.ndarray] = field(default_factory=dict)
    """[positions, ...] transformed context features by name."""

    def arrays(self) -> dict[str, np.ndarray]:
        """Name every array.

        Returns:
            The arrays that there are, by a name of each.
        """
        given: dict[str, np.ndarray | None] = {
            "items": self.items,
            "offsets": self.offsets,
            "seconds": self.seconds,
            "weights": self.weights,
        }
        contexts = {f"contexts/{name}": values for name, values in self.contexts.items()}
        return {name: values for name, values in given.items() if values is not None} | contexts


@dataclass(frozen=True)
class Rows:
    """The rows of a split: a range of positions in each user's sequence, users one after the other."""

    begins: npt.NDArray[np.int64]
    """[users] position of the user's first row."""
    offsets: npt.NDArray[np.int64]
    """[users + 1] number of the user's first row among all rows; the last entry is the number of rows."""

    @classmethod
    def between(cls, begins: npt.NDArray[np.int64], ends: npt.NDArray[np.int64]) -> "Rows":
        """Make a row of each position in a range of each user.

        Args:
            begins: [users] the first position.
            ends: [users] the position after the last one.

        Returns:
            The rows.
        """
        return cls(begins, np.concatenate([[0], np.cumsum(ends - begins)]))

    def __len__(self) -> int:
        return int(self.offsets[-1])

    @property
    def ends(self) -> npt.NDArray[np.int64]:
        """[users] position after the user's last row."""
        return self.begins + np.diff(self.offsets)

    def locate(self, rows: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Find the user and the position of rows.

        Args:
            rows: [n] numbers of rows.

        Returns:
            [n] users and [n] positions.
        """
        # Users without a row share their successor's offset: the last of equal offsets is the row's user.
        users = np.searchsorted(self.offsets, rows, side="right") - 1
        return users, self.begins[users] + rows - self.offsets[users]

    def positions(self) -> npt.NDArray[np.int64]:
        """List the position of every row.

        Returns:
            [rows].
        """
        return list_positions(self.begins, self.ends)

    def blocks(self) -> Iterator["Rows"]:
        """Cut the rows between users, so that what is made of a part takes little memory.

        Yields:
            The rows of some users, in the users' order: about a million, more where a user has more.
        """
        first_rows = np.arange(0, len(self), _ROWS_PER_BLOCK)
        # The users that blocks begin with. The last one of a block has all its rows there, however many.
        users = np.unique([0, *np.searchsorted(self.offsets[:-1], first_rows), len(self.begins)])
        for first, last in itertools.pairwise(users.tolist()):
            yield Rows.between(self.begins[first:last], self.ends[first:last])


def count_items(sequences: FlatSequences, rows: Rows, items: int) -> npt.NDArray[np.int64]:
    """Count the rows of each item.

    Args:
        sequences: The positives.
        rows: Those that count.
        items: Number of items in the catalogue.

    Returns:
        [items].
    """
    counts = np.zeros(items, np.int64)
    for part in rows.blocks():
        counts += np.bincount(sequences.items[part.positions()], minlength=items)
    return counts


def item_log_q(counts: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
    """Give log q_j, q_j being the probability that a row of the batch holds item j.

    q_j = max(rows that hold j, 1) / rows (logQ correction, Yi et al. 2019, "Sampling-bias-corrected neural
    modeling for large corpus item recommendations"): an item that no row holds counts as if one did, so that
    no value is log 0. Items count one by one, whatever embedding row they share.

    Args:
        counts: [items] rows of each item.

    Returns:
        [items] float32.
    """
    return np.log(np.maximum(counts, 1) / counts.sum()).astype(np.float32)
