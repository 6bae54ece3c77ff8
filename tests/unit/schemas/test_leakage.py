import dataclasses

import pytest

from schemas.leakage import describe_training, find_leak
from schemas.release import TrainedOn
from schemas.split_times import SplitTimes

pytestmark = pytest.mark.unit

LATEST = {"kind": "latest_per_user", "skip_latest": 0}
# The same, as a manifest records it of a run without a validation split.
HELD_OUT_ONE = {**LATEST, "holds_validation": False}
# Held out: what happened from 500 to 900; trained until 880, since users differ in their latest row.
TIMES = SplitTimes(
    train_until=880, validation_from=None, validation_until=None, held_out_from=500, held_out_until=900
)
# With a validation split as well: from 400 to 890.
WITH_VALIDATION = dataclasses.replace(TIMES, validation_from=400, validation_until=890)


def trained(until, log_until=None, **split):
    return TrainedOn(until=until, log_until=log_until or until, splits=[{**LATEST, **split}])


def test_a_release_without_a_record_is_taken_to_have_seen_everything():
    assert find_leak(None, LATEST, TIMES) == "its manifest does not say what it was trained on"


@pytest.mark.parametrize("kind", ["latest_per_user", "cut_off", "last_days"])
def test_a_release_that_ended_before_the_first_held_out_row_is_fair(kind):
    assert find_leak(trained(499, kind=kind), {"kind": "last_days", "days": 1}, TIMES) is None


def test_a_release_that_was_trained_into_held_out_days_is_not_fair():
    reason = find_leak(trained(500), {"kind": "last_days", "days": 1}, TIMES)
    assert reason == (
        "it was trained on the log until 500, and rows from 500 on are held out now (seconds since 1970)"
    )


def test_two_runs_that_hold_out_the_latest_of_each_user_are_fair():
    # Yesterday's release: its log ended at 800. What a user did after it, it has not seen; of one who did
    # nothing since, the same row was held out.
    assert find_leak(trained(780, 800), LATEST, TIMES) is None


def test_a_release_of_the_same_log_is_fair():
    assert find_leak(trained(880, 900), LATEST, TIMES) is None


def test_a_release_that_held_out_fewer_has_seen_what_is_held_out_now():
    # It trained on all but the latest; this run leaves the latest out and holds out the one before it.
    reason = find_leak(trained(880, 900), {**LATEST, "skip_latest": 1}, TIMES)
    assert reason == (
        "it was trained on all but the latest 1 of each user's positives, and this run holds out the one "
        "before the latest 1"
    )


def test_a_release_that_held_out_more_is_fair():
    assert find_leak(trained(870, 900, skip_latest=1), LATEST, TIMES) is None


def test_a_release_of_a_longer_log_has_seen_what_an_older_window_holds_out():
    reason = find_leak(trained(950, 1000), LATEST, TIMES)
    assert "its log went on until 1000, this run's until 900" in reason


def test_the_log_ends_with_its_newest_row_whatever_its_split():
    # The only positive of a user is train, and may be newer than everything that is held out.
    times = dataclasses.replace(TIMES, train_until=1000)
    own = describe_training(times, LATEST, is_refitted=False, base=None, sequences_sha256="5e")
    assert own == TrainedOn(1000, 1000, [HELD_OUT_ONE], fingerprints={"sequences": "5e"})
    assert find_leak(own, LATEST, times) is None


def test_validation_counts_as_trained_on_where_the_model_was_fitted_again():
    times = dataclasses.replace(TIMES, train_until=700, validation_from=400, validation_until=800)
    assert describe_training(times, LATEST, is_refitted=False, base=None, sequences_sha256="5e").until == 700
    assert describe_training(times, LATEST, is_refitted=True, base=None, sequences_sha256="5e").until == 800


def test_a_model_has_seen_what_the_release_that_it_began_from_has():
    cut_off = {"kind": "cut_off", "time": "2026-01-01T00:00:00Z"}
    base = TrainedOn(until=850, log_until=860, splits=[cut_off])
    warm = describe_training(TIMES, LATEST, is_refitted=False, base=base, sequences_sha256="5e")
    assert warm == TrainedOn(880, 900, [HELD_OUT_ONE, cut_off], fingerprints={"sequences": "5e"})
    # The base was trained on every user's rows until 850, the latest ones among them.
    assert find_leak(warm, LATEST, TIMES).startswith("it was trained on the log until 880")
    again = describe_training(TIMES, LATEST, is_refitted=False, base=warm, sequences_sha256="6e")
    assert again.splits == [HELD_OUT_ONE, cut_off]
    # Of what it was trained on itself, unlike the splits.
    assert again.fingerprints == {"sequences": "6e"}


def test_validation_that_was_not_fitted_is_recorded_as_held_out():
    own = describe_training(WITH_VALIDATION, LATEST, is_refitted=False, base=None, sequences_sha256="5e")
    assert own.splits == [{**LATEST, "holds_validation": True}]
    fitted = describe_training(WITH_VALIDATION, LATEST, is_refitted=True, base=None, sequences_sha256="5e")
    assert fitted.splits == [{**LATEST, "holds_validation": False}]


def test_a_release_that_was_fitted_to_validation_has_seen_that_of_the_next_night():
    # A user who did nothing since has the same validation row, which the release was trained on.
    refitted = trained(890, 900, holds_validation=False)
    assert find_leak(refitted, LATEST, WITH_VALIDATION) is None
    assert find_leak(refitted, LATEST, WITH_VALIDATION, with_validation=True) == (
        "it was trained on all but the latest 1 of each user's positives, and this run holds out the one "
        "before the latest 1"
    )


def test_a_release_that_held_validation_out_has_not_seen_that_of_the_next_night():
    held = trained(880, 900, holds_validation=True)
    assert find_leak(held, LATEST, WITH_VALIDATION, with_validation=True) is None
    # Nor the one before the latest, where that is held out for evaluation.
    assert find_leak(held, {**LATEST, "skip_latest": 1}, TIMES) is None
    # But the one before that.
    assert find_leak(held, {**LATEST, "skip_latest": 1}, WITH_VALIDATION, with_validation=True) is not None


def test_days_of_validation_count_from_their_first_row():
    days = {"kind": "last_days", "days": 1}
    assert find_leak(trained(450, kind="last_days"), days, WITH_VALIDATION) is None
    leak = find_leak(trained(450, kind="last_days"), days, WITH_VALIDATION, with_validation=True)
    assert leak.startswith("it was trained on the log until 450, and rows from 400 on are held out now")
    assert find_leak(trained(399, kind="last_days"), days, WITH_VALIDATION, with_validation=True) is None
