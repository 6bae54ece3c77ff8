"""Holds towers and an index against what training and evaluation computed, with a server's TensorFlow alone.

    python -m components.tower_pusher.check_towers --user-tower DIR --item-tower DIR --index DIR --sample DIR
        --scores FILE --tolerance 1e-5 [--retriever DIR]

The last line of its output is a JSON list with an object for each difference, empty where there is none. It
imports numpy, pyarrow and TensorFlow, and nothing that knows how the towers were made: neither the Trainer
nor TensorFlow Transform or TFX. TowerPusher's process has imported TensorFlow before, without Keras.
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import tensorflow as tf

from schemas.contract import CATALOGUE_FILE, EMBEDDING_OUTPUT, INDEX_EMBEDDINGS_FILE, RAW_SIGNATURE
from schemas.skew import (
    ScoresSample,
    TowerSample,
    read_scores_sample,
    read_tower_sample,
    sample_file,
)

_EXCLUDE: Final = "exclude"
_K: Final = "k"
_SHOWN_VALUES: Final = 3


@dataclass(frozen=True)
class Difference:
    """Something of a release that is not what was trained or evaluated."""

    text: str
    """What differs, and by how much."""
    against: str
    """What it was held against: `training`, `item_tower` or `evaluation`."""


def main() -> None:
    """Compare, and print the differences."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name in ("user-tower", "item-tower", "index", "sample", "scores"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--retriever", type=Path)
    parser.add_argument("--tolerance", type=float, required=True)
    given = parser.parse_args()
    differences = find_differences(
        given.user_tower,
        given.item_tower,
        given.index,
        given.sample,
        given.scores,
        given.retriever,
        given.tolerance,
    )
    print(json.dumps([asdict(difference) for difference in differences]))


def find_differences(
    user_tower: Path,
    item_tower: Path,
    index: Path,
    sample: Path,
    scores: Path,
    retriever: Path | None,
    tolerance: float,
) -> list[Difference]:
    """Compare the parts of a release with what training and evaluation computed.

    Args:
        user_tower: The SavedModel of the user tower.
        item_tower: That of the item tower.
        index: The index.
        sample: The folder of the Trainer's samples.
        scores: The file of the evaluation's sample.
        retriever: The SavedModel that gives the best items; None: there is none.
        tolerance: How far numbers may lie apart.

    Returns:
        The differences.
    """
    users, items = (read_tower_sample(sample_file(sample, part)) for part in ("user", "item"))
    evaluated = read_scores_sample(scores)
    vectors = np.load(index / INDEX_EMBEDDINGS_FILE, mmap_mode="r")
    ids = pq.read_table(index / CATALOGUE_FILE, columns=[items.id_column]).column(0)
    served_users, asking = _embed(user_tower, [users.inputs, evaluated.inputs])
    [served_items] = _embed(item_tower, [items.inputs])
    found = [
        _compare_embeddings("user_tower", "users", served_users, users, tolerance),
        _compare_embeddings("item_tower", "items", served_items, items, tolerance),
        _compare_index(vectors, ids, served_items, items, tolerance),
        _compare_scores(vectors, ids, asking, evaluated, tolerance),
    ]
    if retriever is not None:
        found.append(_compare_retriever(retriever, evaluated, tolerance))
    return [difference for difference in found if difference is not None]


def _embed(tower: Path, tables: Sequence[pa.Table]) -> list[npt.NDArray[np.float32]]:
    loaded = tf.saved_model.load(str(tower))
    signature = loaded.signatures[RAW_SIGNATURE]
    specs = signature.structured_input_signature[1]
    return [signature(**_to_tensors(table, specs))[EMBEDDING_OUTPUT].numpy() for table in tables]


def _to_tensors(table: pa.Table, specs: Mapping[str, Any]) -> dict[str, tf.Tensor]:
    missing = sorted(set(specs) - set(table.column_names))
    if missing:
        raise ValueError(f"expected a sample with {sorted(specs)}. Received: no {', '.join(missing)}")
    return {name: _to_tensor(table[name].to_pylist(), spec) for name, spec in specs.items()}


def _to_tensor(values: Sequence[Any], spec: tf.TensorSpec) -> tf.Tensor:
    shape = spec.shape.as_list()[1:]
    if shape == [None]:
        shape = [max(1, *(len(value or ()) for value in values))]
        values = [[*(value or ()), *[""] * shape[0]][: shape[0]] for value in values]
    return tf.reshape(tf.constant(values, spec.dtype), [len(values), *shape])


def _compare_embeddings(
    part: str, what: str, served: npt.NDArray[np.float32], sample: TowerSample, tolerance: float
) -> Difference | None:
    if served.shape != sample.embeddings.shape:
        return Difference(
            f"the {part} gives {what} of shape {list(served.shape)}, training's have "
            f"{list(sample.embeddings.shape)}",
            "training",
        )
    distances = _measure(served, sample.embeddings)
    if not _is_above(distances, tolerance).any():
        return None
    told = _describe(distances, sample.ids, what, tolerance)
    hint = _tell_apart(sample.inputs, _is_above(distances, tolerance))
    return Difference(f"the {part} does not give the embeddings that training has: {told}{hint}", "training")


def _compare_index(
    vectors: npt.NDArray[np.float32],
    ids: pa.ChunkedArray,
    served: npt.NDArray[np.float32],
    sample: TowerSample,
    tolerance: float,
) -> Difference | None:
    rows = pc.index_in(pa.array(sample.ids, ids.type), value_set=ids.combine_chunks())
    if len(vectors) != len(ids) or rows.null_count or vectors.shape[1:] != served.shape[1:]:
        return Difference(
            f"the index has {len(vectors):,} embeddings of shape {list(vectors.shape[1:])} for {len(ids):,} "
            f"items, and lacks {rows.null_count} of {len(sample.ids)} sampled items; the item tower's "
            f"embeddings have the shape {list(served.shape[1:])}",
            "item_tower",
        )
    distances = _measure(vectors[rows.to_numpy()], served)
    if not _is_above(distances, tolerance).any():
        return None
    return Difference(
        "the index does not hold the embeddings that the item_tower gives: "
        f"{_describe(distances, sample.ids, 'items', tolerance)}",
        "item_tower",
    )


def _compare_scores(
    vectors: npt.NDArray[np.float32],
    ids: pa.ChunkedArray,
    asking: npt.NDArray[np.float32],
    sample: ScoresSample,
    tolerance: float,
) -> Difference | None:
    if any(row >= len(vectors) for rows in sample.rows for row in rows):
        return Difference(
            f"the evaluation ranked items beyond the {len(vectors):,} of the index", "evaluation"
        )
    others = [
        item
        for rows, items in zip(sample.rows, sample.items, strict=True)
        for item, there in zip(items, ids.take(pa.array(rows, pa.int64())).to_pylist(), strict=True)
        if item != there
    ]
    if others:
        return Difference(
            f"the index has other items than the evaluation ranked in {len(others)} places, such as that of "
            f"{others[0]!r}",
            "evaluation",
        )
    distances = np.array(
        [
            np.max(np.abs(vectors[rows] @ user - np.array(scores, np.float32)), initial=0.0)
            for rows, user, scores in zip(sample.rows, asking, sample.scores, strict=True)
        ]
    )
    is_off = _is_above(distances, tolerance)
    if not is_off.any():
        return None
    return Difference(
        "user_tower times index does not give the scores that were evaluated: "
        f"{_describe(distances, sample.ids, 'users', tolerance)}{_tell_apart(sample.inputs, is_off)}",
        "evaluation",
    )


def _compare_retriever(retriever: Path, sample: ScoresSample, tolerance: float) -> Difference | None:
    """Compare the best items that it gives with those of the evaluation; equal scores are in no order."""
    loaded = tf.saved_model.load(str(retriever))
    signature = loaded.signatures[RAW_SIGNATURE]
    specs = signature.structured_input_signature[1]
    users = len(sample.ids)
    k = max(1, *(len(rows) for rows in sample.rows))
    asked: dict[str, list[Any]] = {
        # Any other list, such as that of a filter, leaves nothing out when it is empty.
        name: [[]] * users
        for name, spec in specs.items()
        if name not in sample.inputs.column_names and spec.dtype == tf.string
    }
    asked[_EXCLUDE] = sample.left_out
    raw = {name: sample.inputs[name].to_pylist() for name in sample.inputs.column_names} | asked
    tensors = {name: _to_tensor(raw[name], spec) for name, spec in specs.items() if name != _K}
    tensors[_K] = tf.fill([users] if specs[_K].shape.rank else [], tf.constant(k, specs[_K].dtype))
    outputs = signature(**tensors)
    given_items = [[name.decode() for name in names] for names in outputs["item_ids"].numpy()]
    distances = np.array(
        [
            _measure_list(names, given, items, np.array(scores, np.float32))
            for names, given, items, scores in zip(
                given_items, outputs["scores"].numpy(), sample.items, sample.scores, strict=True
            )
        ]
    )
    if not _is_above(distances, tolerance).any():
        return None
    return Difference(
        "the retriever does not give the items and scores that were evaluated: "
        f"{_describe(distances, sample.ids, 'users', tolerance)}",
        "evaluation",
    )


def _measure_list(
    names: Sequence[str],
    given: npt.NDArray[np.float32],
    items: Sequence[str],
    scores: npt.NDArray[np.float32],
) -> float:
    """Tell how far a list is from another: in its scores, and in those of the items that stand elsewhere."""
    if not items:
        return 0.0
    of_item = dict(zip(items, scores, strict=True))
    expected = np.array([of_item.get(name, scores[-1]) for name in names[: len(items)]], np.float32)
    given = given[: len(items)]
    return float(max(np.abs(given - scores).max(), np.abs(expected - scores).max()))


def _measure(one: npt.NDArray[np.float32], other: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    return np.abs(one - other).max(axis=1, initial=0.0)


def _is_above(distances: npt.NDArray[np.floating], tolerance: float) -> npt.NDArray[np.bool_]:
    # So that NaN is.
    return ~(distances <= tolerance)


def _describe(distances: npt.NDArray[np.floating], ids: Sequence[str], what: str, tolerance: float) -> str:
    number = int(np.count_nonzero(_is_above(distances, tolerance)))
    worst = int(np.argmax(np.nan_to_num(distances, nan=np.inf)))
    return (
        f"{number} of {len(ids)} sampled {what} are up to {distances[worst]:.2g} off "
        f"(allowed: {tolerance:g}), most of all {ids[worst]!r}"
    )


def _tell_apart(inputs: pa.Table, is_off: npt.NDArray[np.bool_]) -> str:
    """Find the inputs by whose values alone one can tell the rows that differ."""
    hints = []
    for name in inputs.column_names:
        values = [_to_key(value) for value in inputs[name].to_pylist()]
        off = {value for value, is_there in zip(values, is_off, strict=True) if is_there}
        right = {value for value, is_there in zip(values, is_off, strict=True) if not is_there}
        # Of an input that has another value in each row this says nothing.
        if right and not off & right and len(off) + len(right) < len(values):
            shown = ", ".join(sorted(off)[:_SHOWN_VALUES]) + (", ..." if len(off) > _SHOWN_VALUES else "")
            hints.append(f"{name} in ({shown})")
    return f"; they are those with {' or '.join(hints)}" if hints else ""


def _to_key(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


if __name__ == "__main__":
    main()
