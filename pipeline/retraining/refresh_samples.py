"""What a refreshed release is held against: sampled items, and made-up users with histories of them."""

import json
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from components.candidate_indexer.logic import IndexData
from components.history_columns import history_columns
from components.tower_pusher.skew import Samples
from components.towers import Tower
from pipeline.queries.ranking import rank_items
from schemas.contract import MODEL_INFO_FILE, RAW_SIGNATURE
from schemas.features import FeatureSpec
from schemas.skew import (
    BFLOAT16_TOLERANCE,
    SCORES_SAMPLE_FILE,
    SKEW_SAMPLE,
    TOLERANCE,
    ScoresSample,
    TowerSample,
    sample_file,
    write_scores_sample,
    write_tower_sample,
)

_MOST_ITEMS: Final = 128
_USERS: Final = 64
_BEST_ITEMS: Final = 10
_SEED: Final = 0


def write_samples(
    folder: Path,
    user_tower: Tower,
    item_inputs: list[str],
    index: IndexData,
    is_embedded: npt.NDArray[np.bool_],
    spec: FeatureSpec,
    left_out_history: str,
) -> Samples:
    """Write samples in the form of those of the Trainer and the evaluation, which a release does not keep.

    The items' embeddings are those of the index: where they were taken over from a release that was held
    against its training, so is the item tower by them. A user is a history of sampled items, the newly
    embedded ones among them, and knows nothing else.

    Args:
        folder: Where they go.
        user_tower: The released user tower.
        item_inputs: The raw inputs of the released item tower.
        index: The new index.
        is_embedded: [items] whether the embedding is not that of the release.
        spec: The features.
        left_out_history: The user tower's input with the items that are not recommended again; '': none.

    Returns:
        Where the samples are.

    Raises:
        DataError: An input lacks a value.
    """
    draw = np.random.default_rng(_SEED)
    items = np.concatenate(
        [
            draw.choice(rows, min(len(rows), _MOST_ITEMS), replace=False)
            for rows in (np.flatnonzero(is_embedded), np.flatnonzero(~is_embedded))
        ]
    )
    histories = _draw_histories(items, spec, draw)
    users = _make_users(user_tower, histories, index.catalogue, spec)
    embeddings = user_tower.embed(users)
    item_id, names = spec.item_id.name, [f"user {number}" for number in range(len(users))]
    sampled = index.catalogue.take(pa.array(items))
    samples = Samples(model=folder / "model", report=folder / "report")
    for part, sample in (
        ("user", TowerSample(names, spec.user_id.name, users, embeddings)),
        (
            "item",
            TowerSample(
                sampled[item_id].to_pylist(), item_id, sampled.select(item_inputs), index.embeddings[items]
            ),
        ),
    ):
        write_tower_sample(sample, sample_file(samples.model / SKEW_SAMPLE, part))
    samples.report.mkdir(parents=True)
    left_out = histories if left_out_history else np.full_like(histories, -1)
    scores = _rank(names, users, embeddings, left_out, index, item_id)
    write_scores_sample(scores, samples.report / SCORES_SAMPLE_FILE)
    tolerance = BFLOAT16_TOLERANCE if computes_in_bfloat16(user_tower) else TOLERANCE
    described = {SKEW_SAMPLE: {"users": len(users), "items": len(items), "tolerance": tolerance}}
    (samples.model / MODEL_INFO_FILE).write_text(json.dumps(described), encoding="utf-8")
    return samples


def computes_in_bfloat16(tower: Tower) -> bool:
    """Tell whether a tower was trained with mixed precision.

    Args:
        tower: The tower.

    Returns:
        Whether any operation of its graph has to do with bfloat16.
    """
    from tensorflow.core.framework import types_pb2

    graph = tower.saved_model.signatures[RAW_SIGNATURE].graph.as_graph_def()
    nodes = [*graph.node, *(node for function in graph.library.function for node in function.node_def)]
    return any(value.type == types_pb2.DT_BFLOAT16 for node in nodes for value in node.attr.values())


def _draw_histories(
    items: npt.NDArray[np.int64], spec: FeatureSpec, draw: np.random.Generator
) -> npt.NDArray[np.int64]:
    """Draw [users, length] rows of items, left-padded with -1; the first history is empty."""
    length = 0 if spec.history is None else spec.history.length
    histories = draw.choice(items, (_USERS, length))
    lengths = draw.integers(0, length + 1, _USERS)
    lengths[0] = 0
    return np.where(np.arange(length) >= length - lengths[:, np.newaxis], histories, -1)


def _make_users(
    tower: Tower, histories: npt.NDArray[np.int64], catalogue: pa.Table, spec: FeatureSpec
) -> pa.Table:
    """Make the raw inputs of users of whom nothing is known but a history, whose items are just now."""
    count = len(histories)
    no_gaps = np.zeros(histories.shape, np.int64), np.zeros(count, np.int64)
    of_history = history_columns(histories, catalogue, spec, *no_gaps)
    return pa.table(
        {
            name: of_history[name] if name in of_history else pa.array([_make_nothing(tensor)] * count)
            for name, tensor in sorted(tower.inputs.items())
        }
    )


def _make_nothing(tensor: Any) -> Any:
    """Make the value of an input that says nothing: '', zeros, or a list of them."""
    nothing: Any = "" if tensor.dtype.name == "string" else tensor.dtype.as_numpy_dtype(0).item()
    for length in reversed(tensor.shape.as_list()[1:]):
        nothing = [nothing] * (length or 1)
    return nothing


def _rank(
    names: list[str],
    users: pa.Table,
    embeddings: npt.NDArray[np.float32],
    left_out: npt.NDArray[np.int64],
    index: IndexData,
    item_id: str,
) -> ScoresSample:
    ids = index.catalogue[item_id].combine_chunks()
    excluded = [np.unique(rows[rows >= 0]) for rows in left_out]
    ranked = [
        rank_items(index.embeddings @ embedding, rows, _BEST_ITEMS)
        for embedding, rows in zip(embeddings, excluded, strict=True)
    ]
    return ScoresSample(
        ids=names,
        inputs=users,
        rows=[rows.tolist() for rows, _ in ranked],
        items=[ids.take(pa.array(rows)).to_pylist() for rows, _ in ranked],
        scores=[scores.tolist() for _, scores in ranked],
        left_out=[ids.take(pa.array(rows)).to_pylist() for rows in excluded],
    )
