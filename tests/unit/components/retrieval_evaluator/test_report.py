import json
import logging

import pytest

from components.retrieval_evaluator.report import describe_users, log_report, write_report

pytestmark = pytest.mark.unit

REPORT = {
    "metrics": {"recall_at_10": 0.25},
    "popularity": {"recall_at_10": 0.125},
    "users": 10_000,
    "users_sampled_of": None,
    "held_out": 12_000,
    "catalogue_items": 50_000,
    "seen_splits": ["train"],
    "protocol": {
        "candidates": "new",
        "repeats": {"held_out": 12_000, "repeated": 0, "users_without_target": 0},
    },
    "model_id": "m1",
    "blessed": True,
    "blessing": {"metric": "recall_at_10", "value": 0.25, "popularity": 0.125, "minimum": 0.2},
}


def test_report_is_json(tmp_path):
    write_report(REPORT, tmp_path / "report")
    assert json.loads((tmp_path / "report" / "evaluation_report.json").read_text()) == REPORT


def test_a_sample_of_the_users_is_called_one(caplog):
    assert describe_users(REPORT) == "10,000 users"
    caplog.set_level(logging.INFO, logger="dssm.progress")
    log_report(REPORT | {"users_sampled_of": 100_000, "seen_splits": ["train", "validation"]})
    assert caplog.messages == [
        "Evaluated a sample of 10,000 of 100,000 users with 12,000 held-out interactions over all 50,000 "
        "items: recall@10 0.2500 (popularity 0.1250).",
        "What the users have in train and validation is left out of the ranking.",
        "Blessed: recall@10 0.2500, popularity 0.1250, minimum 0.2000.",
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
