"""Recommenders that need no training of ours, on the same queries as the model."""

from components.retrieval_evaluator.baselines.interface import Baseline, BaselineQueries, BaselineResult
from components.retrieval_evaluator.baselines.log import BaselineLog, read_baseline_log
from components.retrieval_evaluator.baselines.registry import BASELINES, LABELS

__all__ = [
    "BASELINES",
    "LABELS",
    "Baseline",
    "BaselineLog",
    "BaselineQueries",
    "BaselineResult",
    "read_baseline_log",
]
