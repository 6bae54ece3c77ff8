"""How a tower reads a column: the encoding that its values ask for."""

import math
from collections import Counter
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from pipeline.first_look.names import has_word
from pipeline.first_look.profiles import ColumnProfile
from pipeline.first_look.roles import first_values

LARGEST_VOCABULARY: Final = 1_000
"""Distinct values of a label up to which each has a row of its own."""
LABEL_NUMBERS: Final = 20
"""Distinct whole numbers up to which they are labels, and values up to which none is too rare."""
# fmt: off
CODE_WORDS: Final = frozenset({
    "id", "code", "zip", "postal", "postcode", "zipcode", "plz", "type", "class", "status",
    "region", "area",
})
# fmt: on
"""Words of the name of a whole number that is a label."""
UNKNOWN: Final = "unknown"
"""The default of a label."""
_SKEW: Final = 2.0
_COMMON_WORD_ITEMS: Final = 5
_YEAR_BUCKETS: Final = 10
_EPOCH_YEAR: Final = 1970


@dataclass(frozen=True)
class ProposedEncoding:
    """How a column becomes a feature."""

    entry: dict[str, Any]
    """Keys of the feature in the schema file, beside its name and tower."""
    evidence: str
    """What its values are."""
    labels: int | None = None
    """Number of labels, of an encoding with one row each; None of others."""

    @property
    def has_vector_for_each_value(self) -> bool:
        """Whether each value is learnt by itself, as labels are and lists of them are not."""
        return self.entry["encoding"]["kind"] in ("vocabulary", "hashed") and not self.entry.get(
            "multi_valued", False
        )


def propose_encoding(column: ColumnProfile, needs_default: bool) -> ProposedEncoding | None:
    """Propose how a tower reads a column.

    Args:
        column: A column of the users or the items that is not left out.
        needs_default: Whether there are users or items without a row, for whom a default stands in.

    Returns:
        The proposal; None for a text that is best only shown, such as a title.
    """
    has_default = needs_default or column.missing > 0
    facts = f"{column.distinct:,} distinct values"
    if column.missing:
        facts += f", {_percent(column.missing / column.rows)} missing"
    if column.kind == "texts":
        return _propose_labels(column, {"multi_valued": True}, f"lists of {facts}", has_default)
    if column.kind == "numbers":
        return _propose_vector(column, has_default)
    if column.kind == "text" and _reads_as_text(column):
        return _propose_text(column, facts, has_default)
    if column.kind in ("text", "bool"):
        if column.kind == "bool":
            return _propose_codes(column, facts, has_default)
        return _propose_labels(column, {}, f"{facts} such as {first_values(column.texts)}", has_default)
    if column.kind == "int" and (column.distinct <= LABEL_NUMBERS or has_word(column.name, CODE_WORDS)):
        return _propose_codes(column, facts, has_default)
    return _propose_number(column, facts, has_default)


def propose_time_part(column: ColumnProfile, needs_default: bool) -> ProposedEncoding:
    """Propose how a tower reads a column of dates or times, where it is asked to.

    Args:
        column: A column of the users or the items.
        needs_default: Whether there are users or items without a row, for whom a default stands in.

    Returns:
        The proposal: the year.
    """
    entry: dict[str, Any] = {
        "dtype": "int",
        "time_part": "year",
        "encoding": {"kind": "bucketize", "buckets": _YEAR_BUCKETS},
    }
    if needs_default or column.missing:
        entry["default"] = _EPOCH_YEAR
    return ProposedEncoding(entry, f"times, {column.distinct:,} distinct values")


def hash_buckets(values: int) -> int:
    """Choose a number of hash buckets.

    Args:
        values: Distinct values.

    Returns:
        Some twice as many, a power of two, so that few values share a row.
    """
    return int(2 ** math.ceil(math.log2(max(2, values)) + 1))


def _propose_labels(
    column: ColumnProfile, entry: dict[str, Any], facts: str, has_default: bool
) -> ProposedEncoding:
    encoding, why, labels = _label_encoding(column)
    default = {"default": UNKNOWN} if has_default else {}
    return ProposedEncoding(
        {"dtype": "string", **entry, "encoding": encoding, **default}, facts + why, labels
    )


def _propose_codes(column: ColumnProfile, facts: str, has_default: bool) -> ProposedEncoding:
    encoding, why, labels = _label_encoding(column)
    default = {"default": -1} if has_default else {}
    return ProposedEncoding(
        {"dtype": "int", "encoding": encoding, **default},
        f"whole numbers that are labels, {facts}{why}",
        labels,
    )


def _label_encoding(column: ColumnProfile) -> tuple[dict[str, Any], str, int | None]:
    comes_again = column.distinct <= max(LABEL_NUMBERS, 0.5 * column.present) or column.kind == "texts"
    if column.distinct <= LARGEST_VOCABULARY and comes_again:
        return {"kind": "vocabulary"}, "", column.distinct
    why = f": like an id, {column.distinct:,} values among {column.rows:,} rows"
    return {"kind": "hashed", "buckets": hash_buckets(column.distinct)}, why, None


def _propose_vector(column: ColumnProfile, has_default: bool) -> ProposedEncoding | None:
    if column.length is None:
        return None
    default = {"default": 0} if has_default else {}
    return ProposedEncoding(
        {"dtype": "float", "length": column.length, "encoding": {"kind": "vector"}, **default},
        f"{column.length} numbers in each row",
    )


def _reads_as_text(column: ColumnProfile) -> bool:
    values = column.values.slice(0, 10_000).to_pylist()
    words = sum(len(value.split()) for value in values) / max(1, len(values))
    return column.distinct > 0.5 * column.present and column.distinct > LABEL_NUMBERS and words >= 1.5


def _propose_text(column: ColumnProfile, facts: str, has_default: bool) -> ProposedEncoding | None:
    words: Counter[str] = Counter()
    for value in column.values.slice(0, 20_000).to_pylist():
        words.update(set(value.lower().split()))
    common = sum(count for count in words.values() if count >= _COMMON_WORD_ITEMS)
    if common < 0.6 * words.total():
        return None
    default = {"default": ""} if has_default else {}
    buckets = min(50_000, hash_buckets(len(words)))
    return ProposedEncoding(
        {"dtype": "string", "encoding": {"kind": "text", "buckets": buckets}, **default},
        f"texts, {facts}, of {len(words):,} words, most of which come again",
    )


def _propose_number(column: ColumnProfile, facts: str, has_default: bool) -> ProposedEncoding:
    numbers = np.repeat(column.numbers, column.counts)
    middle, spread = float(numbers.mean()), float(numbers.std())
    skew = float(((numbers - middle) ** 3).mean() / max(spread, 1e-12) ** 3)
    entry: dict[str, Any] = {"dtype": column.kind}
    if abs(skew) <= _SKEW and column.kind == "float":
        entry["encoding"], shape = {"kind": "z_score"}, "evenly spread"
    else:
        buckets = min(10, max(2, column.distinct // 2))
        entry["encoding"], shape = {"kind": "bucketize", "buckets": buckets}, f"skewness {skew:.1f}"
    if has_default:
        median = float(np.median(numbers))
        entry["default"] = int(median) if column.kind == "int" else float(f"{median:.6g}")
    span = f"from {numbers.min():g} to {numbers.max():g}"
    kind = "whole numbers" if column.kind == "int" else "numbers"
    return ProposedEncoding(entry, f"{kind} {span}, {facts}, {shape}")


def _percent(share: float) -> str:
    return f"{share:.1%}" if share >= 0.001 else "less than 0.1%"
