"""The figures and tables of benchmarks/quality.py: from metrics of every user to medians and intervals."""

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import scipy.stats
from reporting import Figure
from tabulate import tabulate

from components.retrieval_evaluator.intervals import Resamples
from schemas.ranking.metrics import show_metric

Metrics = Mapping[str, np.ndarray]

RESAMPLES: Final = 9_999
RESAMPLES_AT_ONCE: Final = 100


@dataclass(frozen=True)
class Measured:
    """What one model made of the held-out items."""

    metrics: Sequence[Metrics] = ()
    """For each seed, [queries] by the name of the metric; none where it was not run."""
    chosen: str = ""
    """What was chosen on validation, or why it was not run."""
    seconds: float | None = None
    """Of the last training, median over the seeds."""

    def means(self, metric: str) -> list[float]:
        """Average a metric over the users, for each seed.

        Args:
            metric: Its name.

        Returns:
            The means.
        """
        return [float(values[metric].mean()) for values in self.metrics]

    def by_user(self, metric: str) -> np.ndarray:
        """Average a metric over the seeds, for each user.

        Args:
            metric: Its name.

        Returns:
            [queries].
        """
        return np.mean([values[metric] for values in self.metrics], axis=0)


def compare(ours: np.ndarray, theirs: np.ndarray) -> tuple[float, float, float]:
    """Give the ratio of the means of two models, and its 95 % interval by paired bootstrap over users.

    Args:
        ours: [queries] a metric.
        theirs: [queries] the same.

    Returns:
        The ratio, and the ends of its interval.
    """
    interval = scipy.stats.bootstrap(
        (ours, theirs),
        lambda left, right, axis: left.mean(axis=axis) / right.mean(axis=axis),
        paired=True,
        n_resamples=RESAMPLES,
        batch=RESAMPLES_AT_ONCE,
        method="percentile",
        random_state=np.random.default_rng(0),
    ).confidence_interval
    return float(ours.mean() / theirs.mean()), float(interval.low), float(interval.high)


def shown_metrics(ks: Sequence[int]) -> tuple[str, ...]:
    """Name the metrics of the table.

    Args:
        ks: The cut-offs.

    Returns:
        Recall and NDCG at the smallest and the largest.
    """
    ends = dict.fromkeys((min(ks), max(ks)))
    return tuple(f"{name}_at_{k}" for name in ("recall", "ndcg") for k in ends)


def make_figures(
    measured: Mapping[str, Measured], ours: str, ks: Sequence[int], bars: Mapping[str, float]
) -> dict[str, Figure]:
    """Make the figures of all models that were run, and of ours relative to each.

    Args:
        measured: What became of them.
        ours: The name of ours.
        ks: The cut-offs.
        bars: What is asked of ours.

    Returns:
        The figures by name, those of ours without a prefix.
    """
    figures = {}
    compared = f"ndcg_at_{max(ks)}"
    for name, model in measured.items():
        if not model.metrics:
            continue
        for metric in shown_metrics(ks):
            values = model.means(metric)
            figure = Figure(
                statistics.median(values),
                "1",
                bars.get(metric) if name == ours else None,
                lowest=min(values),
                highest=max(values),
            )
            figures[metric if name == ours else f"{slug(name)}_{metric}"] = figure
        if name != ours:
            ratio, low, high = compare(measured[ours].by_user(compared), model.by_user(compared))
            figures[f"{compared}_vs_{slug(name)}"] = Figure(ratio, "1", lowest=low, highest=high)
    return figures


def find_intervals(measured: Mapping[str, Measured], ks: Sequence[int]) -> dict[str, dict[str, Any]]:
    """Find the 95 % intervals over users of the means over the seeds.

    Args:
        measured: What became of the models.
        ks: The cut-offs.

    Returns:
        The mean and the ends by model and metric.
    """
    values = {
        (name, metric): model.by_user(metric)
        for name, model in measured.items()
        if model.metrics
        for metric in shown_metrics(ks)
    }
    found = Resamples(len(next(iter(values.values())))).interval_of_many(
        {json.dumps(key): own for key, own in values.items()}
    )
    intervals: dict[str, dict[str, Any]] = {}
    for name, metric in values:
        intervals.setdefault(name, {})[metric] = found[json.dumps((name, metric))]._asdict()
    return intervals


def draw_table(
    measured: Mapping[str, Measured], intervals: Mapping[str, Mapping[str, Any]], ks: Sequence[int]
) -> str:
    """Draw the table of all models.

    Args:
        measured: What became of them.
        intervals: What `find_intervals` gave.
        ks: The cut-offs.

    Returns:
        A row for each: the median over the seeds, the users' 95 % interval in brackets, and the range of
        the seeds where there are several.
    """
    metrics = shown_metrics(ks)
    rows = []
    for name, model in measured.items():
        cells = []
        for metric in metrics if model.metrics else ():
            values, interval = model.means(metric), intervals[name][metric]
            spread = f" {min(values):.3f}-{max(values):.3f}" if len(values) > 1 else ""
            cells.append(
                f"{statistics.median(values):.3f} [{interval['low']:.3f}, {interval['high']:.3f}]{spread}"
            )
        seconds = "" if model.seconds is None else f"{model.seconds:.0f}"
        rows.append((name, *(cells or [""] * len(metrics)), seconds, model.chosen))
    headers = ("", *map(show_metric, metrics), "s", "chosen on validation")
    return tabulate(rows, headers=headers, disable_numparse=True)


def draw_ratios(
    figures: Mapping[str, Figure], measured: Mapping[str, Measured], ours: str, ks: Sequence[int]
) -> str:
    """Draw how much better ours is than each of the others.

    Args:
        figures: What `make_figures` gave.
        measured: What became of the models.
        ours: The name of ours.
        ks: The cut-offs.

    Returns:
        A row for each that was run, with the 95 % interval of paired users.
    """
    compared = f"ndcg_at_{max(ks)}"
    rows = []
    for name, model in measured.items():
        if model.metrics and name != ours:
            figure = figures[f"{compared}_vs_{slug(name)}"]
            rows.append((name, f"{figure.value:.3f} [{figure.lowest:.3f}, {figure.highest:.3f}]"))
    return tabulate(rows, headers=(f"{show_metric(compared)}, {ours} /", "ratio"), disable_numparse=True)


def slug(name: str) -> str:
    """Make a model's name one of figures and files.

    Args:
        name: The name.

    Returns:
        Small letters, digits and underscores.
    """
    return "_".join("".join(c if c.isalnum() else " " for c in name.lower()).split())
