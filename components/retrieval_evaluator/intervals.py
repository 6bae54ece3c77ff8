"""Intervals for means over users, by the bootstrap.

A resample draws as many users as there are, with replacement, and has a mean of its own; the interval holds
the middle share of these means (percentile interval; Efron 1979, Efron and Tibshirani 1993, chapter 13).
Everything that is measured with one `Resamples` has the same draws, and the interval of a difference is that
of the users' own differences: of the two values of a user neither is drawn without the other.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

Subset = npt.NDArray[np.int64] | None
"""[n] numbers of the queries of a slice; None: all."""

_BLOCK_DRAWS: Final = 2**22
_KEPT_DRAWS: Final = 2**26


class Interval(NamedTuple):
    """A mean over users, and where it lies."""

    value: float
    """The mean."""
    low: float
    """The lower end."""
    high: float
    """The upper end."""


class Resamples:
    """How often each query is drawn in each of many resamples.

    Memory is bounded: the draws are made block by block, and again for each measurement where they are more
    than 64 MiB. So measure many things in one call.
    """

    def __init__(self, query_count: int, resamples: int = 1000, seed: int = 0) -> None:
        """Set up the draws.

        Args:
            query_count: Number of queries, at least 1.
            resamples: Number of resamples, at least 1.
            seed: Equal seeds draw the same.

        Raises:
            ValueError: There is no query or no resample.
        """
        if query_count < 1 or resamples < 1:
            raise ValueError(
                f"Expected at least one query and one resample. Received: {query_count} and {resamples}."
            )
        self.query_count = query_count
        self.resamples = resamples
        self._seed = seed
        self._kept: list[npt.NDArray[np.uint8]] | None = None

    def interval(
        self, values: npt.NDArray[np.floating], subset: Subset = None, level: float = 0.95
    ) -> Interval:
        """Give the interval of a mean.

        Args:
            values: [queries] finite.
            subset: The queries that count.
            level: Share of the resamples' means that the interval holds.

        Returns:
            The mean and its interval.

        Raises:
            ValueError: As `intervals_of_slices`.
        """
        return self.interval_of_many({"value": values}, subset, level)["value"]

    def interval_of_many(
        self, values: Mapping[str, npt.NDArray[np.floating]], subset: Subset = None, level: float = 0.95
    ) -> dict[str, Interval]:
        """Give the intervals of several means, drawing once.

        Args:
            values: [queries] each, finite.
            subset: The queries that count.
            level: Share of the resamples' means that an interval holds.

        Returns:
            By the same names.

        Raises:
            ValueError: As `intervals_of_slices`.
        """
        return self.intervals_of_slices(values, [subset], level)[0]

    def intervals_of_slices(
        self,
        values: Mapping[str, npt.NDArray[np.floating]],
        subsets: Sequence[Subset],
        level: float = 0.95,
    ) -> list[dict[str, Interval]]:
        """Give the intervals of several means in several slices, drawing once.

        A resample's mean in a slice is that over those of its users who are drawn; a resample that draws none
        of them has none.

        Args:
            values: [queries] each, finite.
            subsets: The queries of each slice, at least one.
            level: Share of the resamples' means that an interval holds.

        Returns:
            For each slice, by the same names.

        Raises:
            ValueError: A value is not finite or lacks, or a slice has no query.
        """
        names = list(values)
        table = np.stack([np.asarray(values[name], np.float64) for name in names], axis=1)
        if table.shape[0] != self.query_count or not np.isfinite(table).all():
            raise ValueError(
                f"Expected {self.query_count} finite values. Received: {table.shape[0]} for each name, "
                f"{np.count_nonzero(~np.isfinite(table))} in all that are not finite."
            )
        if any(subset is not None and not len(subset) for subset in subsets):
            raise ValueError("Expected at least one query in each slice. Received: none in one of them.")
        chosen = [table if subset is None else table[subset] for subset in subsets]
        means: list[list[npt.NDArray[np.float64]]] = [[] for _ in subsets]
        for draws in self._draw():
            for number, subset in enumerate(subsets):
                own = draws if subset is None else draws[subset]
                drawn = own.sum(axis=0, dtype=np.int64)
                has_users = drawn > 0
                sums = own.astype(np.float64).T @ chosen[number]
                means[number].append(sums[has_users] / drawn[has_users, np.newaxis])
        return [
            _summarise(names, own, np.concatenate(resampled), level)
            for own, resampled in zip(chosen, means, strict=True)
        ]

    def _draw(self) -> Iterator[npt.NDArray[np.uint8]]:
        """Yield [queries, block] how often each query is drawn."""
        if self._kept is not None:
            yield from self._kept
            return
        kept: list[npt.NDArray[np.uint8]] | None = (
            [] if self.query_count * self.resamples <= _KEPT_DRAWS else None
        )
        block = max(1, _BLOCK_DRAWS // self.query_count)
        for start in range(0, self.resamples, block):
            rows = min(block, self.resamples - start)
            random = np.random.default_rng([self._seed, start])
            drawn = random.integers(0, self.query_count, (rows, self.query_count))
            drawn += np.arange(rows)[:, np.newaxis] * self.query_count
            counts = np.bincount(drawn.ravel(), minlength=rows * self.query_count)
            # A query of n is drawn about once; that it is drawn 256 times out of 256 or more never happens.
            draws = np.minimum(counts, 255).astype(np.uint8).reshape(rows, self.query_count)
            # The draws of a query side by side, so that those of a slice are read in whole rows.
            draws = np.ascontiguousarray(draws.T)
            if kept is not None:
                kept.append(draws)
            yield draws
        self._kept = kept


def _summarise(
    names: Sequence[str],
    values: npt.NDArray[np.float64],
    means: npt.NDArray[np.float64],
    level: float,
) -> dict[str, Interval]:
    value = values.mean(axis=0)
    # Where no resample has anybody of the slice there is nothing but the value.
    means = means if len(means) else value[np.newaxis]
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2], axis=0)
    return {name: Interval(*map(float, found)) for name, *found in zip(names, value, low, high, strict=True)}
