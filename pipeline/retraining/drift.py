"""Says whether a row of warm starts has drifted from a model that began from nothing."""

from pipeline.comparison import Comparison
from schemas.ranking.metrics import show_metric


def describe_comparison(comparison: Comparison) -> str:
    """Say whether a row of warm starts has fallen behind a model that began from nothing.

    Args:
        comparison: The warm model's evaluation, and the cold one's on the same data.

    Returns:
        A sentence with the difference of the metric that decides on the blessing, and its 95 % interval.
    """
    decides = comparison.second.report["gate"]["metric"]
    [found] = [difference for difference in comparison.differences if difference.metric == decides]
    verdict = {
        "better": "the row of warm starts has fallen behind: the model that began from nothing is better",
        "worse": "the row of warm starts is ahead of a model that began from nothing",
    }.get(found.verdict, "the row of warm starts has not measurably fallen behind")
    return (
        f"Warm against cold on the same data: {show_metric(decides)} {found.first:.4f} and "
        f"{found.second:.4f}, cold less warm {found.change.value:+.4f} [{found.change.low:+.4f}, "
        f"{found.change.high:+.4f}]: {verdict}."
    )
