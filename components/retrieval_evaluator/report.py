"""What an evaluation leaves: files, and lines for whoever watches the run."""

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from schemas.contract import (
    EVALUATION_REPORT_FILE,
    PER_USER_METRICS_FILE,
    PROGRESS_LOGGER,
    VALIDATION_SPLIT,
)
from schemas.ranking.metrics import show_metric
from schemas.skew import SCORES_SAMPLE_FILE, ScoresSample, write_scores_sample


def write_evaluation(
    report: Mapping[str, Any], per_user: pa.Table, scores: ScoresSample, folder: Path
) -> None:
    """Write the report as JSON, and the metrics of each user and the scores of some as Parquet.

    Args:
        report: The document.
        per_user: [queries] `user` and the metrics.
        scores: The best items of some users.
        folder: The artifact's folder, made if it is missing.
    """
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(report, indent=2, allow_nan=False, ensure_ascii=False)
    (folder / EVALUATION_REPORT_FILE).write_text(text + "\n", encoding="utf-8")
    pq.write_table(per_user, folder / PER_USER_METRICS_FILE)
    write_scores_sample(scores, folder / SCORES_SAMPLE_FILE)


def describe_users(report: Mapping[str, Any]) -> str:
    """Say how many users were evaluated, and of how many where they are a sample.

    Args:
        report: The document.

    Returns:
        Such as `943 users` or `a sample of 10,000 of 100,000 users`.
    """
    if report["users_sampled_of"] is None:
        return f"{report['users']:,} users"
    return f"a sample of {report['users']:,} of {report['users_sampled_of']:,} users"


def describe_rule(rule: Mapping[str, Any]) -> str:
    """Write a rule of the gate in a line.

    Args:
        rule: As the document has it.

    Returns:
        Its verdict, its text, and its figure with the interval.
    """
    verdict = {True: "kept", False: "broken", None: "not applied"}[rule["passed"]]
    figure = ""
    if rule["value"] is not None:
        figure = f": {rule['value']:.4f}"
        if rule["low"] is not None:
            figure += f" ({rule['low']:.4f} to {rule['high']:.4f})"
    reason = f"; {rule['reason']}" if rule["reason"] else ""
    return f"{verdict}: {rule['text']}{figure}{reason}"


def log_report(report: Mapping[str, Any]) -> None:
    """Say what was found to whoever watches the run.

    Args:
        report: The document.
    """
    progress = logging.getLogger(PROGRESS_LOGGER)
    deciding = report["gate"]["metric"]
    progress.info(
        "Evaluated %s with %s held-out interactions over all %s items: %s.",
        describe_users(report),
        f"{report['held_out']:,}",
        f"{report['catalogue_items']:,}",
        f"{show_metric(deciding)} "
        + ", ".join(
            f"{model['label']} {model['metrics'][deciding]['value']:.4f}"
            for model in report["models"]
            if model["metrics"]
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
    for rule in report["gate"]["rules"]:
        progress.info("Rule %s", describe_rule(rule))
    progress.info(report["gate"]["sentence"])
