"""The histories that the user tower is given: those of the table, or those that a release knows."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from components.history_columns import history_columns
from pipeline.queries.history import check_history_features
from schemas.errors import ConfigError
from schemas.features import FeatureSpec, History
from schemas.sequences import SequencesPart, read_sequences

GIVEN: Final = "given"
"""Counts the rows whose history stands in the table."""
KNOWN: Final = "known"
"""Counts the rows whose history is that of the release's user with the same id."""
EMPTY: Final = "empty"
"""Counts the rows without a history."""
WITHOUT_TIMES: Final = "given_without_times"
"""Counts, among those given, the ones whose items count as just now."""
UNKNOWN_ITEMS: Final = "unknown_items"
"""Counts the items of given histories that the release's catalogue does not have; they are left out."""


@dataclass(frozen=True)
class Histories:
    """The newest items of some rows' histories."""

    places: npt.NDArray[np.int64]
    """[rows, length] row of each item in the catalogue, the newest last; -1 where there is none."""
    seconds: npt.NDArray[np.int64]
    """[rows, length] time of each interaction in seconds since 1970; of padding, any number."""
    now: npt.NDArray[np.int64]
    """[rows] the time up to which the gaps are counted."""


@dataclass(frozen=True)
class KnownHistories:
    """The newest items of each user of a release."""

    ids: pa.Array
    """[users] string."""
    offsets: npt.NDArray[np.int64]
    """[users + 1] where each user's items begin, and where the last ones end."""
    items: npt.NDArray[np.int32]
    """[positions] row of each item in the catalogue, the oldest of a user first."""
    seconds: npt.NDArray[np.int64] | None
    """[positions] their times in seconds since 1970; None where the tower does not read them."""
    newest: int
    """The newest time of all; 0 where there are none."""

    def find(self, ids: pa.Array) -> npt.NDArray[np.int64]:
        """Find users by id, in a time that goes with the number of all users.

        Args:
            ids: [rows] string.

        Returns:
            [rows] the user of each; -1 of one that the release does not know.
        """
        encoded = ids.dictionary_encode()
        codes = pc.index_in(self.ids, value_set=encoded.dictionary)
        is_wanted = codes.is_valid().to_numpy(zero_copy_only=False)
        users = np.full(len(encoded.dictionary) + 1, -1, np.int64)
        users[codes.drop_null().to_numpy()] = np.flatnonzero(is_wanted)
        return users[encoded.indices.to_numpy()]


def read_known_histories(
    folder: Path, spec: FeatureSpec, history: History, catalogue_ids: pa.Array, with_times: bool
) -> KnownHistories:
    """Read what a release knows of its users' histories; of each, only what the tower reads stays in memory.

    Args:
        folder: The release's users: sequences.
        spec: The features.
        history: Says how many items the tower reads.
        catalogue_ids: [items] string, the ids of the release's catalogue.
        with_times: Whether the times are needed.

    Returns:
        The newest positives of every user, of whatever split.

    Raises:
        DataError: The folder holds no sequences, or not of this schema and catalogue.
    """
    user_id = spec.user_id.name
    ids: list[pa.ChunkedArray] = []
    lengths, items = [np.zeros(1, np.int64)], [np.zeros(0, np.int32)]
    seconds = [np.zeros(0, np.int64)]
    newest = 0
    for part in read_sequences(
        folder,
        spec,
        catalogue_ids,
        user_columns=[user_id],
        position_columns=[spec.timestamp] if with_times else [],
        until=None,
    ):
        kept = _newest_positions(part, history.length)
        ids.append(part.users[user_id])
        lengths.append(np.minimum(np.diff(part.offsets), history.length))
        items.append(part.items[kept])
        if with_times and len(part.items):
            times = part.columns[spec.timestamp].to_numpy()
            seconds.append(times[kept])
            newest = max(newest, int(times.max()))
    return KnownHistories(
        ids=pa.chunked_array(
            [chunk for column in ids for chunk in column.chunks], pa.string()
        ).combine_chunks(),
        offsets=np.cumsum(np.concatenate(lengths)),
        items=np.concatenate(items),
        seconds=np.concatenate(seconds) if with_times else None,
        newest=newest,
    )


class HistoryJoin:
    """Joins rows with their histories, and makes the columns that the tower reads of them."""

    def __init__(
        self,
        spec: FeatureSpec,
        history: History,
        catalogue: pa.Table,
        known: KnownHistories | None,
        reads_gaps: bool,
        now: int | None,
    ) -> None:
        """Prepare the lookups.

        Args:
            spec: The features.
            history: The history.
            catalogue: The release's items.
            known: What the release knows; None where it came without its users.
            reads_gaps: Whether the tower reads how long ago the items were.
            now: Seconds since 1970 up to which the time since each interaction is counted; None: the newest
                interaction that the release knows.

        Raises:
            ReleaseError: The catalogue lacks a feature of the history's items.
        """
        check_history_features(history, catalogue.column_names)
        self._spec, self._length = spec, history.length
        self._catalogue = catalogue
        self._item_ids = catalogue[spec.item_id.name].combine_chunks()
        self._known, self._reads_gaps = known, reads_gaps
        self._now = now if now is not None or known is None else known.newest

    def join(
        self, ids: pa.Array, given: pa.Array | None, given_seconds: pa.Array | None
    ) -> tuple[Histories, Counter[str]]:
        """Find the history of each row: the given one, else the known one, else none.

        Args:
            ids: [rows] string.
            given: [rows] lists of item ids, the oldest first; null or empty: not given. None: none is.
            given_seconds: [rows] lists of int64 with the times of their items, null: not known. None: none
                is.

        Returns:
            The histories, and how many there are of which kind.

        Raises:
            ConfigError: Times are given, and nothing says up to which time to count.
        """
        rows = len(ids)
        places, seconds = np.full((2, rows, self._length), -1, np.int64)
        now = np.zeros(rows, np.int64)
        counts: Counter[str] = Counter()
        is_given = np.zeros(rows, bool)
        if given is not None:
            is_given = pc.list_value_length(given).fill_null(0).to_numpy(zero_copy_only=False) > 0
            counts += self._put_given(given, given_seconds, is_given, places, seconds, now)
        users = np.full(rows, -1) if self._known is None else self._known.find(ids)
        known = np.flatnonzero(~is_given & (users >= 0))
        if self._known is not None:
            self._put_known(self._known, users[known], known, places, seconds, now)
        is_known = np.zeros(rows, bool)
        is_known[known] = (places[known] >= 0).any(axis=1)
        counts[GIVEN] = int(is_given.sum())
        counts[KNOWN] = int(is_known.sum())
        counts[EMPTY] = rows - counts[GIVEN] - counts[KNOWN]
        return Histories(places, seconds, now), counts

    def columns(self, histories: Histories, rows: npt.NDArray[np.integer]) -> dict[str, pa.Array]:
        """Make the columns of some rows.

        Args:
            histories: Those of all rows.
            rows: Which of them.

        Returns:
            By the names of the tower's inputs, [rows] lists.
        """
        return history_columns(
            histories.places[rows],
            self._catalogue,
            self._spec,
            histories.seconds[rows],
            histories.now[rows],
        )

    def _put_given(
        self,
        given: pa.Array,
        given_seconds: pa.Array | None,
        is_given: npt.NDArray[np.bool_],
        places: npt.NDArray[np.int64],
        seconds: npt.NDArray[np.int64],
        now: npt.NDArray[np.int64],
    ) -> Counter[str]:
        """Put the given histories into their rows."""
        values = given.flatten().cast(self._item_ids.type)
        items = pc.index_in(values, value_set=self._item_ids).fill_null(-1).to_numpy(zero_copy_only=False)
        is_there = items >= 0
        lengths = pc.list_value_length(given).fill_null(0).to_numpy(zero_copy_only=False)
        owners = np.repeat(np.arange(len(given)), lengths)
        offsets = np.searchsorted(owners[is_there], np.arange(len(given) + 1))
        positions = _newest(offsets, np.flatnonzero(is_given), self._length)
        places[is_given] = _take(items[is_there], positions)
        counts = Counter({UNKNOWN_ITEMS: int((~is_there).sum())})
        # Without a time, the gap to each item is 0, as of one that is just now.
        seconds[is_given] = 0
        if not self._reads_gaps:
            return counts
        if given_seconds is None:
            counts[WITHOUT_TIMES] = int(is_given.sum())
            return counts
        has_times = given_seconds.is_valid().to_numpy(zero_copy_only=False)
        counts[WITHOUT_TIMES] = int((is_given & ~has_times).sum())
        times = np.zeros(len(values), np.int64)
        times[has_times[owners]] = given_seconds.flatten().to_numpy(zero_copy_only=False)
        seconds[is_given] = _take(times[is_there], positions)
        timed = np.flatnonzero(is_given & has_times)
        now[timed] = self._up_to(places[timed], seconds[timed])
        return counts

    def _put_known(
        self,
        known: KnownHistories,
        users: npt.NDArray[np.int64],
        rows: npt.NDArray[np.int64],
        places: npt.NDArray[np.int64],
        seconds: npt.NDArray[np.int64],
        now: npt.NDArray[np.int64],
    ) -> None:
        """Put the known histories into their rows."""
        positions = _newest(known.offsets, users, self._length)
        places[rows] = _take(known.items, positions)
        if known.seconds is not None:
            seconds[rows] = _take(known.seconds, positions)
            now[rows] = self._up_to(places[rows], seconds[rows])

    def _up_to(self, places: npt.NDArray[np.int64], seconds: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Give the time up to which rows count: no interaction of a row lies behind it."""
        if self._now is None:
            raise ConfigError(
                "--now: expected the time up to which the time since each interaction is counted, since the "
                "histories have times and the release came without its users. Received: none."
            )
        return np.where(places >= 0, seconds, self._now).max(axis=1, initial=self._now)


def _newest_positions(part: SequencesPart, length: int) -> npt.NDArray[np.bool_]:
    """Tell, [positions], which are among the newest of their user."""
    lengths = np.diff(part.offsets)
    until_end = np.repeat(part.offsets[1:], lengths) - np.arange(len(part.items))
    return until_end <= length


def _newest(
    offsets: npt.NDArray[np.integer], rows: npt.NDArray[np.integer], length: int
) -> npt.NDArray[np.int64]:
    """Give [rows, length] the positions of the newest items of some rows, -1 before the first."""
    positions = offsets[rows + 1][:, np.newaxis] + np.arange(-length, 0)
    return np.where(positions >= offsets[rows][:, np.newaxis], positions, -1)


def _take(values: npt.NDArray[np.integer], positions: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Give the values at some positions, -1 at those that are none."""
    return np.append(values, -1)[positions].astype(np.int64)
