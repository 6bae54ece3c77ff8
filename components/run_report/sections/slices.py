"""The metrics of parts of the users and of the items."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from components.run_report.blocks import Block, Cell, Plot, Plots, Section, Table, Text
from components.run_report.figures import (
    count_cell,
    interval_cell,
    show_metric,
    to_number,
    tone_of_difference,
)
from components.run_report.plots import Estimates, draw_estimates

_MOST_METRICS: Final = 3
_TITLE: Final = "Slices"


def describe_slices(evaluation: Mapping[str, Any]) -> Section:
    """Show the metrics of each slice.

    Args:
        evaluation: RetrievalEvaluator's document.

    Returns:
        The section.
    """
    slices = evaluation.get("slices")
    if not slices:
        return Section("slices", _TITLE, [Text("Not measured.", tone="quiet")])
    names = choose_metrics(evaluation, slices)
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for one in slices:
        groups.setdefault(one["group"], []).append(one)
    overall = evaluation["metrics"].get(names[0])
    blocks: list[Block] = [
        Plots(
            [
                _plot_group(number, group, members, names[0], overall)
                for number, (group, members) in enumerate(groups.items())
            ]
        )
    ]
    small = sum(not one["is_judged"] for one in slices)
    if small:
        blocks.append(
            Text(f"{small:,} of {len(slices):,} slices have too few users to be judged: hollow in the plots.")
        )
    has_differences = any(one.get("difference") for one in slices)
    columns = ["slice", "users", *(show_metric(name) for name in names)]
    rows = []
    for one in slices:
        row = [
            Cell(f"{one['group']}: {one['label']}", tone=None if one["is_judged"] else "quiet"),
            count_cell(one["users"]),
            *(interval_cell((one.get("metrics") or {}).get(name)) for name in names),
        ]
        if has_differences:
            row.append(_difference_cell(one.get("difference")))
        row.append(Cell("yes") if one["is_judged"] else Cell("no: too few users", tone="quiet"))
        rows.append(row)
    caption = "Slices, with 95 % intervals. The evaluation's document has every metric of them."
    columns += ["difference to the last release"] if has_differences else []
    blocks.append(Table(caption, (*columns, "judged"), rows))
    return Section("slices", _TITLE, blocks)


def choose_metrics(evaluation: Mapping[str, Any], slices: Sequence[Mapping[str, Any]]) -> list[str]:
    """Choose the metrics that slices are shown with.

    Args:
        evaluation: RetrievalEvaluator's document.
        slices: Its slices.

    Returns:
        Three metrics at most, the one of the first difference that decides something before the others.
    """
    known = list(dict.fromkeys(name for one in slices for name in one.get("metrics") or ()))
    if not known:
        return list(evaluation["metrics"])[:1]
    deciding = [one["metric"] for one in evaluation.get("differences") or () if one["metric"] in known]
    return list(dict.fromkeys([*deciding[:1], *known]))[:_MOST_METRICS]


def _plot_group(
    number: int, group: str, members: Sequence[Mapping[str, Any]], metric: str, overall: float | None
) -> Plot:
    found = [(one.get("metrics") or {}).get(metric) or {} for one in members]
    estimates = Estimates(
        metric, *([to_number(one.get(key)) for one in found] for key in ("value", "low", "high"))
    )
    title = show_metric(metric)
    caption = f"{title} by {group}, with 95 % intervals; dashed: all users."
    svg = draw_estimates(
        f"slices-{number}",
        caption,
        [one["label"] for one in members],
        [estimates],
        title,
        reference=overall,
        judged=[one["is_judged"] for one in members],
    )
    return Plot(svg, caption)


def _difference_cell(difference: Mapping[str, Any] | None) -> Cell:
    cell = interval_cell(difference, tone_of_difference(difference))
    if difference is None or cell.value is None:
        return cell
    return Cell(f"{show_metric(difference['metric'])} {cell.text}", cell.value, cell.tone)
