"""What the log's sample says about its size, its users and items, and its times."""

from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
import numpy.typing as npt

from pipeline.first_look.roles import Roles
from schemas.times import SECONDS_PER_DAY

_HOUR_SECONDS: Final = 3_600


@dataclass(frozen=True)
class LogFigures:
    """The usable rows of a log's sample, in the order of user and time."""

    rows: int
    """Rows of the whole log, estimated where the sample is a part."""
    users: npt.NDArray[np.int64]
    """[sampled rows] number of each row's user."""
    items: npt.NDArray[np.int64]
    """[sampled rows] number of each row's item."""
    seconds: npt.NDArray[np.float64]
    """[sampled rows] seconds since 1970."""
    unusable_share: float
    """Share of the rows without a user, an item or a time, or that cannot be read."""

    @property
    def user_count(self) -> int:
        """Users of the sample."""
        return len(self.rows_of_users)

    @property
    def item_count(self) -> int:
        """Items of the sample."""
        return len(self.rows_of_items)

    @cached_property
    def rows_of_users(self) -> npt.NDArray[np.int64]:
        """[users] rows of each user, ascending."""
        return np.sort(np.unique(self.users, return_counts=True)[1])

    @cached_property
    def rows_of_items(self) -> npt.NDArray[np.int64]:
        """[items] rows of each item, ascending."""
        return np.sort(np.unique(self.items, return_counts=True)[1])

    @property
    def share_seen(self) -> float:
        """Of the whole log's rows, the usable ones of the sample."""
        return max(1, len(self.users)) / self.rows

    @property
    def typical_rows_of_user(self) -> float:
        """Median number of rows of a user in the whole log, as if the sample held a like share of each."""
        return float(np.median(self.rows_of_users)) / self.share_seen

    @property
    def days(self) -> float:
        """Days from the first to the last interaction."""
        return float(np.ptp(self.seconds)) / SECONDS_PER_DAY if len(self.seconds) else 0.0

    @cached_property
    def newest_is_repeat(self) -> float:
        """Share of the users with several rows who had the newest one's item an hour or longer before."""
        pairs = self.users * (int(self.items.max(initial=0)) + 1) + self.items
        _, firsts, numbers = np.unique(pairs, return_index=True, return_inverse=True)
        # A view, a cart and a purchase within minutes are no coming back.
        came_back = self.seconds - self.seconds[firsts[numbers]] >= _HOUR_SECONDS
        is_last = np.append(self.users[1:] != self.users[:-1], True)
        has_several = np.append(False, self.users[1:] == self.users[:-1])
        newest = is_last & has_several
        return float(came_back[newest].mean()) if newest.any() else 0.0

    @cached_property
    def duplicate_share(self) -> float:
        """Share of the rows that say the same as another one: user, item and time."""
        if not len(self.users):
            return 0.0
        at_once = (np.diff(self.users) == 0) & (np.diff(self.seconds) == 0)
        # Of most rows there is no other one of their user and time, and these need no sorting.
        several = np.append(at_once, False) | np.append(False, at_once)
        rows = [values[several] for values in (self.items, self.seconds, self.users)]
        order = np.lexsort(rows)
        same = np.logical_and.reduce([np.diff(values[order]) == 0 for values in rows])
        return float(same.sum() / len(self.users))

    def look_back(self, days: int) -> tuple[float, int, float]:
        """Say what holding the newest days out would hold out.

        Args:
            days: Number of days up to and including that of the newest row.

        Returns:
            Share of the rows; users with rows in them and before; and the share of these among all with rows
            in them.
        """
        newest_day = np.floor(self.seconds.max() / SECONDS_PER_DAY)
        is_late = self.seconds >= (newest_day - days + 1) * SECONDS_PER_DAY
        late, early = np.unique(self.users[is_late]), np.unique(self.users[~is_late])
        warm = len(np.intersect1d(late, early, assume_unique=True))
        return float(is_late.mean()), warm, warm / max(1, len(late))


def measure_log(roles: Roles) -> LogFigures:
    """Measure the log's sample.

    Args:
        roles: What its columns are.

    Returns:
        The figures.
    """
    log = roles.log
    users = log.columns[roles.users.log_column].codes
    items = log.columns[roles.items.log_column].codes
    seconds = roles.time.seconds
    usable = (users >= 0) & (items >= 0) & np.isfinite(seconds)
    order = np.lexsort((seconds[usable], users[usable]))
    rejected = log.table.rejected
    return LogFigures(
        rows=log.table.rows,
        users=users[usable][order].astype(np.int64),
        items=items[usable][order].astype(np.int64),
        seconds=seconds[usable][order],
        unusable_share=1 - float(usable.sum()) / max(1, len(usable) + rejected),
    )
