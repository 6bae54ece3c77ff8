"""Whether a released model may be judged on this run's held-out rows, or has been trained on them.

A release's manifest says until when its training saw the log, and by which split. Two cases are safe:

- the model saw nothing as new as the oldest row that is held out now;
- both hold out each user's latest positives, the release at least as many of them, and today's log goes at
  least as far as the release's did: what is a user's latest row today was the latest one then, and held out,
  or was not there yet.

Everything else is taken as seen. A model that began from the weights of a release has seen what that one
had, and so on.
"""

from collections.abc import Mapping
from typing import Any

from components.retrieval_evaluator.split_times import SplitTimes
from schemas.release import TrainedOn

_LATEST = "latest_per_user"


def find_unfairness(trained_on: TrainedOn | None, split: Mapping[str, Any], times: SplitTimes) -> str | None:
    """Say why a model is not to be judged on this run's held-out rows.

    Args:
        trained_on: What its manifest says; None of a release that does not say it.
        split: The rule of this run's split, as `ingest.split` has it.
        times: When this run's splits lie; some row is held out.

    Returns:
        The reason; None where it is fair.
    """
    if trained_on is None:
        return "its manifest does not say what it was trained on"
    if times.held_out_from is None or trained_on.until < times.held_out_from:
        return None
    for theirs in trained_on.splits:
        reason = _find_overlap(trained_on, theirs, split, times)
        if reason is not None:
            return reason
    return None


def _find_overlap(
    trained_on: TrainedOn, theirs: Mapping[str, Any], ours: Mapping[str, Any], times: SplitTimes
) -> str | None:
    if ours["kind"] != _LATEST or theirs["kind"] != _LATEST:
        return (
            f"it was trained on the log until {trained_on.until}, and rows from {times.held_out_from} on are "
            "held out now (seconds since 1970)"
        )
    left_out, skipped = theirs.get("skip_latest", 0) + 1, ours.get("skip_latest", 0)
    if left_out <= skipped:
        return (
            f"it was trained on all but the latest {left_out} of each user's positives, and this run holds "
            f"out the one before the latest {skipped}"
        )
    if trained_on.log_until > times.log_until:
        return (
            f"its log went on until {trained_on.log_until}, this run's until {times.log_until} (seconds "
            "since 1970): what is a user's latest positive now was not the latest then"
        )
    return None


def describe_training(
    times: SplitTimes,
    split: Mapping[str, Any],
    is_refitted: bool,
    base: TrainedOn | None,
    sequences_sha256: str,
) -> TrainedOn:
    """Say how much of the log a model has seen.

    Args:
        times: When the splits lie that it was trained on.
        split: Their rule.
        is_refitted: Whether it was trained on validation, too.
        base: What the release was trained on that the training began from; None: it began from nothing.
        sequences_sha256: Hash of the folder of the sequences that it was trained on.

    Returns:
        What the manifest says.
    """
    ends = [times.train_until, times.validation_until if is_refitted else None]
    until = max(end for end in ends if end is not None)
    log_until, splits = times.log_until, [dict(split)]
    if base is not None:
        until, log_until = max(until, base.until), max(log_until, base.log_until)
        splits += [theirs for theirs in base.splits if theirs not in splits]
    return TrainedOn(until, log_until, splits, {"sequences": sequences_sha256})
