"""The interactions' way through Beam: one element is a RecordBatch in a file, never a row."""

from collections.abc import Iterable

import apache_beam as beam

from components.interaction_ingest.beam.joins import Joins
from components.interaction_ingest.beam.reading import COUNTS, NEWEST, REQUESTS, ReadAndClean
from components.interaction_ingest.beam.shuffling import AnswerRequests, PartitionTable
from components.interaction_ingest.beam.writing import (
    ITEMS,
    ITEMS_FILE,
    ROWS,
    USERS,
    USERS_FILE,
    WriteBucket,
)
from components.interaction_ingest.buckets import bucket_count
from components.interaction_ingest.config import IngestConfig
from components.interaction_ingest.counts import merge_counts
from components.interaction_ingest.outputs import IngestOutputs
from components.interaction_ingest.window import Window
from schemas.features import FeatureSpec


class IngestInteractions(beam.PTransform):
    """Pieces of the interactions into the files of all buckets; gives one IngestCounts for all of them.

    Rows meet by bucket of users, in files of which only the paths travel: see `spill`. What is not broadcast
    comes to the same place: the user table by its own bucket, and of the item ids, which are partitioned by
    item, those that a bucket has asked for.
    """

    def __init__(
        self,
        spec: FeatureSpec,
        config: IngestConfig,
        rows: int,
        outputs: IngestOutputs,
        window: Window,
        joins: Joins,
    ) -> None:
        super().__init__()
        self._spec = spec
        self._config = config
        self._buckets = bucket_count(rows)
        self._outputs = outputs
        self._window = window
        self._joins = joins

    def expand(self, pieces: beam.PCollection) -> beam.PCollection:
        """Attach the steps.

        Args:
            pieces: `Piece` elements.

        Returns:
            A single `IngestCounts`.
        """
        work = self._outputs.work
        user_id, item_id = self._spec.user_id.name, self._spec.item_id.name
        shuffles_items = self._joins.items == "shuffle"
        read = ReadAndClean(
            self._spec, self._config, self._buckets, self._outputs, self._window, shuffles_items
        )
        cleaned = (
            pieces
            | "SpreadPieces" >> beam.Reshuffle()
            | "ReadAndClean" >> beam.ParDo(read).with_outputs(COUNTS, NEWEST, REQUESTS, main=ROWS)
        )
        newest = cleaned[NEWEST] | "Newest" >> beam.CombineGlobally(_latest)
        parts = {ROWS: cleaned[ROWS]}
        if self._joins.users == "shuffle":
            parts[USERS] = pieces.pipeline | "PartitionUsers" >> PartitionTable(
                work / USERS_FILE, user_id, self._buckets
            )
        if shuffles_items:
            items = pieces.pipeline | "PartitionItems" >> PartitionTable(
                work / ITEMS_FILE, item_id, self._buckets
            )
            parts[ITEMS] = (
                {REQUESTS: cleaned[REQUESTS], ITEMS: items}
                | "MeetItems" >> beam.CoGroupByKey()
                | "AnswerRequests" >> beam.ParDo(AnswerRequests(work, item_id))
            )
        write = WriteBucket(self._spec, self._config, self._buckets, self._outputs, self._joins)
        written = (
            parts
            | "GroupByBucket" >> beam.CoGroupByKey()
            | "WriteBucket" >> beam.ParDo(write, beam.pvalue.AsSingleton(newest))
        )
        return (
            (cleaned[COUNTS], written)
            | "AllCounts" >> beam.Flatten()
            | "AddUp" >> beam.CombineGlobally(merge_counts)
        )


def _latest(seconds: Iterable[int | None]) -> int | None:
    return max((second for second in seconds if second is not None), default=None)
