"""The user table and the item ids to the buckets that need them, where they are not broadcast."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

import apache_beam as beam
import pyarrow as pa
import pyarrow.parquet as pq

from components.interaction_ingest.beam.reading import REQUESTS
from components.interaction_ingest.buckets import as_batch, partition_by_id
from components.interaction_ingest.joins import answer_requests
from components.interaction_ingest.spill import Spilled, read_spill, write_spill

ITEMS: Final = "items"
"""Tag of the (bucket, Spilled item ids)."""


class PartitionTable(beam.PTransform):
    """A table in a file into (bucket, Spilled rows)."""

    def __init__(self, path: Path, id_column: str, buckets: int) -> None:
        super().__init__()
        self._path = path
        self._id_column = id_column
        self._buckets = buckets

    def expand(self, pipeline: beam.Pipeline) -> beam.PCollection:
        """Attach the steps.

        Args:
            pipeline: The pipeline.

        Returns:
            (bucket, Spilled) elements.
        """
        return (
            pipeline
            | "RowGroups" >> beam.Create(range(pq.read_metadata(self._path).num_row_groups))
            | "Spread" >> beam.Reshuffle()
            | "Partition" >> beam.FlatMap(_partition_table, str(self._path), self._id_column, self._buckets)
        )


class AnswerRequests(beam.DoFn):
    """Requests for items and ids of the item table into (bucket of users, Spilled ids that are known)."""

    def __init__(self, work: Path, item_id: str) -> None:
        super().__init__()
        self._work = work
        self._item_id = item_id

    def process(self, element: tuple[int, dict[str, Iterable[Spilled]]]) -> Iterator[tuple[int, Spilled]]:
        """Look the requested items up.

        Args:
            element: The bucket of items, with its requests and its ids of the item table.

        Yields:
            Per bucket of users where its ids lie.
        """
        _, parts = element
        requests, items = read_spill(parts[REQUESTS]), read_spill(parts[ITEMS])
        if requests and items:
            answers = answer_requests(
                pa.Table.from_batches(requests), pa.Table.from_batches(items), self._item_id
            )
            yield from write_spill(self._work, answers).items()


def _partition_table(index: int, path: str, id_column: str, buckets: int) -> Iterator[tuple[int, Spilled]]:
    rows = as_batch(pq.ParquetFile(path).read_row_group(index))
    parts = partition_by_id(rows, id_column, buckets)
    yield from write_spill(Path(path).parent, parts).items()
