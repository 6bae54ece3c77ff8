"""The learning curves of a training."""

from collections.abc import Mapping

import numpy as np

from components.run_report.event_files import ScalarSeries
from pipeline.plots.plot import Line, Plot

_LOSS = "loss"
_RECALL = "validation_recall"


def plot_training(
    scalars: Mapping[str, ScalarSeries], refit_scalars: Mapping[str, ScalarSeries]
) -> list[Plot]:
    """Plot the loss by step and, where it was measured, the recall by epoch.

    Args:
        scalars: What the training logged, by tag.
        refit_scalars: What a second training on train and validation logged; empty without one.

    Returns:
        The plots; none where nothing was logged.
    """
    plots = []
    losses = [
        Line(label, np.array(series[_LOSS].steps, float), np.array(series[_LOSS].values, float))
        for label, series in (("training", scalars), ("on train and validation", refit_scalars))
        if _LOSS in series
    ]
    if losses:
        last = losses[-1]
        title = f"Loss by step: {last.y[-1]:.4g} after step {int(last.x[-1]):,}"
        plots.append(Plot("loss", title, "step", "loss", losses))
    if _RECALL in scalars:
        recall = np.array(scalars[_RECALL].values, float)
        best = int(recall.argmax())
        title = f"Recall on validation by epoch: {recall[best]:.4f} after epoch {best + 1}, the best"
        line = Line("recall", np.arange(1.0, len(recall) + 1), recall)
        plots.append(Plot("recall", title, "epoch", "recall", [line], has_markers=True))
    return plots
