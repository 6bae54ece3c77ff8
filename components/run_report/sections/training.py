"""How the training went."""

from collections.abc import Mapping
from typing import Any, Final

from components.run_report.blocks import Block, Cell, Details, Plot, Plots, Section, Table, Text
from components.run_report.event_files import ScalarSeries
from components.run_report.figures import MISSING, figure_cell
from components.run_report.plots import Line, draw_lines

_TITLE: Final = "Training"
# Tag in TensorBoard's logs, the name of the plot, and what is on its axis.
_PLOTTED: Final = (
    ("loss", "training-loss", "loss"),
    ("validation_recall", "training-recall", "recall on validation"),
    ("learning_rate", "training-learning-rate", "learning rate"),
    ("masked_fraction", "training-masked", "share of negatives masked"),
)


def describe_training(
    model: Mapping[str, Any],
    scalars: Mapping[str, ScalarSeries],
    refit_scalars: Mapping[str, ScalarSeries],
) -> Section:
    """Show the loss and the recall that training measured itself, by step.

    Args:
        model: The Trainer's model.json.
        scalars: What the training logged.
        refit_scalars: What a second training on train and validation logged.

    Returns:
        The section.
    """
    plots = [
        _plot(tag, name, axis, scalars.get(tag), refit_scalars.get(tag))
        for tag, name, axis in _PLOTTED
        if tag in scalars or tag in refit_scalars
    ]
    blocks: list[Block] = [Plots(plots)] if plots else [Text("The training left no logs.", tone="quiet")]
    if plots and "validation_recall" not in scalars:
        blocks.append(Text("Without early stopping the training measures no recall.", tone="quiet"))
    blocks.append(
        Details(
            "The training's figures",
            [
                Table(
                    "What the training notes with its model.",
                    ("figure", "value"),
                    [[Cell(name.replace("_", " ")), _show(value)] for name, value in model.items()],
                )
            ],
        )
    )
    return Section("training", _TITLE, blocks)


def _plot(tag: str, name: str, axis: str, series: ScalarSeries | None, refit: ScalarSeries | None) -> Plot:
    lines = [
        Line(label, one.steps, one.values)
        for label, one in (("training", series), ("second training", refit))
        if one is not None
    ]
    last = lines[-1]
    caption = f"{axis[0].upper()}{axis[1:]} by step; {last.y[-1]:.4g} after step {int(last.x[-1]):,}."
    return Plot(
        draw_lines(name, caption, lines, "step", axis, has_markers=tag == "validation_recall"), caption
    )


def _show(value: Any) -> Cell:
    if value is None:
        return Cell("none", tone="quiet")
    if isinstance(value, bool):
        return Cell("yes" if value else "no")
    if isinstance(value, int):
        return Cell(f"{value:,}", value)
    if isinstance(value, float):
        return figure_cell(value)
    if isinstance(value, list):
        return Cell(
            ", ".join(f"{one:.4f}" if isinstance(one, float) else str(one) for one in value) or "none"
        )
    if isinstance(value, Mapping):
        return Cell(", ".join(f"{key.replace('_', ' ')}: {one}" for key, one in value.items()) or MISSING)
    return Cell(str(value))
