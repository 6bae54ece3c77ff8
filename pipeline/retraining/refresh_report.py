"""What a person, or a program, reads of a refresh."""

import dataclasses
import json
from collections.abc import Mapping

from pipeline.retraining.refresh_index import Refresh


def render_refresh(refresh: Refresh, is_dry_run: bool) -> str:
    """Say what a refresh found and did.

    Args:
        refresh: What it gave.
        is_dry_run: Whether it was only to say what would change.

    Returns:
        A line a fact that was not shown as progress; whether a training is due comes last.
    """
    lines = [
        f"Items: {refresh.items_before:,} in release {refresh.release}, {refresh.items_after:,} now: "
        f"{refresh.new:,} new, {refresh.gone:,} gone, {refresh.changed:,} with changed features"
        f"{_list_counts(refresh.changed_features)}"
    ]
    if refresh.shown_otherwise:
        lines.append(f"Shown otherwise, with the same features: {refresh.shown_otherwise:,} items")
    if refresh.dropped:
        lines.append(f"Rows of the item table dropped{_list_counts(refresh.dropped)}")
    if refresh.filled:
        lines.append(f"Defaults filled in{_list_counts(refresh.filled)}")
    if refresh.positives_left_out:
        lines.append(
            f"Left out of the known users' histories: {refresh.positives_left_out:,} positives with items "
            "that are gone"
        )
    lines.append(_tell_push(refresh, is_dry_run))
    if refresh.without_vocabulary:
        lines.append(
            f"Release {refresh.release} does not keep the vocabulary of "
            f"{', '.join(refresh.without_vocabulary)}: whether new values are in it is not known."
        )
    if refresh.training_due is not None:
        lines.append(refresh.training_due)
    return "\n".join(lines)


def refresh_to_json(refresh: Refresh) -> str:
    """Render a refresh as JSON.

    Args:
        refresh: What it gave.

    Returns:
        An object with the fields of `Refresh`, and `training_due`.
    """
    return json.dumps({**dataclasses.asdict(refresh), "training_due": refresh.training_due}, indent=2)


def _tell_push(refresh: Refresh, is_dry_run: bool) -> str:
    if not refresh.has_changes:
        return f"Nothing to do: release {refresh.release} has these very items."
    if is_dry_run:
        return f"Would push a new release with the towers of release {refresh.release}."
    return f"Pushed release {refresh.pushed}, with the towers of release {refresh.release}."


def _list_counts(counts: Mapping[str, int]) -> str:
    listed = ", ".join(f"{name} {count:,}" for name, count in counts.items())
    return f" ({listed})" if listed else ""
