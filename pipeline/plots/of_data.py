"""What the interactions look like that a run has kept: over time, by item, by user."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.plots.plot import Line, Plot
from schemas.features import FeatureSpec
from schemas.sequences import list_sequence_files
from schemas.times import SECONDS_PER_DAY

_MOST_POINTS = 2_000


@dataclass(frozen=True)
class LogCounts:
    """How many interactions there are, by what."""

    days: Counter[int]
    """By day, numbered from 1970-01-01 on."""
    items: Counter[str]
    """By item id."""
    users: npt.NDArray[np.int64]
    """[users] of each user, in no order."""


def count_log(folder: Path, spec: FeatureSpec) -> LogCounts:
    """Count the interactions of all splits, file by file.

    Args:
        folder: The sequences.
        spec: The features.

    Returns:
        The counts.

    Raises:
        DataError: There are no sequences.
    """
    days: Counter[int] = Counter()
    items: Counter[str] = Counter()
    users = [np.zeros(0, np.int64)]
    for file in list_sequence_files(folder):
        table = pq.read_table(file, columns=[spec.item_id.name, spec.timestamp])
        ids, times = table[spec.item_id.name], table[spec.timestamp]
        users.append(pc.list_value_length(ids).to_numpy())
        for value in pc.value_counts(pc.list_flatten(ids)).to_pylist():
            items[value["values"]] += value["counts"]
        found, counts = np.unique(pc.list_flatten(times).to_numpy() // SECONDS_PER_DAY, return_counts=True)
        days.update(dict(zip(found.tolist(), counts.tolist(), strict=True)))
    return LogCounts(days, items, np.concatenate(users))


def plot_data(counts: LogCounts, history_length: int | None) -> list[Plot]:
    """Plot interactions over time, the popularity of the items, and how long the users' histories are.

    Args:
        counts: How many there are, by what; at least one of each.
        history_length: The most that a history holds; None where the model reads none.

    Returns:
        The three plots.
    """
    return [_plot_days(counts.days), _plot_items(counts.items), _plot_users(counts.users, history_length)]


def _plot_days(counts: Counter[int]) -> Plot:
    days = np.arange(min(counts), max(counts) + 1)
    values = np.array([counts[int(day)] for day in days], float)
    empty = int((values == 0).sum())
    title = f"Interactions by day: {values.mean():,.0f} in the mean of {len(days):,} days"
    if empty:
        title += f", none on {empty:,}"
    line = Line("interactions", days.astype(float), values)
    return Plot("interactions", title, "day (UTC)", "interactions", [line], has_days=True, has_bars=True)


def _plot_items(counts: Counter[str]) -> Plot:
    values = np.sort(np.fromiter(counts.values(), np.int64, len(counts)))[::-1]
    ranks = np.arange(1, len(values) + 1)
    head = max(1, len(values) // 100)
    title = (
        f"Popularity of {len(values):,} items: 1 % of them have "
        f"{values[:head].sum() / values.sum():.0%} of the interactions, {(values == 1).sum():,} have one"
    )
    chosen = np.unique(np.geomspace(1, len(values), _MOST_POINTS).round().astype(int)) - 1
    line = Line("items", ranks[chosen].astype(float), values[chosen].astype(float))
    return Plot(
        "popularity",
        title,
        "rank of the item",
        "interactions of the item",
        [line],
        has_log_x=True,
        has_log_y=True,
    )


def _plot_users(lengths: npt.NDArray[np.int64], history_length: int | None) -> Plot:
    found, counts = np.unique(lengths, return_counts=True)
    title = f"Interactions of {len(lengths):,} users: {np.median(lengths):,.0f} in the median"
    if history_length is not None:
        beyond = (lengths > history_length).mean()
        title += f"; {beyond:.0%} have more than a history of {history_length} holds"
    # The share that has at least so many, since single lengths are few users each.
    share = counts[::-1].cumsum()[::-1] / len(lengths)
    line = Line("users", found.astype(float), share)
    return Plot(
        "histories", title, "interactions", "share of users with at least so many", [line], has_log_x=True
    )
