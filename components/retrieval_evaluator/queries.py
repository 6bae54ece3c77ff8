"""What the user tower reads for each user with held-out items."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from components.history_columns import history_columns
from schemas.contract import VALIDATION_END
from schemas.errors import ReleaseError
from schemas.features import FeatureSpec
from schemas.sequences import SequencesPart


@dataclass(frozen=True)
class QueryColumns:
    """The columns of the sequences that queries are made of."""

    user: tuple[str, ...]
    """The user id, and the user features that the tower reads."""
    context: tuple[str, ...]
    """The context features that it reads."""
    has_history: bool
    """Whether it reads the history."""
    has_gaps: bool
    """Whether it reads the history's time gaps."""


@dataclass(frozen=True)
class Queries:
    """What some users' queries are made of."""

    users: pa.Table
    """[queries] the user id, and the user features that the tower reads."""
    context: pa.Table
    """[queries] its context features, at the user's first held-out position; perhaps without a column."""
    history: npt.NDArray[np.integer] | None
    """[queries, length] rows in the catalogue of the positives before it, the newest last; -1: none."""
    seconds: npt.NDArray[np.integer] | None
    """[queries, length] their times, where the tower reads the gaps."""
    now: npt.NDArray[np.integer] | None
    """[queries] the time of the first held-out position, where the tower reads the gaps."""

    def __len__(self) -> int:
        """Number of queries."""
        return len(self.users)

    def take(self, numbers: npt.NDArray[np.integer]) -> "Queries":
        """Return some queries.

        Args:
            numbers: Which of them.

        Returns:
            The queries in this order.
        """

        def choose(values: npt.NDArray[np.integer] | None) -> npt.NDArray[np.integer] | None:
            return None if values is None else values[numbers]

        return Queries(
            users=self.users.take(pa.array(numbers)),
            context=self.context.take(pa.array(numbers)),
            history=choose(self.history),
            seconds=choose(self.seconds),
            now=choose(self.now),
        )


def choose_columns(spec: FeatureSpec, tower_inputs: Collection[str]) -> QueryColumns:
    """Choose the columns to read.

    Args:
        spec: The features.
        tower_inputs: The raw inputs of the user tower.

    Returns:
        The columns.

    Raises:
        ReleaseError: The tower reads something that the features do not have.
    """
    history = spec.history
    history_names = () if history is None else history.columns
    features = [feature.name for tower in ("user", "context") for feature in spec.table_features(tower)]
    unknown = sorted(set(tower_inputs) - {*features, *history_names})
    if unknown:
        raise ReleaseError(
            f"The user tower reads {unknown}, which the schema file does not have. "
            "Evaluate it with the schema it was trained with."
        )
    wanted = {spec.user_id.name, *tower_inputs}
    return QueryColumns(
        user=tuple(feature.name for feature in spec.table_features("user") if feature.name in wanted),
        context=tuple(feature.name for feature in spec.table_features("context") if feature.name in wanted),
        has_history=bool(wanted.intersection(history_names)),
        has_gaps=history is not None and history.gap_column in wanted,
    )


def make_queries(
    part: SequencesPart, users: npt.NDArray[np.int64], spec: FeatureSpec, columns: QueryColumns
) -> Queries:
    """Make the queries of some users: each asks for what follows the splits before eval.

    Args:
        part: The sequences, with the columns.
        users: [queries] numbers of the users in the part, each with held-out items.
        spec: The features.
        columns: What to read.

    Returns:
        The queries in the order of `users`.
    """
    first = part.ends[VALIDATION_END][users]
    history = seconds = now = None
    if columns.has_history and spec.history is not None:
        positions = first[:, np.newaxis] + np.arange(-spec.history.length, 0)
        is_there = positions >= part.offsets[users][:, np.newaxis]
        positions = np.where(is_there, positions, first[:, np.newaxis])
        history = np.where(is_there, part.items[positions], np.int32(-1))
        if columns.has_gaps:
            times = part.columns[spec.timestamp].to_numpy()
            seconds, now = times[positions], times[first]
    return Queries(
        users=part.users.select(list(columns.user)).take(pa.array(users)),
        context=part.columns.select(list(columns.context)).take(pa.array(first)),
        history=history,
        seconds=seconds,
        now=now,
    )


def concatenate_queries(parts: Sequence[Queries]) -> Queries:
    """Put queries one after the other.

    Args:
        parts: At least one, all with the same columns.

    Returns:
        The queries.
    """

    def join(name: str) -> npt.NDArray[np.integer] | None:
        arrays = [getattr(part, name) for part in parts]
        return None if arrays[0] is None else np.concatenate(arrays)

    return Queries(
        users=pa.concat_tables([part.users for part in parts]).combine_chunks(),
        context=pa.concat_tables([part.context for part in parts]).combine_chunks(),
        history=join("history"),
        seconds=join("seconds"),
        now=join("now"),
    )


def raw_inputs(queries: Queries, rows: slice, spec: FeatureSpec, catalogue: pa.Table) -> pa.Table:
    """Give what the user tower reads for consecutive queries.

    Args:
        queries: The queries.
        rows: Which of them.
        spec: The features.
        catalogue: [items] the item id and the item features of the history.

    Returns:
        [rows] a column for each raw input, by name.
    """
    start, stop, _ = rows.indices(len(queries))
    users, context = queries.users.slice(start, stop - start), queries.context.slice(start, stop - start)
    columns = dict(zip(users.column_names, users.columns, strict=True))
    columns |= dict(zip(context.column_names, context.columns, strict=True))
    if queries.history is not None:
        columns |= history_columns(
            queries.history[rows],
            catalogue,
            spec,
            None if queries.seconds is None else queries.seconds[rows],
            None if queries.now is None else queries.now[rows],
        )
    return pa.table(columns)
