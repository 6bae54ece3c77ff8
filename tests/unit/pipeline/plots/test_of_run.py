import numpy as np
import pytest

from components.run_report.event_files import ScalarSeries
from pipeline.plots.of_run import plot_training

pytestmark = pytest.mark.unit


def test_loss_by_step_and_recall_by_epoch():
    scalars = {
        "loss": ScalarSeries([50, 100, 150, 200], [8.0, 6.0, 5.5, 5.25]),
        "validation_recall": ScalarSeries([100, 200], [0.25, 0.125]),
        "learning_rate": ScalarSeries([50], [0.001]),
    }
    loss, recall = plot_training(scalars, {"loss": ScalarSeries([50, 100], [7.5, 5.0])})
    assert [line.label for line in loss.lines] == ["training", "on train and validation"]
    np.testing.assert_array_equal(loss.lines[0].y, [8.0, 6.0, 5.5, 5.25])
    assert loss.title == "Loss by step: 5 after step 100"
    np.testing.assert_array_equal(recall.lines[0].x, [1, 2])
    assert recall.title == "Recall on validation by epoch: 0.2500 after epoch 1, the best"


def test_nothing_is_plotted_of_nothing():
    assert plot_training({}, {}) == []
    [only] = plot_training({"loss": ScalarSeries([50], [8.0])}, {})
    assert only.name == "loss"
