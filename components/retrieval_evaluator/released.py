"""The released model, to be judged anew on the queries of this run."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from components.candidate_indexer.logic import IndexData, read_index
from components.retrieval_evaluator.gate import NoRival
from components.retrieval_evaluator.queries import choose_columns
from components.towers import Tower, load_tower
from schemas.contract import INDEX, USER_TOWER
from schemas.errors import ReleaseError
from schemas.features import FeatureSpec
from schemas.leakage import find_leak
from schemas.ranking.ranks import ScoreBlock
from schemas.release import (
    PublishedRelease,
    TrainedOn,
    find_current_release,
    find_current_state,
    read_manifest,
    read_release,
)
from schemas.split_times import SplitTimes

LOWEST_SCORE: Final = np.float32(-2.0)
"""The score of an item that a release does not have: below every cosine."""


@dataclass(frozen=True)
class Base:
    """The release that a training began from."""

    version: int
    """The release."""
    trained_on: TrainedOn | None
    """What it was trained on; None where that is not known."""


@dataclass(frozen=True)
class ReleasedModel:
    """A release's user tower and index."""

    version: int
    """The release."""
    tower: Tower
    """Its user tower."""
    index: IndexData
    """Its index, in its own order."""


def find_base(model_info: Mapping[str, Any], serving_directory: str) -> Base | None:
    """Find what the release has seen that a model's training began from.

    Args:
        model_info: What the Trainer says of the model.
        serving_directory: The folder that releases are pushed to: a path or URI.

    Returns:
        The release; None of a training that began from nothing.

    Raises:
        StorageError: The folder's store cannot be reached or refuses.
    """
    if model_info["warm_start"] is None:
        return None
    version = int(model_info["warm_start"]["release"])
    try:
        return Base(version, read_manifest(serving_directory, version).trained_on)
    except ReleaseError:
        # It has been taken away since.
        return Base(version, None)


def load_released(
    serving_directory: str,
    spec: FeatureSpec,
    split: Mapping[str, Any],
    times: SplitTimes,
    own_tower: Tower,
    cache_directory: Path,
) -> ReleasedModel | NoRival:
    """Load the current release, if it can be judged on this run's held-out rows.

    Args:
        serving_directory: The folder that releases are pushed to: a path or URI.
        spec: The features of this run.
        split: The rule of this run's split.
        times: When this run's splits lie.
        own_tower: This run's user tower, which tells the shapes of the inputs.
        cache_directory: Where the parts of a release from an object store are copied to.

    Returns:
        The release, or why there is nothing to compare with.

    Raises:
        StorageError: The folder's store cannot be reached or refuses.
    """
    try:
        if find_current_state(serving_directory) is None:
            return NoRival("there is no release yet, and nothing to compare with", is_first=True)
        published = find_current_release(serving_directory)
    except ReleaseError as error:
        return NoRival(f"the current release cannot be evaluated: {error}", is_first=False)
    leak = find_leak(published.manifest.trained_on, split, times)
    if leak is not None:
        return _refuse(published, f"may have seen the rows that are held out now: {leak}")
    try:
        release = read_release(
            serving_directory, published.version, cache_directory, parts=(INDEX, USER_TOWER)
        )
        tower = load_tower(release.user_tower, USER_TOWER)
        choose_columns(spec, list(tower.inputs))
        index = read_index(release.index, [spec.item_id.name])
    except ReleaseError as error:
        return _refuse(published, f"cannot be evaluated: {error}")
    others = _find_other_inputs(tower, own_tower)
    if others:
        return _refuse(published, f"reads inputs of another shape or type: {', '.join(others)}")
    return ReleasedModel(release.version, tower, index)


def _refuse(published: PublishedRelease, why: str) -> NoRival:
    return NoRival(
        f"release {published.version} {why}",
        is_first=False,
        version=published.version,
        model_id=published.manifest.model_id,
    )


def _find_other_inputs(tower: Tower, own_tower: Tower) -> list[str]:
    """List the inputs that both towers read, and that are not alike."""
    return [
        f"{name} {tuple(theirs.shape)} {theirs.dtype.name}, now {tuple(own.shape)} {own.dtype.name}"
        for name, theirs in sorted(tower.inputs.items())
        if (own := own_tower.inputs.get(name)) is not None
        and (own.dtype != theirs.dtype or own.shape.as_list() != theirs.shape.as_list())
    ]


def align_items(
    index: IndexData, item_id: str, catalogue_ids: pa.Array
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
    """Bring a release's embeddings into the order of this run's catalogue.

    Args:
        index: The release's index.
        item_id: Name of the item id column.
        catalogue_ids: [items] string.

    Returns:
        [items, dim] embeddings, zeros for an item that the release does not have, and [items] whether it
        has it.
    """
    ids = index.catalogue[item_id].combine_chunks().cast(catalogue_ids.type)
    rows = pc.fill_null(pc.index_in(catalogue_ids, value_set=ids), -1).to_numpy(zero_copy_only=False)
    is_known = rows >= 0
    embeddings = np.zeros((len(rows), index.embeddings.shape[1]), np.float32)
    embeddings[is_known] = index.embeddings[rows[is_known]]
    return embeddings, is_known


def score_known_items(score_block: ScoreBlock, is_known: npt.NDArray[np.bool_]) -> ScoreBlock:
    """Rank the items that a release does not have last.

    Args:
        score_block: Gives its scores, cosines.
        is_known: [items] whether it has each item.

    Returns:
        What gives the scores with `LOWEST_SCORE` for the others.
    """
    unknown = np.flatnonzero(~is_known)

    def score(queries: slice) -> npt.NDArray[np.float32]:
        scores = score_block(queries)
        scores[:, unknown] = LOWEST_SCORE
        return scores

    return score
