"""Daily logs whose interests change, and whose users and items join over time, with a few malformed rows.

The interactions are those of `dssm synth` (pipeline/datasets/synthetic.py), cut by day. Users and items are
in the tables from the day of their first interaction on.
"""

import datetime
import gzip
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.datasets import tables
from pipeline.datasets.synthetic import START_SECONDS, write_synthetic

HEADER: Final = "user_id,item_id,rating,timestamp"
MALFORMED: Final = (
    "u1,i1",  # Too few fields.
    "u1,i1,4,yesterday",  # No number.
    ",i1,4,{second}",  # No user.
    "u1,i1,4,{second}000",  # Milliseconds.
)
"""The malformed rows of each day, from its first second."""
JOINED: Final = "joined"
"""A column of the item table: whether the item was there on the first day that is trained on."""
AT_FIRST: Final = "at first"
"""In it: the item was there."""
LATER: Final = "later"
"""In it: the item came afterwards."""

_SECONDS_PER_DAY: Final = 86_400


@dataclass(frozen=True)
class Size:
    """How large the data are."""

    users: int
    items: int
    interactions_per_day: int
    days: int


class DriftingLog:
    """A log by day, and the tables as they are on each of them.

    Args:
        size: How large it is.
        seed: Equal seeds give equal files.
        source: A folder for the whole data set, which is drawn where it is not there yet.
    """

    def __init__(self, size: Size, seed: int, source: Path) -> None:
        if not tables.has_all_tables(source):
            interactions = size.interactions_per_day * size.days
            write_synthetic(source, size.users, size.items, interactions, size.days, seed)
        log = pq.read_table(source / tables.INTERACTIONS_FILE)
        self._day = (log["timestamp"].to_numpy() - START_SECONDS) // _SECONDS_PER_DAY
        self._log = log
        self._users = pq.read_table(source / tables.USERS_FILE)
        self._items = pq.read_table(source / tables.ITEMS_FILE)
        self._user_joins = self._find_first_days("user_id", self._users)
        self._item_joins = self._find_first_days("item_id", self._items)

    def rows(self, day: int) -> int:
        """Count the rows of a day's file, malformed ones included."""
        return int(np.count_nonzero(self._day == day)) + len(MALFORMED)

    def write_log(self, day: int, file: Path) -> None:
        """Write a day's file, as compressed CSV."""
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(self._render(day))

    def write_cut_off_log(self, day: int, file: Path) -> None:
        """Write the first half of a day's file, as a copy that was interrupted leaves it."""
        content = self._render(day)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content[: len(content) // 2])

    def write_tables(self, day: int, first_day: int, folder: Path) -> None:
        """Write the tables of users and items as they are at the end of a day.

        Args:
            day: The day.
            first_day: The last day whose items count as there at first.
            folder: Gets both.
        """
        folder.mkdir(parents=True, exist_ok=True)
        pq.write_table(self._users.filter(pa.array(self._user_joins <= day)), folder / tables.USERS_FILE)
        came = pa.array(np.where(self._item_joins <= first_day, AT_FIRST, LATER))
        items = self._items.append_column(JOINED, came)
        pq.write_table(items.filter(pa.array(self._item_joins <= day)), folder / tables.ITEMS_FILE)

    def _render(self, day: int) -> bytes:
        rows = self._log.filter(pa.array(self._day == day)).to_pydict()
        columns = zip(*(rows[name] for name in HEADER.split(",")), strict=True)
        lines = [",".join(map(str, row)) for row in columns]
        second = START_SECONDS + day * _SECONDS_PER_DAY
        wrong = [line.format(second=second) for line in MALFORMED]
        # Without the time of writing, so that a day that has not changed has the same bytes.
        return gzip.compress(("\n".join([HEADER, *lines, *wrong]) + "\n").encode(), mtime=0)

    def _find_first_days(self, column: str, table: pa.Table) -> np.ndarray:
        days = pa.table({"id": self._log[column], "day": pa.array(self._day)})
        first = days.group_by("id").aggregate([("day", "min")])
        place = pc.index_in(table[column], value_set=first["id"].combine_chunks())
        # Who never comes joins after the last day.
        never = int(self._day.max()) + 1
        return pc.fill_null(first["day_min"].take(place), never).to_numpy()


def name_day(day: int) -> str:
    """Give the date of a day, as ISO 8601.

    Args:
        day: Its number, from 0.

    Returns:
        Such as `2024-01-01`.
    """
    start = datetime.datetime.fromtimestamp(START_SECONDS, datetime.UTC).date()
    return (start + datetime.timedelta(days=day)).isoformat()


def make_schema(log_file: str, history_length: int) -> Mapping[str, Any]:
    """Describe the features, as a schema file has them.

    Args:
        log_file: Where the daily files are, with {date}.
        history_length: How many earlier items the user tower reads.

    Returns:
        The content of the schema file. No tower reads `JOINED`: it is there for the evaluation to tell the
        recall of new items.
    """
    vocabulary = {"kind": "vocabulary"}
    return {
        "name": "drifting",
        "tables": {
            "interactions": {"file": log_file},
            "users": {"file": tables.USERS_FILE},
            "items": {"file": tables.ITEMS_FILE, "display": ["title"]},
        },
        "history": {"name": "history", "length": history_length},
        "features": [
            {"name": "user_id", "dtype": "string", "tower": "user", "role": "user_id"}
            | {"encoding": vocabulary},
            {"name": "occupation", "dtype": "string", "tower": "user", "encoding": vocabulary},
            {"name": "item_id", "dtype": "string", "tower": "item", "role": "item_id"}
            | {"encoding": vocabulary},
            {"name": "genres", "dtype": "string", "tower": "item", "multi_valued": True}
            | {"encoding": vocabulary},
            {"name": JOINED, "dtype": "string", "tower": "item", "values": [AT_FIRST, LATER]},
        ],
    }
