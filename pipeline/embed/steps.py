"""The table's way through Beam: one element is some pieces of its files, never a row."""

import functools
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import apache_beam as beam
import pyarrow as pa
import pyarrow.parquet as pq

from components.interaction_ingest.counts import IngestCounts, merge_counts
from components.interaction_ingest.dead_letters import DeadLetterWriter
from components.interaction_ingest.outputs import write_whole
from components.interaction_ingest.sources.parts import Piece
from pipeline.embed.embedder import Embedder
from pipeline.embed.rows import read_rows
from pipeline.embed.table import InputTable
from schemas.errors import DssmError

FILE_ROWS: Final = 131_072
"""Rows after which a new file begins."""
EMBEDDINGS_FILE: Final = "embeddings-{group:05d}-{number:05d}.parquet"
"""Name of a file with embeddings."""
EMBEDDINGS_PATTERN: Final = "embeddings-*-*.parquet"
"""Those files."""
# Readers of Parquet folders leave out names that start so.
REJECTED_FOLDER: Final = "_rejected"
"""Folder with the rows that were left out."""
REJECTED_FILE: Final = "rejected-{group}.parquet"
"""Name of a file in it."""

WRITTEN: Final = "written"
"""Counts the embeddings that were written."""
HISTORIES: Final = "history_"
"""What the counts of histories begin with."""


@dataclass(frozen=True)
class PieceGroup:
    """Neighbouring pieces that are read together, so that small ones make no small files."""

    number: int
    """The group's place in the table."""
    pieces: tuple[Piece, ...]
    """The pieces, in order."""


def group_pieces(pieces: Sequence[Piece], rows: int) -> list[PieceGroup]:
    """Put neighbouring pieces together.

    Args:
        pieces: The pieces of the table, in order.
        rows: Rows with which a group is full.

    Returns:
        The groups, in order.
    """
    groups: list[PieceGroup] = []
    waiting: list[Piece] = []
    for piece in pieces:
        waiting.append(piece)
        if sum(each.rows for each in waiting) >= rows:
            groups.append(PieceGroup(len(groups), tuple(waiting)))
            waiting = []
    if waiting:
        groups.append(PieceGroup(len(groups), tuple(waiting)))
    return groups


class EmbedTable(beam.PTransform):
    """Groups of pieces into files of embeddings; gives one IngestCounts for all of them."""

    def __init__(
        self,
        table: InputTable,
        load: Callable[[], Embedder],
        folder: Path,
        file_rows: int,
    ) -> None:
        super().__init__()
        self._table = table
        self._load = load
        self._folder = folder
        self._file_rows = file_rows

    def expand(self, groups: beam.PCollection) -> beam.PCollection:
        """Attach the steps.

        Args:
            groups: `PieceGroup` elements.

        Returns:
            A single `IngestCounts`.
        """
        embed = EmbedGroup(self._table, self._load, self._folder, self._file_rows)
        return (
            groups
            | "SpreadGroups" >> beam.Reshuffle()
            | "EmbedGroup" >> beam.ParDo(embed)
            | "AddUp" >> beam.CombineGlobally(merge_counts)
        )


class EmbedGroup(beam.DoFn):
    """A group of pieces into files; yields what was counted."""

    def __init__(self, table: InputTable, load: Callable[[], Embedder], folder: Path, file_rows: int) -> None:
        super().__init__()
        self._table = table
        self._load = load
        self._folder = folder
        self._file_rows = file_rows

    def setup(self) -> None:
        """Begin without a model."""
        self._embedder: Embedder | None = None

    def process(self, group: PieceGroup) -> Iterator[IngestCounts]:
        """Read a group, embed its rows, and write them.

        Args:
            group: What to read.

        Yields:
            Counts of each batch and of each file. `rows` has, beside what was read, `WRITTEN` and, under
            names that begin with `HISTORIES`, how many histories there are of which kind.
        """
        waiting: list[pa.Table] = []
        number = 0
        try:
            # Here and not in `setup`, where what is raised reaches the user as a worker's traceback.
            if self._embedder is None:
                self._embedder = self._load()
            with self._open_rejected(group) as rejected:
                for piece in group.pieces:
                    for rows, counts, rejections in read_rows(piece, self._table):
                        yield counts
                        for each in rejections:
                            if len(each.letters) or each.unread_bytes:
                                rejected.write(each)
                                yield each.count()
                        # Without a value that the tower reads there is nothing to embed.
                        if len(rows) and not counts.missing:
                            waiting.append(rows)
                        if sum(map(len, waiting)) >= self._file_rows:
                            yield self._write(waiting, self._embedder, group.number, number)
                            waiting, number = [], number + 1
                if waiting:
                    yield self._write(waiting, self._embedder, group.number, number)
        # Data, not an exception: what is raised here reaches the user as a worker's traceback.
        except DssmError as error:
            yield IngestCounts(problems=(str(error),))

    def _write(self, rows: list[pa.Table], embedder: Embedder, group: int, number: int) -> IngestCounts:
        embedded, histories = embedder.embed(pa.concat_tables(rows), self._table)
        # A retried bundle comes here twice, with the same content under the same name.
        path = self._folder / EMBEDDINGS_FILE.format(group=group, number=number)
        write_whole(path, functools.partial(pq.write_table, embedded))
        counts = Counter({WRITTEN: len(embedded)})
        counts.update({f"{HISTORIES}{kind}": count for kind, count in histories.items()})
        return IngestCounts(rows=counts)

    def _open_rejected(self, group: PieceGroup) -> DeadLetterWriter:
        path = self._folder / REJECTED_FOLDER / REJECTED_FILE.format(group=f"{group.number:05d}")
        return DeadLetterWriter(path, path.with_name(f"{uuid.uuid4().hex}.tmp"))
