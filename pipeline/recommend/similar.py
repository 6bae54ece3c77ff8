"""`dssm recommend --similar`: the items whose embeddings are nearest to an item's. NumPy alone is needed."""

from dataclasses import dataclass

import numpy as np

from components.candidate_indexer.logic import read_index
from pipeline.config import PipelineConfig
from pipeline.queries.ranking import rank_items
from pipeline.recommend.answer import Recommendation, describe_items, list_items, render_items
from schemas.contract import INDEX
from schemas.errors import DataError
from schemas.features import load_feature_spec
from schemas.release import read_current_release


@dataclass(frozen=True)
class SimilarItems:
    """The items that are nearest to one."""

    described: str
    """The item, by its display columns."""
    version: int
    """The release's version."""
    items: list[Recommendation]
    """The nearest first, without the item itself; the score is the cosine similarity of the two."""


def find_similar(config: PipelineConfig, item: str, k: int) -> SimilarItems:
    """Find the items that are nearest to an item.

    Args:
        config: The configuration.
        item: The item's id.
        k: Number of items; fewer come where the catalogue has fewer.

    Returns:
        The items.

    Raises:
        DataError: The release has no such item.
        StorageError: The release is in an object store, which cannot be reached or refuses.
        ReleaseError: There is no release, or it is incomplete, mixed or damaged.
    """
    spec = load_feature_spec(config.data.schema)
    release = read_current_release(config.serving.directory, config.run.release_cache, parts=(INDEX,))
    index = read_index(release.index)
    ids = index.catalogue[spec.item_id.name].combine_chunks()
    row = ids.index(item).as_py()
    if row < 0:
        raise DataError(
            f"--similar: expected an item of release {release.version}. Received: {item!r}, which is not "
            f"among its {len(ids):,}. Give another id, or train again if the item is new."
        )
    best, scores = rank_items(index.embeddings @ index.embeddings[row], np.array([row]), k)
    return SimilarItems(
        described=describe_items([item], index.catalogue, spec)[0],
        version=release.version,
        items=list_items(best, scores, index.catalogue, spec),
    )


def render_similar(similar: SimilarItems) -> str:
    """Render similar items as text.

    Args:
        similar: What `find_similar` returned.

    Returns:
        The item, and a table of the others.
    """
    title = f"Nearest to {similar.described}, from release {similar.version}"
    return "\n".join([title, "", render_items(similar.items)])
