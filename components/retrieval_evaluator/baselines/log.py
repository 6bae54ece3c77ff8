"""What is known before the evaluation: the interactions of train and validation, of all users."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import scipy.sparse

from schemas.contract import TRAIN_END, VALIDATION_END
from schemas.features import FeatureSpec
from schemas.sequences import list_sequence_files, read_sequences

MOST_INTERACTIONS: Final = 2_000_000
"""Interactions that are kept, 12 bytes each, which bounds the time of the baselines as well."""


@dataclass(frozen=True)
class BaselineLog:
    """The known interactions: those of user u are the positions offsets[u] to offsets[u + 1] - 1, in time."""

    offsets: npt.NDArray[np.int64]
    """[users + 1]."""
    train_ends: npt.NDArray[np.int64]
    """[users] the position where the user's validation begins, or the next user."""
    items: npt.NDArray[np.int32]
    """[positions] rows in the catalogue."""
    times: npt.NDArray[np.int64]
    """[positions] seconds since 1970."""
    sampled_of: int | None = None
    """The number of interactions that these users' are a sample of; None: they are all."""

    @property
    def owners(self) -> npt.NDArray[np.int64]:
        """[positions] the user of each."""
        return np.repeat(np.arange(len(self.train_ends)), np.diff(self.offsets))

    @property
    def sample_note(self) -> str | None:
        """Say which share of the interactions this is; None: it is all."""
        if self.sampled_of is None:
            return None
        return (
            f"from {len(self.items):,} of {self.sampled_of:,} known interactions "
            f"({len(self.items) / self.sampled_of:.1%}): all those of randomly drawn users"
        )

    def as_matrix(self, item_count: int) -> scipy.sparse.csr_array:
        """Tell which user has which item.

        Args:
            item_count: Number of items in the catalogue.

        Returns:
            [users, items] float32, 1 for each item that a user has, however often.
        """
        return to_binary_matrix(self.offsets, self.items, item_count)


def to_binary_matrix(
    offsets: npt.NDArray[np.int64], items: npt.NDArray[np.int32], item_count: int
) -> scipy.sparse.csr_array:
    """Make a matrix with a 1 for each item in each row.

    Args:
        offsets: [rows + 1] row r has `items[offsets[r] : offsets[r + 1]]`.
        items: [positions] items, perhaps several times in a row.
        item_count: Number of items.

    Returns:
        [rows, items] float32.
    """
    shape = (len(offsets) - 1, item_count)
    # A copy, since duplicates are summed in place.
    ones = np.ones(len(items), np.float32)
    matrix = scipy.sparse.csr_array((ones, items, offsets), shape=shape, copy=True)
    matrix.sum_duplicates()
    matrix.data[:] = 1
    return matrix


def read_baseline_log(
    sequences: Path,
    spec: FeatureSpec,
    catalogue_ids: pa.Array,
    most_interactions: int = MOST_INTERACTIONS,
    seed: int = 0,
) -> BaselineLog:
    """Read the interactions of train and validation, part by part.

    Args:
        sequences: The folder of the sequences.
        spec: The features.
        catalogue_ids: [items] string ids in the order of the index.
        most_interactions: Where there are more, keep all interactions of as many randomly drawn users as have
            no more than this together.
        seed: Which users.

    Returns:
        The log, the users in the order of the sequences.

    Raises:
        DataError: The sequences are not those of the features and the catalogue.
    """
    sizes = _count_known(sequences)
    total = int(sizes.sum())
    kept = draw_users_up_to(sizes, most_interactions, seed)
    kept_sizes, train_sizes = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    items, times = [np.zeros(0, np.int32)], [np.zeros(0, np.int64)]
    number = 0
    for part in read_sequences(
        sequences, spec, catalogue_ids, position_columns=[spec.timestamp], until=VALIDATION_END
    ):
        part_sizes = np.diff(part.offsets)
        is_kept = kept[number : number + len(part_sizes)]
        number += len(part_sizes)
        of_kept = np.repeat(is_kept, part_sizes)
        kept_sizes.append(part_sizes[is_kept])
        train_sizes.append((part.ends[TRAIN_END] - part.offsets[:-1])[is_kept])
        items.append(part.items[of_kept])
        times.append(part.columns[spec.timestamp].to_numpy()[of_kept])
    offsets = np.concatenate([[0], np.cumsum(np.concatenate(kept_sizes))]).astype(np.int64)
    return BaselineLog(
        offsets=offsets,
        train_ends=offsets[:-1] + np.concatenate(train_sizes),
        items=np.concatenate(items),
        times=np.concatenate(times),
        sampled_of=None if offsets[-1] == total else total,
    )


def draw_users_up_to(sizes: npt.NDArray[np.int64], most: int, seed: int) -> npt.NDArray[np.bool_]:
    """Draw users until their interactions are as many as they may be.

    Args:
        sizes: [users] the number of interactions of each.
        most: How many interactions the drawn users may have together. A user with more alone is never drawn.
        seed: Equal seeds draw the same users.

    Returns:
        [users] whether each was drawn.
    """
    if sizes.sum() <= most:
        return np.ones(len(sizes), bool)
    order = np.random.default_rng(seed).permutation(len(sizes))
    order = order[sizes[order] <= most]
    drawn = np.zeros(len(sizes), bool)
    drawn[order[np.cumsum(sizes[order]) <= most]] = True
    return drawn


def _count_known(sequences: Path) -> npt.NDArray[np.int64]:
    columns = [
        pq.read_table(path, columns=[VALIDATION_END])[VALIDATION_END].to_numpy()
        for path in list_sequence_files(sequences)
    ]
    return np.concatenate(columns).astype(np.int64)
