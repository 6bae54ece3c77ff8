"""What a person, or a program, reads about a prune."""

import json
from collections.abc import Iterable, Mapping
from typing import Any, Final

from tabulate import tabulate

from pipeline.retraining.retention import RetentionPlan, RetentionResult
from pipeline.retraining.retention_rules import Going, Staying

_MIB: Final = 2**20
_NAMES_SHOWN: Final = 3


def render_retention(plan: RetentionPlan, result: RetentionResult | None) -> str:
    """Render a plan, or what became of it.

    Args:
        plan: What is to go.
        result: What became of it; None: nothing was deleted.

    Returns:
        A line for each that goes, and one for each reason why others stay.
    """
    going = plan.going if result is None else result.removed
    words = "Would remove" if result is None else "Removed"
    lines = [f"{words}: nothing."]
    if going:
        size = sum(one.size_bytes for one in going)
        lines = [_render_table(going), "", f"{words}: {len(going):,}, {size / _MIB:,.1f} MiB."]
    lines += _explain([*plan.staying, *(result.skipped if result is not None else ())])
    return "\n".join(lines)


def render_failures(result: RetentionResult) -> str:
    """Render what could not be deleted.

    Args:
        result: What became of a plan.

    Returns:
        A line each; '' where all went well.
    """
    return "\n".join(f"Cannot remove {one.kind} {one.name}: {one.reason}" for one in result.failed)


def retention_to_json(plan: RetentionPlan, result: RetentionResult | None) -> str:
    """Render a plan, or what became of it, as JSON.

    Args:
        plan: What is to go.
        result: What became of it; None: nothing was deleted.

    Returns:
        An object: what is or would be `removed`, what is `kept` and what `failed`, each with kind and name.
    """
    going = plan.going if result is None else result.removed
    kept = [*plan.staying, *(result.skipped if result is not None else ())]
    document = {
        "dry_run": result is None,
        "bytes": sum(one.size_bytes for one in going),
        "removed": [_summarise(one) for one in going],
        "kept": [vars(one) for one in kept],
        "failed": [vars(one) for one in (result.failed if result is not None else ())],
    }
    return json.dumps(document, indent=2)


def _render_table(going: Iterable[Going]) -> str:
    return tabulate(
        [(one.kind, one.name, f"{one.age_days:,.1f}", f"{one.size_bytes / _MIB:,.1f}") for one in going],
        headers=["", "name", "days", "MiB"],
        disable_numparse=True,
        colalign=["left", "left", "right", "right"],
    )


def _explain(staying: Iterable[Staying]) -> list[str]:
    names: dict[tuple[str, str], list[str]] = {}
    for one in staying:
        names.setdefault((one.kind, one.reason), []).append(one.name)
    return [f"Kept {kind} {_shorten(found)}: {reason}." for (kind, reason), found in names.items()]


def _shorten(names: list[str]) -> str:
    more = f" and {len(names) - _NAMES_SHOWN:,} more" if len(names) > _NAMES_SHOWN else ""
    return f"{', '.join(names[:_NAMES_SHOWN])}{more}"


def _summarise(going: Going) -> Mapping[str, Any]:
    return {
        "kind": going.kind,
        "name": going.name,
        "age_days": round(going.age_days, 3),
        "bytes": going.size_bytes,
        "locations": list(going.locations),
    }
