"""What the item embeddings look like: their norms, their similarities, and a map."""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

_ROWS_PER_BLOCK: Final = 65_536
_PAIRS: Final = 20_000
_BINS: Final = 40


@dataclass(frozen=True)
class Histogram:
    """How often values lie where."""

    edges: npt.NDArray[np.float64]
    """[bins + 1] the edges of the bins."""
    counts: npt.NDArray[np.int64]
    """[bins] values in each."""
    mean: float
    """Mean of the values."""
    deviation: float
    """Standard deviation of the values."""
    low: float
    """The smallest value."""
    high: float
    """The largest value."""


def measure_norms(embeddings: npt.NDArray[np.float32]) -> Histogram:
    """Measure the Euclidean norms of embeddings.

    Args:
        embeddings: [items, dim]; may be mapped from a file, and is read a block at a time.

    Returns:
        The norms of all of them.
    """
    norms = np.empty(len(embeddings))
    for start in range(0, len(embeddings), _ROWS_PER_BLOCK):
        block = np.asarray(embeddings[start : start + _ROWS_PER_BLOCK], np.float64)
        norms[start : start + len(block)] = np.linalg.norm(block, axis=1)
    return make_histogram(norms)


def measure_similarities(embeddings: npt.NDArray[np.float32], seed: int = 0) -> Histogram | None:
    """Measure the cosines of random pairs of different items.

    Args:
        embeddings: [items, dim].
        seed: Equal seeds draw the same pairs.

    Returns:
        The cosines of 20,000 pairs, drawn with replacement; None for fewer than two items.
    """
    if len(embeddings) < 2:
        return None
    generator = np.random.default_rng(seed)
    first = generator.integers(len(embeddings), size=_PAIRS)
    # Never the item itself.
    second = (first + generator.integers(1, len(embeddings), size=_PAIRS)) % len(embeddings)
    left, right = (np.asarray(embeddings[rows], np.float64) for rows in (first, second))
    lengths = np.linalg.norm(left, axis=1) * np.linalg.norm(right, axis=1)
    products = (left * right).sum(axis=1)
    return make_histogram(np.divide(products, lengths, out=np.zeros(_PAIRS), where=lengths > 0))


def make_histogram(values: npt.NDArray[np.float64]) -> Histogram:
    """Count values in 40 bins of equal width.

    Args:
        values: [values] at least one.

    Returns:
        The histogram, a tenth of the values wide where they are nearly the same.
    """
    low, high = float(values.min()), float(values.max())
    margin = max(0.0, max(abs(low), abs(high), 1e-3) / 10 - (high - low)) / 2
    counts, edges = np.histogram(values, _BINS, range=(low - margin, high + margin))
    return Histogram(edges, counts.astype(np.int64), float(values.mean()), float(values.std()), low, high)


@dataclass(frozen=True)
class Projection:
    """Embeddings in two dimensions."""

    rows: npt.NDArray[np.int64]
    """[points] the rows that are shown, ascending."""
    points: npt.NDArray[np.float64]
    """[points, 2] their principal components."""
    explained: float
    """The share of the variance that the two have."""


def project(embeddings: npt.NDArray[np.float32], most: int, seed: int = 0) -> Projection:
    """Find the two directions in which embeddings differ most (principal components, Pearson 1901).

    Args:
        embeddings: [items, dim].
        most: Of more items a random sample of so many is drawn, and alone decides on the directions.
        seed: Equal seeds draw the same items.

    Returns:
        The projection; the sign of each component is such that its largest coefficient is positive.
    """
    rows = np.arange(len(embeddings))
    if len(rows) > most:
        rows = np.sort(np.random.default_rng(seed).choice(len(rows), most, replace=False))
    chosen = np.asarray(embeddings[rows], np.float64)
    centred = chosen - chosen.mean(axis=0)
    _, singular, directions = np.linalg.svd(centred, full_matrices=False)
    axes = directions[:2]
    largest = np.abs(axes).argmax(axis=1)
    axes = axes * np.sign(axes[np.arange(len(axes)), largest])[:, np.newaxis]
    points = np.zeros((len(rows), 2))
    points[:, : len(axes)] = centred @ axes.T
    variance = singular**2
    total = float(variance.sum())
    return Projection(rows, points, float(variance[:2].sum()) / total if total else 1.0)
