"""What the item embeddings look like."""

from typing import Any

import numpy as np
import numpy.typing as npt

from components.run_report.blocks import Block, Plot, Plots, Section, Text
from components.run_report.config import ReportConfig
from components.run_report.embeddings import Histogram, measure_norms, measure_similarities, project
from components.run_report.inputs import RunFacts
from components.run_report.item_groups import group_items, title_items
from components.run_report.plots import draw_histogram, draw_map


def describe_embeddings(embeddings: npt.NDArray[np.float32]) -> Section:
    """Show the norms of the item embeddings and how similar two of them are.

    Args:
        embeddings: [items, dim] the index.

    Returns:
        The section.
    """
    norms = measure_norms(embeddings)
    plots = [_plot("embedding-norms", "Norms of the item embeddings", norms, "norm", "items")]
    similarities = measure_similarities(embeddings)
    if similarities is not None:
        plots.append(
            _plot(
                "embedding-similarities",
                "Cosines of 20,000 random pairs of items",
                similarities,
                "cosine",
                "pairs",
            )
        )
    note = Text(
        f"{len(embeddings):,} embeddings of {embeddings.shape[1]:,} dimensions. Cosines around 0 use the "
        "whole space; all close to 1 mean that the model does not tell items apart."
    )
    return Section("embeddings", "Norms and similarity of the item embeddings", [note, Plots(plots)])


def describe_map(facts: RunFacts, config: ReportConfig) -> Section:
    """Draw the item embeddings in two dimensions, coloured by a feature.

    Args:
        facts: What is known of the run.
        config: How many items are drawn.

    Returns:
        The section.
    """
    projection = project(facts.embeddings, config.map_items)
    shown = facts.catalogue.take(projection.rows)
    feature = facts.map_feature
    groups = group_items(shown, feature)
    titles = [
        f"{title}: {groups.labels[number]}" if feature is not None else title
        for title, number in zip(
            title_items(shown, facts.item_id, facts.display), groups.numbers.tolist(), strict=True
        )
    ]
    count, of = len(projection.rows), len(facts.embeddings)
    sample = f"{count:,} items" if count == of else f"a random sample of {count:,} of {of:,} items"
    by = "" if feature is None else f", coloured by {feature}"
    caption = (
        f"Map of {sample} by the two principal components of their embeddings, which have "
        f"{100 * projection.explained:.0f} % of the variance{by}."
    )
    svg = draw_map("item-map", caption, projection.points, groups.numbers, groups.labels, titles)
    blocks: list[Block] = [
        Text(
            "Items that are close have similar embeddings. The title of an item is shown under the pointer."
        ),
        Plots([Plot(svg, caption)]),
    ]
    return Section("map", "Map of the items", blocks)


def _plot(name: str, what: str, histogram: Histogram, x_label: str, y_label: str) -> Plot:
    figures: dict[str, Any] = {
        "mean": histogram.mean, "standard deviation": histogram.deviation,
        "smallest": histogram.low, "largest": histogram.high,
    }  # fmt: skip
    caption = f"{what}: {', '.join(f'{name} {value:.3f}' for name, value in figures.items())}."
    return Plot(draw_histogram(name, caption, histogram.edges, histogram.counts, x_label, y_label), caption)
