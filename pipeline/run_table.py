"""What a person, or a program, reads about runs."""

import dataclasses
import json
from collections.abc import Sequence
from typing import Final

from tabulate import tabulate

from pipeline.runs import Run, describe_status
from schemas.ranking.metrics import show_metric

_METRICS_SHOWN: Final = 4


def render_runs(runs: Sequence[Run], most: int | None = None) -> str:
    """Render runs as a table.

    Args:
        runs: The newest first.
        most: Show this many, and say whether there are more; None: all.

    Returns:
        A line a run: the metric that decides on the blessing, and the first of each other kind.
    """
    if not runs:
        return "No runs."
    shown = runs[:most]
    metrics = _choose_metrics(shown)
    names = [[run.pipeline] if len({run.pipeline for run in shown}) > 1 else [] for run in shown]
    rows = [
        (
            *(run.run_id, *name, f"{run.started:%Y-%m-%d %H:%M:%S}", describe_status(run)),
            *(_format(run, metric) for metric in metrics),
            *(f"{run.seconds:,.0f}", "-" if run.release is None else str(run.release)),
        )
        for run, name in zip(shown, names, strict=True)
    ]
    texts = ["run", *(["pipeline"] if any(names) else []), "started (UTC)", "status"]
    figures = [*(show_metric(metric) for metric in metrics), "seconds", "release"]
    table = tabulate(
        rows,
        headers=[*texts, *figures],
        disable_numparse=True,
        colalign=["left"] * len(texts) + ["right"] * len(figures),
    )
    notes = []
    gone = [run for run in shown if run.report is not None and run.metrics is None]
    if gone:
        notes.append(f"No metrics where the evaluation's report cannot be read, such as in {gone[0].report}.")
    if len(runs) > len(shown):
        notes.append("There are older runs: --most 0 shows all.")
    return "\n".join([table, *notes])


def runs_to_json(runs: Sequence[Run], most: int | None = None) -> str:
    """Render runs as JSON.

    Args:
        runs: The newest first.
        most: Show this many; None: all.

    Returns:
        A list of objects with the fields of `Run`, times in ISO 8601.
    """
    documents = [dataclasses.asdict(run) | {"started": run.started.isoformat()} for run in runs[:most]]
    # What is left that JSON does not know are paths.
    return json.dumps(documents, indent=2, default=str)


def _choose_metrics(runs: Sequence[Run]) -> list[str]:
    newest = next((run for run in runs if run.metrics), None)
    if newest is None or newest.metrics is None:
        return []
    main = newest.blessing_metric
    chosen = [main] if main in newest.metrics else []
    for name in newest.metrics:
        # The cut-offs of a metric stand side by side, the smallest first.
        kinds = {other.split("_at_")[0] for other in chosen if other != main}
        if name != main and name.split("_at_")[0] not in kinds:
            chosen.append(name)
    return chosen[:_METRICS_SHOWN]


def _format(run: Run, metric: str) -> str:
    value = (run.metrics or {}).get(metric)
    return "-" if value is None else f"{value:.4f}"
