import numpy as np
import pytest

from components.ann_document import AnnDocument
from components.retrieval_evaluator.config import EvaluationConfig
from components.retrieval_evaluator.gate import (
    Ancestry,
    NoRival,
    Rival,
    SliceDifference,
    judge,
    simultaneous_interval,
    write_blessing,
)
from components.retrieval_evaluator.intervals import Interval

pytestmark = pytest.mark.unit

CONFIG = EvaluationConfig(
    blessing_minimum=0.2,
    blessing_baselines=("popularity",),
    blessing_margin=0.1,
    blessing_slice_margin=0.2,
    slice_minimum_users=2,
)
METRIC = Interval(0.5, 0.45, 0.55)
ABOVE = {"chance": Interval(0.4, 0.35, 0.45), "popularity": Interval(0.1, 0.05, 0.15)}
FIRST = NoRival("there is no release yet", is_first=True)


def make_rival(low, value, high, slices=()):
    return Rival(version=3, metric=0.5, difference=Interval(value, low, high), slices=slices)


def verdict(metric=METRIC, baselines=ABOVE, rival=FIRST, config=CONFIG, users=500, ancestry=None, ann=None):
    return judge(metric, baselines, rival, config, "recall_at_10", users, ancestry, ann)


def rules(found):
    return {rule.name: rule.passed for rule in found.rules}


def test_a_first_model_has_nothing_to_be_compared_with_and_says_so():
    found = verdict()
    assert found.blessed
    assert rules(found) == {
        "users": True,
        "floor": True,
        "baseline:chance": True,
        "baseline:popularity": True,
        "released": None,
    }
    assert found.sentence == (
        "Blessed: recall@10 0.5000 (0.4500 to 0.5500), above every baseline that decides; "
        "there is no release yet."
    )


@pytest.mark.parametrize(("recall", "passed"), [(0.9, True), (0.89, False)])
def test_an_index_that_finds_too_little_is_not_released(recall, passed):
    ann = AnnDocument(
        "m1", "hnsw", 30_000, k=10, target_recall=0.95, floor=0.9, recall=recall, recall_low=0.88,
        recall_high=0.92,
    )  # fmt: skip
    found = verdict(ann=ann)
    rule = found.rules[-1]
    assert (rule.name, rule.passed, found.blessed) == ("ann", passed, passed)
    assert (rule.value, rule.low, rule.high, rule.bound) == (recall, 0.88, 0.92, 0.9)
    assert rule.text == "the approximate index finds at least 0.9 of the first 10 items of exact search"


def test_exact_search_has_no_recall_to_judge():
    ann = AnnDocument("m1", "exact", 120, k=10, target_recall=0.95, floor=0.9, reason="it is small")
    found = verdict(ann=ann)
    assert (found.rules[-1].passed, found.blessed) == (None, True)
    assert found.rules[-1].reason == "search is exact: it is small"


@pytest.mark.parametrize(("value", "passed"), [(0.2, True), (0.19, False)])
def test_the_floor_is_enough(value, passed):
    found = verdict(metric=Interval(value, 0.1, 0.3))
    assert rules(found)["floor"] is passed
    assert found.blessed is passed


@pytest.mark.parametrize(
    ("difference", "passed", "reason"),
    [
        (Interval(0.1, 0.001, 0.2), True, None),
        (Interval(0.1, 0.0, 0.2), False, "it is above, but so few users cannot tell it from chance"),
        (Interval(-0.1, -0.2, 0.01), False, None),
    ],
)
def test_a_baseline_is_beaten_when_the_whole_interval_says_so(difference, passed, reason):
    found = verdict(baselines=ABOVE | {"popularity": difference})
    [rule] = [rule for rule in found.rules if rule.name == "baseline:popularity"]
    assert (rule.passed, rule.reason, found.blessed) == (passed, reason, passed)
    assert (rule.value, rule.low, rule.high) == difference


def test_a_baseline_that_could_not_be_computed_is_not_beaten():
    found = verdict(baselines={"chance": ABOVE["chance"]})
    assert rules(found)["baseline:popularity"] is False
    assert "the baseline could not be computed" in found.sentence


@pytest.mark.parametrize(
    ("low", "value", "high", "passed", "reason"),
    [
        # The margin is a tenth of 0.5.
        (-0.05, 0.0, 0.05, True, None),
        (-0.049, -0.04, -0.03, True, None),  # worse for certain, by less than the margin
        (-0.06, 0.0, 0.06, False, "so few users cannot show"),
        (-0.08, -0.06, -0.04, False, "it is worse"),
    ],
)
def test_not_worse_than_the_released_model_has_to_be_shown(low, value, high, passed, reason):
    found = verdict(rival=make_rival(low, value, high))
    rule = next(rule for rule in found.rules if rule.name == "released")
    assert (rule.passed, rule.bound) == (passed, -0.05)
    assert rule.reason is None if reason is None else rule.reason.startswith(reason)
    assert found.blessed is passed


@pytest.mark.parametrize(("choice", "blessed"), [("baselines", True), ("refuse", False)])
def test_a_rival_that_cannot_be_compared_with_is_said_and_decided_by_the_configuration(choice, blessed):
    rival = NoRival("release 3 may have seen the rows that are held out now", is_first=False)
    config = EvaluationConfig(blessing_baselines=("popularity",), unfair_release=choice)
    found = verdict(rival=rival, config=config)
    assert found.blessed is blessed
    reason = next(rule.reason for rule in found.rules if rule.name == "released")
    assert reason.startswith("release 3 may have seen the rows that are held out now; ")
    assert f"evaluation.unfair_release is {choice!r}" in reason
    assert ("floor and baselines alone decided, since release 3" in found.sentence) is blessed


@pytest.mark.parametrize(("users", "blessed"), [(1, False), (29, False), (30, True)])
def test_of_a_few_users_nothing_can_be_told(users, blessed):
    # One user who finds the item has an interval without width.
    sure = Interval(1.0, 1.0, 1.0)
    found = verdict(sure, {"chance": sure, "popularity": sure}, users=users)
    assert (rules(found)["users"], found.blessed) == (blessed, blessed)


@pytest.mark.parametrize(
    ("ancestry", "passed", "blessed"),
    [
        (None, "no rule", True),
        (Ancestry(2, None, is_known=True), True, True),
        (Ancestry(2, None, is_known=False), None, True),
        (Ancestry(2, "it was trained on the log until 900", is_known=True), False, False),
    ],
)
def test_a_training_that_began_from_one_who_saw_the_held_out_rows_is_refused(ancestry, passed, blessed):
    found = verdict(ancestry=ancestry)
    assert rules(found).get("unseen", "no rule") == passed
    assert found.blessed is blessed


def test_a_group_that_is_worse_by_more_than_its_margin_refuses_the_model():
    # Differences of -1 and 0 half and half: mean -.5, standard error .5 / 10.
    worse = SliceDifference("age: old", np.tile([-1.0, 0.0], 50))
    same = SliceDifference("age: young", np.tile([-1.0, 1.0], 50))
    found = verdict(rival=make_rival(-0.01, 0.0, 0.01, [same, worse]))
    rule = next(rule for rule in found.rules if rule.name == "slices")
    assert (rule.passed, found.blessed) == (False, False)
    assert (rule.value, rule.bound) == (-0.5, pytest.approx(-0.1))
    assert rule.reason == "the worst of 2 is age: old"


def test_a_group_that_is_worse_by_chance_alone_does_not_refuse_the_model():
    # Mean -.2, twice the margin, with a standard error of .98 / sqrt(10) = .31.
    noisy = SliceDifference("age: old", np.repeat([-1.0, 1.0], [6, 4]))
    assert verdict(rival=make_rival(-0.01, 0.0, 0.01, [noisy])).blessed


def test_groups_too_small_to_judge_are_said():
    rule = next(r for r in verdict(rival=make_rival(-0.01, 0.0, 0.01)).rules if r.name == "slices")
    assert (rule.passed, rule.reason) == (None, "no group is large enough")


def test_intervals_of_many_groups_are_wider():
    # Two users with 0 and 1: mean 1/2, standard deviation sqrt(1/2), standard error 1/2. z is 1.960 at
    # 97.5 %, and 2.807 at 1 - .05 / 20 = 99.75 %, from a table of the normal distribution.
    values = np.array([0.0, 1.0])
    one, ten = simultaneous_interval(values, 1), simultaneous_interval(values, 10)
    assert one == (0.5, pytest.approx(0.5 - 1.960 / 2, abs=1e-3), pytest.approx(0.5 + 1.960 / 2, abs=1e-3))
    assert ten == (0.5, pytest.approx(0.5 - 2.807 / 2, abs=1e-3), pytest.approx(0.5 + 2.807 / 2, abs=1e-3))


@pytest.mark.parametrize(("is_blessed", "name"), [(True, "BLESSED"), (False, "NOT_BLESSED")])
def test_the_blessing_is_a_file(tmp_path, is_blessed, name):
    write_blessing(is_blessed, tmp_path / "blessing")
    [file] = (tmp_path / "blessing").iterdir()
    assert file.name == name
    assert file.stat().st_size
