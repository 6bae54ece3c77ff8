"""The difference between two evaluations on the same data, user by user."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt
import pyarrow.compute as pc

from components.retrieval_evaluator.intervals import Interval, Resamples
from pipeline.evaluations import Evaluation, EvaluationError
from schemas.ranking.metrics import show_metric

Verdict = Literal["better", "worse", "equal", "cannot be told"]
"""What B is against A: `equal` for every user, or `cannot be told` where the interval holds 0."""

_COUNTS: Final = {
    "users": "users",
    "users_sampled_of": "users sampled of",
    "held_out": "held-out interactions",
    "catalogue_items": "catalogue items",
    "seen_splits": "splits known before",
}
# The bootstrap takes the users for all that there could have been.
_FEW_USERS: Final = 30
_PROTOCOL: Final = "protocol"


@dataclass(frozen=True)
class Difference:
    """What a metric is in two evaluations."""

    metric: str
    """Its name."""
    first: float
    """Its mean over the users in A."""
    second: float
    """In B."""
    change: Interval
    """B minus A, with its paired interval over the users."""

    @property
    def verdict(self) -> Verdict:
        """What B is against A."""
        if self.change.low > 0:
            return "better"
        if self.change.high < 0:
            return "worse"
        return "equal" if self.change.low == self.change.high == 0 else "cannot be told"


@dataclass(frozen=True)
class Comparison:
    """Two evaluations on the same data."""

    first: Evaluation
    """A."""
    second: Evaluation
    """B."""
    differences: tuple[Difference, ...]
    """A difference for each metric that both have."""
    only_first: tuple[str, ...]
    """Metrics that A alone has."""
    only_second: tuple[str, ...]
    """Metrics that B alone has."""


def compare_evaluations(first: Evaluation, second: Evaluation) -> Comparison:
    """Compare two evaluations, user by user.

    Args:
        first: A.
        second: B.

    Returns:
        The differences.

    Raises:
        EvaluationError: They were made on different data, or have no metric in common.
    """
    if first.report["data_fingerprint"] != second.report["data_fingerprint"]:
        raise EvaluationError(_explain_other_data(first, second))
    order = _join_users(first, second)
    names = [name for name in first.metrics if name in second.metrics]
    if not names:
        raise EvaluationError(
            f"{first.name} and {second.name} have no metric in common: {list(first.metrics)} and"
            f" {list(second.metrics)}. Evaluate both with an evaluation.ks in common."
        )
    # As the evaluation drew them, so that the same two always have the same intervals.
    protocol = first.report[_PROTOCOL]
    resamples = Resamples(len(first.users), protocol["resamples"], protocol["seed"])
    changes = resamples.interval_of_many(
        {name: second.metrics[name][order] - first.metrics[name] for name in names}
    )
    return Comparison(
        first=first,
        second=second,
        differences=tuple(
            Difference(
                name, float(first.metrics[name].mean()), float(second.metrics[name].mean()), changes[name]
            )
            for name in names
        ),
        only_first=tuple(name for name in first.metrics if name not in second.metrics),
        only_second=tuple(name for name in second.metrics if name not in first.metrics),
    )


def summarize(comparison: Comparison) -> str:
    """Say in a sentence or two what B is against A.

    Args:
        comparison: The comparison.

    Returns:
        What is better, worse, equal, or cannot be told.
    """
    first, second = comparison.first.name, comparison.second.name
    names: dict[Verdict, list[str]] = {}
    for difference in comparison.differences:
        names.setdefault(difference.verdict, []).append(show_metric(difference.metric))
    if set(names) == {"equal"}:
        return f"B ({second}) equals A ({first}) for every user."
    parts = [
        f"{text} in {', '.join(names[verdict])}"
        for verdict, text in (("better", "better than A"), ("worse", "worse than A"), ("equal", "equal to A"))
        if verdict in names
    ]
    sentences = [f"B ({second}) is {'; '.join(parts)}."] if parts else []
    if "cannot be told" in names:
        where = f"in {', '.join(names['cannot be told'])}" if parts else "in any metric"
        sentences.append(
            f"Which is better cannot be told from these {len(comparison.first.users):,} users {where}: the"
            " interval of the difference holds 0."
        )
    if len(comparison.first.users) < _FEW_USERS:
        sentences.append(f"With fewer than {_FEW_USERS} users an interval itself is uncertain.")
    return " ".join(sentences)


def _join_users(first: Evaluation, second: Evaluation) -> npt.NDArray[np.int64]:
    """Find the row of each of A's users in B."""
    rows = pc.index_in(first.users, value_set=second.users)
    if rows.null_count or len(first.users) != len(second.users):
        raise EvaluationError(
            f"{first.name} and {second.name} say that they were made on the same data, but"
            f" {rows.null_count:,} of the {len(first.users):,} users of the first are not among the"
            f" {len(second.users):,} of the second. One of the files was changed."
        )
    return rows.to_numpy().astype(np.int64)


def _explain_other_data(first: Evaluation, second: Evaluation) -> str:
    found = [
        f"{label} {_show(a)} and {_show(b)}"
        for label, a, b in _list_figures(first.report, second.report)
        if a != b
    ]
    what = ", ".join(found) if found else "as many users, held-out interactions and items, but not the same"
    return (
        f"{first.name} and {second.name} were evaluated on different data, so their difference would say"
        f" nothing about the models: {what}. Run both on the same tables with the same ingest and evaluation"
        " settings and compare these runs; or see the report of the later run, which evaluates the release"
        " that was there again on its own data."
    )


def _list_figures(first: Mapping[str, Any], second: Mapping[str, Any]) -> list[tuple[str, Any, Any]]:
    counts = [(label, first.get(key), second.get(key)) for key, label in _COUNTS.items()]
    protocols = _flatten(first[_PROTOCOL]), _flatten(second[_PROTOCOL])
    keys = dict.fromkeys([*protocols[0], *protocols[1]])
    return counts + [(key, protocols[0].get(key), protocols[1].get(key)) for key in keys]


def _flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        name = f"{prefix}{key}"
        flat |= _flatten(value, f"{name}.") if isinstance(value, Mapping) else {name: value}
    return flat


def _show(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, list):
        return "[" + ", ".join(map(str, value)) + "]"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
