"""What the runs of a run directory left on disk, and its rows in ML Metadata.

TFX has an artifact at <run directory>/artifacts/<step>/<output>/<execution>, and what its executor says at
<run directory>/artifacts/<step>/.system. A step that is reused makes no artifact: its execution refers to the
one of an earlier run.
"""

import datetime
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from pipeline.runs import find_pipeline, find_run_id, list_run_contexts

if TYPE_CHECKING:
    from ml_metadata import MetadataStore
    from ml_metadata.proto import metadata_store_pb2

ARTIFACTS_FOLDER: Final = "artifacts"
_PUBLISHED: Final = ("COMPLETE", "CACHED")
_SYSTEM_FOLDER: Final = ".system"


@dataclass(frozen=True)
class RunFiles:
    """What a run of the pipeline made or used."""

    run_id: str
    """What the release's manifest calls the run."""
    pipeline: str
    """The name of the pipeline."""
    started: datetime.datetime
    """When; UTC."""
    artifact_ids: frozenset[int]
    """The artifacts that ML Metadata says are there."""
    folders: frozenset[Path]
    """Folders that are there, also of artifacts that ML Metadata says are deleted."""


@dataclass(frozen=True)
class RunDirectoryFiles:
    """What the runs of a run directory left."""

    runs: tuple[RunFiles, ...]
    """The newest first."""
    newest: int | None
    """By what ML Metadata knows the newest run; None where there is none."""
    unfinished: tuple[Path, ...]
    """What steps that never ended were writing, and their temporary folders."""


def read_run_files(store: "MetadataStore", directory: Path) -> RunDirectoryFiles:
    """Find what the runs of a run directory left.

    Args:
        store: ML Metadata of the run directory.
        directory: The run directory. It can have been moved: where ML Metadata has its artifacts is not
            looked at, but for the last three names.

    Returns:
        What is there. While a run goes on, what it writes counts as unfinished.
    """
    artifacts_folder = directory / ARTIFACTS_FOLDER
    outputs = _find_by_execution(artifacts_folder.glob("*/*/*"))
    said = _find_by_execution(artifacts_folder.glob(f"*/{_SYSTEM_FOLDER}/executor_execution/*"))
    contexts = list_run_contexts(store)
    runs = []
    killed: set[int] = set()
    for context in contexts:
        executions = store.get_executions_by_context(context.id)
        artifacts = _read_artifacts(store, executions)
        folders = {_find_folder(artifacts_folder, artifact) for artifact in artifacts}
        for execution in executions:
            folders.update(said[execution.id])
            if type(execution).State.Name(execution.last_known_state) not in _PUBLISHED:
                killed.add(execution.id)
        runs.append(
            RunFiles(
                run_id=find_run_id(context, executions),
                pipeline=find_pipeline(store, context),
                started=datetime.datetime.fromtimestamp(context.create_time_since_epoch / 1000, datetime.UTC),
                artifact_ids=frozenset(artifact.id for artifact in artifacts if not _is_deleted(artifact)),
                folders=frozenset(folder for folder in folders if folder is not None and folder.is_dir()),
            )
        )
    published = {folder for run in runs for folder in run.folders}
    unfinished = [folder for execution in killed for folder in outputs[execution] if folder not in published]
    unfinished += artifacts_folder.glob(f"*/{_SYSTEM_FOLDER}/executor_execution/*/.temp")
    unfinished += artifacts_folder.glob(f"*/{_SYSTEM_FOLDER}/stateful_working_dir/*")
    return RunDirectoryFiles(
        runs=tuple(runs),
        newest=contexts[0].id if contexts else None,
        unfinished=tuple(sorted(unfinished)),
    )


def mark_deleted(store: "MetadataStore", artifact_ids: Iterable[int]) -> None:
    """Say in ML Metadata that artifacts are deleted, so that no step is reused for them.

    Args:
        store: ML Metadata, open for writing.
        artifact_ids: The artifacts; all are marked or none.
    """
    artifacts = store.get_artifacts_by_id(list(artifact_ids))
    for artifact in artifacts:
        artifact.state = type(artifact).DELETED
    store.put_artifacts(artifacts)


def _read_artifacts(
    store: "MetadataStore", executions: Iterable["metadata_store_pb2.Execution"]
) -> list["metadata_store_pb2.Artifact"]:
    events = store.get_events_by_execution_ids([execution.id for execution in executions])
    return store.get_artifacts_by_id(sorted({event.artifact_id for event in events}))


def _is_deleted(artifact: "metadata_store_pb2.Artifact") -> bool:
    return artifact.state == type(artifact).DELETED


def _find_folder(artifacts_folder: Path, artifact: "metadata_store_pb2.Artifact") -> Path | None:
    names = Path(artifact.uri).parts[-3:]
    is_ours = len(names) == 3 and names[2].isdecimal()
    return artifacts_folder.joinpath(*names) if is_ours else None


def _find_by_execution(folders: Iterable[Path]) -> Mapping[int, list[Path]]:
    found: dict[int, list[Path]] = defaultdict(list)
    for folder in folders:
        if folder.name.isdecimal() and folder.is_dir():
            found[int(folder.name)].append(folder)
    return found
