"""The order of the positives within a user, and of the users."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from components.interaction_ingest.reading.cleaning import FILE_COLUMN, MICROSECOND_COLUMN, ROW_COLUMN

_MICROSECONDS = 10**6
# Up to so many, numpy's stable sort looks at each number twice and compares none.
_FEW = 2**16


def order_rows(
    table: pa.Table, users: npt.NDArray[np.integer], keep: npt.NDArray[np.bool_], timestamp: str
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Find the order (user, timestamp with its fraction of a second, file, row).

    Args:
        table: Cleaned rows, [rows], in any order.
        users: [rows] number of each row's user, from 0.
        keep: [rows] bool, whether the row takes part.
        timestamp: Name of the timestamp.

    Returns:
        [kept rows] int64 rows of the table in that order, users in the order of their first rows in time;
        and [users + 1] int64 offsets: the rows of user u are offsets[u] to offsets[u + 1] - 1 in that order.
    """
    order = np.flatnonzero(keep)
    files, rows = (table.column(name).to_numpy()[order] for name in (FILE_COLUMN, ROW_COLUMN))
    is_before = (files[:-1] < files[1:]) | ((files[:-1] == files[1:]) & (rows[:-1] < rows[1:]))
    if not is_before.all():
        order = order[np.lexsort((rows, files))]
    times = table.column(timestamp).to_numpy()
    if MICROSECOND_COLUMN in table.column_names:
        times = times * _MICROSECONDS + table.column(MICROSECOND_COLUMN).to_numpy()
    order = order[np.argsort(times[order], kind="stable")]
    # In the order of their first rows, which does not depend on the order that the rows came in.
    numbers = _by_appearance(users[order])
    order = order[stable_order(numbers)]
    sizes = np.bincount(numbers)
    return order, np.concatenate([[0], np.cumsum(sizes)])


def _by_appearance(codes: npt.NDArray[np.integer]) -> npt.NDArray[np.int64]:
    """Number codes in the order in which they appear."""
    firsts = np.full(int(codes.max(initial=-1)) + 1, len(codes), np.int64)
    # Of several values for one code the last one stays, which is the first row.
    firsts[codes[::-1]] = np.arange(len(codes))[::-1]
    numbers = np.empty(len(firsts), np.int64)
    numbers[np.argsort(firsts, kind="stable")] = np.arange(len(firsts))
    return numbers[codes]


def stable_order(numbers: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Find the order of small numbers, equal ones as they stand.

    Args:
        numbers: [rows] int64, 0 or more.

    Returns:
        [rows] int64 positions.
    """
    few = numbers.max(initial=0) < _FEW
    return np.argsort(numbers.astype(np.uint16) if few else numbers, kind="stable")


def owners(offsets: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Tell whose the rows are.

    Args:
        offsets: [users + 1] int64.

    Returns:
        [rows] int64 number of each row's user.
    """
    return np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))


def rows_after(offsets: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Count how many newer rows each row's user has.

    Args:
        offsets: [users + 1] int64, rows in time order within the user.

    Returns:
        [rows] int64, 0 for the newest.
    """
    return np.repeat(offsets[1:], np.diff(offsets)) - 1 - np.arange(offsets[-1])


def keep_rows(offsets: npt.NDArray[np.int64], keep: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """Find the offsets of what is left of some rows.

    Args:
        offsets: [users + 1] int64.
        keep: [rows] bool, whether the row stays.

    Returns:
        [users + 1] int64.
    """
    return np.concatenate([[0], np.cumsum(keep)])[offsets]
