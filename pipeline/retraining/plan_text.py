"""A plan as a person reads it."""

from collections.abc import Sequence
from typing import Final

from pipeline.retraining.plan import Plan

_DAYS_SHOWN: Final = 7


def render_plan(plan: Plan) -> str:
    """Render a plan as text.

    Args:
        plan: The plan.

    Returns:
        A few lines.
    """
    lines = [f"Window: {_describe_window(plan)}"]
    if plan.catches_up:
        lines[0] += "; it reaches back to the day after the newest that a release has seen"
    changes, since = plan.changes, "" if plan.record is None else f" since {plan.record.source}"
    if plan.resumed is not None:
        lines.append(f"Takes up run {plan.resumed}, which failed")
    if changes.new_days:
        lines.append(f"New{since}: {_list_days(changes.new_days)}")
    if changes.changed_days:
        lines.append(f"Came late or were corrected{since}: {_list_days(changes.changed_days)}")
    if plan.passed_days:
        lines.append(
            f"Came after the window had left them behind{since}, so no model is trained on them: "
            f"{_list_days(plan.passed_days)}. A longer ingest.window would have them"
        )
    if changes.tables:
        lines.append(f"Changed{since}: the tables of {', '.join(changes.tables)}")
    if not changes:
        lines.append(f"Nothing is new{since}")
    lines += [f"{training.start.title()} training: {training.reason}" for training in plan.trainings]
    if len(plan.trainings) > 1:
        lines.append("Both are then compared, user by user")
    if not plan.trainings:
        lines.append("Nothing to do")
    return "\n".join(lines)


def _describe_window(plan: Plan) -> str:
    window = plan.window
    if window is None or not (window.first or window.last or window.last_days):
        text = "all interactions"
    elif window.last_days:
        text = f"the last {window.last_days} days of the log"
    else:
        text = f"{window.first or 'the first day'} to {window.last or 'the last day'}"
    return f"{text}, {len(plan.days)} days with a file" if plan.days else text


def _list_days(days: Sequence[str]) -> str:
    shown = ", ".join(days[-_DAYS_SHOWN:])
    return f"{len(days):,} days, the newest {shown}" if len(days) > _DAYS_SHOWN else shown
