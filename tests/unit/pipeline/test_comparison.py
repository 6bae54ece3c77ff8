import numpy as np
import pyarrow as pa
import pytest

from pipeline.comparison import compare_evaluations, summarize
from pipeline.evaluations import Evaluation, EvaluationError

pytestmark = pytest.mark.unit

PROTOCOL = {
    "candidates": "new", "ks": [10], "seed": 0, "resamples": 1000, "split": {"kind": "latest_per_user"},
}  # fmt: skip


def evaluation(name, values, users=None, fingerprint="ab12", **changes):
    """An evaluation with one metric, or several by name."""
    metrics = values if isinstance(values, dict) else {"recall_at_10": values}
    users = users or [f"user {number}" for number in range(len(next(iter(metrics.values()))))]
    report = {
        "data_fingerprint": fingerprint,
        "users": len(users),
        "users_sampled_of": None,
        "held_out": len(users),
        "catalogue_items": 50,
        "seen_splits": ["train"],
        "protocol": PROTOCOL,
    }
    return Evaluation(
        name=name,
        report=report | changes,
        users=pa.array(users, pa.string()),
        metrics={metric: np.array(column, np.float64) for metric, column in metrics.items()},
    )


def compare_one(first, second):
    [difference] = compare_evaluations(evaluation("A", first), evaluation("B", second)).differences
    return difference


def test_what_is_better_for_every_user_by_as_much_is_certain():
    found = compare_one([0.0, 0.25, 0.5, 0.75], [0.25, 0.5, 0.75, 1.0])
    assert (found.first, found.second) == (0.375, 0.625)
    assert found.change == (0.25, 0.25, 0.25)
    assert found.verdict == "better"


def test_what_is_worse_is_the_other_way_round():
    found = compare_one([0.25, 0.5, 0.75, 1.0], [0.0, 0.25, 0.5, 0.75])
    assert found.change == (-0.25, -0.25, -0.25)
    assert found.verdict == "worse"


@pytest.mark.parametrize("gaining", [52, 48])
def test_about_as_many_gain_as_lose_cannot_be_told(gaining):
    # The difference is +1 or -1: its mean over 100 draws has a standard deviation of nearly .1, so that 95 %
    # of the resamples lie within .196 of the value, which is +.04 or -.04.
    first = [0.0] * gaining + [1.0] * (100 - gaining)
    found = compare_one(first, [1.0 - value for value in first])
    value = (2 * gaining - 100) / 100
    assert found.change.value == pytest.approx(value)
    assert found.change.low == pytest.approx(value - 0.196, abs=0.03)
    assert found.change.high == pytest.approx(value + 0.196, abs=0.03)
    assert found.verdict == "cannot be told"


def test_pairs_tell_what_the_means_alone_cannot():
    # Users differ by up to 1, every one of them gains .02 or .03: two separate intervals would overlap.
    first = np.linspace(0.0, 0.9, 40)
    found = compare_one(first, first + np.tile([0.02, 0.03], 20))
    assert found.change.value == pytest.approx(0.025)
    # Standard deviation .005, over sqrt(40) and times 1.96: .0016.
    assert found.change.low == pytest.approx(0.0234, abs=0.0004)
    assert found.change.high == pytest.approx(0.0266, abs=0.0004)


def test_equal_for_every_user():
    assert compare_one([0.0, 1.0], [0.0, 1.0]).verdict == "equal"


def test_users_are_joined_by_name():
    # User by user B has .5 more; row by row it would be +1.5, .5, -.5.
    first = evaluation("A", [0.0, 1.0, 2.0], ["x", "y", "z"])
    second = evaluation("B", [2.5, 1.5, 0.5], ["z", "y", "x"])
    [found] = compare_evaluations(first, second).differences
    assert found.change == (0.5, 0.5, 0.5)


def test_equal_evaluations_have_equal_intervals_whichever_way():
    first, second = evaluation("A", [0.0, 0.5, 1.0, 0.0]), evaluation("B", [1.0, 0.5, 0.0, 0.5])
    [there] = compare_evaluations(first, second).differences
    [again] = compare_evaluations(first, second).differences
    [back] = compare_evaluations(second, first).differences
    assert there == again
    assert back.change == pytest.approx((-there.change.value, -there.change.high, -there.change.low))


def test_the_intervals_are_of_as_many_resamples_as_the_evaluation_drew():
    # One resample is its own smallest and largest.
    first = evaluation("A", [0.0, 0.5, 1.0, 0.0], protocol=PROTOCOL | {"resamples": 1})
    [found] = compare_evaluations(first, evaluation("B", [1.0, 0.5, 0.0, 0.5])).differences
    assert found.change.low == found.change.high


def test_metrics_that_one_alone_has_are_named():
    first = evaluation("A", {"recall_at_10": [1.0], "recall_at_50": [1.0]})
    second = evaluation("B", {"mrr_at_10": [1.0], "recall_at_10": [1.0]})
    found = compare_evaluations(first, second)
    assert [difference.metric for difference in found.differences] == ["recall_at_10"]
    assert (found.only_first, found.only_second) == (("recall_at_50",), ("mrr_at_10",))
    with pytest.raises(EvaluationError, match=r"no metric in common: \['recall_at_50'\] and \['mrr_at_10'\]"):
        compare_evaluations(evaluation("A", {"recall_at_50": [1.0]}), evaluation("B", {"mrr_at_10": [1.0]}))


def test_other_data_are_refused_with_what_differs():
    first = evaluation("release 1", [1.0] * 1200)
    second = evaluation(
        "release 2",
        [1.0] * 3,
        fingerprint="cd34",
        catalogue_items=51,
        users_sampled_of=9,
        seen_splits=["a", "b"],
        protocol=PROTOCOL | {"candidates": "all", "split": {"kind": "time", "days": 7}},
    )
    with pytest.raises(EvaluationError) as refused:
        compare_evaluations(first, second)
    assert str(refused.value).startswith(
        "release 1 and release 2 were evaluated on different data, so their difference would say nothing"
        " about the models: users 1,200 and 3, users sampled of none and 9, held-out interactions 1,200 and"
        " 3, catalogue items 50 and 51, splits known before [train] and [a, b], candidates new and all,"
        " split.kind latest_per_user and time, split.days none and 7. Run both on the same tables"
    )


def test_other_data_of_the_same_size_are_refused_too():
    with pytest.raises(
        EvaluationError, match="models: as many users, held-out interactions and items, but not"
    ):
        compare_evaluations(evaluation("A", [1.0]), evaluation("B", [1.0], fingerprint="cd34"))


@pytest.mark.parametrize(
    ("users", "match"),
    [(["a", "c"], "1 of the 2 users .* 2 of"), (["a", "b", "c"], "0 of the 2 users .* 3 of")],
)
def test_files_that_contradict_their_reports_are_refused(users, match):
    first = evaluation("A", [1.0, 1.0], ["a", "b"])
    with pytest.raises(EvaluationError, match=match):
        compare_evaluations(first, evaluation("B", [1.0] * len(users), users))


HALF = [0.0] * 50 + [1.0] * 50
ZEROS, ONES = [0.0] * 100, [1.0] * 100


@pytest.mark.parametrize(
    ("first", "second", "sentence"),
    [
        ({"mrr_at_10": ZEROS}, {"mrr_at_10": ONES}, "B (run b) is better than A in mrr@10."),
        (
            {"mrr_at_10": ZEROS, "ndcg_at_10": ZEROS, "recall_at_10": HALF, "recall_at_50": ONES},
            {"mrr_at_10": ONES, "ndcg_at_10": ZEROS, "recall_at_10": HALF[::-1], "recall_at_50": HALF},
            "B (run b) is better than A in mrr@10; worse than A in recall@50; equal to A in ndcg@10. Which is"
            " better cannot be told from these 100 users in recall@10: the interval of the difference holds"
            " 0.",
        ),
        (
            {"mrr_at_10": HALF},
            {"mrr_at_10": HALF[::-1]},
            "Which is better cannot be told from these 100 users in any metric: the interval of the"
            " difference holds 0.",
        ),
        ({"mrr_at_10": HALF}, {"mrr_at_10": HALF}, "B (run b) equals A (release 1) for every user."),
        (
            {"mrr_at_10": [0.0] * 29},
            {"mrr_at_10": [1.0] * 29},
            "B (run b) is better than A in mrr@10. With fewer than 30 users an interval itself is uncertain.",
        ),
    ],
)
def test_the_sentence(first, second, sentence):
    comparison = compare_evaluations(evaluation("release 1", first), evaluation("run b", second))
    assert summarize(comparison) == sentence
