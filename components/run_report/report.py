"""From the facts of a run to the files of its report."""

import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from components.run_report.config import ReportConfig
from components.run_report.inputs import RunFacts
from components.run_report.markdown import render_markdown
from components.run_report.page import render_page
from components.run_report.scalars import collect_scalars
from components.run_report.sections import build_sections
from schemas.contract import MODEL_ID, PROGRESS_LOGGER


@dataclass(frozen=True)
class ReportFiles:
    """Where a report is written."""

    page: Path
    """The HTML file."""
    markdown: Path
    """The Markdown file."""
    scalars: Path
    """The JSON file."""


def write_report(facts: RunFacts, config: ReportConfig, files: ReportFiles) -> dict[str, float]:
    """Write the report of a run as a page, as Markdown and as numbers.

    Args:
        facts: What is known of the run.
        config: What is drawn.
        files: Where it is written; their folders are there.

    Returns:
        The numbers by name.
    """
    name = (facts.settings.get("run") or {}).get("name")
    title = f"Run report: {name}" if name else "Run report"
    subtitle = f"Run {facts.run_id}, model {facts.evaluation[MODEL_ID]}"
    sections = build_sections(facts, config)
    scalars = collect_scalars(facts.evaluation)
    document: dict[str, Any] = {
        "run_id": facts.run_id,
        MODEL_ID: facts.evaluation[MODEL_ID],
        "scalars": scalars,
    }
    files.page.write_text(render_page(title, subtitle, sections), encoding="utf-8")
    files.markdown.write_text(render_markdown(title, subtitle, sections), encoding="utf-8")
    files.scalars.write_text(json.dumps(document, indent=2, allow_nan=False) + "\n", encoding="utf-8")
    logging.getLogger(PROGRESS_LOGGER).info("Report: %s", files.page)
    return scalars
