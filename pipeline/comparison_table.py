"""What a person, or a program, reads about a comparison."""

import json
from typing import Any

from tabulate import tabulate

from pipeline.comparison import Comparison, summarize
from pipeline.evaluations import Evaluation
from schemas.ranking.metrics import show_metric


def render_comparison(comparison: Comparison) -> str:
    """Render a comparison as text.

    Args:
        comparison: The comparison.

    Returns:
        A table, and what it says in a sentence.
    """
    rows = [
        (
            show_metric(difference.metric),
            f"{difference.first:.4f}",
            f"{difference.second:.4f}",
            f"{difference.change.value:+.4f}",
            f"[{difference.change.low:+.4f}, {difference.change.high:+.4f}]",
            f"B is {difference.verdict}" if difference.verdict in ("better", "worse") else difference.verdict,
        )
        for difference in comparison.differences
    ]
    table = tabulate(
        rows,
        ("metric", "A", "B", "B - A", "95 % interval", ""),
        disable_numparse=True,
        colalign=("left", "right", "right", "right", "right", "left"),
    )
    lines = [
        f"A: {_describe(comparison.first)}",
        f"B: {_describe(comparison.second)}",
        f"The same {len(comparison.first.users):,} users, {comparison.first.report['held_out']:,} held-out"
        f" interactions, {comparison.first.report['catalogue_items']:,} items.",
        "",
        table,
        "",
        summarize(comparison),
    ]
    for name, metrics in (("A", comparison.only_first), ("B", comparison.only_second)):
        if metrics:
            lines.append(f"Only {name} has {', '.join(metrics)}.")
    return "\n".join(lines)


def comparison_to_json(comparison: Comparison) -> str:
    """Render a comparison as JSON.

    Args:
        comparison: The comparison.

    Returns:
        An object with `a`, `b`, `users`, `metrics`, `only_a`, `only_b` and `summary`.
    """
    document = {
        "a": _identify(comparison.first),
        "b": _identify(comparison.second),
        "users": len(comparison.first.users),
        "metrics": [
            {
                "metric": difference.metric,
                "a": difference.first,
                "b": difference.second,
                "difference": {
                    "value": difference.change.value,
                    "low": difference.change.low,
                    "high": difference.change.high,
                },
                "verdict": difference.verdict,
            }
            for difference in comparison.differences
        ],
        "only_a": comparison.only_first,
        "only_b": comparison.only_second,
        "summary": summarize(comparison),
    }
    return json.dumps(document, indent=2)


def _describe(evaluation: Evaluation) -> str:
    return f"{evaluation.name}, model {evaluation.report['model_id']}"


def _identify(evaluation: Evaluation) -> dict[str, Any]:
    return {
        "name": evaluation.name,
        "run_id": evaluation.report.get("run_id"),
        "model_id": evaluation.report["model_id"],
    }
