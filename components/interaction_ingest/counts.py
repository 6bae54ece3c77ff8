"""What the batches and buckets of a run count."""

import dataclasses
import json
import math
from collections import Counter
from collections.abc import Iterable
from typing import Any, Final

FIRST_USUAL_SECOND: Final = 631_152_000
"""Seconds since 1970 of the start of 1990: logs of interactions begin later."""

EXAMPLE_IDS_SHOWN: Final = 5
"""How many ids a message names."""


MISSING_METADATA: Final = "missing_metadata"
"""The reason for dropping an interaction whose user or item is in no table."""


OUTSIDE_WINDOW: Final = "outside_window"
"""The reason for dropping an interaction of a day that is not read."""


REPEATED_PAIR: Final = "repeated_pair"
"""The reason for dropping an interaction of a user and an item that another one stands for."""


OVER_USER_LIMIT: Final = "over_user_limit"
"""The reason for dropping an interaction of a user who has enough newer ones."""


DAYS_SHOWN: Final = 400
"""How many days the report counts the train rows of: the newest ones that have any."""


@dataclasses.dataclass(frozen=True)
class IngestCounts:
    """What one batch or bucket counted; `merge_counts` adds them up."""

    rows: Counter[str] = dataclasses.field(default_factory=Counter)
    """read, train, validation, eval, skipped, users, users_with_one_positive, users_of_log (those of any
    positive, also where none is kept), unknown_users."""
    dropped: Counter[str] = dataclasses.field(default_factory=Counter)
    """Interactions dropped, by reason."""
    filled: Counter[str] = dataclasses.field(default_factory=Counter)
    """Missing values of context features that a default stands in for, by feature."""
    missing: Counter[str] = dataclasses.field(default_factory=Counter)
    """Missing values of context features without a default, by feature."""
    cleaned: Counter[str] = dataclasses.field(default_factory=Counter)
    """Labels of context features whose line breaks became spaces, by feature."""
    unknown_users: tuple[str, ...] = ()
    """The first few user ids that are not in the user table."""
    unknown_items: frozenset[str] = frozenset()
    """Every item id that is not in the item table."""
    rows_before_1990: int = 0
    """Positives that are older than logs of interactions are."""
    first_timestamp: float = math.inf
    """Seconds since 1970 of the earliest positive."""
    last_timestamp: float = -math.inf
    """Seconds since 1970 of the latest positive."""
    problems: tuple[str, ...] = ()
    """Messages about what stops the run, such as a store that cannot be reached."""
    unread_bytes: int = 0
    """Bytes of the files, as they are stored, that could not be read."""
    examples: dict[str, str] = dataclasses.field(default_factory=dict)
    """Where a malformed row is and what it says, by reason."""
    users_by_train_rows: Counter[int] = dataclasses.field(default_factory=Counter)
    """Number of users by the power of two that their number of train rows reaches."""
    train_rows_by_day: Counter[int] = dataclasses.field(default_factory=Counter)
    """Number of train rows by day, counted from 1970-01-01: the newest DAYS_SHOWN days."""

    @property
    def kept(self) -> int:
        """Number of interactions that were not dropped."""
        return sum(self.rows[name] for name in ("train", "validation", "eval", "skipped"))

    @classmethod
    def of_read(cls, rows: int) -> "IngestCounts":
        """Count rows that were read and are kept.

        Args:
            rows: Their number.

        Returns:
            The counts.
        """
        return cls(rows=Counter(read=rows))

    def to_json(self) -> str:
        """Write the counts down.

        Returns:
            JSON that `from_json` reads.
        """
        plain = vars(self) | {
            "unknown_items": sorted(self.unknown_items),
            "users_by_train_rows": list(self.users_by_train_rows.items()),
            "train_rows_by_day": list(self.train_rows_by_day.items()),
        }
        return json.dumps(plain)

    @classmethod
    def from_json(cls, text: str) -> "IngestCounts":
        """Read counts back.

        Args:
            text: What `to_json` gave.

        Returns:
            The counts.
        """
        plain: dict[str, Any] = json.loads(text)
        for name in ("rows", "dropped", "filled", "missing", "cleaned"):
            plain[name] = Counter(plain[name])
        for name in ("users_by_train_rows", "train_rows_by_day"):
            plain[name] = Counter(dict(plain[name]))
        for name in ("unknown_users", "problems"):
            plain[name] = tuple(plain[name])
        return cls(**plain | {"unknown_items": frozenset(plain["unknown_items"])})


def merge_counts(parts: Iterable[IngestCounts]) -> IngestCounts:
    """Add counts up; the result does not depend on their order or grouping.

    Args:
        parts: Counts of batches and buckets.

    Returns:
        Their sum.
    """
    rows: Counter[str] = Counter()
    dropped: Counter[str] = Counter()
    filled: Counter[str] = Counter()
    missing: Counter[str] = Counter()
    cleaned: Counter[str] = Counter()
    users: set[str] = set()
    items: set[str] = set()
    problems: set[str] = set()
    unread_bytes = 0
    examples: dict[str, str] = {}
    first, last, old = math.inf, -math.inf, 0
    users_by_train_rows: Counter[int] = Counter()
    train_rows_by_day: Counter[int] = Counter()
    for part in parts:
        rows.update(part.rows)
        dropped.update(part.dropped)
        filled.update(part.filled)
        missing.update(part.missing)
        cleaned.update(part.cleaned)
        users.update(part.unknown_users)
        items.update(part.unknown_items)
        problems.update(part.problems)
        unread_bytes += part.unread_bytes
        for reason, example in part.examples.items():
            examples[reason] = min(example, examples.get(reason, example))
        old += part.rows_before_1990
        first, last = min(first, part.first_timestamp), max(last, part.last_timestamp)
        users_by_train_rows.update(part.users_by_train_rows)
        train_rows_by_day.update(part.train_rows_by_day)
    return IngestCounts(
        rows,
        dropped,
        filled,
        missing,
        cleaned,
        tuple(sorted(users)[:EXAMPLE_IDS_SHOWN]),
        frozenset(items),
        old,
        first,
        last,
        tuple(sorted(problems)[:EXAMPLE_IDS_SHOWN]),
        unread_bytes,
        dict(sorted(examples.items())),
        users_by_train_rows,
        Counter({day: train_rows_by_day[day] for day in sorted(train_rows_by_day)[-DAYS_SHOWN:]}),
    )


def show_ids(ids: Iterable[str]) -> str:
    """Write ids for a message.

    Args:
        ids: The ids.

    Returns:
        The ids in quotes, so that spaces and line breaks are seen.
    """
    return ", ".join(repr(value) for value in ids)


def empty_message(source: str) -> str:
    """Say that a table has no row.

    Args:
        source: Its file or files.

    Returns:
        What was expected, what came, what to do.
    """
    return f"{source} is empty: expected at least one row, found 0. Write the table again."


def missing_message(file: str, missing: dict[str, int]) -> str:
    """Say that values are missing.

    Args:
        file: Name of the file.
        missing: Number of missing values by column.

    Returns:
        What was expected, what came, what to do.
    """
    columns = ", ".join(f"{name!r} ({count:,})" for name, count in missing.items())
    return (
        f"{file}: values are missing (null or not a finite number) in {columns}. "
        "Expected a value in every row: fill them in, or give these features a 'default' in the schema file."
    )
