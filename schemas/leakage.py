"""What a model has seen of the log, and whether that reaches rows that another run holds out.

A release's manifest says until when its training saw the log, and by which split. Two cases are safe:

- the model saw nothing as new as the oldest row that is held out now;
- both hold out each user's latest positives, the release at least as many of them, and today's log goes at
  least as far as the release's did: what is a user's latest row today was the latest one then, and held out,
  or was not there yet.

Everything else is taken as seen. A model that began from the weights of a release has seen what that one
had, and so on. It matters twice: a release that has seen eval rows is no fair rival and no base to start
from, and one that has seen validation rows is no base for a training that stops by them.
"""

from collections.abc import Mapping
from typing import Any, Final

from schemas.release.manifest import TrainedOn
from schemas.split_times import SplitTimes

HOLDS_VALIDATION: Final = "holds_validation"
"""Key in `TrainedOn.splits`: whether a validation split was held out as well, beside eval."""

_LATEST: Final = "latest_per_user"


def find_leak(
    trained_on: TrainedOn | None,
    split: Mapping[str, Any],
    times: SplitTimes,
    *,
    with_validation: bool = False,
) -> str | None:
    """Say why a model may have been trained on rows that this run holds out.

    Args:
        trained_on: What its manifest says; None of a release that does not say it.
        split: The rule of this run's split, as `ingest.split` has it.
        times: When this run's splits lie.
        with_validation: Whether the rows of the validation split are meant as well as those of eval.

    Returns:
        The reason; None where it has seen none.
    """
    if trained_on is None:
        return "its manifest does not say what it was trained on"
    starts = [times.held_out_from, times.validation_from if with_validation else None]
    held_out_from = min((start for start in starts if start is not None), default=None)
    if held_out_from is None or trained_on.until < held_out_from:
        return None
    for theirs in trained_on.splits:
        reason = _find_overlap(trained_on, theirs, split, times, held_out_from, with_validation)
        if reason is not None:
            return reason
    return None


def _find_overlap(
    trained_on: TrainedOn,
    theirs: Mapping[str, Any],
    ours: Mapping[str, Any],
    times: SplitTimes,
    held_out_from: int,
    with_validation: bool,
) -> str | None:
    if ours["kind"] != _LATEST or theirs["kind"] != _LATEST:
        return (
            f"it was trained on the log until {trained_on.until}, and rows from {held_out_from} on are "
            "held out now (seconds since 1970)"
        )
    left_out = theirs.get("skip_latest", 0) + 1 + bool(theirs.get(HOLDS_VALIDATION))
    # The oldest that a user can have held out has as many newer ones.
    newer = ours.get("skip_latest", 0) + (with_validation and times.validation_from is not None)
    if left_out <= newer:
        return (
            f"it was trained on all but the latest {left_out} of each user's positives, and this run holds "
            f"out the one before the latest {newer}"
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
    holds_validation = times.validation_until is not None and not is_refitted
    log_until, splits = times.log_until, [{**split, HOLDS_VALIDATION: holds_validation}]
    if base is not None:
        until, log_until = max(until, base.until), max(log_until, base.log_until)
        splits += [theirs for theirs in base.splits if theirs not in splits]
    return TrainedOn(until, log_until, splits, {"sequences": sequences_sha256})
