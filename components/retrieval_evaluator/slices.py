"""Which queries belong to which slice of a report."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from components.retrieval_evaluator.data import EvaluationData
from schemas.features import Feature, FeatureSpec, Tower
from schemas.ranking import Candidates

MOST_VALUES: Final = 10
"""Values of a feature that get a slice of their own; the others share one."""
HISTORY_LENGTHS: Final = (0, 1, 5, 10, 20, 50)
"""Where the slices by history length begin."""

_OTHER: Final = "other values"
_UNKNOWN: Final = "unknown"


@dataclass(frozen=True)
class Slice:
    """Some of the queries."""

    group: str
    """What the queries are told apart by, such as a feature's name."""
    label: str
    """What these have in common."""
    queries: npt.NDArray[np.int64]
    """[n] their numbers, ascending, at least one."""


@dataclass(frozen=True)
class _Values:
    """A value for each of some rows, and the query that each belongs to."""

    values: pa.Array
    queries: npt.NDArray[np.int64]


def item_columns(spec: FeatureSpec) -> list[str]:
    """Name the columns of the catalogue that slices are made of.

    Args:
        spec: The features.

    Returns:
        The item features that `build_slices` looks at.
    """
    return [feature.name for feature in _sliced_features(spec, "item")]


def build_slices(
    data: EvaluationData, spec: FeatureSpec, catalogue: pa.Table, candidates: Candidates
) -> list[Slice]:
    """Find the slices of an evaluation.

    By each feature of the user and the context; by each feature of the held-out items; by how popular these
    are; by whether the user was in train; by the length of the history; and, with `all` candidates, by
    whether the user had a held-out item before. A query with several held-out items belongs to the slice of
    each of them, and one with several values of a feature to that of each. A group whose slices all hold all
    queries says nothing and is left out.

    Args:
        data: The queries.
        spec: The features; ids, vectors and texts are looked at by nobody.
        catalogue: [items] with the columns `item_columns`; one that lacks is left out.
        candidates: What is ranked.

    Returns:
        The slices, those of a group side by side.
    """
    query_count = len(data.queries)
    everyone = np.arange(query_count)
    groups: list[Iterator[Slice]] = []
    for feature in (*_sliced_features(spec, "user"), *_sliced_features(spec, "context")):
        groups.append(_slice_by_feature(feature, _explode(data.attributes[feature.name], everyone)))
    owners, items = data.targets.owners, data.targets.items
    for feature in _sliced_features(spec, "item"):
        if feature.name in catalogue.column_names:
            values = _explode(catalogue[feature.name].take(pa.array(items)), owners)
            groups.append(_slice_by_feature(feature, values))
    groups.append(
        _slice_by_label(
            "popularity of the held-out item",
            classify_popularity(data.train_counts)[items],
            ("head", "torso", "tail", "never trained"),
            owners,
        )
    )
    groups.append(_slice_by_label("user", (data.train_rows == 0).astype(int), ("known", "new"), everyone))
    starts = np.array(HISTORY_LENGTHS)
    groups.append(
        _slice_by_label(
            "history length",
            np.searchsorted(starts, data.known_rows, side="right") - 1,
            _name_ranges(HISTORY_LENGTHS),
            everyone,
        )
    )
    if candidates == "all":
        labels = ("first purchases", "repeats")
        groups.append(_slice_by_label("held-out items", data.has_repeat.astype(int), labels, everyone))
    return [found for group in groups for found in _leave_out_trivial(list(group), query_count)]


def classify_popularity(train_counts: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Tell head, torso and tail of the catalogue apart; equally popular items are in the same class.

    The head are the most popular items that make up half of the train rows, the tail is the less popular half
    of the items that are in train.

    Args:
        train_counts: [items] train rows with each item.

    Returns:
        [items] 0: head, 1: torso, 2: tail, 3: never trained.
    """
    falling = np.sort(train_counts[train_counts > 0])[::-1]
    classes = np.full(len(train_counts), 3)
    if not len(falling):
        return classes
    least_of_head = falling[np.searchsorted(np.cumsum(falling), falling.sum() / 2)]
    most_of_tail = falling[len(falling) // 2] if len(falling) > 1 else 0
    classes[train_counts > 0] = 1
    classes[(train_counts > 0) & (train_counts <= most_of_tail)] = 2
    classes[train_counts >= least_of_head] = 0
    return classes


def _sliced_features(spec: FeatureSpec, tower: Tower) -> list[Feature]:
    return [
        feature
        for feature in spec.table_features(tower)
        if feature.role is None
        and feature.length is None
        and (feature.encoding is None or feature.encoding.kind != "text")
    ]


def _explode(column: pa.ChunkedArray, queries: npt.NDArray[np.int64]) -> _Values:
    """Give every value of a row a row of its own."""
    values = column.combine_chunks()
    if pa.types.is_list(values.type):
        queries = queries[pc.list_parent_indices(values).to_numpy(zero_copy_only=False)]
        values = pc.list_flatten(values)
    if pa.types.is_string(values.type):
        values = pc.if_else(pc.equal(values, ""), None, values)
    return _Values(values, queries)


def _slice_by_feature(feature: Feature, found: _Values) -> Iterator[Slice]:
    distinct = pc.value_counts(found.values)
    if feature.dtype == "string" or len(distinct) <= MOST_VALUES:
        labels = _most_frequent(distinct, is_number=feature.dtype != "string")
        codes = pc.index_in(found.values, value_set=labels).fill_null(len(labels)).to_numpy()
        names = [_name(value) for value in labels.to_pylist()] + [_OTHER]
    else:
        numbers = found.values.cast(pa.float64()).to_numpy(zero_copy_only=False)
        is_there = ~np.isnan(numbers)
        edges = np.unique(np.quantile(numbers[is_there], [0.25, 0.5, 0.75], method="lower"))
        codes = np.where(is_there, np.searchsorted(edges, numbers, side="left"), len(edges) + 1)
        shown = [_name(edge) for edge in edges.tolist()]
        between = [f"above {low} to {high}" for low, high in pairwise(shown)]
        names = [f"up to {shown[0]}", *between, f"above {shown[-1]}", _UNKNOWN]
    return _slice_by_label(feature.name, codes, names, found.queries)


def _most_frequent(distinct: pa.StructArray, is_number: bool) -> pa.Array:
    """Choose the values that have a slice: the most frequent first, numbers in their order."""
    values, counts = distinct.field("values"), distinct.field("counts")
    table = pa.table({"value": values, "count": counts})
    # Of equally frequent ones the first by value, so that equal data have equal slices.
    order = pc.sort_indices(table, [("count", "descending"), ("value", "ascending")])
    chosen = values.take(order[:MOST_VALUES])
    return chosen.take(pc.sort_indices(chosen)) if is_number else chosen


def _slice_by_label(
    group: str, codes: npt.NDArray[np.integer], labels: Sequence[str], queries: npt.NDArray[np.int64]
) -> Iterator[Slice]:
    for code, label in enumerate(labels):
        own = np.unique(queries[codes == code])
        if len(own):
            yield Slice(group, label, own)


def _leave_out_trivial(group: list[Slice], query_count: int) -> list[Slice]:
    return [] if all(len(found.queries) == query_count for found in group) else group


def _name(value: object) -> str:
    if value is None:
        return _UNKNOWN
    if isinstance(value, float):
        return f"{value:.0f}" if value.is_integer() else f"{value:.4g}"
    return str(value)


def _name_ranges(starts: Sequence[int]) -> list[str]:
    ends = [start - 1 for start in starts[1:]]
    closed = [
        str(start) if start == end else f"{start} to {end}" for start, end in zip(starts, ends, strict=False)
    ]
    return [*closed, f"{starts[-1]} or more"]
