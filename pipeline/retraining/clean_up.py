"""Retention after a retraining, which nothing of it can make fail."""

import datetime
import logging
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
    # The release stands; the next retraining, or `dssm prune`, tries again.
    try:
        _clean_up(config, say)
    except DssmError as error:
        say(f"Warning: cleaning up came to no end: {error}")
    except OSError as error:
        # It names the path.
        say(
            "Warning: cleaning up came to no end: expected folders that this user may list and delete from. "
            f"Received: {error}. Mend what it names; the next retraining, or `dssm prune`, tries again."
        )
    except Exception as error:
        logging.getLogger(__name__).exception("Cleaning up failed")
        say(
            f"Warning: cleaning up came to no end: {type(error).__name__}: {error}. Run `dssm prune` to see "
            "whether it comes again, and report it."
        )


def _clean_up(config: PipelineConfig, say: Callable[[str], None]) -> None:
    plan = plan_retention(config, datetime.datetime.now(datetime.UTC))
    if plan.going:
        result = apply_retention(plan)
        say(render_retention(plan, result))
        if result.failed:
            say(render_failures(result))
