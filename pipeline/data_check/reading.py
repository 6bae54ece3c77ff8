"""The interactions read by the rules of the ingest, without Beam, as a sample where there are many."""

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from components.interaction_ingest.config import IngestConfig
from components.interaction_ingest.counts import OUTSIDE_WINDOW, IngestCounts, empty_message, merge_counts
from components.interaction_ingest.dead_letters import Rejections
from components.interaction_ingest.reading.cleaning import clean_batch
from components.interaction_ingest.reading.entities import EntityTable
from components.interaction_ingest.reading.inputs import Inputs, check_inputs
from components.interaction_ingest.report import check_counts
from components.interaction_ingest.sources.parts import Column, Piece
from components.interaction_ingest.sources.reading import list_columns, read_piece
from components.interaction_ingest.user_sequences import UserSequences, build_sequences
from schemas.errors import DataError
from schemas.features import FeatureSpec

SAMPLE_ROWS: Final = 2_000_000
"""Interactions that are looked at."""


@dataclass(frozen=True)
class CheckedLog:
    """What the ingest would make of the interactions."""

    inputs: Inputs
    """The tables; of the interactions all pieces."""
    sequences: UserSequences
    """The positives that are kept."""
    counts: IngestCounts
    """What was read and dropped."""
    is_whole: bool
    """Whether all interactions were read."""
    refusal: str
    """Why the run would stop; '' where it would not."""

    @property
    def rows(self) -> int:
        """Interactions of the whole log, an estimate where the format has no number of rows."""
        return self.counts.rows["read"] if self.is_whole else self.inputs.rows


def read_log(
    spec: FeatureSpec, config: IngestConfig, data_directory: str, limit: int = SAMPLE_ROWS
) -> CheckedLog:
    """Read the tables as the ingest does.

    Args:
        spec: The features.
        config: The rules.
        data_directory: The folder of the tables: a path or URI.
        limit: Interactions of the window that are read, and at most twice as many: of more, row groups and
            files from all over the log, or the first rows where it is one file without row groups.

    Returns:
        What the ingest would make of them.

    Raises:
        ConfigError: As `check_inputs` says.
        DataError: As `check_inputs` says, or no row can be used.
        StorageError: The files' store cannot be reached or refuses.
    """
    inputs = check_inputs(spec, config, data_directory, config.window)
    step = max(1, inputs.rows // limit)
    pieces = inputs.row_groups[::step]
    batches: list[pa.RecordBatch] = []
    parts: list[IngestCounts] = [inputs.rejections.count()]
    columns = list_columns(spec, config)
    read = 0
    is_whole = len(pieces) == len(inputs.row_groups)
    for piece, (batch, rejections) in _read_pieces(pieces, spec, columns):
        # A file of a format without row groups is one piece, however large.
        if read >= 2 * limit:
            is_whole = False
            break
        kept, counts = clean_batch(batch, piece.file_index, spec, config, inputs.window)
        batches.append(kept)
        parts += [counts, rejections.count()]
        # Of a file in the order of time, the window's rows are the last ones.
        read += batch.num_rows - counts.dropped[OUTSIDE_WINDOW]
    if not batches:
        raise DataError(empty_message(spec.tables.interactions.file))
    newest = max(
        (pc.max(batch.column(spec.timestamp)).as_py() for batch in batches if batch.num_rows), default=None
    )
    tables = spec.tables
    users = _list_known(inputs.users if tables.users is not None else None, spec.user_id.name, batches)
    items = _list_known(inputs.items if tables.items is not None else None, spec.item_id.name, batches)
    sequences, counts = build_sequences(batches, users, items, spec, config, newest)
    total = merge_counts([*parts, counts])
    refusal = _find_refusal(total, inputs, spec, config, is_whole)
    return CheckedLog(inputs, sequences, total, is_whole, refusal)


def _read_pieces(
    pieces: Iterable[Piece], spec: FeatureSpec, columns: Sequence[Column]
) -> Iterator[tuple[Piece, tuple[pa.RecordBatch, Rejections]]]:
    ids = [spec.user_id.name, spec.item_id.name]
    for piece in pieces:
        for part in read_piece(piece, spec.tables.interactions, "interactions", columns, ids):
            yield piece, part


def _list_known(table: EntityTable | None, name: str, batches: Sequence[pa.RecordBatch]) -> pa.Array:
    """List the ids that have metadata; without a table none is missed."""
    if table is None:
        return pa.Table.from_batches([batch.select([name]) for batch in batches]).column(name).unique()
    return table.table.column(name).combine_chunks()


def _find_refusal(
    counts: IngestCounts, inputs: Inputs, spec: FeatureSpec, config: IngestConfig, is_whole: bool
) -> str:
    # The rows of a sample do not add up to those of the files.
    of_sample = inputs if is_whole else dataclasses.replace(inputs, is_counted=False)
    try:
        check_counts(counts, of_sample, spec, config)
    except DataError as error:
        return str(error)
    return ""
