import json

import numpy as np
import pyarrow as pa
import pytest

from components.retrieval_evaluator.intervals import Interval
from pipeline.comparison import Comparison, Difference, summarize
from pipeline.comparison_table import comparison_to_json, render_comparison
from pipeline.evaluations import Evaluation

pytestmark = pytest.mark.unit


def make_evaluation(name, model_id):
    report = {"model_id": model_id, "run_id": f"run of {model_id}", "held_out": 2400, "catalogue_items": 1682}
    users = pa.array([f"{number}" for number in range(1200)], pa.string())
    return Evaluation(name, report, users, {"recall_at_10": np.zeros(1200)})


COMPARISON = Comparison(
    first=make_evaluation("release 1", "m1"),
    second=make_evaluation("run x", "m2"),
    differences=(
        Difference("recall_at_10", 0.25, 0.28126, Interval(0.03126, 0.0104, 0.05)),
        Difference("mrr_at_10", 0.5, 0.49, Interval(-0.01, -0.03, 0.01)),
        Difference("ndcg_at_10", 0.5, 0.4, Interval(-0.1, -0.15, -0.05)),
    ),
    only_first=("map_at_10",),
    only_second=(),
)


def test_the_table():
    lines = render_comparison(COMPARISON).splitlines()
    assert lines[:4] == [
        "A: release 1, model m1",
        "B: run x, model m2",
        "The same 1,200 users, 2,400 held-out interactions, 1,682 items.",
        "",
    ]
    assert lines[4].split("  ")[0] == "metric"
    assert [" ".join(line.split()) for line in lines[6:9]] == [
        "recall@10 0.2500 0.2813 +0.0313 [+0.0104, +0.0500] B is better",
        "mrr@10 0.5000 0.4900 -0.0100 [-0.0300, +0.0100] cannot be told",
        "ndcg@10 0.5000 0.4000 -0.1000 [-0.1500, -0.0500] B is worse",
    ]
    assert lines[9:] == ["", summarize(COMPARISON), "Only A has map_at_10."]


def test_json_has_every_digit():
    found = json.loads(comparison_to_json(COMPARISON))
    assert found["a"] == {"name": "release 1", "run_id": "run of m1", "model_id": "m1"}
    assert found["b"]["name"] == "run x"
    assert found["users"] == 1200
    assert found["metrics"][0] == {
        "metric": "recall_at_10",
        "a": 0.25,
        "b": 0.28126,
        "difference": {"value": 0.03126, "low": 0.0104, "high": 0.05},
        "verdict": "better",
    }
    assert [metric["verdict"] for metric in found["metrics"]] == ["better", "cannot be told", "worse"]
    assert (found["only_a"], found["only_b"]) == (["map_at_10"], [])
    assert found["summary"] == summarize(COMPARISON)
