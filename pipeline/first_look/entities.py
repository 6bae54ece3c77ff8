"""Users and items: the rows of their table or, without one, what the log says of each."""

import dataclasses
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.first_look.profiles import ColumnProfile
from pipeline.first_look.roles import Entity, Join, Look, Roles, Side
from pipeline.first_look.tables import SampledTable

# Distinct pairs of id and value for each id: a few ids may have changed their value.
_DETERMINED: Final = 1.005


@dataclass(frozen=True)
class EntityUse:
    """What the log's sample says of each user or item."""

    side: Side
    """Which of them."""
    interactions: npt.NDArray[np.int64]
    """[rows] the interactions with each."""
    newest_seconds: npt.NDArray[np.float64]
    """[rows] seconds since 1970 of the newest of them; NaN without one."""
    newest_partner: npt.NDArray[np.int64]
    """[rows] place of the other id of the newest of them among the log's values; -1 without one."""

    @classmethod
    def measure(
        cls,
        side: Side,
        keys: pa.Array,
        ids: pa.Array,
        codes: npt.NDArray[np.integer],
        partners: npt.NDArray[np.integer],
        seconds: npt.NDArray[np.float64],
    ) -> "EntityUse":
        """Count the interactions of each row's id, and find the newest one's time and partner.

        Args:
            side: Which of them.
            keys: [rows] string, the id of each row of the table.
            ids: [ids] string, the log's distinct ids.
            codes: [interactions] place of each id in `ids`, -1 where it is missing.
            partners: [interactions] place of the other id among the log's.
            seconds: [interactions] seconds since 1970, NaN where it is missing.

        Returns:
            The use.
        """
        rows = pc.index_in(ids, value_set=keys).fill_null(-1).to_numpy(zero_copy_only=False)
        row = np.append(rows, -1)[codes]
        usable = np.flatnonzero((row >= 0) & np.isfinite(seconds))
        order = usable[np.argsort(seconds[usable], kind="stable")]
        newest, partner = np.full(len(keys), np.nan), np.full(len(keys), -1, np.int64)
        # Of several values for one place the last one stays, which is the newest.
        newest[row[order]] = seconds[order]
        partner[row[order]] = partners[order]
        return cls(side, np.bincount(row[usable], minlength=len(keys)), newest, partner)


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
    lacks_table: bool
    """Whether there is no table that can be read as it is: none at all, or one with ids twice."""
    use: EntityUse
    """What the log says of each."""


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
        source, lacks_table = roles.log.table, True
    else:
        look, join, source = entity.look, entity.join, entity.look.table
        key = look.columns[join.key]
        lacks_table = key.distinct < key.present
        if lacks_table:
            look = _first_rows(look, key)
            key = look.columns[join.key]
    other = roles.log.columns[roles.entity("item" if side == "user" else "user").log_column]
    use = EntityUse.measure(
        side, _row_keys(key), log_column.texts, log_column.codes, other.codes, roles.time.seconds
    )
    return EntityRows(
        entity,
        look,
        key,
        tuple(column for name, column in look.columns.items() if name != key.name),
        join,
        source,
        lacks_table,
        use,
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
    return Look.at(SampledTable(log.path, log.source, columns, ids.distinct, log.is_whole))


def _first_rows(look: Look, key: ColumnProfile) -> Look:
    table = look.table
    columns = table.columns.take(_first_places(key))
    return Look.at(dataclasses.replace(table, columns=columns, rows=key.distinct))


def _first_places(ids: ColumnProfile) -> npt.NDArray[np.int64]:
    known, places = np.unique(ids.codes, return_index=True)
    return np.sort(places[known >= 0])


def _row_keys(key: ColumnProfile) -> pa.Array:
    return key.texts.take(pa.array(key.codes, mask=key.codes < 0))
