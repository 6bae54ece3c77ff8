"""What `dssm check` says."""

import dataclasses
import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from pipeline.config import PipelineConfig
from pipeline.data_check.expected_cost import ROUGHNESS
from pipeline.data_check.figures import DataFigures
from pipeline.data_check.histograms import count_classes, draw_histogram
from pipeline.data_check.verdict import Finding
from schemas.times import SECONDS_PER_DAY


def render_main_lines(figures: DataFigures) -> list[str]:
    """Say in a few lines what the data are.

    Args:
        figures: The figures.

    Returns:
        The lines.
    """
    part = "" if figures.is_whole else f", of which a sample of {figures.rows_read:,} was read"
    about = "" if figures.is_whole else "about "
    first, last = (np.datetime64(second, "s") for second in (figures.first_second, figures.last_second))
    splits = ", ".join(f"{count:,} {name}" for name, count in figures.splits.items() if count)
    return [
        f"Data: {about}{figures.rows:,} interactions{part}; {figures.rows_kept:,} positives of "
        f"{figures.users:,} users with {figures.items:,} items, {figures.density:.3%} of all pairs",
        f"From {first} to {last} UTC; {splits}; "
        f"{figures.cold_items_share:.1%} of what is held out is with new items",
    ]


def render_check(figures: DataFigures, findings: Sequence[Finding], config: PipelineConfig) -> str:
    """Say what the data are and what should be looked at.

    Args:
        figures: The figures.
        findings: What should be looked at.
        config: The settings.

    Returns:
        Text for the terminal.
    """
    dropped = ", ".join(f"{count:,} {reason}" for reason, count in figures.dropped.items()) or "none"
    lines = [
        *render_main_lines(figures),
        f"Dropped: {dropped}",
        f"Items of the catalogue: {figures.catalogue_items:,}; without a row in their table: "
        f"{figures.users_without_metadata:,} users, {figures.items_without_metadata:,} items",
        f"Days without a positive: {figures.days_without_rows:,}; the longest gap between two is "
        f"{_duration(figures.longest_gap_seconds)}",
        f"Repeats: {figures.repeat_share:.1%} of the positives are with an item that the user had before, "
        f"{figures.duplicate_share:.1%} in the same second; {figures.tied_users_share:.1%} of the users have "
        "two in one second",
        f"Held out: {figures.cold_users_share:.1%} of the users have no train row, "
        f"{figures.cold_items_share:.1%} of the positives an item without one",
        "Popularity alone reaches: " + (_show_recalls(figures) or "nothing, since nothing is asked for"),
        "Positives of each user",
        *draw_histogram(figures.rows_of_users, "users"),
        "Positives of each item",
        *draw_histogram(figures.rows_of_items, "items"),
        _describe_cost(figures, config),
    ]
    for finding in findings:
        lines.append(f"{finding.level.capitalize()}: {finding.text}")
    if not findings:
        lines.append("Nothing speaks against a run.")
    return "\n".join(lines)


def check_to_json(figures: DataFigures, findings: Sequence[Finding]) -> str:
    """Write the figures and findings down for programs.

    Args:
        figures: The figures.
        findings: What should be looked at.

    Returns:
        JSON.
    """
    plain: dict[str, Any] = dataclasses.asdict(figures)
    for name in ("rows_of_users", "rows_of_items"):
        plain[name] = [
            {"from": low, "to": high, "count": number}
            for low, high, number in count_classes(getattr(figures, name))
        ]
    plain["findings"] = [dataclasses.asdict(finding) for finding in findings]
    return json.dumps(plain, indent=2, ensure_ascii=False)


def _show_recalls(figures: DataFigures) -> str:
    return ", ".join(f"Recall@{k} {value:.3f}" for k, value in figures.popularity_recall.items())


def _describe_cost(figures: DataFigures, config: PipelineConfig) -> str:
    cost = figures.cost
    most = "at most " if config.training.early_stopping is not None else ""
    return (
        f"A run takes {most}about {_duration(cost.seconds)} on two cores, {_duration(cost.epoch_seconds)} of "
        f"them each of {config.training.epochs:,} epochs, and {cost.memory_bytes / 1e9:.1f} GB of memory; "
        f"right within a factor of {ROUGHNESS}"
    )


def _duration(seconds: float) -> str:
    for size, unit in ((SECONDS_PER_DAY, "days"), (3_600, "hours"), (60, "minutes")):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.1f} seconds"
