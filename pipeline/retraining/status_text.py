"""A status as a person, another program and Prometheus read it."""

import dataclasses
import datetime
import json
from typing import Any, Final

from prometheus_client import CollectorRegistry, Gauge, generate_latest

from pipeline.retraining.plan_text import render_plan
from pipeline.retraining.status import ChainStatus
from pipeline.run_table import render_runs

_MIB: Final = 2**20


def render_status(status: ChainStatus, now: datetime.datetime) -> str:
    """Render a status as text.

    Args:
        status: The status.
        now: What ages are counted to, with a time zone.

    Returns:
        A few lines, the verdict last.
    """
    lines = [render_runs(status.runs), ""]
    if status.released is not None:
        lines.append(f"Current release: {status.release}, {_show_age(now - status.released)} old")
    if status.plan is not None:
        lines += ["dssm retrain would now:", *(f"  {line}" for line in render_plan(status.plan).splitlines())]
    when = "none on this machine" if status.next_run is None else f"{status.next_run:%a %Y-%m-%d %H:%M:%S %Z}"
    lines.append(f"Next scheduled run: {when}")
    lines += [f"At work in {folder}: {holder}" for folder, holder in status.holders.items()]
    lines += [f"On disk: {size / _MIB:,.1f} MiB in {folder}" for folder, size in status.disk_bytes.items()]
    if status.retention_bytes is not None:
        lines.append(f"dssm prune would free {status.retention_bytes / _MIB:,.1f} MiB")
    lines += [f"PROBLEM: {problem}" for problem in status.problems]
    if status.is_healthy:
        lines.append("All is well")
    return "\n".join(lines)


def status_to_json(status: ChainStatus) -> str:
    """Render a status as JSON.

    Args:
        status: The status.

    Returns:
        An object with the fields of `ChainStatus` and `healthy`, times in ISO 8601.
    """
    document = dataclasses.asdict(status) | {"healthy": status.is_healthy}
    return json.dumps(document, indent=2, default=_to_text)


def status_to_prometheus(status: ChainStatus) -> str:
    """Render a status in Prometheus' text format, for the node exporter's textfile collector.

    Args:
        status: The status.

    Returns:
        Gauges, each with the label `pipeline`. What is not known is left out.
    """
    registry = CollectorRegistry()

    def add(name: str, text: str, value: float | None, **labels: str) -> None:
        if value is None:
            return
        gauge = gauges.get(name) or Gauge(name, text, ["pipeline", *labels], registry=registry)
        gauges[name] = gauge
        gauge.labels(pipeline=status.pipeline, **labels).set(value)

    gauges: dict[str, Gauge] = {}
    add("dssm_healthy", "1 where nobody is needed.", float(status.is_healthy))
    add("dssm_problems", "What needs a person.", len(status.problems))
    add("dssm_current_release", "Version of the current release.", status.release)
    add("dssm_current_release_timestamp_seconds", "When it was published.", _to_seconds(status.released))
    if status.runs:
        last = status.runs[0]
        add("dssm_last_run_timestamp_seconds", "When the last run started.", _to_seconds(last.started))
        add("dssm_last_run_seconds", "How long it took.", last.seconds)
        add("dssm_last_run_status", "1 for how it ended.", 1.0, status=last.status)
    if status.plan is not None:
        changes = status.plan.changes
        add("dssm_new_days", "Days of the log that were not trained on.", len(changes.new_days))
        add("dssm_changed_days", "Days that changed after they were trained on.", len(changes.changed_days))
    add("dssm_next_run_timestamp_seconds", "When the schedule starts one.", _to_seconds(status.next_run))
    add("dssm_runs_at_work", "1 while a process is at work in a directory.", float(bool(status.holders)))
    for folder, size in status.disk_bytes.items():
        add("dssm_disk_bytes", "What a directory takes.", size, directory=folder)
    add("dssm_retention_bytes", "What dssm prune would free.", status.retention_bytes)
    return generate_latest(registry).decode()


def _to_seconds(moment: datetime.datetime | None) -> float | None:
    return None if moment is None else moment.timestamp()


def _to_text(value: Any) -> str:
    return value.isoformat() if isinstance(value, datetime.date) else str(value)


def _show_age(age: datetime.timedelta) -> str:
    hours = age.total_seconds() / 3600
    return f"{hours:.1f} hours" if hours < 48 else f"{hours / 24:.1f} days"
