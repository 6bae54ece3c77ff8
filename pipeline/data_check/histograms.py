"""Histograms of counts in classes of powers of two, as bars of text."""

from typing import Final

import numpy as np
import numpy.typing as npt

BAR_WIDTH: Final = 40
"""Characters of the longest bar."""
_EIGHTHS: Final = " ▏▎▍▌▋▊▉"
_FULL: Final = "█"


def count_classes(counts: npt.NDArray[np.int64]) -> list[tuple[int, int, int]]:
    """Count how many numbers lie in each power of two.

    Args:
        counts: [things] at least 1.

    Returns:
        The smallest and the largest number of each class, from that of 1 on, and how many there are in it.
    """
    if not len(counts):
        return []
    powers = np.bincount(np.floor(np.log2(counts)).astype(np.int64))
    return [(2**power, 2 ** (power + 1) - 1, int(number)) for power, number in enumerate(powers)]


def draw_bar(value: float, largest: float) -> str:
    """Draw a bar.

    Args:
        value: Its length, 0 or more.
        largest: What a bar of `BAR_WIDTH` characters stands for, above 0.

    Returns:
        Blocks of text, to an eighth of a character; a value that is not 0 is never without one.
    """
    eighths = round(8 * BAR_WIDTH * value / largest)
    if value and not eighths:
        eighths = 1
    whole, rest = divmod(eighths, 8)
    return _FULL * whole + (_EIGHTHS[rest] if rest else "")


def draw_histogram(counts: npt.NDArray[np.int64], what: str) -> list[str]:
    """Draw how many things have how many rows.

    Args:
        counts: [things] at least 1.
        what: What is counted, such as `users`.

    Returns:
        A line for each class of numbers.
    """
    classes = count_classes(counts)
    largest = max((number for _, _, number in classes), default=1)
    labels = [f"{low:,}" if low == high else f"{low:,} to {high:,}" for low, high, _ in classes]
    width = max(map(len, labels), default=0)
    return [
        f"  {label:>{width}}  {draw_bar(number, largest)} {number:,} {what}".rstrip()
        for label, (_, _, number) in zip(labels, classes, strict=True)
    ]
