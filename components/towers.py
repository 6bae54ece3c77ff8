"""Calling a served tower: a SavedModel and an Arrow table in, embeddings out."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from schemas.contract import EMBEDDING_OUTPUT, RAW_SIGNATURE
from schemas.errors import DataError, ReleaseError, TrainingError
from schemas.release import read_part_id

BATCH_ROWS = 4096


@dataclass(frozen=True)
class Tower:
    """A loaded tower, called through its raw signature."""

    model_id: str
    """Id of the training that made it."""
    part: str
    """`user_tower` or `item_tower`."""
    inputs: dict[str, Any]
    """The `tf.TensorSpec` of every named input of the signature: all that the tower reads."""
    dim: int
    """Width of the embeddings."""
    saved_model: Any
    """The loaded object; it keeps the variables of the signature alive."""

    def embed(self, table: pa.Table, batch_rows: int = BATCH_ROWS) -> np.ndarray:
        """Embed every row of a table, in batches.

        Args:
            table: Holds a column for every input: strings (or binary) and numbers for the inputs of
                shape [batch], lists of strings or numbers for those of shape [batch, None] and [batch, N],
                and lists of N * M of them, row-major, for [batch, N, M]. Other columns are not read.
            batch_rows: Rows per call of the tower.

        Returns:
            [rows, dim] float32, in the table's order.

        Raises:
            DataError: A column is missing, has a missing value, or has lists of the wrong length.
        """
        missing = sorted(set(self.inputs) - set(table.column_names))
        if missing:
            raise DataError(
                f"The {self.part} reads {sorted(self.inputs)}, but {missing} are not in the data. "
                "Train again with the schema that the data were made with."
            )
        import tensorflow as tf

        signature = self.saved_model.signatures[RAW_SIGNATURE]
        embeddings = np.empty((table.num_rows, self.dim), np.float32)
        for start in range(0, table.num_rows, batch_rows):
            batch = table.slice(start, batch_rows)
            tensors = {
                name: tf.constant(_to_numpy(batch.column(name), name, spec), dtype=spec.dtype)
                for name, spec in self.inputs.items()
            }
            embeddings[start : start + batch.num_rows] = signature(**tensors)[EMBEDDING_OUTPUT].numpy()
        return embeddings


def load_tower(path: Path, part: str) -> Tower:
    """Load a tower; TensorFlow alone is needed.

    Args:
        path: The folder of the SavedModel.
        part: What it should be: `user_tower` or `item_tower`.

    Returns:
        The tower.

    Raises:
        ReleaseError: The folder holds no such tower.
    """
    model_id = read_part_id(path, part)
    import tensorflow as tf

    # What a release is held against was computed without it, too: TF32 would be off in the fourth digit.
    tf.config.experimental.enable_tensor_float_32_execution(False)
    try:
        saved_model = tf.saved_model.load(str(path))
    except OSError as error:
        raise ReleaseError(
            f"{path} holds no SavedModel ({error}). Export it again with `dssm run`."
        ) from error
    signature = saved_model.signatures[RAW_SIGNATURE]
    return Tower(
        model_id=model_id,
        part=part,
        inputs=dict(signature.structured_input_signature[1]),
        dim=int(signature.structured_outputs[EMBEDDING_OUTPUT].shape[-1]),
        saved_model=saved_model,
    )


def refuse_non_finite(embeddings: np.ndarray, ids: Iterable[Any], what: str) -> None:
    """Stop on embeddings with a NaN or an infinity, naming the rows.

    Args:
        embeddings: [rows, dim].
        ids: The rows' ids, in the same order.
        what: What a row is, in the plural, such as `items`.

    Raises:
        TrainingError: A row is not finite.
    """
    bad = ~np.isfinite(embeddings).all(axis=1)
    if not bad.any():
        return
    names = [str(name) for name, is_bad in zip(ids, bad, strict=True) if is_bad]
    shown = ", ".join(repr(name) for name in names[:5]) + (", ..." if len(names) > 5 else "")
    raise TrainingError(
        f"Expected finite embeddings. Received NaN or infinity for {len(names):,} of {len(bad):,} {what}: "
        f"{shown}. Look for extreme numbers among their features, or train with a smaller "
        "training.learning_rate."
    )


def _to_numpy(column: pa.ChunkedArray, name: str, spec: Any) -> np.ndarray:
    array = column.combine_chunks()
    if spec.shape.rank == 1:
        if array.null_count:
            raise DataError(
                f"Column {name!r}: expected no missing value. Received: {array.null_count:,} of them."
            )
        return array.to_numpy(zero_copy_only=False)
    values = array.flatten()
    if values.null_count:
        raise DataError(
            f"Column {name!r}: expected no missing value in its lists. Received: {values.null_count:,}."
        )
    lengths = pc.fill_null(pc.list_value_length(array), 0).to_numpy(zero_copy_only=False)
    shape = spec.shape.as_list()[1:]
    if shape == [None]:
        shape = [max(1, int(lengths.max(initial=0)))]
    elif (lengths != math.prod(shape)).any():
        wrong = int(lengths[lengths != math.prod(shape)][0])
        raise DataError(
            f"Column {name!r}: expected lists of {math.prod(shape)} values. Received: a list of {wrong}."
        )
    if spec.dtype.is_floating or spec.dtype.is_integer:
        return values.to_numpy(zero_copy_only=False).reshape(len(array), *shape)
    width = math.prod(shape)
    dense = np.full((len(array), width), b"", dtype=object)
    dense[np.arange(width) < lengths[:, np.newaxis]] = values.cast(pa.large_binary()).to_numpy(
        zero_copy_only=False
    )
    return dense.reshape(len(array), *shape)
