"""What a person reads at the end of a run."""

from typing import TYPE_CHECKING

from tabulate import tabulate

from components.interaction_ingest.report import summarize
from components.retrieval_evaluator.report import describe_users

if TYPE_CHECKING:
    from pipeline.local import RunResult


def render_run(result: "RunResult", seconds: float) -> str:
    """Render a finished run as text.

    Args:
        result: The run.
        seconds: How long the whole command took.

    Returns:
        A table of metrics beside the popularity baseline's, the verdict, and the release's path.
    """
    report = result.evaluation_report
    rows = [
        (name.replace("_at_", "@"), value, report["popularity"][name])
        for name, value in report["metrics"].items()
    ]
    table = tabulate(rows, headers=("metric", "model", "popularity"), floatfmt=".4f")
    blessing = report["blessing"]
    verdict = (
        f"{blessing['metric']} {blessing['value']:.4f}, to beat: popularity {blessing['popularity']:.4f}"
        f" and the floor {blessing['minimum']:.4f}"
    )
    if result.release is None:
        outcome = f"Not blessed ({verdict}): nothing was released."
    else:
        outcome = f"Blessed ({verdict}).\nRelease: {result.release}"
    scope = (
        f"{describe_users(report)}, {report['held_out']:,} held-out interactions,"
        f" all {report['catalogue_items']:,} items ranked"
    )
    return (
        f"\n{summarize(result.ingest_report)}\n{scope}\n{table}\n\n{outcome}\nThe run took {seconds:.0f} s."
    )
