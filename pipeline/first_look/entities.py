"""Users and items: the rows of their table or, without one, what the log says of each."""

import dataclasses
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from pipeline.first_look.profiles import ColumnProfile, profile_column
from pipeline.first_look.roles import Entity, Join, Look, Roles, Side
from pipeline.first_look.tables import SampledTable

# Distinct pairs of id and value for each id: a few ids may have changed their value.
_DETERMINED: Final = 1.005


@dataclass(frozen=True)
class EntityRows:
    """The users or the items, one row each."""

    entity: Entity
    """Which column of the log, and which table."""
    look: Look
    """The table that the rows are of; of derived ones the first row of each id."""
    key: ColumnProfile
    """Their ids."""
    columns: tuple[ColumnProfile, ...]
    """What is known of them beside the ids."""
    join: Join
    """How the log meets them."""
    source: SampledTable
    """The table that it comes from: their own, or the log."""
    is_derived: bool
    """Whether their table has to be written: there is none, or it has ids twice."""
    interactions: npt.NDArray[np.int64]
    """[rows] the interactions of the log's sample with each."""
    newest_seconds: npt.NDArray[np.float64]
    """[rows] seconds since 1970 of the newest of them; NaN without one."""
    newest_partner: npt.NDArray[np.int64]
    """[rows] place of the other id of the newest of them among the log's values; -1 without one."""


def collect_entities(roles: Roles, side: Side) -> EntityRows:
    """Put together what is known of the users or the items.

    Args:
        roles: The roles.
        side: Which of them.

    Returns:
        Their rows, and what the log says of each.
    """
    entity = roles.entity(side)
    log_column = roles.log.columns[entity.log_column]
    if entity.look is None or entity.join is None:
        look = _look_at_log(roles, log_column, _columns_of(roles, side))
        key = look.columns[log_column.name]
        join = Join(key.name, key.name, key.distinct, key.distinct, log_column.present, log_column.present)
        source, is_derived = roles.log.table, True
    else:
        look, join, source = entity.look, entity.join, entity.look.table
        key = look.columns[join.key]
        is_derived = key.distinct < key.present
        if is_derived:
            look = _first_rows(look, key)
            key = look.columns[join.key]
    interactions, newest_seconds, newest_partner = _describe_use(roles, side, key)
    return EntityRows(
        entity,
        look,
        key,
        tuple(column for name, column in look.columns.items() if name != key.name),
        join,
        source,
        is_derived,
        interactions,
        newest_seconds,
        newest_partner,
    )


def find_determined(log: Look, id_column: str, left_out: set[str]) -> list[str]:
    """Find the log's columns that say the same in every row of an id.

    Args:
        log: The log.
        id_column: The column with the ids.
        left_out: Columns that are something else.

    Returns:
        Their names: what is known of the users or the items.
    """
    ids = log.columns[id_column]
    found = []
    for name, column in log.columns.items():
        if (
            name in left_out
            or name == id_column
            or not column.distinct
            or column.kind in ("texts", "numbers", "other")
        ):
            continue
        both = (ids.codes >= 0) & (column.codes >= 0)
        with_value = len(np.unique(ids.codes[both]))
        pairs = len(np.unique(ids.codes[both].astype(np.int64) * column.distinct + column.codes[both]))
        if column.distinct > 1 and pairs <= _DETERMINED * with_value and both.sum() >= 1.5 * with_value:
            found.append(name)
    return found


def _columns_of(roles: Roles, side: Side) -> list[str]:
    """Name the log's columns that describe the users or the items; what fits both describes the items."""
    columns = {roles.users.log_column, roles.items.log_column, roles.time.name}
    columns |= {name for name in (roles.event, roles.rating, roles.weight) if name is not None}
    of_items = find_determined(roles.log, roles.items.log_column, columns)
    if side == "item":
        return of_items
    return find_determined(roles.log, roles.users.log_column, columns | set(of_items))


def _look_at_log(roles: Roles, ids: ColumnProfile, names: list[str]) -> Look:
    """Make a table of the first row of each id in the log."""
    log = roles.log.table
    columns = log.columns.select([ids.name, *names]).take(_first_places(ids))
    return _look(SampledTable(log.path, log.source, columns, ids.distinct, log.is_whole), log.is_text)


def _first_rows(look: Look, key: ColumnProfile) -> Look:
    table = look.table
    columns = table.columns.take(_first_places(key))
    return _look(dataclasses.replace(table, columns=columns, rows=key.distinct), table.is_text)


def _first_places(ids: ColumnProfile) -> npt.NDArray[np.int64]:
    known, places = np.unique(ids.codes, return_index=True)
    return np.sort(places[known >= 0])


def _look(table: SampledTable, is_text: bool) -> Look:
    columns = {
        name: profile_column(name, table.columns.column(name), is_text) for name in table.columns.column_names
    }
    return Look(table, columns)


def _describe_use(
    roles: Roles, side: Side, key: ColumnProfile
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """Count the interactions of each row's id, and find the newest one's time and partner."""
    log = roles.log
    ids = log.columns[roles.entity(side).log_column]
    partners = log.columns[roles.entity("item" if side == "user" else "user").log_column].codes
    places = {text: place for place, text in enumerate(key.texts.to_pylist())}
    place_of = np.array([places.get(text, -1) for text in ids.texts.to_pylist()] + [-1], np.int64)
    place = place_of[ids.codes]
    usable = (place >= 0) & np.isfinite(roles.time.seconds)
    interactions = np.bincount(place[usable], minlength=key.distinct)
    order = np.flatnonzero(usable)[np.argsort(roles.time.seconds[usable], kind="stable")]
    seconds, partner = np.full(key.distinct + 1, np.nan), np.full(key.distinct + 1, -1, np.int64)
    # Of several values for one place the last one stays, which is the newest.
    seconds[place[order]] = roles.time.seconds[order]
    partner[place[order]] = partners[order]
    row_places = np.where(key.codes >= 0, key.codes, key.distinct)
    return np.append(interactions, 0)[row_places], seconds[row_places], partner[row_places]
