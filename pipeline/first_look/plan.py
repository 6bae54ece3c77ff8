"""Everything that is decided about some tables: their roles, features, what is left out, and the settings."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, Final

from pipeline.first_look.encodings import propose_encoding, propose_time_part
from pipeline.first_look.entities import EntityRows, collect_entities
from pipeline.first_look.exclusion import find_rare, find_reason
from pipeline.first_look.log_figures import LogFigures, measure_log
from pipeline.first_look.names import TITLE_WORDS, has_word, make_name
from pipeline.first_look.profiles import ColumnProfile, ListSyntax
from pipeline.first_look.roles import NEGATIVE_EVENTS, SIDES, Look, Roles, Side, Wishes, find_roles
from pipeline.first_look.sizing import Setting, choose_settings
from pipeline.first_look.source_options import find_unreadable
from pipeline.first_look.tables import sample_table
from schemas.contract import RESERVED_NAMES
from schemas.errors import DataError

HISTORY: Final = "history"
"""Name of the history."""
_HISTORY_FEATURES: Final = 3
_LARGEST_USER_VOCABULARY: Final = 1_000_000
# docs/quality.md: where the median user has 20 rows the towers are better without the id, where 65, worse.
_SHORT_SEQUENCE_ROWS: Final = 40
_TIMES: Final = ("time", "date")


@dataclass(frozen=True)
class PlannedFeature:
    """A line of the schema file."""

    name: str
    """Its name there."""
    column: str
    """The column's name in the files."""
    tower: Side
    """The table that it is read from."""
    entry: dict[str, Any]
    """The keys of the feature, beside name and tower."""
    evidence: str
    """What the values are."""
    labels: int | None = None
    """Number of labels with a row each."""


@dataclass(frozen=True)
class LeftOut:
    """A column that no tower sees."""

    table: str
    """The table's path."""
    column: str
    """The column."""
    reason: str
    """Why."""
    line: dict[str, Any] | None = None
    """The feature that would take it in nevertheless; None where none can."""


@dataclass(frozen=True)
class Alternative:
    """A key of `ingest` that is written as a comment."""

    key: str
    """The key."""
    value: dict[str, Any]
    """Its value."""
    effect: str
    """What it would do."""


@dataclass(frozen=True)
class Plan:
    """What `dssm init` writes."""

    name: str
    """Name of the data set."""
    roles: Roles
    """What the tables and the log's columns are."""
    users: EntityRows
    """The users."""
    items: EntityRows
    """The items."""
    timestamp: str
    """Name of the time in the schema file."""
    features: tuple[PlannedFeature, ...]
    """The features, ids among them."""
    display: tuple[tuple[str, str], ...]
    """Columns that are shown with a recommendation: name and column in the files."""
    left_out: tuple[LeftOut, ...]
    """Columns that no tower sees."""
    list_syntaxes: dict[Side, ListSyntax]
    """How the lists of a table are written that are texts."""
    positives: dict[str, Any] | None
    """`ingest.positives`; None: all."""
    positives_evidence: str
    """Why."""
    settings: tuple[Setting, ...]
    """The settings by size and shape."""
    log: LogFigures
    """What the log's sample says."""
    alternatives: tuple[Alternative, ...] = ()
    """What else the ingest could do."""

    def entity(self, side: Side) -> EntityRows:
        """Give the users or the items.

        Args:
            side: Which of them.

        Returns:
            Their rows.
        """
        return self.users if side == "user" else self.items

    def is_derived(self, side: Side) -> bool:
        """Tell whether a table is made for a side: something is known beside the ids, and no table has it.

        Args:
            side: Which of them.

        Returns:
            Whether it is.
        """
        return self.entity(side).lacks_table and self._has_columns(side)

    def has_table(self, side: Side) -> bool:
        """Tell whether the schema file names a table of a side.

        Args:
            side: Which of them.

        Returns:
            Whether it does; without one the users or items are those of the log.
        """
        return not self.entity(side).lacks_table or self._has_columns(side)

    def _has_columns(self, side: Side) -> bool:
        is_shown = side == "item" and bool(self.display)
        return is_shown or any(one.tower == side and "role" not in one.entry for one in self.features)

    def settings_of(self, section: str) -> list[Setting]:
        """Give the settings of a section.

        Args:
            section: Its name.

        Returns:
            The settings, in order.
        """
        return [setting for setting in self.settings if setting.section == section]


def plan_project(paths: Sequence[str], name: str, wishes: Wishes) -> Plan:
    """Look at tables and decide what `dssm init` writes.

    Args:
        paths: One, two or three tables.
        name: Name of the data set.
        wishes: What is said and not to be found out.

    Returns:
        The plan.

    Raises:
        ConfigError: A format cannot be told.
        DataError: A table is not there, cannot be read, or its role cannot be told.
        StorageError: A store cannot be reached or refuses.
    """
    if not 1 <= len(paths) <= 3 or len(set(paths)) < len(paths):
        raise DataError(
            "Expected one, two or three tables: the log, and with it users or items or both. Received: "
            f"{', '.join(paths) or 'none'}."
        )
    roles = find_roles([Look.at(sample_table(path)) for path in paths], wishes)
    rows = {side: collect_entities(roles, side) for side in SIDES}
    log = measure_log(roles)
    if not len(log.users):
        raise DataError(
            f"{roles.log.table.path}: expected rows with a user, an item and a time. Received: none in "
            f"{roles.log.table.columns.num_rows:,} rows. Name other columns."
        )
    return _Planner(roles, rows, log).plan(name)


def name_project(paths: Sequence[str]) -> str:
    """Name a data set after the folder of its tables, or a single table.

    Args:
        paths: The tables.

    Returns:
        A name of letters, digits and underscores.
    """
    folder = PurePosixPath(PurePosixPath(paths[0].split("*")[0]).parent).name
    return make_name(folder or PurePosixPath(paths[0]).name.split(".")[0], ())


class _Planner:
    """Puts a plan together, giving each column a name of its own."""

    def __init__(self, roles: Roles, rows: dict[Side, EntityRows], log: LogFigures) -> None:
        self._roles, self._rows, self._log = roles, rows, log
        self._taken: set[str] = {*RESERVED_NAMES, HISTORY, f"{HISTORY}_gap_seconds"}
        self._features: list[PlannedFeature] = []
        self._display: list[tuple[str, str]] = []
        self._left_out: list[LeftOut] = []
        self._list_syntaxes: dict[Side, ListSyntax] = {}

    def plan(self, name: str) -> Plan:
        timestamp = self._name(self._name_role("timestamp", self._roles.time.name), "event")
        for side in SIDES:
            self._add_id(side)
        reasons = {
            side: [self._find_reason(side, column) for column in rows.columns]
            for side, rows in self._rows.items()
        }
        missing, missing_evidence = self._choose_missing_metadata(reasons)
        for side in SIDES:
            for column, reason in zip(self._rows[side].columns, reasons[side], strict=True):
                self._add_column(side, column, reason, needs_default=missing == "default")
        self._leave_log_columns_out()
        positives, positives_evidence, alternatives = _choose_positives(self._roles)
        settings = choose_settings(self._log, missing, missing_evidence)
        in_history = self._choose_history_features()
        if in_history is not None:
            settings.append(in_history)
        return Plan(
            name=name,
            roles=self._roles,
            users=self._rows["user"],
            items=self._rows["item"],
            timestamp=timestamp,
            features=tuple(self._features),
            display=tuple(self._display),
            left_out=tuple(self._left_out),
            list_syntaxes=self._list_syntaxes,
            positives=positives,
            positives_evidence=positives_evidence,
            settings=tuple(settings),
            log=self._log,
            alternatives=alternatives,
        )

    def _name(self, column: str, prefix: str) -> str:
        name = make_name(column, self._taken, prefix)
        self._taken.add(name)
        return name

    def _name_role(self, role: str, column: str) -> str:
        """Name a column of the log after its role where the files have no names, otherwise as they do."""
        return column if self._roles.log.table.source.header is None else role

    def _find_reason(self, side: Side, column: ColumnProfile) -> str | None:
        """Say why a column of the users or items is no feature; None where it is one."""
        rows = self._rows[side]
        other = self._rows["item" if side == "user" else "user"].entity.log_column
        partner_texts = self._roles.log.columns[other].texts.to_pylist()
        reason = find_reason(column, rows.use, partner_texts) or find_unreadable(rows.look.table, column)
        if reason is None and not self._is_written_alike(side, column.list_syntax):
            reason = "its lists are written in another way than another column's"
        if reason is not None:
            return reason
        proposal = propose_encoding(column, needs_default=False)
        if proposal is None:
            return f"texts, {column.distinct:,} distinct values, whose words seldom come again"
        if side == "user" and proposal.has_vector_for_each_value:
            return find_rare(column, rows.use, self._log.share_seen, _SHORT_SEQUENCE_ROWS)
        return None

    def _is_written_alike(self, side: Side, syntax: ListSyntax | None) -> bool:
        """Tell whether lists are written as the table's first ones, since a table has one way for all."""
        return syntax is None or self._list_syntaxes.setdefault(side, syntax) == syntax

    def _choose_missing_metadata(self, reasons: Mapping[Side, Sequence[str | None]]) -> tuple[str, str]:
        parts = []
        for side in SIDES:
            rows = self._rows[side]
            if rows.join.coverage < 1 and not rows.lacks_table:
                missing = rows.join.values - rows.join.found_values
                parts.append(f"{missing:,} of {rows.join.values:,} {side}s are not in their table")
        if parts:
            return "default", "; ".join(parts) + ": they are kept, with the defaults of the features"
        if not self._roles.log.table.is_whole:
            return "default", "only a sample of the log was looked at"
        if any(rows.lacks_table and None in reasons[side] for side, rows in self._rows.items()):
            return "default", "the tables that were made of the log do not grow with it"
        return (
            "refuse",
            "every user and item is in its table, where there is one; a new one without a row stops the run",
        )

    def _add_id(self, side: Side) -> None:
        rows = self._rows[side]
        entry: dict[str, Any] = {"dtype": "string", "role": f"{side}_id", "encoding": {"kind": "vocabulary"}}
        evidence = rows.entity.evidence
        if side == "user" and self._log.typical_rows_of_user < _SHORT_SEQUENCE_ROWS:
            del entry["encoding"]
            evidence += (
                f"; no tower reads it: half of the users have at most {self._log.typical_rows_of_user:.0f} "
                "rows, which a vector of their own would learn by heart; their history says who they are"
            )
        elif side == "user" and rows.join.values > _LARGEST_USER_VOCABULARY:
            entry["encoding"] = {"kind": "hashed", "buckets": 2 * _LARGEST_USER_VOCABULARY}
        if rows.entity.join is not None:
            evidence += f"; {rows.join.coverage:.1%} of them are in {rows.source.path} as {rows.key.name}"
        self._features.append(
            PlannedFeature(
                self._name(self._name_role(f"{side}_id", rows.entity.log_column), side),
                rows.key.name,
                side,
                entry,
                evidence,
            )
        )

    def _add_column(self, side: Side, column: ColumnProfile, reason: str | None, needs_default: bool) -> None:
        look = self._rows[side].look
        proposal = None if reason is not None else propose_encoding(column, needs_default)
        if proposal is not None:
            name = self._name(column.name, side)
            self._taken.add(f"{HISTORY}_{name}")
            self._features.append(
                PlannedFeature(name, column.name, side, proposal.entry, proposal.evidence, proposal.labels)
            )
            if side == "item" and has_word(column.name, TITLE_WORDS):
                self._display.append((name, column.name))
            return
        is_shown = side == "item" and column.kind == "text"
        if is_shown:
            self._display.append((self._name(column.name, side), column.name))
        reason = f"{reason}; shown with recommendations" if is_shown else str(reason)
        line = None
        can_be_read = find_unreadable(look.table, column) is None and column.kind != "other"
        propose = propose_time_part if column.kind in _TIMES else propose_encoding
        forced = propose(column, needs_default) if can_be_read and column.distinct else None
        if forced is not None:
            line = {"name": make_name(column.name, self._taken, side), "tower": side, **forced.entry}
        self._left_out.append(LeftOut(look.table.path, column.name, reason, line))

    def _leave_log_columns_out(self) -> None:
        roles = self._roles
        described = {feature.column for feature in self._features} | {column for _, column in self._display}
        described |= {left.column for left in self._left_out if left.table == roles.log.table.path}
        used = {roles.users.log_column, roles.items.log_column, roles.time.name}
        for name, column in roles.log.columns.items():
            if name in used or (name in described and self._is_derived_of(name)):
                continue
            if name == roles.event:
                reason = "the type of the event, known only once it has happened; ingest.positives reads it"
            elif name == roles.rating:
                reason = "a rating, known only once the item is; ingest.positives can read it"
            elif name == roles.weight:
                reason = "a weight by its name; ingest.weight can read it"
            else:
                reason = "known only with an interaction; as a context it must be given with each request"
            self._left_out.append(LeftOut(roles.log.table.path, name, reason, self._context_line(column)))

    def _is_derived_of(self, name: str) -> bool:
        return any(rows.entity.join is None and name in rows.look.columns for rows in self._rows.values())

    def _context_line(self, column: ColumnProfile) -> dict[str, Any] | None:
        if column.kind not in ("text", "int", "float", "bool") or not column.distinct:
            return None
        proposal = propose_encoding(column, needs_default=False)
        if proposal is None:
            return None
        return {"name": make_name(column.name, self._taken, "context"), "tower": "context", **proposal.entry}

    def _choose_history_features(self) -> Setting | None:
        labels = [
            feature
            for feature in self._features
            if feature.tower == "item" and feature.labels is not None and feature.labels >= 2
        ]
        if not labels:
            return None
        labels.sort(key=lambda feature: -(feature.labels or 0))
        chosen = [feature.name for feature in labels[:_HISTORY_FEATURES]]
        return Setting("history", "item_features", chosen, "labels of the items, beside their ids")


def _choose_positives(roles: Roles) -> tuple[dict[str, Any] | None, str, tuple[Alternative, ...]]:
    """Choose which rows are positives, and what else there would be to choose."""
    alternatives: list[Alternative] = []
    rule, evidence = None, "every row is one"
    if roles.event is not None:
        column = roles.log.columns[roles.event]
        values = column.texts.to_pylist()
        shares = {value: count / column.present for value, count in zip(values, column.counts, strict=True)}
        shown = ", ".join(
            f"{value} {share:.1%}" for value, share in sorted(shares.items(), key=lambda pair: -pair[1])
        )
        wanted = [value for value in values if value.strip().lower() not in NEGATIVE_EVENTS]
        if wanted and len(wanted) < len(values):
            rule = {"column": roles.event, "one_of": wanted}
            evidence = f"the others do not speak for an item; {shown}"
        else:
            evidence = f"every row is one; {shown}"
        weights = {"column": roles.event, "by_value": dict.fromkeys(wanted, 1.0)}
        alternatives.append(Alternative("weight", weights, "with other numbers, some count more in the loss"))
    if roles.rating is not None:
        column = roles.log.columns[roles.rating]
        limit = float(sorted(column.numbers)[max(0, int(0.6 * column.distinct))])
        kept = column.counts[column.numbers >= limit].sum() / max(1, column.present)
        alternatives.append(
            Alternative(
                "positives",
                {"column": roles.rating, "at_least": limit},
                f"only what was liked is a positive, {kept:.0%} of the rows",
            )
        )
    if roles.weight is not None:
        alternatives.append(Alternative("weight", {"column": roles.weight}, "a row counts by its weight"))
    return rule, evidence, tuple(alternatives)
