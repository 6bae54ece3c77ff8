"""What users see differently with this model than with the released one."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class Changes:
    """Two models' lists side by side."""

    overlap: npt.NDArray[np.float64]
    """[queries] the share of the longer list that is in both."""
    before: npt.NDArray[np.int64]
    """[items] number of lists of the released model that the item is in."""
    now: npt.NDArray[np.int64]
    """[items] the same of this model."""


def compare_lists(now: npt.NDArray[np.integer], before: npt.NDArray[np.integer], item_count: int) -> Changes:
    """Compare two lists for each query.

    Args:
        now: [queries, k] rows in the catalogue, distinct within a query, -1 where a list ends.
        before: [queries, k] the released model's.
        item_count: Number of items.

    Returns:
        The comparison.
    """
    is_in_both = (now[:, :, np.newaxis] == before[:, np.newaxis, :]) & (now >= 0)[:, :, np.newaxis]
    longest = np.maximum((now >= 0).sum(axis=1), (before >= 0).sum(axis=1))
    return Changes(
        overlap=is_in_both.sum(axis=(1, 2)) / np.maximum(longest, 1),
        before=np.bincount(before[before >= 0], minlength=item_count),
        now=np.bincount(now[now >= 0], minlength=item_count),
    )


def largest_gains(changes: Changes, count: int) -> npt.NDArray[np.int64]:
    """Find the items that more users see now.

    Args:
        changes: The comparison.
        count: At most so many items.

    Returns:
        Rows in the catalogue, the largest gain first; none that did not gain.
    """
    return _largest(changes.now - changes.before, count)


def largest_losses(changes: Changes, count: int) -> npt.NDArray[np.int64]:
    """Find the items that fewer users see now.

    Args:
        changes: The comparison.
        count: At most so many items.

    Returns:
        Rows in the catalogue, the largest loss first; none that did not lose.
    """
    return _largest(changes.before - changes.now, count)


def _largest(values: npt.NDArray[np.int64], count: int) -> npt.NDArray[np.int64]:
    order = np.argsort(-values, kind="stable")[:count]
    return order[values[order] > 0]
