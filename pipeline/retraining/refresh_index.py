"""The items of today under the towers of the current release: a new release without a training."""

import dataclasses
import functools
import logging
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from components.ann_document import EXACT
from components.ann_index.logic import AnnInputs, build_ann, describe
from components.candidate_indexer.logic import KnownEmbeddings, build_index, read_index
from components.candidate_indexer.retriever import build_retriever
from components.tower_pusher.compose import compose_refresh
from components.tower_pusher.logic import check_writable, push_composition
from components.tower_pusher.skew import Samples, compare_parts
from components.towers import load_tower
from pipeline.config import PipelineConfig
from pipeline.retraining.catalogue import CatalogueChange, NewCatalogue, compare_catalogues, read_catalogue
from pipeline.retraining.refresh_samples import write_samples
from pipeline.retraining.unknown_values import UnknownValues, find_unknown_values, read_vocabularies
from schemas.contract import ANN, INDEX, ITEM_TOWER, PROGRESS_LOGGER, RETRIEVER, USER_TOWER, USERS
from schemas.errors import DataError, ReleaseError
from schemas.features import FeatureSpec
from schemas.release import (
    ALL_PARTS,
    Release,
    find_current_version,
    find_state,
    read_current_release,
    read_release,
)
from schemas.sequences import copy_without_items

MAXIMUM_GONE: Final = 0.5
"""The largest share of a release's items that may be gone, if nothing else is said."""

_CATALOGUE: Final = "catalogue"
_SAMPLES: Final = "samples"

_progress = logging.getLogger(PROGRESS_LOGGER)


@dataclass(frozen=True)
class Refresh:
    """What a refresh found and did."""

    release: int
    """The release that was current."""
    pushed: int | None
    """The release that follows it; None where nothing was pushed."""
    items_before: int
    """Items of the release."""
    items_after: int
    """Items of the catalogue now."""
    new: int
    """Items that the release lacks."""
    gone: int
    """Items that only the release has."""
    changed: int
    """Items of both with another value of a feature."""
    changed_features: Mapping[str, int]
    """The same by feature."""
    shown_otherwise: int
    """Items of both whose features are the same, but not what is shown with them."""
    unknown_values: Mapping[str, int]
    """By feature, how many of the new values, those of new items and the changed ones of others, the item
    tower encodes as unknown."""
    unknown_new: int
    """New items with such a value."""
    unknown_changed: int
    """Changed items with such a value."""
    without_vocabulary: tuple[str, ...]
    """Features of which that is not known, since the release does not keep their vocabulary."""
    dropped: Mapping[str, int]
    """Rows of the item table left out, by reason."""
    filled: Mapping[str, int]
    """Missing values that a default stands in for, by feature."""
    positives_left_out: int = 0
    """Positives of the known users that are left out, since their items are gone."""
    search: str = ""
    """How the new catalogue is searched, in a sentence; '' where nothing was built."""

    @property
    def has_changes(self) -> bool:
        """Whether there is anything to release."""
        return bool(self.new or self.gone or self.changed or self.shown_otherwise)

    @property
    def training_due(self) -> str | None:
        """Why the towers should be trained anew, in a sentence; None where nothing speaks for it."""
        if not self.unknown_values:
            return None
        features = ", ".join(f"{name} {count:,}" for name, count in self.unknown_values.items())
        changed = f" and {self.unknown_changed:,} of {self.changed:,} changed items" if self.changed else ""
        return (
            f"A training is due: {self.unknown_new:,} of {self.new:,} new items{changed} have values that "
            f"no training has seen and that are encoded as unknown ({features})."
        )


def refresh_index(
    config: PipelineConfig,
    features: FeatureSpec,
    *,
    dry_run: bool = False,
    maximum_gone: float = MAXIMUM_GONE,
) -> Refresh:
    """Release the items of the item table as it is now with the current release's towers.

    Nothing is trained and the interactions are not read. An item whose features are as they were keeps its
    embedding bit for bit. Where the catalogue is the release's, nothing is pushed.

    Args:
        config: The checked configuration.
        features: The features that `config.data.schema` names.
        dry_run: Whether nothing is pushed, and only said what would change.
        maximum_gone: The largest share of the release's items that may be gone.

    Returns:
        What changed, and which release was pushed.

    Raises:
        ConfigError: The configuration does not fit the schema file.
        DataError: The item table cannot be used, or too many items are gone.
        ReleaseError: There is no release, it does not fit the schema file, is damaged, or is not current any
            more in the end; or the new one is not what it should be. Nothing was released.
        StorageError: The tables' or the releases' store cannot be reached or refuses.
        TrainingError: An embedding is not finite.
    """
    directory = Path(config.run.directory)
    directory.mkdir(parents=True, exist_ok=True)
    serving, cache = config.serving.directory, config.run.release_cache
    # Kept until the end: with it goes what keeps the release from being removed.
    current = read_current_release(serving, cache, parts=(INDEX,))
    # Beside the other large files of a run; the folder for temporary ones may be small.
    with tempfile.TemporaryDirectory(dir=directory, prefix="refresh-") as scratch:
        work = Path(scratch)
        released = read_index(current.index).catalogue
        catalogue = read_catalogue(
            features, config.ingest, config.data.directory, released, work / _CATALOGUE
        )
        change = compare_catalogues(released, catalogue.table, features)
        vocabularies = read_vocabularies(features, find_state(serving, current.version))
        unknown = find_unknown_values(catalogue.table, change, features, vocabularies)
        found = _describe(current, released, catalogue, change, unknown, features)
        _refuse_too_many_gone(found, maximum_gone)
        if dry_run or change.is_empty:
            return found
        check_writable(serving)
        release = read_release(serving, current.version, cache, parts=ALL_PARTS)
        return _push(config, features, release, change, found, work)


def _describe(
    current: Release,
    released: pa.Table,
    catalogue: NewCatalogue,
    change: CatalogueChange,
    unknown: UnknownValues,
    features: FeatureSpec,
) -> Refresh:
    names = [feature.name for feature in features.table_features("item")]
    is_changed = change.find_changed(names)
    of_features = {name: int(change.differs[name].sum()) for name in names}
    return Refresh(
        release=current.version,
        pushed=None,
        items_before=len(released),
        items_after=len(catalogue.table),
        new=int(change.is_new.sum()),
        gone=len(change.gone),
        changed=int(is_changed.sum()),
        changed_features={name: count for name, count in of_features.items() if count},
        shown_otherwise=int((change.find_changed(change.differs) & ~is_changed).sum()),
        unknown_values=unknown.by_feature,
        unknown_new=int((unknown.items & change.is_new).sum()),
        unknown_changed=int((unknown.items & ~change.is_new).sum()),
        without_vocabulary=unknown.without_vocabulary,
        dropped=catalogue.dropped,
        filled=catalogue.filled,
    )


def _refuse_too_many_gone(found: Refresh, maximum_gone: float) -> None:
    if found.gone > maximum_gone * found.items_before:
        raise DataError(
            f"Expected at most {maximum_gone:.0%} of the {found.items_before:,} items of release "
            f"{found.release} to be gone from the item table. Received: {found.gone:,}. Is the table "
            "whole? If these items are to go, raise --maximum-gone."
        )


def _push(
    config: PipelineConfig,
    features: FeatureSpec,
    release: Release,
    change: CatalogueChange,
    found: Refresh,
    work: Path,
) -> Refresh:
    """Build what depends on the items, and push it with the rest of the release."""
    left_out_history = config.find_left_out_history(features)
    item_id = features.item_id.name
    tower_features = [feature.name for feature in features.tower_features("item")]
    is_embedded = change.is_new | change.find_changed(tower_features)
    build_index(
        release.item_tower,
        work / _CATALOGUE,
        work / INDEX,
        item_id,
        known=KnownEmbeddings(
            read_index(release.index, [item_id]).embeddings, np.where(is_embedded, -1, change.released_rows)
        ),
    )
    made = {INDEX: work / INDEX, ANN: work / ANN, RETRIEVER: work / RETRIEVER}
    users, left_out = release.users, 0
    if users is not None and len(change.gone):
        ids = read_index(work / INDEX, [item_id]).catalogue[item_id].combine_chunks()
        left_out = copy_without_items(users, work / USERS, features, ids)
        if left_out:
            users = made[USERS] = work / USERS
    search = _build_ann(config, features, release, users, work)
    build_retriever(
        release.user_tower,
        work / INDEX,
        work / RETRIEVER,
        item_id,
        config.retriever.filter,
        left_out_history or None,
    )
    samples = _write_samples(features, release, is_embedded, left_out_history, work)
    pushed = push_composition(
        compose_refresh(release, made),
        config.serving.directory,
        functools.partial(
            _check, samples=samples, serving_directory=config.serving.directory, version=release.version
        ),
    )
    return dataclasses.replace(found, pushed=pushed.version, positives_left_out=left_out, search=search)


def _build_ann(
    config: PipelineConfig, features: FeatureSpec, release: Release, users: Path | None, work: Path
) -> str:
    """Build the approximate index, refuse it as the gate of a run does, and say what it is."""
    document = build_ann(AnnInputs(release.user_tower, work / INDEX, users), work / ANN, features, config.ann)
    if document.kind != EXACT and document.recall < document.floor:
        raise ReleaseError(
            f"Nothing was released: expected an approximate index that finds at least {document.floor:g} of "
            f"the first {document.k} items of exact search. Received: {document.recall:.4f}, by "
            f"{document.kind}. Refresh with another ann.seed, or with ann.kinds=[] to search exactly."
        )
    return describe(document)


def _write_samples(
    features: FeatureSpec,
    release: Release,
    is_embedded: npt.NDArray[np.bool_],
    left_out_history: str,
    work: Path,
) -> Samples:
    item_tower = load_tower(release.item_tower, ITEM_TOWER)
    return write_samples(
        work / _SAMPLES,
        load_tower(release.user_tower, USER_TOWER),
        sorted(item_tower.inputs),
        read_index(work / INDEX),
        is_embedded,
        features,
        left_out_history,
    )


def _check(parts: Mapping[str, Path], samples: Samples, serving_directory: str, version: int) -> None:
    """Refuse parts that do not fit each other, and a release that would take the place of a newer one."""
    compare_parts(parts, samples)
    _progress.info("The towers give the vectors of the index and the items of the retriever")
    current = find_current_version(serving_directory)
    if current != version:
        raise ReleaseError(
            f"Nothing was released: expected release {version}, which was refreshed, to be current still. "
            f"Received: {current}. Refresh again."
        )
