"""What the towers gave for a sample of users and items, so that a release can be held against it.

The Trainer writes `skew_sample/user.parquet` and `skew_sample/item.parquet` beside the towers: the
embeddings of the towers in its memory, computed from the transformed tables, and what a server would be
asked for the same ones. The evaluation writes `scores_sample.parquet` beside its report: its best items of
some users, with their scores. Each is a table with

- `id`: the user or the item, string;
- `inputs`: a struct with a field for each raw input of the tower's `serving_default`, by name; an input of
  shape [batch, N, M] is a list of N * M values, row-major, one of shape [batch, None] a list of any length;
- of the Trainer `embedding`, a list of `dim` float32;
- of the evaluation four lists: `rows` in the index, best first, and of the same length `items`, their ids,
  and `scores`; and `left_out`, the ids of the items that were not ranked.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from schemas.errors import ReleaseError

SKEW_SAMPLE: Final = "skew_sample"
"""Folder of the Trainer's samples, within its model, and the key of model.json with the tolerance and the
numbers of users and items; a model without it is of a program that wrote no sample."""
SCORES_SAMPLE_FILE: Final = "scores_sample.parquet"
"""The evaluation's sample, within its report's folder."""

TOLERANCE: Final = 1e-5
"""How far components of unit vectors, and products of two, may lie apart where float32 computed them."""
BFLOAT16_TOLERANCE: Final = 3e-2
"""The same of towers that compute in bfloat16, each of whose roundings is up to 2 ** -9 of the value."""

_SAMPLE_FILE: Final = "{part}.parquet"
_ID_COLUMN: Final = b"id_column"
_REMEDY: Final = "Run the pipeline again from the step that wrote it."


@dataclass(frozen=True)
class TowerSample:
    """Some users or items, and their embeddings."""

    ids: list[str]
    """[rows]."""
    id_column: str
    """Name of the feature with the ids."""
    inputs: pa.Table
    """[rows] the raw inputs of the tower, a column each."""
    embeddings: npt.NDArray[np.float32]
    """[rows, dim]."""


@dataclass(frozen=True)
class ScoresSample:
    """Some users, and the best items that an evaluation found for them."""

    ids: list[str]
    """[users]."""
    inputs: pa.Table
    """[users] the raw inputs of the user tower, a column each."""
    rows: list[list[int]]
    """[users] rows in the index, best first."""
    items: list[list[str]]
    """[users] the ids of these items."""
    scores: list[list[float]]
    """[users] and their scores."""
    left_out: list[list[str]]
    """[users] the ids of the items that were not ranked."""


def sample_file(folder: Path, part: str) -> Path:
    """Tell where the Trainer's sample of a tower is.

    Args:
        folder: The folder of the samples.
        part: `user` or `item`.

    Returns:
        The file.
    """
    return folder / _SAMPLE_FILE.format(part=part)


def write_tower_sample(sample: TowerSample, file: Path) -> None:
    """Write a tower's sample.

    Args:
        sample: The sample.
        file: The file; its folder is made if it is missing.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    table = pa.table(
        {
            "id": pa.array(sample.ids, pa.string()),
            "inputs": _to_struct(sample.inputs),
            "embedding": pa.array(list(sample.embeddings), pa.list_(pa.float32())),
        }
    )
    pq.write_table(table.replace_schema_metadata({_ID_COLUMN: sample.id_column}), file)


def read_tower_sample(file: Path) -> TowerSample:
    """Read a tower's sample.

    Args:
        file: The file.

    Returns:
        The sample.

    Raises:
        ReleaseError: It cannot be read, or is no such sample.
    """
    table = _read(file, ("id", "inputs", "embedding"))
    metadata = table.schema.metadata or {}
    if _ID_COLUMN not in metadata:
        raise ReleaseError(f"{file}: expected the name of the id column. Received: none. {_REMEDY}")
    return TowerSample(
        ids=table["id"].to_pylist(),
        id_column=metadata[_ID_COLUMN].decode(),
        inputs=_from_struct(table),
        embeddings=np.array(table["embedding"].to_pylist(), np.float32),
    )


def write_scores_sample(sample: ScoresSample, file: Path) -> None:
    """Write the sample of an evaluation.

    Args:
        sample: The sample.
        file: The file.
    """
    columns = {
        "id": pa.array(sample.ids, pa.string()),
        "inputs": _to_struct(sample.inputs),
        "rows": pa.array(sample.rows, pa.list_(pa.int64())),
        "items": pa.array(sample.items, pa.list_(pa.string())),
        "scores": pa.array(sample.scores, pa.list_(pa.float32())),
        "left_out": pa.array(sample.left_out, pa.list_(pa.string())),
    }
    pq.write_table(pa.table(columns), file)


def read_scores_sample(file: Path) -> ScoresSample:
    """Read the sample of an evaluation.

    Args:
        file: The file.

    Returns:
        The sample.

    Raises:
        ReleaseError: It cannot be read, or is no such sample.
    """
    lists = ("rows", "items", "scores", "left_out")
    table = _read(file, ("id", "inputs", *lists))
    return ScoresSample(
        ids=table["id"].to_pylist(),
        inputs=_from_struct(table),
        **{name: table[name].to_pylist() for name in lists},
    )


def _to_struct(table: pa.Table) -> pa.StructArray:
    arrays = [pa.concat_arrays(column.chunks) if column.num_chunks else column for column in table.columns]
    return pa.StructArray.from_arrays(arrays, fields=list(table.schema))


def _from_struct(table: pa.Table) -> pa.Table:
    struct = table["inputs"].combine_chunks()
    return pa.table(dict(zip([field.name for field in struct.type], struct.flatten(), strict=True)))


def _read(file: Path, columns: tuple[str, ...]) -> pa.Table:
    try:
        table = pq.read_table(file)
    except (OSError, pa.ArrowException) as error:
        raise ReleaseError(f"Cannot read the sample {file}: {error}. {_REMEDY}") from error
    missing = sorted(set(columns) - set(table.column_names))
    if missing:
        raise ReleaseError(
            f"{file}: expected the columns {', '.join(columns)}. Received: no {', '.join(missing)}. {_REMEDY}"
        )
    return table
