"""What goes into a release: the files of every part, and the manifest."""

import dataclasses
import datetime
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from schemas.contract import (
    ANN,
    CONTEXT_STATISTICS_FILE,
    DAY_FINGERPRINTS,
    ENTITY_SPLIT,
    EVALUATION_REPORT_FILE,
    INDEX,
    INGEST_REPORT_FILE,
    ITEM_STATISTICS_FILE,
    ITEM_TOWER,
    MODEL_ID,
    MODEL_INFO_FILE,
    PART_FILE,
    PER_USER_METRICS_FILE,
    RETRIEVER,
    RETRIEVER_VERSION_FILE,
    SEQUENCE_FIGURES_FILE,
    STATE,
    STATISTICS_FILE,
    TRAIN_SPLIT,
    TRAINING_STATE_FILE,
    USER_STATISTICS_FILE,
    USER_TOWER,
    USERS,
    VOCABULARIES,
)
from schemas.errors import ConfigError, ReleaseError
from schemas.release import (
    Manifest,
    Refusal,
    RefusedModel,
    Release,
    ReleasedPart,
    combine_hashes,
    hash_folder,
    read_part_id,
)
from schemas.start import COLD, WARM
from schemas.strict_config import parse

_TRANSFORM_ASSETS: Final = "transform_fn/assets"
_SEQUENCE_FIGURES: Final = "sequence_figures"
_VERSION_FILE: Final = f"assets/{RETRIEVER_VERSION_FILE}"

_OF_ONE_RELEASE: Final = ("version", "created", "parts")
"""What a manifest says that is never the same in another."""

_STATISTICS: Final = {
    "user": (ENTITY_SPLIT, USER_STATISTICS_FILE),
    "item": (ENTITY_SPLIT, ITEM_STATISTICS_FILE),
    "context": (TRAIN_SPLIT, CONTEXT_STATISTICS_FILE),
}
"""Of which split the statistics of a table are kept, and in which file of the state."""


@dataclasses.dataclass(frozen=True)
class TableInputs:
    """The folders that say how a table was read: the users', the items' or the contexts'."""

    schema: Path
    """The schema."""
    transform_graph: Path
    """The transform graph."""
    statistics: Path
    """The statistics, with a folder for each split."""


@dataclasses.dataclass(frozen=True)
class PushInputs:
    """The folders that a release is made from."""

    model: Path
    """The Trainer's serving model: user_tower/, item_tower/, state/ and model.json."""
    index: Path
    """The candidate index."""
    report: Path
    """The evaluation report's folder."""
    ingest_report: Path
    """The ingest report's folder."""
    user: TableInputs
    """Those of the users."""
    item: TableInputs
    """Those of the items."""
    context: TableInputs | None = None
    """Those of the contexts, where there are context features."""
    ann: Path | None = None
    """The approximate index; None: the release has none."""
    retriever: Path | None = None
    """The retriever's SavedModel; None: the release has none."""
    sequences: Path | None = None
    """The users' sequences, for a server to find known users in; None: the release has none."""

    @property
    def tables(self) -> dict[str, TableInputs]:
        """By `user`, `item` and, where it is there, `context`."""
        context = {} if self.context is None else {"context": self.context}
        return {"user": self.user, "item": self.item, **context}


@dataclasses.dataclass(frozen=True)
class PartFile:
    """A file of a part before it is put in place."""

    content: Path | bytes
    """The file to copy, or what is written."""
    size_bytes: int
    """Its size."""
    sha256: str
    """Its hash, in hexadecimal."""


Part = Mapping[str, PartFile]
"""The files of a part, by path relative to its folder with forward slashes, sorted."""


@dataclasses.dataclass(frozen=True)
class Composition:
    """A release that has no version yet."""

    parts: Mapping[str, Part]
    """By name."""
    description: Mapping[str, Any]
    """What the manifest says beside the parts, the version and the time."""


def compose_release(inputs: PushInputs, run_id: str) -> Composition:
    """Read what a release is made of, and check that it belongs together.

    Args:
        inputs: The folders that the release is made from.
        run_id: The pipeline run.

    Returns:
        The release; its files are not copied.

    Raises:
        ReleaseError: The parts come from different trainings, or something is missing or unreadable.
    """
    try:
        description = _describe(inputs)
        parts = {STATE: _compose_state(inputs, description[MODEL_ID]), **compose_parts(inputs)}
    except OSError as error:
        raise ReleaseError(
            f"Cannot read what is to be released: {error}. Run the step before again."
        ) from error
    return Composition(parts, {"run_id": run_id, **description})


def compose_refusal(inputs: PushInputs, run_id: str) -> Refusal:
    """Say what was refused.

    Args:
        inputs: The folders that a release would have been made from.
        run_id: The pipeline run.

    Returns:
        The refusal, of now.

    Raises:
        ReleaseError: A report, or what describes the model, is missing or unreadable.
    """
    model = read_json(inputs.model / MODEL_INFO_FILE, (MODEL_ID, "warm_start"))
    [gate] = read_json(inputs.report / EVALUATION_REPORT_FILE, ("gate",)).values()
    refused = RefusedModel(start=COLD if model["warm_start"] is None else WARM, reason=gate["sentence"])
    return Refusal(
        run_id=run_id,
        refused=datetime.datetime.now(datetime.UTC).replace(microsecond=0),
        models={model[MODEL_ID]: refused},
        **read_json(inputs.ingest_report / INGEST_REPORT_FILE, (DAY_FINGERPRINTS,)),
    )


def compose_refresh(released: Release, made: Mapping[str, Path]) -> Composition:
    """Put parts that were made anew for the towers of a release together with the rest of it.

    Args:
        released: The release, with all of its parts on this machine.
        made: The folders of the new parts by name, an index among them; they take the place of the old ones.

    Returns:
        The release that follows; its files are not copied.

    Raises:
        ReleaseError: A new part comes from another training, or something is missing or unreadable.
    """
    model_id = released.manifest.model_id
    folders: dict[str, Mapping[str, Path | bytes]] = {
        name: list_folder(folder) for name, folder in {**released.paths, **made}.items()
    }
    for name, folder in made.items():
        if name == USERS:
            folders[USERS] = {**folders[USERS], PART_FILE: _compose_part_file(USERS, model_id)}
        else:
            read_part_id(folder, name, expected_model_id=model_id)
    described = dataclasses.asdict(released.manifest)
    for name in _OF_ONE_RELEASE:
        del described[name]
    described["items"] = read_json(made[INDEX] / PART_FILE, ("items",))["items"]
    described["refreshed_from"] = released.version
    if released.manifest.refreshed_from is None:
        described["trained"] = released.manifest.created
    try:
        parts = {name: _read_part(files) for name, files in folders.items()}
    except OSError as error:
        raise ReleaseError(f"Cannot read what is to be released: {error}. Refresh again.") from error
    return Composition(parts, described)


def compose_parts(inputs: PushInputs) -> dict[str, Part]:
    """List the parts that a server reads.

    Args:
        inputs: The folders that the release is made from.

    Returns:
        By name.

    Raises:
        ReleaseError: A folder is empty, or the model does not say which training made it.
    """
    folders: dict[str, Mapping[str, Path | bytes]] = {
        name: list_folder(folder) for name, folder in _locate_folders(inputs).items()
    }
    if inputs.sequences is not None:
        # The ingest, which made them, knows nothing of the training.
        model_id = read_json(inputs.model / MODEL_INFO_FILE, (MODEL_ID,))[MODEL_ID]
        folders[USERS] = {**list_folder(inputs.sequences), PART_FILE: _compose_part_file(USERS, model_id)}
    return {name: _read_part(files) for name, files in folders.items()}


def is_same_release(parts: Mapping[str, Part], manifest: Manifest) -> bool:
    """Tell whether a release holds these very parts.

    Args:
        parts: Those that a server reads.
        manifest: The release's.

    Returns:
        Whether it has no other ones, and every file of them is equal but for the retriever's version.
    """
    released = {name: part for name, part in manifest.parts.items() if name != STATE}
    return released.keys() == parts.keys() and all(
        _leave_out_version(_list_hashes(parts[part])) == _leave_out_version(released[part].hashes)
        for part in parts
    )


def number_parts(parts: Mapping[str, Part], version: int) -> dict[str, Part]:
    """Give the parts the version that they are released under.

    Args:
        parts: By name.
        version: The release's.

    Returns:
        The parts, of which the retriever answers with the version.
    """
    if RETRIEVER not in parts:
        return dict(parts)
    version_file = _read_file(str(version).encode())
    return {**parts, RETRIEVER: dict(sorted({**parts[RETRIEVER], _VERSION_FILE: version_file}.items()))}


def compose_manifest(version: int, parts: Mapping[str, Part], description: Mapping[str, Any]) -> bytes:
    """Write a manifest.

    Args:
        version: The release's.
        parts: All parts as they are in place, by name.
        description: What the manifest says beside them.

    Returns:
        The file's content.

    Raises:
        ReleaseError: The description is not what a manifest says.
    """
    content = {
        "version": version,
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "parts": {
            name: dataclasses.asdict(
                ReleasedPart(
                    path=f"{name}/{version}",
                    files={path: file.size_bytes for path, file in part.items()},
                    sha256=combine_hashes(_list_hashes(part)),
                    hashes=_list_hashes(part),
                )
            )
            for name, part in parts.items()
        },
        **description,
    }
    try:
        parse(Manifest, content, source="the manifest")
    except ConfigError as error:
        raise ReleaseError(f"The model, the index or the evaluation report is unusable: {error}") from error
    return (json.dumps(content, indent=2, sort_keys=True) + "\n").encode()


def read_json(file: Path, keys: tuple[str, ...]) -> dict[str, Any]:
    """Read values of a JSON file.

    Args:
        file: It holds an object.
        keys: Of which keys.

    Returns:
        The values by key.

    Raises:
        ReleaseError: The file cannot be read, is no JSON or lacks a key.
    """
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        return {key: content[key] for key in keys}
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise ReleaseError(f"{file}: expected JSON with {', '.join(keys)}. Received: {error!r}.") from error


def list_folder(folder: Path) -> dict[str, Path]:
    """List every file below a folder.

    Args:
        folder: The folder.

    Returns:
        By relative path with forward slashes.

    Raises:
        ReleaseError: There is none.
    """
    files = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    if not files:
        raise ReleaseError(f"{folder}: expected files. Received: none.")
    return files


def _locate_folders(inputs: PushInputs) -> dict[str, Path]:
    folders = {
        INDEX: inputs.index,
        ANN: inputs.ann,
        ITEM_TOWER: inputs.model / ITEM_TOWER,
        USER_TOWER: inputs.model / USER_TOWER,
        RETRIEVER: inputs.retriever,
    }
    return {name: folder for name, folder in folders.items() if folder is not None}


def _read_part(files: Mapping[str, Path | bytes]) -> Part:
    return {path: _read_file(content) for path, content in sorted(files.items())}


def _read_file(content: Path | bytes) -> PartFile:
    if isinstance(content, bytes):
        return PartFile(content, len(content), hashlib.sha256(content).hexdigest())
    with content.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    return PartFile(content, content.stat().st_size, digest)


def _list_hashes(part: Part) -> dict[str, str]:
    return {path: file.sha256 for path, file in part.items()}


def _leave_out_version(hashes: Mapping[str, str]) -> dict[str, str]:
    return {path: digest for path, digest in hashes.items() if path != _VERSION_FILE}


def _hash_tables(folders: Mapping[str, Path]) -> str:
    lines = (f"{hash_folder(folder)}  {name}\n" for name, folder in sorted(folders.items()))
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _compose_part_file(part: str, model_id: str) -> bytes:
    return json.dumps({MODEL_ID: model_id, "part": part}).encode()


def _compose_state(inputs: PushInputs, model_id: str) -> Part:
    trained = read_json(inputs.model / STATE / TRAINING_STATE_FILE, (MODEL_ID,))
    if trained[MODEL_ID] != model_id:
        raise ReleaseError(
            f"{inputs.model / STATE} comes from another training than its model: expected model id "
            f"{model_id!r}. Received: {trained[MODEL_ID]!r}. Train again."
        )
    files: dict[str, Path | bytes] = {**list_folder(inputs.model / STATE)}
    for name, table in inputs.tables.items():
        vocabularies = table.transform_graph / _TRANSFORM_ASSETS
        # A transform graph without a vocabulary has no such folder in a pod. The vocabularies of all tables
        # fit into one, since the names of features are unique.
        for path in vocabularies.rglob("*"):
            if path.is_file():
                files[f"{VOCABULARIES}/{path.relative_to(vocabularies).as_posix()}"] = path
        split, file = _STATISTICS[name]
        source = table.statistics / f"Split-{split}" / STATISTICS_FILE
        if not source.is_file():
            raise ReleaseError(f"Expected the {name} statistics in {source}. Received: no file.")
        files[file] = source
    for name in (EVALUATION_REPORT_FILE, PER_USER_METRICS_FILE):
        if not (inputs.report / name).is_file():
            raise ReleaseError(f"Expected {name} in {inputs.report}. Received: no file.")
        files[name] = inputs.report / name
    figures = read_json(inputs.ingest_report / INGEST_REPORT_FILE, (_SEQUENCE_FIGURES,))[_SEQUENCE_FIGURES]
    files[SEQUENCE_FIGURES_FILE] = (json.dumps(figures) + "\n").encode()
    files[PART_FILE] = _compose_part_file(STATE, model_id)
    return _read_part(files)


def _describe(inputs: PushInputs) -> dict[str, Any]:
    model = read_json(inputs.model / MODEL_INFO_FILE, (MODEL_ID, "dim", "temperature", "warm_start"))
    report = read_json(
        inputs.report / EVALUATION_REPORT_FILE, (MODEL_ID, "metrics", "popularity", "trained_on")
    )
    index = read_json(inputs.index / PART_FILE, ("dim", "items"))
    for part, folder in _locate_folders(inputs).items():
        read_part_id(folder, part, expected_model_id=model[MODEL_ID])
    if report[MODEL_ID] != model[MODEL_ID]:
        raise ReleaseError(
            f"The evaluation judged another model: expected model id {model[MODEL_ID]!r}. "
            f"Received: {report[MODEL_ID]!r}, in {inputs.report / EVALUATION_REPORT_FILE}."
        )
    if index["dim"] != model["dim"]:
        raise ReleaseError(
            f"The index has dim {index['dim']}, the model {model['dim']}; build the index anew."
        )
    schema = _hash_tables({name: table.schema for name, table in inputs.tables.items()})
    transform = _hash_tables({name: table.transform_graph for name, table in inputs.tables.items()})
    trained_on = report["trained_on"]
    if trained_on is not None:
        fingerprints = {**trained_on.get("fingerprints", {}), "schema": schema, "transform": transform}
        trained_on = {**trained_on, "fingerprints": fingerprints}
    return {
        MODEL_ID: model[MODEL_ID],
        "dim": model["dim"],
        "temperature": model["temperature"],
        "items": index["items"],
        "schema_sha256": schema,
        "transform_sha256": transform,
        "metrics": report["metrics"],
        "popularity": report["popularity"],
        "warm_start": model["warm_start"],
        "trained_on": trained_on,
        **read_json(inputs.ingest_report / INGEST_REPORT_FILE, (DAY_FINGERPRINTS,)),
    }
