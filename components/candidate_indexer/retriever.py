"""One SavedModel that answers a recommendation: user features in, item ids and scores out."""

import json
import logging
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa

from components.candidate_indexer.labels import read_labels
from components.candidate_indexer.logic import read_index
from components.towers import load_tower
from schemas.contract import (
    ASSETS_EXTRA,
    K_INPUT,
    MODEL_ID,
    PART_FILE,
    PROGRESS_LOGGER,
    RAW_SIGNATURE,
    RETRIEVER,
    RETRIEVER_VERSION_FILE,
    USER_TOWER,
)
from schemas.errors import ReleaseError
from schemas.warmup import write_warmup_requests

BLOCK_ITEMS = 1 << 16

_UNRELEASED = "0\n"
_WARMUP_K = 10


def build_retriever(
    user_tower: Path,
    index: Path,
    output: Path,
    item_id: str,
    filter_by: str | None,
    history: str | None,
    block_items: int = BLOCK_ITEMS,
) -> None:
    """Put the user tower and an index together to one SavedModel.

    Its signature `serving_default` takes every raw input of the user tower's and

    - `exclude`, [batch, n] string: ids that are not recommended, '' for none; others than items do nothing;
    - `k`, [batch] int32: how many items each row asks for, at least 1;
    - `filter`, [batch, n] string, only with `filter_by`: an item is recommended where any of its values is
      among them; '' for none, and a row without a value is not filtered. Integers are written as texts.

    It gives `item_ids`, [batch, width] string, and `scores`, [batch, width] float32, the best first, of equal
    scores the item that comes first in the index. The width is the largest k, or the number of items where
    that is smaller. Where a row has fewer items left or asks for fewer, '' and -inf follow. `version`,
    [batch] int64, is what assets/release_version.txt held when the model was loaded, 0 before a release.

    Args:
        user_tower: The user tower's SavedModel.
        index: The index.
        output: Folder of the retriever, made if it is missing.
        item_id: Name of the item id column.
        filter_by: The item feature of the filter, or None.
        history: Name of the input with the ids of the history where these are not recommended again, or None.
        block_items: Items that are scored at a time: a request's memory goes with its rows and this, not with
            the number of items.

    Raises:
        ReleaseError: A folder does not hold what it should, or the two are from different trainings.
    """
    # The step's executor is imported where TensorFlow is not.
    import tensorflow as tf

    from components.candidate_indexer.retrieval_graph import Retriever

    tower = load_tower(user_tower, USER_TOWER)
    found = read_index(index, columns=list(dict.fromkeys([item_id, *([filter_by] if filter_by else [])])))
    if tower.model_id != found.model_id:
        raise ReleaseError(
            "Expected a user tower and an index from one training. Received: the user tower from "
            f"{tower.model_id!r} and the index from {found.model_id!r}. Build both again with `dssm run`."
        )
    with tempfile.TemporaryDirectory() as folder:
        version_file = Path(folder) / RETRIEVER_VERSION_FILE
        version_file.write_text(_UNRELEASED, encoding="utf-8")
        retriever = Retriever(
            tower.saved_model,
            np.asarray(found.embeddings),
            found.catalogue[item_id].cast(pa.string()).to_pylist(),
            read_labels(found.catalogue[filter_by]) if filter_by else None,
            history,
            version_file,
            block_items,
        )
        signatures = {RAW_SIGNATURE: retriever.make_signature()}
        tf.saved_model.save(retriever, str(output), signatures=signatures)
    extra = output / ASSETS_EXTRA
    extra.mkdir()
    part = {MODEL_ID: tower.model_id, "part": RETRIEVER}
    (extra / PART_FILE).write_text(json.dumps(part), encoding="utf-8")
    write_warmup_requests(str(output), RETRIEVER, {K_INPUT: _WARMUP_K})
    logging.getLogger(PROGRESS_LOGGER).info("Made the retriever of %s items.", f"{len(found.embeddings):,}")
