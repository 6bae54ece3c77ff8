"""What a person reads at the end of a run."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from tabulate import tabulate

from components.interaction_ingest.report import summarize
from components.retrieval_evaluator.report import describe_users
from schemas.ranking.metrics import show_metric

if TYPE_CHECKING:
    from pipeline.local import RunResult

_SHOWN: Final = ("recall", "ndcg")
"""The metrics on the screen; the report has all of them."""


def render_run(result: "RunResult", seconds: float) -> str:
    """Render a finished run as text.

    Args:
        result: The run.
        seconds: How long the whole command took.

    Returns:
        A table of metrics beside those of the baselines and the released model, the verdict, and the path
        of the release.
    """
    report = result.evaluation_report
    scope = (
        f"{describe_users(report)}, {report['held_out']:,} held-out interactions,"
        f" all {report['catalogue_items']:,} items ranked"
    )
    outcome = report["gate"]["sentence"]
    if result.release is None:
        outcome += "\nNothing was released."
    else:
        outcome += f"\nRelease: {result.release}"
    return (
        f"\n{summarize(result.ingest_report)}\n{scope}\n{render_metrics(report)}\n\n{outcome}\n"
        f"The run took {seconds:.0f} s."
    )


def render_metrics(report: Mapping[str, Any]) -> str:
    """Render the metrics of every model that was ranked.

    Args:
        report: The evaluation's document.

    Returns:
        A table with a row for each model; those that decide about the release have intervals of 95 %.
    """
    names = [name for name in report["metrics"] if name.rpartition("_at_")[0] in _SHOWN]
    rows = []
    for model in report["models"]:
        if model["metrics"]:
            figures = [model["metrics"][name]["value"] for name in names]
            of_deciding = model["metrics"][report["gate"]["metric"]]
            interval = f"{of_deciding['low']:.4f} to {of_deciding['high']:.4f}"
            rows.append((model["label"], *figures, interval))
        else:
            rows.append((model["label"], *[None] * len(names), model["note"]))
    headers = [show_metric(name) for name in names]
    deciding = show_metric(report["gate"]["metric"])
    return tabulate(rows, headers=("", *headers, f"95 % of {deciding}"), floatfmt=".4f", missingval="-")
