"""Pieces of the interactions into cleaned rows, by bucket of users."""

import uuid
from collections.abc import Iterator
from typing import Any, Final

import apache_beam as beam
import pyarrow as pa
import pyarrow.compute as pc
from apache_beam.metrics import Metrics
from apache_beam.transforms.window import GlobalWindows

from components.interaction_ingest.buckets import as_batch, partition_by_id
from components.interaction_ingest.config import IngestConfig
from components.interaction_ingest.counts import IngestCounts
from components.interaction_ingest.dead_letters import DeadLetterWriter
from components.interaction_ingest.joins import request_items
from components.interaction_ingest.outputs import IngestOutputs
from components.interaction_ingest.reading.cleaning import clean_batch, place_of
from components.interaction_ingest.sources.parts import Piece
from components.interaction_ingest.sources.reading import list_columns, read_piece
from components.interaction_ingest.spill import write_spill
from components.interaction_ingest.window import Window
from schemas.contract import PROGRESS_COUNTERS
from schemas.errors import DataError, StorageError
from schemas.features import FeatureSpec

COUNTS: Final = "counts"
"""Tag of the IngestCounts of each batch."""
NEWEST: Final = "newest"
"""Tag of the second of the newest positive of each file of rows."""
REQUESTS: Final = "requests"
"""Tag of the (bucket of items, Spilled requests)."""

ROWS_READ: Final = "rows read"
"""The counter of what is read of the interactions."""

_SPILL_ROWS = 524_288
# A batch has about a kilobyte beside its rows.
_WAITING_BATCHES = 1_024


class ReadAndClean(beam.DoFn):
    """A piece into (bucket, Spilled positives); counts, newest second and requests on the side."""

    def __init__(
        self,
        spec: FeatureSpec,
        config: IngestConfig,
        buckets: int,
        outputs: IngestOutputs,
        window: Window,
        requests_items: bool,
    ) -> None:
        super().__init__()
        self._spec = spec
        self._config = config
        self._buckets = buckets
        self._outputs = outputs
        self._window = window
        self._requests_items = requests_items
        self._rows_read = Metrics.counter(PROGRESS_COUNTERS, ROWS_READ)

    def start_bundle(self) -> None:
        """Begin with nothing, also where a bundle before this one failed."""
        self._waiting: list[pa.RecordBatch] = []
        self._waiting_rows = 0

    def finish_bundle(self) -> Iterator[Any]:
        """Write what is left.

        Yields:
            What `process` does, in the global window.
        """
        for output in self._spill():
            if isinstance(output, beam.pvalue.TaggedOutput):
                yield beam.pvalue.TaggedOutput(output.tag, GlobalWindows.windowed_value(output.value))
            else:
                yield GlobalWindows.windowed_value(output)

    def process(self, piece: Piece) -> Iterator[Any]:
        """Read a piece in batches, clean them and partition them by user.

        Args:
            piece: What to read.

        Yields:
            (bucket, Spilled) and, tagged, the counts of each batch, the newest positive's second, and
            (bucket of items, Spilled requests) where the item ids are shuffled. Rows wait until they fill a
            file, over the pieces of a bundle: each file is as many elements as there are buckets.
        """
        spec = self._spec
        try:
            read = read_piece(
                piece,
                spec.tables.interactions,
                "interactions",
                list_columns(spec, self._config),
                [spec.user_id.name, spec.item_id.name],
            )
            with self._open_dead_letters(piece) as dead_letters:
                for batch, rejected in read:
                    self._rows_read.inc(batch.num_rows)
                    kept, counts = clean_batch(batch, piece.file_index, spec, self._config, self._window)
                    yield beam.pvalue.TaggedOutput(COUNTS, counts)
                    if len(rejected.letters) or rejected.cleaned:
                        dead_letters.write(rejected)
                        yield beam.pvalue.TaggedOutput(COUNTS, rejected.count())
                    self._keep(kept)
                    if self._waiting_rows >= _SPILL_ROWS:
                        yield from self._spill()
        # Data, not an exception: what is raised here reaches the user as a worker's traceback.
        except (DataError, StorageError) as error:
            yield beam.pvalue.TaggedOutput(COUNTS, IngestCounts(problems=(str(error),)))

    def _open_dead_letters(self, piece: Piece) -> DeadLetterWriter:
        # The same name if a failed bundle is retried.
        name = f"interactions-{piece.file_index:05d}-{piece.index:05d}.parquet"
        folder = self._outputs.dead_letters
        unfinished = self._outputs.work / f"{uuid.uuid4().hex}.dead"
        return DeadLetterWriter(folder / name if folder else None, unfinished)

    def _keep(self, rows: pa.RecordBatch) -> None:
        if not rows.num_rows:
            return
        self._waiting.append(rows)
        self._waiting_rows += rows.num_rows
        if len(self._waiting) >= _WAITING_BATCHES:
            self._waiting = [as_batch(pa.Table.from_batches(self._waiting))]

    def _spill(self) -> Iterator[Any]:
        if not self._waiting:
            return
        # Pieces come in any order; rows that are in theirs need no sorting later.
        rows = as_batch(pa.Table.from_batches(sorted(self._waiting, key=place_of)))
        self.start_bundle()
        newest = pc.max(rows.column(self._spec.timestamp)).as_py()
        yield beam.pvalue.TaggedOutput(NEWEST, newest)
        parts = partition_by_id(rows, self._spec.user_id.name, self._buckets)
        yield from write_spill(self._outputs.work, parts).items()
        if self._requests_items:
            item_id = self._spec.item_id.name
            requests = partition_by_id(request_items(parts, item_id), item_id, self._buckets)
            for request in write_spill(self._outputs.work, requests).items():
                yield beam.pvalue.TaggedOutput(REQUESTS, request)
