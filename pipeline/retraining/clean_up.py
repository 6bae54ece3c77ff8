"""Retention after a retraining, which nothing of it can make fail."""

import datetime
from collections.abc import Callable

from pipeline.config import PipelineConfig
from pipeline.retraining.retention import apply_retention, plan_retention
from pipeline.retraining.retention_table import render_failures, render_retention
from schemas.errors import DssmError


def clean_up(config: PipelineConfig, say: Callable[[str], None]) -> None:
    """Delete what `retraining.retention` no longer keeps, and say what.

    Args:
        config: The checked configuration.
        say: Shows a person a text.
    """
    try:
        plan = plan_retention(config, datetime.datetime.now(datetime.UTC))
        if plan.going:
            result = apply_retention(plan)
            say(render_retention(plan, result))
            if result.failed:
                say(render_failures(result))
    except DssmError as error:
        # The release stands; the next retraining, or `dssm prune`, tries again.
        say(f"Warning: nothing was cleaned up: {error}")
