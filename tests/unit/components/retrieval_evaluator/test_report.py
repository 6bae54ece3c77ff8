import json
import logging

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from components.retrieval_evaluator.report import (
    describe_rule,
    describe_users,
    log_report,
    write_evaluation,
)
from schemas.skew import ScoresSample, read_scores_sample

pytestmark = pytest.mark.unit

FLOOR = {
    "name": "floor",
    "text": "recall@10 is at least 0.2",
    "passed": True,
    "value": 0.25,
    "low": 0.2,
    "high": 0.3,
    "bound": 0.2,
    "reason": None,
}
RELEASED = {
    "name": "released",
    "text": "recall@10 is not worse",
    "passed": None,
    "value": None,
    "low": None,
    "high": None,
    "bound": None,
    "reason": "there is no release",
}


def make_model(label, value):
    return {"label": label, "metrics": {"recall_at_10": {"value": value}} if value is not None else {}}


REPORT = {
    "metrics": {"recall_at_10": 0.25},
    "users": 10_000,
    "users_sampled_of": None,
    "held_out": 12_000,
    "catalogue_items": 50_000,
    "seen_splits": ["train"],
    "protocol": {
        "candidates": "new",
        "repeats": {"held_out": 12_000, "repeated": 0, "users_without_target": 0},
    },
    "models": [make_model("this model", 0.25), make_model("popularity", 0.125), make_model("ALS", None)],
    "gate": {"metric": "recall_at_10", "sentence": "Blessed: all well.", "rules": [FLOOR, RELEASED]},
}

SCORES = ScoresSample(["a"], pa.table({"age": [3]}), [[1, 0]], [["y", "x"]], [[0.5, 0.25]], [["z"]])


def test_what_was_found_is_json_and_a_table_of_users(tmp_path):
    per_user = pa.table({"user": ["a", "b"], "recall_at_10": [0.0, 0.5]})
    write_evaluation(REPORT, per_user, SCORES, tmp_path / "report")
    assert read_scores_sample(tmp_path / "report" / "scores_sample.parquet") == SCORES
    assert json.loads((tmp_path / "report" / "evaluation_report.json").read_text()) == REPORT
    assert pq.read_table(tmp_path / "report" / "per_user_metrics.parquet") == per_user


def test_a_figure_that_is_not_a_number_is_refused(tmp_path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_evaluation(REPORT | {"held_out": float("nan")}, pa.table({}), SCORES, tmp_path)


def test_a_rule_is_a_line():
    assert describe_rule(FLOOR) == "kept: recall@10 is at least 0.2: 0.2500 (0.2000 to 0.3000)"
    assert describe_rule(RELEASED) == "not applied: recall@10 is not worse; there is no release"


def test_a_sample_of_the_users_is_called_one(caplog):
    assert describe_users(REPORT) == "10,000 users"
    caplog.set_level(logging.INFO, logger="dssm.progress")
    log_report(REPORT | {"users_sampled_of": 100_000, "seen_splits": ["train", "validation"]})
    assert caplog.messages == [
        "Evaluated a sample of 10,000 of 100,000 users with 12,000 held-out interactions over all 50,000 "
        "items: recall@10 this model 0.2500, popularity 0.1250.",
        "What the users have in train and validation is left out of the ranking.",
        "Rule kept: recall@10 is at least 0.2: 0.2500 (0.2000 to 0.3000)",
        "Rule not applied: recall@10 is not worse; there is no release",
        "Blessed: all well.",
    ]


@pytest.mark.parametrize(
    ("candidates", "line"),
    [
        ("new", "not asked for, which leaves 1,200 users out (evaluation.candidates: new)."),
        ("all", "asked for like the others (evaluation.candidates: all)."),
    ],
)
def test_repeats_are_told(caplog, candidates, line):
    caplog.set_level(logging.INFO, logger="dssm.progress")
    repeats = {"held_out": 15_000, "repeated": 3_000, "users_without_target": 1_200}
    protocol = {"candidates": candidates, "repeats": repeats}
    log_report(REPORT | {"protocol": protocol, "seen_splits": ["train", "validation"]})
    told = "3,000 of 15,000 held-out items are repeats, which their user had before: "
    assert caplog.messages[1] == told + line
    assert ("is left out of the ranking" in caplog.text) == (candidates == "new")
