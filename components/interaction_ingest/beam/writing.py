"""The buckets of users into the files of sequences and examples."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from components.interaction_ingest.beam.joins import Joins
from components.interaction_ingest.buckets import as_batch, partition_by_id
from components.interaction_ingest.config import IngestConfig
from components.interaction_ingest.counts import IngestCounts
from components.interaction_ingest.entity_rows import entity_rows
from components.interaction_ingest.examples_file import EXAMPLES_FILE, write_examples
from components.interaction_ingest.figures import count_figures
from components.interaction_ingest.item_rows import count_items, write_counts
from components.interaction_ingest.outputs import IngestOutputs, split_folder, split_names, write_whole
from components.interaction_ingest.spill import Spilled, read_spill
from components.interaction_ingest.splits import SPLIT_CODES
from components.interaction_ingest.user_sequences import UserSequences, build_sequences, sequences_table
from schemas.contract import ENTITY_SPLIT, TRAIN_ROWS, VALIDATION_ROWS
from schemas.features import FeatureSpec
from schemas.sequences import FILE_NAME, write_sequences

USERS_FILE: Final = "users.parquet"
"""The cleaned user table, in the work folder."""
ITEMS_FILE: Final = "items.parquet"
"""The ids of the cleaned item table, there too."""
ITEM_COUNTS_PATTERN: Final = "item-rows-*.arrow"
"""How many rows of each bucket hold each item, there too."""

ROWS: Final = "rows"
"""Tag of a bucket's interactions."""
USERS: Final = "users"
"""Tag of a bucket's rows of the user table, where it is not broadcast."""
ITEMS: Final = "items"
"""Tag of the item ids that a bucket has asked for, where they are not broadcast."""


class WriteBucket(beam.DoFn):
    """All positives of a bucket's users into sequences, and its users and contexts into examples."""

    def __init__(
        self, spec: FeatureSpec, config: IngestConfig, buckets: int, outputs: IngestOutputs, joins: Joins
    ) -> None:
        super().__init__()
        self._spec = spec
        self._config = config
        self._buckets = buckets
        self._outputs = outputs
        self._joins = joins

    def setup(self) -> None:
        """Load the tables that are broadcast once per worker."""
        work = self._outputs.work
        self._user_schema = pq.read_schema(work / USERS_FILE)
        self._users: dict[int, pa.RecordBatch] = {}
        self._items: pa.Array | None = None
        if self._joins.users == "broadcast":
            users = as_batch(pq.read_table(work / USERS_FILE))
            self._users = partition_by_id(users, self._spec.user_id.name, self._buckets)
        if self._joins.items == "broadcast":
            self._items = pq.read_table(work / ITEMS_FILE).column(0).combine_chunks()

    def process(
        self, element: tuple[int, dict[str, Iterable[Spilled]]], newest_second: int | None
    ) -> Iterator[IngestCounts]:
        """Build the bucket and write its files.

        Args:
            element: The bucket's number, its rows, and its part of what is not broadcast.
            newest_second: Seconds since 1970 of the newest positive of all buckets.

        Yields:
            The bucket's counts.
        """
        number, parts = element
        batches = read_spill(parts[ROWS])
        if not batches:
            return
        users = self._known_users(number, parts, batches)
        id_name = self._spec.user_id.name
        sequences, counts = build_sequences(
            batches,
            users.column(id_name).combine_chunks(),
            self._known_items(parts, batches),
            self._spec,
            self._config,
            newest_second,
        )
        yield counts
        # Without a user nothing is to be written; with a value missing, nothing is worth writing.
        if any(counts.missing.values()) or not len(sequences.user_ids):
            return
        yield count_figures(sequences, self._spec.timestamp)
        self._write(number, sequences, users)

    def _write(self, number: int, sequences: UserSequences, users: pa.Table) -> None:
        outputs, spec = self._outputs, self._spec
        of_users = entity_rows(users, sequences.user_ids, spec.table_features("user"))
        table = sequences_table(sequences, of_users, spec)
        path = outputs.sequences / FILE_NAME.format(number=number, files=self._buckets)
        # A retried bundle comes here twice, with the same content under the same name.
        write_whole(path, lambda unfinished: write_sequences(table, unfinished), outputs.work)
        ends = sequences.ends
        for name, rows in ((TRAIN_ROWS, ends[:, 0]), (VALIDATION_ROWS, ends[:, 1] - ends[:, 0])):
            of_users = of_users.append_column(name, pa.array(rows))
        self._write_examples(number, of_users, outputs.users, ENTITY_SPLIT)
        if outputs.contexts is not None:
            contexts = sequences.columns.select([f.name for f in spec.table_features("context")])
            for split in split_names(self._config):
                rows = np.flatnonzero(sequences.splits == SPLIT_CODES[split])
                self._write_examples(number, contexts.take(pa.array(rows)), outputs.contexts, split)
        path = outputs.work / ITEM_COUNTS_PATTERN.replace("*", f"{number:05d}")
        write_whole(path, lambda unfinished: write_counts(count_items(sequences), unfinished))

    def _write_examples(self, number: int, table: pa.Table, examples: Path, split: str) -> None:
        if len(table):
            path = split_folder(examples, split) / EXAMPLES_FILE.format(number=number, files=self._buckets)
            write_whole(path, lambda unfinished: write_examples(table, unfinished), self._outputs.work)

    def _known_users(
        self, number: int, parts: dict[str, Iterable[Spilled]], rows: Sequence[pa.RecordBatch]
    ) -> pa.Table:
        """Give the rows of the user table that may be of this bucket; without a table, its users."""
        if self._joins.users == "none":
            name = self._spec.user_id.name
            return pa.table({name: _unique_values(rows, name)}, self._user_schema)
        if self._joins.users == "broadcast":
            batches = [self._users[number]] if number in self._users else []
        else:
            batches = read_spill(parts[USERS])
        return pa.Table.from_batches(batches, self._user_schema)

    def _known_items(self, parts: dict[str, Iterable[Spilled]], rows: Sequence[pa.RecordBatch]) -> pa.Array:
        """Give the ids of the item table, at least those of this bucket's rows; without a table, these."""
        if self._joins.items == "none":
            return _unique_values(rows, self._spec.item_id.name)
        if self._items is not None:
            return self._items
        ids = [batch.column(0) for batch in read_spill(parts[ITEMS])]
        return pa.concat_arrays(ids) if ids else pa.array([], pa.string())


def _unique_values(batches: Sequence[pa.RecordBatch], name: str) -> pa.Array:
    return pc.unique(pa.chunked_array([batch.column(name) for batch in batches]))
