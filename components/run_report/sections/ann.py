"""How the catalogue is searched: exactly, or by an index, and what that costs and finds."""

from collections.abc import Mapping
from typing import Any

from components.run_report.blocks import Block, Cell, Section, Table, Text
from components.run_report.figures import count_cell, figure_cell, interval_cell


def describe_ann(evaluation: Mapping[str, Any]) -> Section:
    """Show the approximate index beside exact search, and what else was tried.

    Args:
        evaluation: RetrievalEvaluator's document.

    Returns:
        The section.
    """
    ann = evaluation["ann"]
    blocks: list[Block] = [Text(_describe_choice(ann))]
    if ann["speedup"] is not None:
        blocks.append(_describe_measurement(ann))
    if ann["tried"]:
        blocks.append(_describe_tried(ann))
    return Section("search", "Search over the catalogue", blocks)


def _describe_choice(ann: Mapping[str, Any]) -> str:
    if ann["reason"] is not None:
        return f"Search is exact: {ann['reason']}."
    return f"Search by {ann['kind']} ({_show_parameters(ann['parameters'])}) over {ann['items']:,} items."


def _describe_measurement(ann: Mapping[str, Any]) -> Table:
    recall = {"value": ann["recall"], "low": ann["recall_low"], "high": ann["recall_high"]}
    row = [
        Cell(ann["kind"]),
        interval_cell(recall),
        figure_cell(ann["floor"]),
        count_cell(ann["queries"]),
        figure_cell(ann["exact_ms"]),
        figure_cell(ann["ann_ms"]),
        figure_cell(ann["speedup"]),
    ]
    caption = (
        f"Share of the first {ann['k']} items of exact search that are found, on queries of users that the "
        "index was not chosen by; and the median milliseconds of a query that is asked alone."
    )
    columns = (
        "index", f"recall@{ann['k']} [interval]", "floor", "queries", "exact ms", "index ms", "times as fast",
    )  # fmt: skip
    return Table(caption, columns, [row])


def _describe_tried(ann: Mapping[str, Any]) -> Table:
    rows = [
        [
            Cell(f"{one['kind']}: {_show_parameters(one['parameters'])}"),
            figure_cell(one["recall"], "good" if one["reaches_target"] else "bad"),
            figure_cell(one["ms"]),
            figure_cell(one["build_seconds"]),
            count_cell(one["bytes"]),
        ]
        for one in ann["tried"]
    ]
    caption = (
        f"What was tried, on the other half of the queries: with the least effort that reaches a recall of "
        f"{ann['target_recall']:g} beyond chance, or with the most."
    )
    return Table(caption, ("index", f"recall@{ann['k']}", "ms", "seconds to build", "bytes"), rows)


def _show_parameters(parameters: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {value:,}" for name, value in parameters.items())
