"""One run of a compiled pipeline on an endpoint: start it and follow it."""

from __future__ import annotations

import logging
import time
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any, Final

from pipeline.kubeflow.client import Kubeflow, KubeflowError
from pipeline.kubeflow.upload import PipelineVersion
from schemas.contract import PROGRESS_LOGGER

_SUCCEEDED: Final = "SUCCEEDED"
_ENDED: Final = frozenset({_SUCCEEDED, "FAILED", "CANCELED", "SKIPPED"})
# How often in a row the state may be unreadable, each time after the client's own repetitions.
_FAILED_POLLS: Final = 20

_progress = logging.getLogger(PROGRESS_LOGGER)


@dataclass(frozen=True)
class RunRequest:
    """What one run is given."""

    name: str
    """What the run is called."""
    experiment: str
    """Name of the experiment that it belongs to; made if there is none."""
    parameters: dict[str, Any] = field(default_factory=dict)
    """Run parameters that differ from the defaults."""
    pipeline_root: str | None = None
    """URI under which the artifacts are kept; None for the installation's own."""
    service_account: str | None = None
    """Kubernetes service account of the pods; None for the installation's own."""


def start_run(kubeflow: Kubeflow, version: PipelineVersion, request: RunRequest) -> str:
    """Start a run.

    Args:
        kubeflow: The endpoint.
        version: What runs.
        request: What the run is given.

    Returns:
        The run's id.

    Raises:
        KubeflowError: A call failed.
    """
    experiment_id = find_experiment(kubeflow, request.experiment)
    run = kubeflow.call(
        "start the run",
        kubeflow.client.run_pipeline,
        experiment_id=experiment_id,
        job_name=request.name,
        params=request.parameters,
        pipeline_id=version.pipeline_id,
        version_id=version.version_id,
        pipeline_root=request.pipeline_root,
        service_account=request.service_account,
    )
    return run.run_id


def find_experiment(kubeflow: Kubeflow, name: str) -> str:
    """Find an experiment, or make it.

    Args:
        kubeflow: The endpoint.
        name: Its name.

    Returns:
        Its id.

    Raises:
        KubeflowError: A call failed.
    """
    experiment = kubeflow.call(
        f"find the experiment {name}",
        kubeflow.client.create_experiment,
        name=name,
        namespace=kubeflow.namespace,
    )
    return experiment.experiment_id


def follow_run(kubeflow: Kubeflow, run_id: str, tasks: Collection[str], poll_seconds: float) -> str:
    """Wait until a run ends and report every change of its state and of its tasks'.

    Args:
        kubeflow: The endpoint.
        run_id: The run.
        tasks: Ids and names of the pipeline's tasks. The server also lists the graph itself, and the pods
            that prepare a task and those of each attempt at it.
        poll_seconds: Pause between two looks at it.

    Returns:
        The state in which it ended.

    Raises:
        KubeflowError: Its state could not be read for a long time, or the credentials expired.
    """
    seen: dict[str, str] = {}
    failures = 0
    while True:
        try:
            run = kubeflow.call("read the run's state", kubeflow.client.get_run, run_id)
            failures = 0
        except KubeflowError as error:
            failures += 1
            # An answer below 500 will not change by itself; an outage may.
            if 0 < error.status < 500 or failures > _FAILED_POLLS:
                raise
            time.sleep(poll_seconds)
            continue
        _report_changes(run, tasks, seen)
        if run.state in _ENDED:
            _report_errors(run)
            return run.state
        time.sleep(poll_seconds)


def has_succeeded(state: str) -> bool:
    """Tell whether a run ended well.

    Args:
        state: The state in which it ended.

    Returns:
        Whether it succeeded.
    """
    return state == _SUCCEEDED


def _list_nodes(run: Any) -> list[Any]:
    return (run.run_details.task_details if run.run_details else None) or []


def _report_changes(run: Any, tasks: Collection[str], seen: dict[str, str]) -> None:
    clock = time.strftime("%H:%M:%S")
    for task in _list_nodes(run):
        if task.display_name in tasks and task.state and seen.get(task.task_id) != task.state:
            seen[task.task_id] = task.state
            _progress.info("%s  %-24s %s", clock, task.display_name, task.state)
    state = run.state or "PENDING"
    if seen.get("") != state:
        seen[""] = state
        _progress.info("%s  %-24s %s", clock, "run", state)


def _report_errors(run: Any) -> None:
    for name, error in [
        ("run", run.error),
        *((task.display_name, task.error) for task in _list_nodes(run) if task.state == "FAILED"),
    ]:
        if error and error.message:
            _progress.info("%s: %s", name, " ".join(error.message.split()))
