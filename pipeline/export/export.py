"""Item embeddings of a release, with ids and columns, in the layout of a target."""

import contextlib
import dataclasses
import json
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from components.candidate_indexer.logic import IndexData, read_index
from pipeline.config import PipelineConfig
from pipeline.export.changes import find_changes, take_all
from pipeline.export.columns import choose_columns, to_plain_table
from pipeline.export.content import ExportedItems
from pipeline.export.formats import ExportFormat, load_format
from pipeline.export.output import MANIFEST_FILE, write_whole
from schemas.contract import INDEX
from schemas.errors import ReleaseError
from schemas.features import FeatureSpec
from schemas.release import Release, read_current_release, read_release

FORMAT_VERSION: Final = 1
"""Of the manifest and the layouts; another one is not read as this one."""


@dataclass(frozen=True)
class ExportManifest:
    """What an export is, as its manifest says it."""

    format: str
    """One of `pipeline.export.formats.MODULES`."""
    format_version: int
    """`FORMAT_VERSION`."""
    release: int
    """The exported release."""
    model_id: str
    """The training whose item tower made the embeddings."""
    since: int | None
    """The release that the target is to hold already; None: it is to be empty."""
    since_model_id: str | None
    """The training of that release."""
    dim: int
    """Width of the embeddings, which have unit length."""
    metric: str
    """What the target calls the inner product, by which it is to search."""
    item_id: str
    """Name of the item id column."""
    columns: dict[str, str]
    """The types of the other columns, by name."""
    catalogue: int
    """Items of the release: the written and the unchanged ones."""
    items: int
    """Written items: the new and the changed ones."""
    new: int
    """Written items that the target does not have."""
    changed: int
    """Written items that the target has with another embedding or another value of a column."""
    unchanged: int
    """Items that are not written, since the target has them."""
    deleted: int
    """Items that the target has and the release lacks."""

    @property
    def mixes_trainings(self) -> bool:
        """Whether the target holds embeddings of another training until the import is through."""
        return self.since_model_id not in (None, self.model_id)


def export_items(
    config: PipelineConfig,
    features: FeatureSpec,
    format_name: str,
    output: str,
    *,
    serving_directory: str | None = None,
    version: int | None = None,
    since: int | None = None,
    columns: Sequence[str] | None = None,
    rows_per_file: int | None = None,
) -> ExportManifest:
    """Write the item embeddings of a release for a target.

    Memory holds the ids and the exported columns of the catalogue, with `since` those of both releases, and
    one block of embeddings at a time.

    Args:
        config: The checked configuration.
        features: The features that `config.data.schema` names.
        format_name: One of `pipeline.export.formats.MODULES`.
        output: A path or URI of a folder that is empty or not there.
        serving_directory: The folder of releases; None: the configuration's.
        version: The release; None: the current one.
        since: A release: what the target is to hold already, so that only what differs is written; None:
            every item is.
        columns: Columns of the catalogue that go along; None: all.
        rows_per_file: Items of a file; None: what fits the format.

    Returns:
        What was written.

    Raises:
        ConfigError: The output is not empty, or a column is not there or cannot be exported.
        DataError: A value cannot be held by the target.
        ReleaseError: A release is not there, damaged, or of another width than the other.
        StorageError: A store cannot be reached or refuses, or the output cannot be written.
        TrainingError: An embedding is not finite.
    """
    chosen = load_format(format_name)
    serving = config.serving.directory if serving_directory is None else serving_directory
    scratch = Path(config.run.directory)
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(write_whole(output, scratch))
        scratch.mkdir(parents=True, exist_ok=True)
        copies = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=scratch, prefix="export-")))
        release = _read(serving, version, copies / "release")
        # Each with a cache of its own: one of two releases in a cache would be removed for the other.
        earlier = None if since is None else _read(serving, since, copies / "since")
        items = _select(chosen, features, release, earlier, columns)
        chosen.write(items, folder, rows_per_file or chosen.rows_per_file)
        manifest = _describe(format_name, chosen, items, release, earlier)
        text = json.dumps(dataclasses.asdict(manifest), indent=2, ensure_ascii=False)
        (folder / MANIFEST_FILE).write_text(text + "\n", encoding="utf-8")
    return manifest


def _read(serving: str, version: int | None, cache: Path) -> Release:
    if version is None:
        return read_current_release(serving, cache, parts=(INDEX,))
    return read_release(serving, version, cache, parts=(INDEX,))


def _select(
    chosen: ExportFormat,
    features: FeatureSpec,
    release: Release,
    earlier: Release | None,
    columns: Sequence[str] | None,
) -> ExportedItems:
    item_id = features.item_id.name
    index = read_index(release.index)
    names = choose_columns(columns, index.catalogue.schema, item_id, chosen.reserved)
    catalogue = to_plain_table(index.catalogue, item_id, names)
    if earlier is None:
        return ExportedItems(item_id, catalogue, index.embeddings, take_all(len(catalogue)))
    before = read_index(earlier.index)
    _refuse_other_width(release, index, earlier, before)
    changes = find_changes(
        catalogue,
        index.embeddings,
        to_plain_table(before.catalogue, item_id, names),
        before.embeddings,
        features,
    )
    return ExportedItems(item_id, catalogue, index.embeddings, changes)


def _refuse_other_width(release: Release, index: IndexData, earlier: Release, before: IndexData) -> None:
    dim, dim_before = index.embeddings.shape[1], before.embeddings.shape[1]
    if dim != dim_before:
        raise ReleaseError(
            f"--since: expected embeddings of {dim} dimensions, as those of release {release.version}. "
            f"Received: release {earlier.version} with {dim_before}. Leave out --since, and import into a "
            "new index."
        )


def _describe(
    format_name: str, chosen: ExportFormat, items: ExportedItems, release: Release, earlier: Release | None
) -> ExportManifest:
    new, changed = int(items.changes.is_new.sum()), int(items.changes.is_changed.sum())
    catalogue = len(items.catalogue)
    return ExportManifest(
        format=format_name,
        format_version=FORMAT_VERSION,
        release=release.version,
        model_id=release.manifest.model_id,
        since=None if earlier is None else earlier.version,
        since_model_id=None if earlier is None else earlier.manifest.model_id,
        dim=items.dim,
        metric=chosen.metric,
        item_id=items.item_id,
        columns={column.name: str(column.type) for column in items.columns},
        catalogue=catalogue,
        items=len(items.rows),
        new=new,
        changed=changed,
        unchanged=catalogue - new - changed,
        deleted=len(items.changes.deleted),
    )
