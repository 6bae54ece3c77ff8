"""Which table is the log, which columns are users, items and times, and how the tables join."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.first_look.names import (
    EVENT_WORDS,
    ID_WORDS,
    ITEM_WORDS,
    LOG_WORDS,
    OTHER_ID_WORDS,
    RATING_WORDS,
    TIME_WORDS,
    USER_WORDS,
    has_word,
    split_name,
)
from pipeline.first_look.profiles import ColumnProfile, profile_table
from pipeline.first_look.tables import SampledTable
from pipeline.first_look.times import TimeColumn, rate_time, read_times
from schemas.errors import DataError

Side = Literal["user", "item"]
SIDES: Final[tuple[Side, ...]] = ("user", "item")
_SIDE_WORDS: Final = {"user": USER_WORDS, "item": ITEM_WORDS}

# fmt: off
EVENT_VALUES: Final = frozenset({
    "view", "click", "cart", "addtocart", "add_to_cart", "purchase", "buy", "transaction", "order",
    "play", "impression", "like", "dislike", "skip", "remove", "remove_from_cart", "return",
    "refund", "favorite", "wishlist", "share", "bookmark", "rate", "search", "detail", "save",
})
# fmt: on
"""What event types are called."""
# fmt: off
NEGATIVE_EVENTS: Final = frozenset({
    "impression", "dislike", "skip", "remove", "remove_from_cart", "return", "refund",
    "removefromcart", "hide", "unlike", "search",
})
# fmt: on
"""Event types that speak against an item, or say nothing of it."""


@dataclass(frozen=True)
class Wishes:
    """What was said about the tables, in the place of finding it out; None: found out."""

    log: str | None = None
    """The path of the log."""
    users: str | None = None
    """The path of the user table."""
    items: str | None = None
    """The path of the item table."""
    user_column: str | None = None
    """The log's column with the user."""
    item_column: str | None = None
    """The log's column with the item."""
    time_column: str | None = None
    """The log's column with the time."""


@dataclass(frozen=True)
class Look:
    """A table and what its columns hold."""

    table: SampledTable
    """The table."""
    columns: Mapping[str, ColumnProfile]
    """Its columns by name."""

    @classmethod
    def at(cls, table: SampledTable) -> "Look":
        """Find out what the columns of a table hold.

        Args:
            table: The table.

        Returns:
            The look.
        """
        return cls(table, profile_table(table))


@dataclass(frozen=True)
class Join:
    """How the log meets a table."""

    log_column: str
    """The log's column."""
    key: str
    """The table's column."""
    found_values: int
    """How many of the log's distinct ids are in the table."""
    values: int
    """How many distinct ids the log has."""
    found_rows: int
    """How many of the log's rows have an id that is in the table."""
    rows: int
    """How many rows of the log have an id."""

    @property
    def coverage(self) -> float:
        """Share of the log's distinct ids that are in the table."""
        return self.found_values / max(1, self.values)


@dataclass(frozen=True)
class Entity:
    """The users or the items."""

    side: Side
    """Which of them."""
    log_column: str
    """The log's column with their ids."""
    evidence: str
    """Why that column."""
    look: Look | None = None
    """Their table; None where there is the log alone."""
    join: Join | None = None
    """How it meets the log."""


@dataclass(frozen=True)
class Roles:
    """What the tables and the log's columns are."""

    log: Look
    """The log."""
    log_evidence: str
    """Why it is the log."""
    users: Entity
    """The users."""
    items: Entity
    """The items."""
    time: TimeColumn
    """When the interactions were."""
    time_evidence: str
    """Why that column."""
    event: str | None
    """The log's column with the type of the event."""
    rating: str | None
    """The log's column with a rating."""
    weight: str | None
    """The log's column with a weight of its own name."""

    def entity(self, side: Side) -> Entity:
        """Give the users or the items.

        Args:
            side: Which of them.

        Returns:
            The entity.
        """
        return self.users if side == "user" else self.items


def find_roles(looks: Sequence[Look], wishes: Wishes) -> Roles:
    """Find out what the tables and the log's columns are.

    Args:
        looks: One, two or three tables.
        wishes: What is said and not to be found out.

    Returns:
        The roles.

    Raises:
        DataError: A column or table that was named is not there; or no log, user, item or time can be told.
    """
    log = _find_log(looks, wishes)
    others = [look for look in looks if look is not log]
    time, time_evidence = _find_time(log, wishes.time_column)
    users, items = _find_entities(log, others, time.name, wishes)
    taken = {users.log_column, items.log_column, time.name}
    event = _find_event(log, taken)
    rating = _find_rating(log, taken | {event or ""})
    weight = next((name for name in log.columns if split_name(name)[-1:] == ("weight",)), None)
    if weight is not None and not log.columns[weight].is_number:
        weight = None
    return Roles(
        log=log,
        log_evidence=_log_evidence(log, others, users, items, time),
        users=users,
        items=items,
        time=time,
        time_evidence=time_evidence,
        event=event,
        rating=rating,
        weight=weight,
    )


def find_join(log_column: ColumnProfile, key: ColumnProfile) -> Join:
    """Compare the ids of the log with those of a table.

    Args:
        log_column: The log's column.
        key: The table's column.

    Returns:
        What of them meets, compared as texts.
    """
    is_known = pc.is_in(log_column.texts, value_set=key.texts).to_numpy(zero_copy_only=False)
    return Join(
        log_column.name,
        key.name,
        int(is_known.sum()),
        log_column.distinct,
        int(log_column.counts[is_known].sum()),
        log_column.present,
    )


def _find_log(looks: Sequence[Look], wishes: Wishes) -> Look:
    named = _named_table(looks, wishes.log)
    if named is not None:
        return named
    free = [look for look in looks if look.table.path not in (wishes.users, wishes.items)]
    if not free:
        raise DataError(
            "Expected a log among the tables. Received: user and item tables alone. Name it, too."
        )
    return max(free, key=lambda look: _rate_log(look, [other for other in looks if other is not look]))


def _rate_log(look: Look, others: Sequence[Look]) -> float:
    """Say how much speaks for a log: times, ids of the other tables that come again, rows, its name."""
    has_time = any(read_times(profile) is not None for profile in look.columns.values())
    joined = 0.0
    for other in others:
        joins = [
            find_join(column, key).coverage
            for column in look.columns.values()
            for key in other.columns.values()
            if _is_id_like(column) and not column.is_unique and _is_key(key)
        ]
        joined += max(joins, default=0.0)
    of_rows = look.table.rows / sum(one.table.rows for one in (look, *others))
    return 2.0 * has_time + joined + of_rows + 0.5 * has_word(look.table.stem, LOG_WORDS)


def _find_time(log: Look, wish: str | None) -> tuple[TimeColumn, str]:
    if wish is not None:
        time = read_times(_require_column(log, wish, "--time-column"))
        if time is None:
            raise DataError(
                f"--time-column: expected a column with times. Received: {wish!r}, which holds "
                f"{_examples(log.columns[wish])}."
            )
        return time, "as asked for"
    found = [
        (rate_time(profile), time)
        for profile in log.columns.values()
        if (time := read_times(profile)) is not None
    ]
    if not found:
        raise DataError(
            f"{log.table.path}: expected a column with the times of the interactions, since the order of a "
            f"user's interactions decides what is learnt. Received: {', '.join(log.columns)}, none of which "
            "holds times. Add one, or name it with --time-column."
        )
    _, time = max(found, key=lambda pair: pair[0])
    others = [other.name for _, other in found if other is not time and has_word(other.name, TIME_WORDS)]
    known = time.seconds[np.isfinite(time.seconds)]
    first, last = (np.datetime64(int(second), "s") for second in (known.min(), known.max()))
    unit = {
        "text": "as text", "format": "as text", "type": "of a time's type",
        "yyyymmdd": "as whole numbers", "s": "in seconds", "ms": "in milliseconds",
        "us": "in microseconds", "ns": "in nanoseconds",
    }[time.unit]  # fmt: skip
    evidence = f"times {unit}, from {first} to {last}"
    return time, evidence + (f"; also times: {', '.join(others)}" if others else "")


def _find_entities(log: Look, others: Sequence[Look], time: str, wishes: Wishes) -> tuple[Entity, Entity]:
    """Choose the columns of users and items, and their tables, together: no column can be both."""
    tables = {"user": _named_table(others, wishes.users), "item": _named_table(others, wishes.items)}
    named = {"user": wishes.user_column, "item": wishes.item_column}
    options = {side: _entity_options(log, others, time, side, tables[side], named[side]) for side in SIDES}
    best: tuple[float, Entity, Entity] | None = None
    for (user_score, user), (item_score, item) in itertools.product(options["user"], options["item"]):
        if user.log_column == item.log_column:
            continue
        if user.look is not None and user.look is item.look:
            continue
        unused = len(others) - (user.look is not None) - (item.look is not None)
        score = user_score + item_score - 3.0 * unused
        if best is None or score > best[0]:
            best = (score, user, item)
    if best is None:
        raise DataError(
            f"{log.table.path}: expected two columns with ids that come again, of users and of items. "
            f"Received: {', '.join(log.columns)}. Name them with --user-column and --item-column."
        )
    unused_tables = [look.table.path for look in others if look not in (best[1].look, best[2].look)]
    if unused_tables:
        raise DataError(
            f"Expected tables whose ids are those of {log.table.path}. Received: {', '.join(unused_tables)}, "
            "which no column of it leads to. Leave it out, or say what it is with --users, --items and "
            "--user-column or --item-column."
        )
    return best[1], best[2]


def _entity_options(
    log: Look, others: Sequence[Look], time: str, side: Side, table: Look | None, column: str | None
) -> list[tuple[float, Entity]]:
    if column is not None:
        profiles = [_require_column(log, column, f"--{side}-column")]
    else:
        profiles = [one for one in log.columns.values() if _is_id_like(one) and one.name != time]
    options: list[tuple[float, Entity]] = []
    places = {name: place for place, name in enumerate(log.columns)}
    for profile in profiles:
        alone = _rate_column(profile, side, places[profile.name])
        if table is None:
            evidence = _column_evidence(profile, side, column is not None)
            options.append((alone, Entity(side, profile.name, evidence)))
        for look in others if table is None else [table]:
            for key in look.columns.values():
                if not _is_key(key):
                    continue
                join = find_join(profile, key)
                key_share = join.found_values / max(1, key.distinct)
                # Many shops know little of most of their customers.
                if max(join.coverage, key_share) < 0.5:
                    continue
                shared_words = set(split_name(profile.name)) & set(split_name(key.name)) - ID_WORDS
                score = (
                    alone
                    + 1.5 * join.coverage
                    + 0.5 * min(1.0, key_share)
                    + 0.5 * bool(shared_words or profile.name == key.name)
                    + 1.0 * has_word(look.table.stem, _SIDE_WORDS[side])
                    - 1.0 * has_word(look.table.stem, _SIDE_WORDS[_other(side)])
                    + 0.5 * has_word(key.name, _SIDE_WORDS[side])
                )
                evidence = _column_evidence(profile, side, column is not None)
                options.append((score, Entity(side, profile.name, evidence, look, join)))
    return options


def _rate_column(profile: ColumnProfile, side: Side, place: int) -> float:
    """Say how much of a column itself speaks for the ids of a side; where nothing does, users stand first."""
    words = split_name(profile.name)
    score = 0.0
    if set(words) & _SIDE_WORDS[side]:
        score += 2.0 + 0.5 * bool(set(words) & ID_WORDS)
    if set(words) & _SIDE_WORDS[_other(side)]:
        score -= 2.0
    if set(words) & OTHER_ID_WORDS or has_word(profile.name, RATING_WORDS | EVENT_WORDS):
        score -= 1.0
    if set(words) & ID_WORDS:
        score += 0.5
    # An id has many values, which come again.
    score += min(1.0, profile.distinct / 20) - (1.0 if profile.is_unique else 0.0)
    return score + 0.1 * (1 if side == "item" else -1) * min(place, 5)


def _is_id_like(profile: ColumnProfile) -> bool:
    return (profile.kind == "text" or profile.is_whole) and profile.distinct > 1


def _is_key(profile: ColumnProfile) -> bool:
    return (profile.kind == "text" or profile.is_whole) and profile.is_unique


def _find_event(log: Look, taken: set[str]) -> str | None:
    for name, profile in log.columns.items():
        if name in taken or profile.kind != "text" or not 2 <= profile.distinct <= 30:
            continue
        known = sum(value.strip().lower() in EVENT_VALUES for value in profile.texts.to_pylist())
        if known >= 2 or (known and has_word(name, EVENT_WORDS)):
            return name
    return None


def _find_rating(log: Look, taken: set[str]) -> str | None:
    for name, profile in log.columns.items():
        if name in taken or not profile.is_number or not 2 <= profile.distinct <= 101:
            continue
        if has_word(name, RATING_WORDS):
            return name
    return None


def _log_evidence(log: Look, others: Sequence[Look], users: Entity, items: Entity, time: TimeColumn) -> str:
    if not others:
        return "the only table"
    parts = [f"{log.table.rows:,} rows", f"times in {time.name}"]
    for entity in (users, items):
        if entity.join is not None and entity.look is not None:
            parts.append(f"{entity.join.log_column} leads to {entity.look.table.path}")
    return ", ".join(parts)


def _column_evidence(profile: ColumnProfile, side: Side, is_asked: bool) -> str:
    if is_asked:
        why = "as asked for"
    elif has_word(profile.name, _SIDE_WORDS[side]):
        why = f"its name is that of {'an' if side == 'item' else 'a'} {side}"
    else:
        why = "its values come again, and no other column fits better"
    return f"{why}; {profile.distinct:,} values in {profile.present:,} rows"


def _named_table(looks: Sequence[Look], path: str | None) -> Look | None:
    if path is None:
        return None
    found = next((look for look in looks if look.table.path == path), None)
    if found is None:
        raise DataError(
            f"Expected one of the tables {', '.join(look.table.path for look in looks)}. Received: {path!r}. "
            "Name the table among FILES, too, in the same words."
        )
    return found


def _require_column(log: Look, name: str, option: str) -> ColumnProfile:
    if name not in log.columns:
        raise DataError(
            f"{option}: expected a column of {log.table.path}, one of {', '.join(log.columns)}. Received: "
            f"{name!r}."
        )
    return log.columns[name]


def _other(side: Side) -> Side:
    return "item" if side == "user" else "user"


def _examples(profile: ColumnProfile) -> str:
    return ", ".join(repr(value) for value in profile.values.slice(0, 3).to_pylist()) or "nothing"


def first_values(texts: pa.Array, number: int = 3) -> str:
    """Show some values.

    Args:
        texts: [values].
        number: How many are shown.

    Returns:
        The first ones, separated by commas.
    """
    return ", ".join(str(value) for value in texts.slice(0, number).to_pylist())
