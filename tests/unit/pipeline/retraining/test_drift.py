"""What is said of a row of warm starts beside a cold model."""

import re

import numpy as np
import pyarrow as pa
import pytest

from pipeline.comparison import compare_evaluations
from pipeline.evaluations import Evaluation
from pipeline.retraining.drift import describe_comparison

pytestmark = pytest.mark.unit

REPORT = {
    "data_fingerprint": "d",
    "gate": {"metric": "recall_at_10"},
    "protocol": {"resamples": 500, "seed": 1},
}
USERS = pa.array([f"u{number}" for number in range(200)])


def evaluation(found: int) -> Evaluation:
    """So many of two hundred users have their item found."""
    return Evaluation("release 1", REPORT, USERS, {"recall_at_10": (np.arange(200) < found).astype(float)})


@pytest.mark.parametrize(
    ("warm", "cold", "says"),
    [
        (
            50,
            80,
            r"0\.2500 and 0\.4000, cold less warm \+0\.1500 .*: the row of warm starts has fallen behind",
        ),
        (80, 50, r"cold less warm -0\.1500 .*: the row of warm starts is ahead of a model that began from"),
        (
            50,
            51,
            r"cold less warm \+0\.0050 \[\+0\.0000, .*: the row of warm starts has not measurably fallen",
        ),
    ],
)
def test_the_interval_decides(warm, cold, says):
    comparison = compare_evaluations(evaluation(warm), evaluation(cold))
    assert re.search(says, describe_comparison(comparison))
