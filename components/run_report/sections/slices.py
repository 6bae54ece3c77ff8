"""The metrics of parts of the users and of the items."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from components.run_report.blocks import Block, Cell, Plot, Plots, Section, Table, Text
from components.run_report.figures import count_cell, interval_cell, tone_of_difference
from components.run_report.plots import Estimates, draw_estimates
from schemas.ranking.metrics import show_metric

_TITLE: Final = "Slices"


def describe_slices(evaluation: Mapping[str, Any]) -> Section:
    """Show the metrics of each slice.

    Args:
        evaluation: RetrievalEvaluator's document.

    Returns:
        The section.
    """
    slices = evaluation["slices"]
    if not slices:
        return Section("slices", _TITLE, [Text("Nothing tells the users apart.", tone="quiet")])
    deciding = evaluation["gate"]["metric"]
    blocks: list[Block] = [Plots(_plot_groups(slices, deciding, evaluation["metrics"][deciding]))]
    small = sum(not one["is_judged"] for one in slices)
    if small:
        blocks.append(
            Text(f"{small:,} of {len(slices):,} slices have too few users to be judged: hollow in the plots.")
        )
    names = list(dict.fromkeys([deciding, *slices[0]["metrics"]]))
    has_differences = slices[0]["difference"] is not None
    columns = [
        *("slice", "users", *(show_metric(name) for name in names)),
        *([f"{show_metric(deciding)} less the current release's"] if has_differences else []),
        "judged",
    ]
    rows = [
        [
            Cell(f"{one['group']}: {one['label']}", tone=None if one["is_judged"] else "quiet"),
            count_cell(one["users"]),
            *(interval_cell(one["metrics"][name]) for name in names),
            *(
                [interval_cell(one["difference"], tone_of_difference(one["difference"]))]
                if has_differences
                else []
            ),
            Cell("yes") if one["is_judged"] else Cell("no", tone="quiet"),
        ]
        for one in slices
    ]
    blocks.append(
        Table(
            "Slices, with an interval of 95 % for each alone. Those with too few users are not judged.",
            columns,
            rows,
        )
    )
    return Section("slices", _TITLE, blocks)


def _plot_groups(slices: Sequence[Mapping[str, Any]], metric: str, overall: float) -> list[Plot]:
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for one in slices:
        groups.setdefault(one["group"], []).append(one)
    ends = [one["metrics"][metric][end] for one in slices for end in ("low", "high")]
    title = show_metric(metric)
    plots = []
    for number, (group, members) in enumerate(groups.items()):
        found = [one["metrics"][metric] for one in members]
        caption = f"{title} by {group}, with 95 % intervals; dashed: all users."
        svg = draw_estimates(
            f"slices-{number}",
            caption,
            [one["label"] for one in members],
            [Estimates(title, *([one[key] for one in found] for key in ("value", "low", "high")))],
            title,
            reference=overall,
            judged=[one["is_judged"] for one in members],
            limits=(min(ends), max(ends)),
        )
        plots.append(Plot(svg, caption))
    return plots
