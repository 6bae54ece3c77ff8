"""Whether a model may be released."""

from pathlib import Path
from typing import Any

from components.retrieval_evaluator.config import EvaluationConfig
from schemas.contract import BLESSED_FILE, NOT_BLESSED_FILE


def decide(
    metrics: dict[str, float], popularity: dict[str, float], config: EvaluationConfig
) -> tuple[bool, dict[str, Any]]:
    """Bless a model whose metric is above popularity's and at least the minimum.

    Args:
        metrics: The model's metrics by name.
        popularity: The baseline's.
        config: The rule.

    Returns:
        The verdict and the figures that it rests on.
    """
    name = config.blessing_metric
    is_blessed = metrics[name] > popularity[name] and metrics[name] >= config.blessing_minimum
    figures = {
        "metric": name,
        "value": metrics[name],
        "popularity": popularity[name],
        "minimum": config.blessing_minimum,
    }
    return is_blessed, figures


def write_blessing(is_blessed: bool, folder: Path) -> None:
    """Write the file that says whether the model may be released.

    Args:
        is_blessed: The verdict.
        folder: The artifact's folder, made if it is missing.
    """
    folder.mkdir(parents=True, exist_ok=True)
    # One byte, since some object stores and copies lose empty files.
    (folder / (BLESSED_FILE if is_blessed else NOT_BLESSED_FILE)).write_text("\n", encoding="utf-8")
