"""What ML Metadata of a run directory says about its runs, read without TFX."""

import contextlib
import datetime
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from pipeline.metadata_lock import keep_steps_from_metadata
from pipeline.retraining.lock import is_running
from schemas.contract import EVALUATION_REPORT_FILE
from schemas.errors import DssmError

if TYPE_CHECKING:
    from ml_metadata import MetadataStore
    from ml_metadata.proto import metadata_store_pb2

METADATA_FILE: Final = "metadata.sqlite"
LAST: Final = "last"

_INGEST: Final = "components.interaction_ingest.component.InteractionIngest"
_EVALUATOR: Final = "components.retrieval_evaluator.component.RetrievalEvaluator"
_PUSHER: Final = "components.tower_pusher.component.TowerPusher"
_FINISHED: Final = ("COMPLETE", "CACHED")

Status = Literal["released", "not blessed", "failed", "running", "interrupted"]
"""`interrupted`: the run, or the step that it was at, was killed and could not say that it failed."""


class RunError(DssmError):
    """A run cannot be found, or did not leave what is asked for."""


@dataclass(frozen=True)
class Run:
    """A run of the pipeline."""

    run_id: str
    """What the release's manifest calls the run; TFX's own id where it ended before a step was told that."""
    pipeline: str
    """The name of the pipeline."""
    started: datetime.datetime
    """When; UTC."""
    seconds: float
    """From its start to the last thing that a step did; of a running one, until now."""
    status: Status
    """How it ended."""
    steps: tuple[str, ...]
    """The steps that failed; of a running or interrupted one those that run or were interrupted."""
    release: int | None
    """The version of its release."""
    report: Path | None
    """The folder of the evaluation's report; None where it did not come to that."""
    blessing_metric: str | None
    """The metric that decides on the blessing; None as `metrics`, and of versions that did not note it."""
    metrics: dict[str, float] | None
    """The evaluation; None where it did not come to that, or where its report cannot be read."""
    ingest_report: Path | None = None
    """The folder of the ingest's report; None where it did not come to that."""
    window: tuple[str, str, int] | None = None
    """The days that the ingest was asked for: the first and the last, '' for none, and how many back from the
    newest, 0 for none; None where it did not come to that."""


def read_runs(directory: Path, most: int | None = None) -> list[Run]:
    """Read the runs of a run directory.

    Args:
        directory: The folder with ML Metadata's file.
        most: Read only this many of the newest; None: all.

    Returns:
        The newest first.

    Raises:
        RunError: There is no such file, or ML Metadata cannot read it.
    """
    with open_metadata(directory) as store:
        contexts = list_run_contexts(store)
        runs_on = is_running(directory)
        return [
            _read_run(store, context, is_live=runs_on and number == 0)
            for number, context in enumerate(contexts[:most])
        ]


@contextlib.contextmanager
def open_metadata(directory: Path, *, writable: bool = False) -> Iterator["MetadataStore"]:
    """Open ML Metadata's file of a run directory, and keep steps from it meanwhile.

    Args:
        directory: The folder with ML Metadata's file.
        writable: Whether it is to be written.

    Yields:
        The store.

    Raises:
        RunError: There is no such file, or ML Metadata cannot read or write it.
    """
    file = directory / METADATA_FILE
    if not file.is_file():
        raise RunError(
            f"No runs in {directory}: expected {METADATA_FILE} in it, which `dssm run` writes. "
            "run.directory in the configuration says where."
        )
    import ml_metadata
    from ml_metadata.errors import StatusError
    from ml_metadata.proto import metadata_store_pb2

    connection = metadata_store_pb2.ConnectionConfig()
    connection.sqlite.filename_uri = str(file)
    modes = metadata_store_pb2.SqliteMetadataSourceConfig
    connection.sqlite.connection_mode = modes.READWRITE if writable else modes.READONLY
    try:
        with keep_steps_from_metadata(directory):
            yield ml_metadata.MetadataStore(connection)
    except (StatusError, RuntimeError) as error:
        reason = (str(error).splitlines() or [""])[0]
        action = "write" if writable else "read"
        raise RunError(f"Cannot {action} ML Metadata's file {file}: {reason}") from error


def list_run_contexts(store: "MetadataStore") -> list["metadata_store_pb2.Context"]:
    """List what ML Metadata calls runs.

    Args:
        store: ML Metadata.

    Returns:
        The context of each run, the newest first.
    """
    return sorted(
        store.get_contexts_by_type("pipeline_run"),
        key=lambda context: (context.create_time_since_epoch, context.id),
        reverse=True,
    )


def find_pipeline(store: "MetadataStore", context: "metadata_store_pb2.Context") -> str:
    """Find the name of a run's pipeline.

    Args:
        store: ML Metadata.
        context: The run's.

    Returns:
        The name; '' where ML Metadata does not know it.
    """
    return next((parent.name for parent in store.get_parent_contexts_by_context(context.id)), "")


def find_run(runs: Sequence[Run], name: str) -> Run:
    """Find the run that a user means.

    Args:
        runs: The newest first.
        name: A run id, the beginning of one, or `last`.

    Returns:
        The run.

    Raises:
        RunError: There is none, or there are several.
    """
    if name == LAST and runs:
        return runs[0]
    exact = [run for run in runs if run.run_id == name]
    found = exact or [run for run in runs if name and run.run_id.startswith(name)]
    if len(found) == 1:
        return found[0]
    some = ", ".join(run.run_id for run in (found or runs)[:3]) or "none"
    if found:
        raise RunError(f"{len(found)} runs begin with {name!r}: {some}{_more(found)}. Write more of the id.")
    raise RunError(
        f"No run {name!r}. Expected a run id or its beginning, or {LAST}; the newest runs are: {some}."
        " `dssm runs` lists them."
    )


def find_run_id(
    context: "metadata_store_pb2.Context", executions: Iterable["metadata_store_pb2.Execution"]
) -> str:
    """Find what the release's manifest calls a run.

    Args:
        context: The run's.
        executions: Its steps.

    Returns:
        The id; TFX's own where the run ended before a step was told that.
    """
    given = (
        properties["run_id"].string_value
        for execution in executions
        for properties in (execution.custom_properties, execution.properties)
        if "run_id" in properties
    )
    return next(filter(None, given), context.name)


def describe_status(run: Run) -> str:
    """Say how a run ended.

    Args:
        run: The run.

    Returns:
        Such as `released` or `failed in Trainer`.
    """
    if not run.steps:
        return run.status
    joint = {"failed": " in ", "interrupted": " in ", "running": ": "}.get(run.status, ", failed in ")
    return f"{run.status}{joint}{', '.join(run.steps)}"


def _read_run(store: "MetadataStore", context: "metadata_store_pb2.Context", is_live: bool) -> Run:
    executions = store.get_executions_by_context(context.id)
    by_type = {execution.type: execution for execution in executions}
    ingest, evaluator, pusher = (by_type.get(step) for step in (_INGEST, _EVALUATOR, _PUSHER))
    ingested = {} if ingest is None else _read_outputs(store, [ingest])
    outputs = _read_outputs(store, [step for step in (evaluator, pusher) if step is not None])
    report = outputs.get("report")
    report_folder = None if report is None else Path(report.uri)
    evaluation = None if report_folder is None else _read_evaluation(report_folder)
    pushed = outputs.get("pushed_release")
    status, steps = _judge(store, executions, pushed, is_live)
    started = datetime.datetime.fromtimestamp(context.create_time_since_epoch / 1000, datetime.UTC)
    ended = max(
        (execution.last_update_time_since_epoch for execution in executions),
        default=context.create_time_since_epoch,
    )
    seconds = (ended - context.create_time_since_epoch) / 1000
    if status == "running":
        seconds = (datetime.datetime.now(datetime.UTC) - started).total_seconds()
    return Run(
        run_id=find_run_id(context, executions),
        pipeline=find_pipeline(store, context),
        started=started,
        seconds=seconds,
        status=status,
        steps=steps,
        release=pushed.custom_properties["version"].int_value if pushed and status == "released" else None,
        report=report_folder,
        blessing_metric=None if evaluation is None else evaluation.get("gate", {}).get("metric"),
        metrics=None if evaluation is None else evaluation["metrics"],
        ingest_report=Path(ingested["report"].uri) if "report" in ingested else None,
        window=None if ingest is None else _read_window(ingest),
    )


def _read_window(ingest: "metadata_store_pb2.Execution") -> tuple[str, str, int] | None:
    asked = {
        name: properties[name]
        for properties in (ingest.custom_properties, ingest.properties)
        for name in ("window_from", "window_to", "window_last_days")
        if name in properties
    }
    # A step that was killed in its driver has been told nothing yet.
    if len(asked) < 3:
        return None
    first, last = asked["window_from"].string_value, asked["window_to"].string_value
    return first, last, asked["window_last_days"].int_value


def _judge(
    store: "MetadataStore",
    executions: Iterable["metadata_store_pb2.Execution"],
    pushed: "metadata_store_pb2.Artifact | None",
    is_live: bool,
) -> tuple[Status, tuple[str, ...]]:
    by_state: dict[str, list[Any]] = {}
    for execution in executions:
        state = type(execution).State.Name(execution.last_known_state)
        by_state.setdefault(state, []).append(execution)
    failed = _name_steps(store, by_state.get("FAILED", []))
    if pushed is not None:
        return "released" if pushed.custom_properties["pushed"].int_value else "not blessed", failed
    if failed:
        return "failed", failed
    if is_live:
        return "running", _name_steps(store, by_state.get("RUNNING", []))
    unfinished = [step for state, steps in by_state.items() if state not in _FINISHED for step in steps]
    return "interrupted", _name_steps(store, unfinished)


def _name_steps(
    store: "MetadataStore", executions: Iterable["metadata_store_pb2.Execution"]
) -> tuple[str, ...]:
    return tuple(
        context.name.rsplit(".", maxsplit=1)[-1]
        for execution in sorted(executions, key=lambda execution: execution.id)
        for context in store.get_contexts_by_execution(execution.id)
        if context.type == "node"
    )


def _read_outputs(
    store: "MetadataStore", executions: Sequence["metadata_store_pb2.Execution"]
) -> dict[str, "metadata_store_pb2.Artifact"]:
    if not executions:
        return {}
    events = {
        event.artifact_id: event.path.steps[0].key
        for event in store.get_events_by_execution_ids([execution.id for execution in executions])
        if type(event).Type.Name(event.type) == "OUTPUT"
    }
    return {events[artifact.id]: artifact for artifact in store.get_artifacts_by_id(list(events))}


def _read_evaluation(folder: Path) -> dict[str, Any] | None:
    # Artifacts are deleted to make space, which the list of runs survives.
    try:
        return json.loads((folder / EVALUATION_REPORT_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _more(found: Sequence[Run]) -> str:
    return f" and {len(found) - 3} more" if len(found) > 3 else ""
