"""The item tower over the whole catalogue."""

import json
import logging
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from components.towers import BATCH_ROWS, Tower, load_tower, refuse_non_finite
from schemas.contract import (
    CATALOGUE_FILE,
    INDEX,
    INDEX_EMBEDDINGS_FILE,
    ITEM_TOWER,
    MODEL_ID,
    PART_FILE,
    PROGRESS_LOGGER,
)
from schemas.errors import DataError, ReleaseError
from schemas.release import read_part_id


@dataclass(frozen=True)
class IndexData:
    """An index as it was read."""

    model_id: str
    """Id of the training whose item tower made it."""
    embeddings: np.ndarray
    """[items, dim] float32, mapped from the file and not yet in memory."""
    catalogue: pa.Table
    """The items in the order of the embeddings."""


@dataclass(frozen=True)
class KnownEmbeddings:
    """What the item tower has given for some items of a catalogue before."""

    embeddings: npt.NDArray[np.float32]
    """[known, dim]."""
    rows: npt.NDArray[np.integer]
    """[items] which of these each item of the catalogue has; -1 where it has none."""


def build_index(
    item_tower: Path,
    catalogue: Path,
    output: Path,
    item_id: str,
    display: pa.Table | None = None,
    batch_rows: int = BATCH_ROWS,
    known: KnownEmbeddings | None = None,
) -> None:
    """Embed every catalogue item and write the index: embeddings, the catalogue, and the model's id.

    Memory holds the display columns and one batch at a time, whatever the catalogue's size.

    Args:
        item_tower: The item tower's SavedModel.
        catalogue: The catalogue's folder.
        output: Folder of the index, made if it is missing.
        item_id: Name of the item id column.
        display: The item id, each at most once, and columns that the catalogue of the index has beside
            those of the catalogue, null for items that are not here; None: there are none.
        batch_rows: Items per call of the tower.
        known: Embeddings that are taken over and not computed again; None: there are none.

    Raises:
        DataError: The catalogue is empty or lacks a column that the tower reads.
        ReleaseError: `item_tower` holds no item tower.
        TrainingError: An embedding is not finite.
    """
    tower = load_tower(item_tower, ITEM_TOWER)
    output.mkdir(parents=True, exist_ok=True)
    with pq.ParquetFile(catalogue / CATALOGUE_FILE) as file:
        items = file.metadata.num_rows
        if not items:
            raise DataError(
                "Expected a catalogue with at least one item. Received: an empty one. Fill the item table."
            )
        embeddings = np.lib.format.open_memmap(
            output / INDEX_EMBEDDINGS_FILE, mode="w+", dtype=np.float32, shape=(items, tower.dim)
        )
        wanted = set(tower.inputs) | {item_id}
        columns = [name for name in file.schema_arrow.names if name in wanted]
        start = 0
        for batch in file.iter_batches(batch_size=batch_rows, columns=columns):
            table = pa.Table.from_batches([batch])
            rows = np.full(len(table), -1) if known is None else known.rows[start : start + len(table)]
            block = _embed(tower, table, batch_rows, rows, known)
            refuse_non_finite(block, batch.column(item_id).to_pylist(), "items of a batch")
            embeddings[start : start + len(block)] = block
            start += len(block)
        embeddings.flush()
    if display is None:
        shutil.copyfile(catalogue / CATALOGUE_FILE, output / CATALOGUE_FILE)
    else:
        add_columns(catalogue / CATALOGUE_FILE, output / CATALOGUE_FILE, item_id, display)
    part = {MODEL_ID: tower.model_id, "part": INDEX, "dim": tower.dim, "items": items}
    (output / PART_FILE).write_text(json.dumps(part), encoding="utf-8")
    logging.getLogger(PROGRESS_LOGGER).info("Indexed %s items, %d dimensions each.", f"{items:,}", tower.dim)


def add_columns(source: Path, target: Path, item_id: str, display: pa.Table) -> None:
    """Write a catalogue with further columns, row group by row group.

    Args:
        source: The catalogue's file.
        target: The file to write.
        item_id: Name of the item id column.
        display: The item id, each at most once, and the further columns.
    """
    further = display.drop_columns([item_id]).combine_chunks()
    known = display[item_id].combine_chunks()
    with pq.ParquetFile(source) as file:
        ids = file.read(columns=[item_id])[item_id].combine_chunks()
        # The lookup is made once for all: its table is as large as the item table.
        rows = pc.index_in(ids.cast(known.type), value_set=known)
        schema = file.schema_arrow
        for field in further.schema:
            schema = schema.append(field.with_nullable(True))
        start = 0
        with pq.ParquetWriter(target, schema) as writer:
            for group in range(file.num_row_groups):
                table = file.read_row_group(group)
                shown = further.take(rows.slice(start, table.num_rows))
                start += table.num_rows
                for name in shown.column_names:
                    table = table.append_column(schema.field(name), shown[name])
                writer.write_table(table.cast(schema))


def _embed(
    tower: Tower,
    table: pa.Table,
    batch_rows: int,
    rows: npt.NDArray[np.integer],
    known: KnownEmbeddings | None,
) -> npt.NDArray[np.float32]:
    """Embed the items of a batch of which nothing is known, and look the others up."""
    is_new = rows < 0
    block = np.empty((len(table), tower.dim), np.float32)
    block[is_new] = tower.embed(table.filter(pa.array(is_new)), batch_rows)
    if known is not None:
        block[~is_new] = known.embeddings[rows[~is_new]]
    return block


def read_index(folder: Path, columns: Sequence[str] | None = None) -> IndexData:
    """Read an index that `build_index` wrote.

    Args:
        folder: The index.
        columns: Columns of the catalogue to read; None reads all.

    Returns:
        The index; its embeddings are mapped from the file.

    Raises:
        ReleaseError: The folder holds no index.
    """
    model_id = read_part_id(folder, INDEX)
    try:
        embeddings = np.load(folder / INDEX_EMBEDDINGS_FILE, mmap_mode="r")
        # `read_table` imports pyarrow.dataset, which takes as long as all else that a command does here.
        with pq.ParquetFile(folder / CATALOGUE_FILE) as file:
            catalogue = file.read(columns=columns)
    except (OSError, ValueError) as error:
        raise ReleaseError(
            f"Cannot read the index {folder}: {error}. Build it again with `dssm run`."
        ) from error
    if len(embeddings) != catalogue.num_rows:
        raise ReleaseError(
            f"The index {folder} has {len(embeddings):,} embeddings for {catalogue.num_rows:,} items. "
            "Build it again with `dssm run`."
        )
    return IndexData(model_id=model_id, embeddings=embeddings, catalogue=catalogue)
