import pytest

from components.run_report.scalars import collect_scalars

pytestmark = pytest.mark.unit


def test_metrics_of_all_models_and_the_verdict() -> None:
    document = {
        "metrics": {"recall_at_10": 0.25, "map_at_10": 0.5},
        "models": [
            {"name": "model", "metrics": {"recall_at_10": {"value": 0.25}}},
            {"name": "als", "metrics": {"recall_at_10": {"value": 0.125}, "map_at_10": {"value": 0.0}}},
            {"name": "markov", "metrics": {}},
        ],
        "ann": {"recall": 0.96875},
        "users": 9,
        "blessed": False,
    }
    assert collect_scalars(document) == {
        "recall_at_10": 0.25, "map_at_10": 0.5, "als.recall_at_10": 0.125, "als.map_at_10": 0.0,
        "users": 9.0, "blessed": 0.0, "ann_recall": 0.96875,
    }  # fmt: skip
