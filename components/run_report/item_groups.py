"""Which group a map of items shows each item in, by a feature, and what the items are called."""

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from schemas.errors import DataError

_GROUPS: Final = 7
_QUANTILES: Final = 5
_FEW_VALUES: Final = 100
_UNKNOWN: Final = "unknown"
_TITLE_CHARACTERS: Final = 100


@dataclass(frozen=True)
class ItemGroups:
    """The items' groups by one feature."""

    labels: Sequence[str]
    """What the groups are, eight at most."""
    numbers: npt.NDArray[np.int64]
    """[items] the number of each item's group."""


def choose_feature(file: Path, asked: str | None, not_chosen: Collection[str]) -> str | None:
    """Choose the feature that groups items, reading one column at a time.

    Args:
        file: The catalogue.
        asked: The column that is asked for; None: the first of strings with few values, or else the first of
            numbers.
        not_chosen: Columns that are chosen only where they are asked for, such as the id.

    Returns:
        The column; None where none is asked for and none groups items.

    Raises:
        DataError: There is no such column.
    """
    schema = pq.read_schema(file)
    if asked is not None:
        if asked not in schema.names:
            raise DataError(
                f"report.map_feature: expected a column of the catalogue, one of {schema.names}. "
                f"Received: {asked!r}."
            )
        return asked
    numbers = []
    for field in schema:
        if field.name in not_chosen:
            continue
        if pa.types.is_integer(field.type) or pa.types.is_floating(field.type):
            numbers.append(field.name)
            continue
        of = field.type.value_type if pa.types.is_list(field.type) else field.type
        if not (pa.types.is_string(of) or pa.types.is_large_string(of)):
            continue
        column = pq.read_table(file, columns=[field.name])[field.name].combine_chunks()
        values = column.flatten() if pa.types.is_list(field.type) else column
        if 1 < len(values.unique()) <= _FEW_VALUES:
            return str(field.name)
    return str(numbers[0]) if numbers else None


def group_items(catalogue: pa.Table, feature: str | None) -> ItemGroups:
    """Group items by a feature: by its most frequent values, or a number's quintiles.

    Args:
        catalogue: [items] the items.
        feature: The column; None: all are one group.

    Returns:
        The groups; of lists the first value counts.
    """
    if feature is None:
        return ItemGroups(["items"], np.zeros(catalogue.num_rows, np.int64))
    values = [
        (value[0] if value else None) if isinstance(value, list) else value
        for value in catalogue[feature].to_pylist()
    ]
    if all(isinstance(value, int | float) for value in values if value is not None):
        return _by_quantile(values)
    return _by_value([None if value in (None, "") else str(value) for value in values])


def title_items(catalogue: pa.Table, item_id: str, display: Sequence[str]) -> list[str]:
    """Say what each item is called.

    Args:
        catalogue: [items] the items.
        item_id: Name of the id.
        display: The columns that are shown.

    Returns:
        The id and what is shown of each item, cut at 100 characters.
    """
    columns = [item_id, *display]
    titles = []
    for row in catalogue.select(columns).to_pylist():
        shown = ", ".join(str(row[name]) for name in columns[1:] if row[name] is not None)
        titles.append((f"{shown} ({row[item_id]})" if shown else str(row[item_id]))[:_TITLE_CHARACTERS])
    return titles


def _by_value(values: Sequence[str | None]) -> ItemGroups:
    counts = Counter(value for value in values if value is not None)
    # Equal counts in the order of the alphabet, so that nothing depends on the rows' order.
    frequent = [value for value, _ in sorted(counts.items(), key=lambda found: (-found[1], found[0]))]
    labels = frequent if len(frequent) <= _GROUPS else frequent[: _GROUPS - 1]
    rest = "other" if len(frequent) > _GROUPS else None
    numbers = {label: number for number, label in enumerate(labels)}
    labels = [*labels, *([rest] if rest else []), *([_UNKNOWN] if None in values else [])]
    last_known = len(labels) - 1 - (None in values)
    return ItemGroups(
        labels,
        np.array(
            [len(labels) - 1 if value is None else numbers.get(value, last_known) for value in values],
            np.int64,
        ),
    )


def _by_quantile(values: Sequence[Any]) -> ItemGroups:
    numbers = np.array([np.nan if value is None else value for value in values], float)
    known = numbers[np.isfinite(numbers)]
    inner = np.quantile(known, np.arange(1, _QUANTILES) / _QUANTILES) if len(known) else np.array([])
    bounds = np.unique(inner)
    found = np.searchsorted(bounds, numbers, side="right")
    labels: list[str] = []
    groups = np.full(len(numbers), -1, np.int64)
    for number in range(len(bounds) + 1):
        members = np.isfinite(numbers) & (found == number)
        if members.any():
            low, high = numbers[members].min(), numbers[members].max()
            groups[members] = len(labels)
            labels.append(f"{low:.6g}" if low == high else f"{low:.6g} to {high:.6g}")
    if (groups < 0).any():
        groups[groups < 0] = len(labels)
        labels.append(_UNKNOWN)
    return ItemGroups(labels, groups)
