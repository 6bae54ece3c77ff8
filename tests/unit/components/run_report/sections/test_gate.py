from typing import Any

import pytest

from components.run_report.blocks import Section, Table, Text
from components.run_report.sections.gate import describe_gate, describe_verdict

pytestmark = pytest.mark.unit


def join_texts(section: Section) -> str:
    return "\n".join(block.text for block in section.blocks if isinstance(block, Text))


def test_the_verdict_says_what_it_rests_on(document) -> None:
    document |= {
        "users": 1200, "users_sampled_of": 5000, "held_out": 1300, "catalogue_items": 70,
        "protocol": {
            "candidates": "new", "leaks_time": True,
            "repeats": {"held_out": 1600, "repeated": 400, "users_without_target": 3},
            "users_who_find_all": {"10": 0, "30": 2, "60": 1100},
        },
    }  # fmt: skip
    text = join_texts(describe_verdict(document))
    assert "a sample of 1,200 of 5,000 users with 1,300 held-out interactions" in text
    assert "Of 1,600 held-out interactions 400 (25.0 %) are repeats" in text
    assert "3 users are left without a target." in text
    assert "Time leaks" in text
    assert "find everything, whatever the model: 2 of 1,200 at K = 30, 1,100 of 1,200 at K = 60." in text


def test_what_limits_nothing_is_not_said(document) -> None:
    document["protocol"] |= {
        "candidates": "all", "leaks_time": False,
        "repeats": {"held_out": 9, "repeated": 0, "users_without_target": 0},
        "users_who_find_all": {"10": 0},
    }  # fmt: skip
    text = join_texts(describe_verdict(document))
    assert "Candidates: all items" in text
    assert "Of 9 held-out interactions none are repeats" in text
    for absent in ("Time leaks", "find everything", "without a target"):
        assert absent not in text


@pytest.mark.parametrize(
    ("released", "expected"),
    [
        (None, "There is no release yet, so there is nothing to compare with."),
        (
            {"version": None, "model_id": None, "is_compared": False, "reason": "it cannot be read."},
            "Not compared with the current release: it cannot be read.",
        ),
        (
            {"version": 3, "model_id": "m3", "is_compared": False, "reason": "it has seen them"},
            "Not compared with the current release, version 3: it has seen them.",
        ),
        (
            {"version": 3, "model_id": "m3", "is_compared": True, "reason": None},
            "The current release is version 3, model m3. It was evaluated again, for the same users.",
        ),
    ],
)
def test_the_rival_or_why_there_is_none(document, released: Any, expected: str) -> None:
    document["released"] = released
    assert join_texts(describe_gate(document)) == expected


def test_each_rule_has_its_figure_and_verdict(document) -> None:
    rule = {"name": "floor", "text": "recall@5 is at least 0.5", "value": 0.4, "low": 0.3, "high": 0.45}
    nothing = dict.fromkeys(("value", "low", "high", "bound"))
    document["gate"]["rules"] = [
        {**nothing, "name": "users", "text": "users", "value": 1250.0, "bound": 30.0, "passed": True,
         "reason": None},
        {**rule, "bound": 0.5, "passed": False, "reason": None},
        {**nothing, "name": "slices", "text": "no group", "passed": None, "reason": "all are too small"},
    ]  # fmt: skip
    [table] = [block for block in describe_gate(document).blocks if isinstance(block, Table)]
    assert [[cell.text for cell in row] for row in table.rows] == [
        ["users", "kept", "1,250", "30", ""],
        ["recall@5 is at least 0.5", "broken", "0.4000 [0.3000, 0.4500]", "0.5000", ""],
        ["no group", "not judged", "none", "none", "all are too small"],
    ]
    assert [row[1].tone for row in table.rows] == ["good", "bad", "quiet"]
    # The slices' interval is no plain one of 95 %.
    assert "of 95 % for all groups together" in table.caption
