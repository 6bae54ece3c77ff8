"""The users that a release knows: the snapshot of the sequences that came with it."""

import bisect
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.queries.features import has_median, median_of
from schemas.features import Feature, FeatureSpec
from schemas.sequences import read_sequences


@dataclass(frozen=True)
class KnownUser:
    """What a release knows of a user."""

    features: dict[str, Any]
    """The row of the user table, with missing values as None."""
    rows: npt.NDArray[np.int32]
    """Rows in the catalogue of the positives, oldest first."""
    seconds: npt.NDArray[np.int64] | None
    """Their times in seconds since 1970; None where the model does not read them."""


class Users:
    """The users of a release, looked up by id."""

    def __init__(
        self,
        table: pa.Table,
        spec: FeatureSpec,
        offsets: npt.NDArray[np.int64],
        items: npt.NDArray[np.int32],
        seconds: npt.NDArray[np.int64] | None,
    ) -> None:
        """Prepare the lookups.

        Args:
            table: [users] the columns of the user table.
            spec: The features.
            offsets: [users + 1] where each user's positives begin, and where the last ones end.
            items: [positives] rows in the catalogue.
            seconds: [positives] times; None: not needed.
        """
        self._table = table.combine_chunks()
        self._offsets, self._items, self._seconds = offsets, items, seconds
        ids = self._table[spec.user_id.name]
        # By the order of their bytes, which is that of Python's texts. An index of Python's objects would
        # take 100 bytes and more for each of millions of users.
        order = pc.sort_indices(ids)
        self._ids = ids.take(order).combine_chunks()
        self._rows = order.to_numpy()
        self.newest = 0 if seconds is None or not len(seconds) else int(seconds.max())
        """The newest time, in seconds since 1970; 0 where there are none."""
        self._medians = {
            feature.name: _find_median(self._table[feature.name], feature)
            for feature in spec.table_features("user")
            if has_median(feature)
        }

    def __len__(self) -> int:
        """Count the users."""
        return len(self._rows)

    def find(self, user: str) -> KnownUser | None:
        """Find a user.

        Args:
            user: The user's id.

        Returns:
            What is known; None of a user never seen.
        """
        place = self._place(user)
        if place == len(self) or self._ids[place].as_py() != user:
            return None
        row = int(self._rows[place])
        start, end = self._offsets[row : row + 2]
        return KnownUser(
            features={name: self._table[name][row].as_py() for name in self._table.column_names},
            rows=self._items[start:end],
            seconds=None if self._seconds is None else self._seconds[start:end],
        )

    def list_ids(self, prefix: str, limit: int) -> list[str]:
        """List users by the start of their ids.

        Args:
            prefix: The start; '' of all.
            limit: The most users.

        Returns:
            Ids, sorted.
        """
        place = self._place(prefix)
        ids = self._ids.slice(place, limit).to_pylist()
        return [user for user in ids if user.startswith(prefix)]

    def find_median(self, feature: Feature) -> int | float | None:
        """Give the median of a feature over all users.

        Args:
            feature: The feature.

        Returns:
            The median; None where the feature has none.
        """
        return self._medians.get(feature.name)

    def _place(self, text: str) -> int:
        return bisect.bisect_left(range(len(self)), text, key=lambda place: self._ids[place].as_py())


def read_users(folder: Path, spec: FeatureSpec, catalogue_ids: pa.Array, with_times: bool) -> Users:
    """Read the snapshot of a release.

    Args:
        folder: The snapshot: sequences.
        spec: The features.
        catalogue_ids: [items] string, the ids of the release's catalogue.
        with_times: Whether the times of the positives are needed.

    Returns:
        The users with all of their positives, of whatever split.

    Raises:
        DataError: The snapshot is none, or not of this schema and catalogue.
    """
    times = (spec.timestamp,) if with_times else ()
    names = [feature.name for feature in spec.table_features("user")]
    parts = list(
        read_sequences(folder, spec, catalogue_ids, user_columns=names, position_columns=times, until=None)
    )
    lengths = np.concatenate([np.zeros(1, np.int64), *(np.diff(part.offsets) for part in parts)])
    return Users(
        table=pa.concat_tables(part.users for part in parts),
        spec=spec,
        offsets=np.cumsum(lengths),
        items=np.concatenate([part.items for part in parts]),
        seconds=np.concatenate(list(_list_times(parts, spec.timestamp))) if with_times else None,
    )


def _list_times(parts: list, timestamp: str) -> Iterator[npt.NDArray[np.int64]]:
    for part in parts:
        yield part.columns.column(timestamp).to_numpy()


def _find_median(column: pa.ChunkedArray, feature: Feature) -> int | float | None:
    numbers = column.drop_null().cast(pa.float64()).to_numpy()
    return median_of(feature, numbers[np.isfinite(numbers)])
