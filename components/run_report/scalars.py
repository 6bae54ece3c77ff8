"""The report as numbers, which other programs compare."""

from collections.abc import Mapping
from typing import Any


def collect_scalars(evaluation: Mapping[str, Any]) -> dict[str, float]:
    """Collect the numbers by which runs are compared.

    Args:
        evaluation: RetrievalEvaluator's document.

    Returns:
        The model's metrics by name, those of every other model as `popularity.recall_at_10`, the number of
        users, 1.0 or 0.0 as `blessed`, and what share of exact search's items the index finds as
        `ann_recall`.
    """
    scalars = dict(evaluation["metrics"])
    for model in evaluation["models"]:
        if model["name"] != "model":
            scalars |= {
                f"{model['name']}.{name}": estimate["value"] for name, estimate in model["metrics"].items()
            }
    scalars |= {"users": evaluation["users"], "blessed": evaluation["blessed"]}
    scalars["ann_recall"] = evaluation["ann"]["recall"]
    return {name: float(value) for name, value in scalars.items()}
