"""What an evaluation found: a JSON document, and lines for whoever watches the run."""

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from schemas.contract import EVALUATION_REPORT_FILE, PROGRESS_LOGGER, VALIDATION_SPLIT


def write_report(report: dict[str, Any], folder: Path) -> None:
    """Write the report as JSON.

    Args:
        report: What `evaluate_model` returned.
        folder: The artifact's folder, made if it is missing.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / EVALUATION_REPORT_FILE).write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


def describe_users(report: Mapping[str, Any]) -> str:
    """Say how many users were evaluated, and of how many where they are a sample.

    Args:
        report: What `evaluate_model` returned.

    Returns:
        Such as `943 users` or `a sample of 10,000 of 100,000 users`.
    """
    if report["users_sampled_of"] is None:
        return f"{report['users']:,} users"
    return f"a sample of {report['users']:,} of {report['users_sampled_of']:,} users"


def log_report(report: dict[str, Any]) -> None:
    """Say what was found to whoever watches the run.

    Args:
        report: What `evaluate_model` returned.
    """
    progress = logging.getLogger(PROGRESS_LOGGER)
    progress.info(
        "Evaluated %s with %s held-out interactions over all %s items: %s.",
        describe_users(report),
        f"{report['held_out']:,}",
        f"{report['catalogue_items']:,}",
        ", ".join(
            f"{name.replace('_at_', '@')} {value:.4f} (popularity {report['popularity'][name]:.4f})"
            for name, value in report["metrics"].items()
        ),
    )
    protocol = report["protocol"]
    is_masked = protocol["candidates"] == "new"
    repeats = protocol["repeats"]
    if repeats["repeated"]:
        progress.info(
            "%s of %s held-out items are repeats, which their user had before: %s (evaluation.candidates: "
            "%s).",
            f"{repeats['repeated']:,}",
            f"{repeats['held_out']:,}",
            f"not asked for, which leaves {repeats['users_without_target']:,} users out"
            if is_masked
            else "asked for like the others",
            protocol["candidates"],
        )
    if is_masked and VALIDATION_SPLIT in report["seen_splits"]:
        progress.info(
            "What the users have in %s is left out of the ranking.", " and ".join(report["seen_splits"])
        )
    blessing = report["blessing"]
    progress.info(
        "%s: %s %.4f, popularity %.4f, minimum %.4f.",
        "Blessed" if report["blessed"] else "Not blessed",
        blessing["metric"].replace("_at_", "@"),
        blessing["value"],
        blessing["popularity"],
        blessing["minimum"],
    )
