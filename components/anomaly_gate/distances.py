"""Distances between two distributions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt


def l_infinity(counts: Mapping[Any, float], others: Mapping[Any, float]) -> float:
    """Give the largest change of a label's share.

    Args:
        counts: How often each label is there; not all 0.
        others: The same of the other data.

    Returns:
        0 for equal shares, up to 1 where all is one label here and another there.
    """
    labels = list(counts.keys() | others.keys())
    shares, other_shares = _shares(counts, labels), _shares(others, labels)
    return float(np.abs(shares - other_shares).max())


def jensen_shannon(counts: Mapping[Any, float], others: Mapping[Any, float]) -> float:
    """Give the Jensen-Shannon divergence to base 2.

    With p and q the shares and m = (p + q) / 2 it is (sum p log2(p / m) + sum q log2(q / m)) / 2.

    Args:
        counts: How often each label is there; not all 0.
        others: The same of the other data.

    Returns:
        0 for equal shares, up to 1 where no label is in both.
    """
    labels = list(counts.keys() | others.keys())
    p, q = _shares(counts, labels), _shares(others, labels)
    m = (p + q) / 2
    return float(max(0.0, (_relative_entropy(p, m) + _relative_entropy(q, m)) / 2))


@dataclass(frozen=True)
class Quantiles:
    """A histogram of numbers, in buckets that hold equal shares of them."""

    lows: Sequence[float]
    """[buckets] where each begins."""
    highs: Sequence[float]
    """[buckets] where each ends; where it begins too, for a bucket of one number alone."""
    counts: Sequence[float]
    """[buckets] how much each holds."""

    def spread(self, edges: npt.NDArray[np.float64]) -> dict[int, float]:
        """Count what is between edges, taking what is in a bucket as spread over it evenly.

        Args:
            edges: [edges] in rising order; among them every end of a bucket.

        Returns:
            The count by the number of the edge that each interval begins with; that edge is in it, the next
            is not.
        """
        totals = np.zeros(len(edges))
        for low, high, count in zip(self.lows, self.highs, self.counts, strict=True):
            first, last = np.searchsorted(edges, [low, high])
            if first == last:
                totals[first] += count
            else:
                totals[first:last] += count * np.diff(edges[first : last + 1]) / (high - low)
        return dict(enumerate(totals.tolist()))


def compare_quantiles(numbers: Quantiles, others: Quantiles) -> float:
    """Give the Jensen-Shannon divergence of two histograms.

    They are compared between all the ends of the buckets of both, so that a few numbers far away change
    the distance by what they are, and not by what they do to the width of all buckets.

    Args:
        numbers: Of the one data.
        others: Of the other data.

    Returns:
        As `jensen_shannon`.
    """
    edges = np.unique(np.concatenate([numbers.lows, numbers.highs, others.lows, others.highs]))
    return jensen_shannon(numbers.spread(edges), others.spread(edges))


def _shares(counts: Mapping[Any, float], labels: Sequence[Any]) -> npt.NDArray[np.float64]:
    values = np.array([counts.get(label, 0.0) for label in labels], np.float64)
    return values / values.sum()


def _relative_entropy(p: npt.NDArray[np.float64], m: npt.NDArray[np.float64]) -> float:
    here = p > 0
    return float((p[here] * np.log2(p[here] / m[here])).sum())
