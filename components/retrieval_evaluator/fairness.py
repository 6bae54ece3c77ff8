"""Whether a released model may be judged on this run's held-out rows, or has been trained on them.

A release's manifest says until when its training saw the log, and by which split. Two cases are safe:

- the model saw nothing as new as the oldest row that is held out now;
- both hold out each user's latest positives, the release at least as many of them, and today's log goes at
  least as far as the release's did: what is a user's latest row today was the latest one then, and held out,
  or was not there yet.

Everything else is taken as seen.
"""

from collections.abc import Mapping
from typing import Any

from components.retrieval_evaluator.split_times import SplitTimes
from schemas.release import TrainedOn

_LATEST = "latest_per_user"


def find_unfairness(trained_on: TrainedOn | None, split: Mapping[str, Any], times: SplitTimes) -> str | None:
    """Say why a released model is no fair rival on held-out rows.

    Args:
        trained_on: What its manifest says; None of a release that does not say it.
        split: The rule of this run's split, as `ingest.split` has it.
        times: When this run's splits lie; some row is held out.

    Returns:
        The reason; None where it is fair.
    """
    if trained_on is None:
        return "its manifest does not say what it was trained on"
    assert times.held_out_from is not None
    assert times.held_out_until is not None
    if trained_on.until < times.held_out_from:
        return None
    if split["kind"] != _LATEST or trained_on.split["kind"] != _LATEST:
        return (
            f"it was trained on the log until {trained_on.until}, and rows from {times.held_out_from} on are "
            "held out now (seconds since 1970)"
        )
    theirs, ours = trained_on.split.get("skip_latest", 0), split.get("skip_latest", 0)
    if theirs < ours:
        return (
            f"it was trained on all but the latest {theirs + 1} of each user's positives, and this run holds "
            f"out the one before the latest {ours}"
        )
    if trained_on.log_until > times.held_out_until:
        return (
            f"its log went on until {trained_on.log_until}, this run's until {times.held_out_until} (seconds "
            "since 1970): what is a user's latest positive now was not the latest then"
        )
    return None
