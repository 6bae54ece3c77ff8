"""Columns of the user and item tables that no model should see, each with the reason."""

from typing import Final

import numpy as np
import numpy.typing as npt

from pipeline.first_look.entities import EntityUse
from pipeline.first_look.names import AVERAGE_WORDS, COUNTER_WORDS, RATING_WORDS, has_word
from pipeline.first_look.profiles import ColumnProfile
from pipeline.first_look.times import read_times
from schemas.times import SECONDS_PER_DAY

COUNTER_CORRELATION: Final = 0.8
"""Rank correlation with the number of interactions from which a number is a counter whatever its name."""
NAMED_COUNTER_CORRELATION: Final = 0.4
"""The same of a number with a counter's name."""
LEAKING_SHARE: Final = 0.2
"""Share of the users whose value is their newest item from which the column gives it away."""
_ROWS_TO_JUDGE: Final = 20


def find_reason(column: ColumnProfile, use: EntityUse, partner_texts: list[str]) -> str | None:
    """Find a reason to leave a column out.

    Args:
        column: A column of the users or items, beside their id.
        use: What the log says of the users or items.
        partner_texts: The log's distinct ids of the other side, in the order of their places.

    Returns:
        The reason; None where there is none.
    """
    if not column.distinct and column.kind not in ("numbers", "other"):
        return "it has no value at all"
    if column.kind == "other":
        return f"values of the type {column.type} are read by no encoding"
    if column.missing > 0.95 * column.rows:
        return f"{column.missing / column.rows:.1%} of its values are missing"
    if column.kind in ("texts", "numbers"):
        return None
    if column.counts.max() >= 0.999 * column.present:
        return f"a constant: {column.values[int(column.counts.argmax())].as_py()!r} in all rows but few"
    return find_leak(column, use, partner_texts) or _is_time(column) or _copies_id(column, use)


def find_leak(column: ColumnProfile, use: EntityUse, partner_texts: list[str]) -> str | None:
    """Find out how a column tells what is held out.

    Args:
        column: A column of the users or items with single values, beside their id.
        use: What the log says of the users or items.
        partner_texts: The log's distinct ids of the other side, in the order of their places.

    Returns:
        How; None where it does not seem to.
    """
    if not column.distinct:
        return None
    return (
        _is_late(column, use)
        or _is_counter(column, use)
        or _is_mean_rating(column)
        or _names_newest(column, use, partner_texts)
    )


def find_rare(column: ColumnProfile, use: EntityUse, share_seen: float, fewest_rows: int) -> str | None:
    """Find out whether the labels of a column stand with so few interactions that a model learns these.

    Args:
        column: A column of the users whose values are labels, such as a postcode.
        use: What the log's sample says of the users.
        share_seen: Of the log's rows, those in the sample.
        fewest_rows: Rows of the log from which a vector of a label is worth learning.

    Returns:
        The reason to leave it out; None where half of the users have a label with that many rows.
    """
    has_label = column.codes >= 0
    codes, interactions = column.codes[has_label], use.interactions[has_label]
    if not interactions.any():
        return None
    rows = np.bincount(codes, weights=interactions) / share_seen
    typical = float(np.median(rows[codes[interactions > 0]]))
    if typical >= fewest_rows:
        return None
    return (
        f"half of the users share their value with at most {typical:.0f} rows of the log, which a vector of "
        "its own would learn by heart"
    )


def rank_correlation(left: npt.NDArray[np.float64], right: npt.NDArray[np.float64]) -> float:
    """Measure how much two numbers grow together (Spearman).

    Args:
        left: [rows] finite.
        right: [rows] finite.

    Returns:
        -1 to 1; 0 where one of them is constant.
    """
    ranks = [_average_ranks(values) for values in (left, right)]
    if min(np.ptp(values) for values in ranks) == 0:
        return 0.0
    return float(np.corrcoef(ranks[0], ranks[1])[0, 1])


def _average_ranks(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    return np.asarray((ends - (counts - 1) / 2)[places], np.float64)


def _row_numbers(column: ColumnProfile) -> npt.NDArray[np.float64]:
    return np.append(column.numbers, np.nan)[column.codes]


def _is_counter(column: ColumnProfile, use: EntityUse) -> str | None:
    if not column.is_number:
        return None
    numbers = _row_numbers(column)
    known = np.isfinite(numbers)
    if known.sum() < _ROWS_TO_JUDGE:
        return None
    correlation = rank_correlation(numbers[known], use.interactions[known].astype(np.float64))
    limit = NAMED_COUNTER_CORRELATION if has_word(column.name, COUNTER_WORDS) else COUNTER_CORRELATION
    if abs(correlation) < limit:
        return None
    return (
        f"it goes with the number of interactions (rank correlation {correlation:.2f}), those that are held "
        "out among them: a counter of popularity"
    )


def _is_mean_rating(column: ColumnProfile) -> str | None:
    if (
        column.is_number
        and has_word(column.name, AVERAGE_WORDS | {"rating", "ratings"})
        and has_word(column.name, RATING_WORDS)
    ):
        return "by its name a mean of ratings, in which those that are held out count"
    return None


def _is_late(column: ColumnProfile, use: EntityUse) -> str | None:
    times = read_times(column)
    if times is None:
        return None
    with np.errstate(invalid="ignore"):
        is_newest = np.abs(times.seconds - use.newest_seconds) < SECONDS_PER_DAY
        since_other = np.nanmax(use.newest_seconds) - use.newest_seconds
    used = np.isfinite(use.newest_seconds) & np.isfinite(times.seconds)
    if used.sum() < _ROWS_TO_JUDGE or not (since_other[used] > SECONDS_PER_DAY).any():
        return None
    if is_newest[used].mean() < 0.5:
        return None
    return "it is the time of the newest interaction, which is held out"


def _names_newest(column: ColumnProfile, use: EntityUse, partner_texts: list[str]) -> str | None:
    if column.kind not in ("int", "text") or use.side != "user":
        return None
    newest = [partner_texts[place] if place >= 0 else None for place in use.newest_partner.tolist()]
    texts = [*column.texts.to_pylist(), None]
    values = [texts[code] for code in column.codes.tolist()]
    pairs = [(value, item) for value, item in zip(values, newest, strict=True) if value and item]
    share = sum(value == item for value, item in pairs) / max(1, len(pairs))
    if len(pairs) < _ROWS_TO_JUDGE or share < LEAKING_SHARE:
        return None
    return f"it is the newest item of {share:.0%} of the users, which is held out"


def _is_time(column: ColumnProfile) -> str | None:
    if column.kind in ("time", "date"):
        return "a time; a part of it, such as its year, can be a feature (time_part)"
    return None


def _copies_id(column: ColumnProfile, use: EntityUse) -> str | None:
    if not column.is_unique or column.present < _ROWS_TO_JUDGE:
        return None
    side = use.side
    if column.kind == "int":
        numbers = _row_numbers(column)
        known = np.isfinite(numbers)
        in_order = abs(rank_correlation(numbers[known], np.flatnonzero(known).astype(np.float64))) > 0.99
        if in_order or has_word(column.name, {"id", "index", "number", "no", "key", "code", "sku"}):
            return f"another number for each {side}, which says no more than the id"
        return None
    if column.kind == "text" and _mean_words(column) < 1.5:
        return f"another value for each {side}, which says no more than the id"
    return None


def _mean_words(column: ColumnProfile) -> float:
    values = column.values.slice(0, 10_000).to_pylist()
    return sum(len(value.split()) for value in values) / max(1, len(values))
