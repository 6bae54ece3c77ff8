"""The interactions' way through Beam: one element is a RecordBatch, never a row."""

import dataclasses
import json
import shutil
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Final, Literal

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from components.interaction_ingest import logic
from components.interaction_ingest.config import IngestConfig, WindowConfig
from components.interaction_ingest.counts import IngestCounts, merge_counts
from components.interaction_ingest.dead_letters import DeadLetterWriter, Rejections, write_rejections
from components.interaction_ingest.examples_file import write_examples
from components.interaction_ingest.history import count_cut_values
from components.interaction_ingest.report import build_report, check_counts
from components.interaction_ingest.sources.files import fingerprint_inputs
from components.interaction_ingest.sources.parts import Piece
from components.interaction_ingest.sources.reading import list_columns, read_piece
from components.interaction_ingest.spill import Spilled, read_spill, write_spill
from components.interaction_ingest.tables import check_inputs
from components.interaction_ingest.window import ALL_DAYS, Window
from schemas.contract import (
    CATALOGUE_FILE,
    DEAD_LETTERS_FILE,
    EVAL_SPLIT,
    INGEST_REPORT_FILE,
    TRAIN_SPLIT,
    VALIDATION_SPLIT,
)
from schemas.errors import DataError, StorageError
from schemas.features import FeatureSpec

WORK_FOLDER: Final = "ingest-work"
"""Folder beside the splits for unfinished files; removed at the end."""

_SPLITS = {TRAIN_SPLIT: logic.TRAIN, VALIDATION_SPLIT: logic.VALIDATION, EVAL_SPLIT: logic.EVAL}
_USERS_FILE = "users.parquet"
_ITEMS_FILE = "items.parquet"
_COUNTS_FILE = "counts.json"
_ROWS = "rows"
_USERS = "users"
_ITEMS = "items"
_COUNTS_TAG = "counts"
_NEWEST_TAG = "newest"
_REQUESTS_TAG = "requests"
_SPILL_ROWS = 524_288
_TABLE_ROWS = 131_072


def run_ingest(
    make_pipeline: Callable[[], beam.Pipeline],
    spec: FeatureSpec,
    config: IngestConfig,
    data_directory: str,
    examples_directory: str,
    catalogue_directory: str,
    report_directory: str,
    window: WindowConfig | None = None,
    input_fingerprint: str = "",
    dead_letters_directory: str = "",
) -> dict[str, Any]:
    """Read the three tables and write examples, catalogue and report.

    Args:
        make_pipeline: Makes the Beam pipeline to run on.
        spec: The features.
        config: The positive rule, the split, and what to do about missing metadata.
        data_directory: The folder of the tables: a path or URI.
        examples_directory: Gets Split-train/, Split-eval/ and, where the configuration asks for it,
            Split-validation/ with gzip TFRecord files of tf.Example, each file's rows in a random order that
            is the same in every run.
        catalogue_directory: Gets the catalogue.
        report_directory: Gets the report.
        window: The days to read; None: all.
        input_fingerprint: What `fingerprint_inputs` gives, for the report; '' to compute it here.
        dead_letters_directory: Gets the malformed rows; '' to only count them.

    Returns:
        The report.

    Raises:
        ConfigError: `missing_metadata: default`, and a feature of the tables has no default.
        DataError: The data cannot be used; the message says why.
        StorageError: The tables' store cannot be reached or refuses.
    """
    inputs = check_inputs(spec, config, data_directory, window)
    fingerprint = input_fingerprint or fingerprint_inputs(spec, data_directory, window)
    examples = Path(examples_directory)
    work = examples / WORK_FOLDER
    split_folders = [examples / f"Split-{split}" for split in split_names(config)]
    for name in (WORK_FOLDER, *(f"Split-{split}" for split in _SPLITS)):
        shutil.rmtree(examples / name, ignore_errors=True)
    for folder in (work, *split_folders):
        folder.mkdir(parents=True)
    try:
        if dead_letters_directory:
            shutil.rmtree(dead_letters_directory, ignore_errors=True)
            Path(dead_letters_directory).mkdir(parents=True)
            for name, rejections in (
                ("users", inputs.users.rejections),
                ("items", inputs.items.rejections),
                ("interactions-files", (inputs.rejections,)),
            ):
                write_rejections(rejections, name, dead_letters_directory, work)
        pq.write_table(inputs.users.table, work / _USERS_FILE, row_group_size=_TABLE_ROWS)
        pq.write_table(inputs.items.table, work / _ITEMS_FILE, row_group_size=_TABLE_ROWS)
        joins = Joins(
            users=logic.choose_join(config, inputs.users.table.nbytes),
            items=logic.choose_join(config, inputs.items.table.nbytes),
        )
        with make_pipeline() as pipeline:
            _ = (
                pipeline
                | "RowGroups" >> beam.Create(inputs.row_groups)
                | "Ingest"
                >> IngestInteractions(
                    spec,
                    config,
                    inputs.rows,
                    examples_directory,
                    inputs.window,
                    joins,
                    dead_letters_directory,
                )
                | "WriteCounts" >> beam.Map(_write_counts, str(work / _COUNTS_FILE))
            )
        counts = merge_counts([_read_counts(work / _COUNTS_FILE), inputs.rejections.count()])
        check_counts(counts, inputs, spec, config)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    catalogue = logic.build_catalogue(inputs.items.table, spec, counts.unknown_items, config.missing_metadata)
    cut = count_cut_values(inputs.items.table, spec)
    report = build_report(counts, inputs, len(catalogue), fingerprint, cut)
    _replace(Path(catalogue_directory) / CATALOGUE_FILE, lambda path: pq.write_table(catalogue, path))
    if dead_letters_directory:
        # Always a file, since an orchestrator may drop an empty folder and then miss the output.
        rejected = json.dumps(
            {
                "interactions": report["rejected"],
                "users": report["user_table_dropped"],
                "items": report["item_table_dropped"],
            },
            indent=2,
        )
        _replace(
            Path(dead_letters_directory) / DEAD_LETTERS_FILE,
            lambda path: path.write_text(rejected, encoding="utf-8"),
        )
    text = json.dumps(report, indent=2, ensure_ascii=False)
    _replace(
        Path(report_directory) / INGEST_REPORT_FILE, lambda path: path.write_text(text, encoding="utf-8")
    )
    return report


def split_names(config: IngestConfig) -> list[str]:
    """List the splits that the examples have.

    Args:
        config: Whether there is a validation split.

    Returns:
        Their names.
    """
    return [split for split in _SPLITS if split != VALIDATION_SPLIT or config.validation]


@dataclasses.dataclass(frozen=True)
class Joins:
    """How the two tables meet the interactions."""

    users: Literal["broadcast", "shuffle"] = "broadcast"
    """The user table."""
    items: Literal["broadcast", "shuffle"] = "broadcast"
    """The item table."""


class IngestInteractions(beam.PTransform):
    """Row groups of the interactions into example files; gives one IngestCounts for all of them.

    Rows meet by bucket of users, in files of which only the paths travel: see `spill`. A table that is not
    broadcast comes to the same place: the user table by its own bucket, and of the item table, which is
    partitioned by item, the rows that a bucket has asked for.
    """

    def __init__(
        self,
        spec: FeatureSpec,
        config: IngestConfig,
        rows: int,
        examples_directory: str,
        window: Window = ALL_DAYS,
        joins: Joins = Joins(),
        dead_letters_directory: str = "",
    ) -> None:
        super().__init__()
        self._window = window
        self._dead_letters_directory = dead_letters_directory
        self._spec = spec
        self._config = config
        self._buckets = logic.bucket_count(rows)
        self._examples_directory = examples_directory
        self._joins = joins

    def expand(self, row_groups: beam.PCollection) -> beam.PCollection:
        """Attach the steps.

        Args:
            row_groups: `Piece` elements.

        Returns:
            A single `IngestCounts`.
        """
        work = Path(self._examples_directory) / WORK_FOLDER
        read = ReadAndClean(
            self._spec,
            self._config,
            self._buckets,
            self._examples_directory,
            self._window,
            self._joins,
            self._dead_letters_directory,
        )
        cleaned = (
            row_groups
            | "SpreadRowGroups" >> beam.Reshuffle()
            | "ReadAndClean"
            >> beam.ParDo(read).with_outputs(_COUNTS_TAG, _NEWEST_TAG, _REQUESTS_TAG, main=_ROWS)
        )
        newest = cleaned[_NEWEST_TAG] | "Newest" >> beam.CombineGlobally(_latest)
        parts = {_ROWS: cleaned[_ROWS]}
        if self._joins.users == "shuffle":
            parts[_USERS] = row_groups.pipeline | "PartitionUsers" >> PartitionTable(
                work / _USERS_FILE, self._spec.user_id.name, self._buckets
            )
        if self._joins.items == "shuffle":
            item_id = self._spec.item_id.name
            items = row_groups.pipeline | "PartitionItems" >> PartitionTable(
                work / _ITEMS_FILE, item_id, self._buckets
            )
            parts[_ITEMS] = (
                {_REQUESTS_TAG: cleaned[_REQUESTS_TAG], _ITEMS: items}
                | "MeetItems" >> beam.CoGroupByKey()
                | "AnswerRequests" >> beam.ParDo(AnswerRequests(work, item_id))
            )
        written = (
            parts
            | "GroupByBucket" >> beam.CoGroupByKey()
            | "WriteBucket"
            >> beam.ParDo(
                WriteBucket(self._spec, self._config, self._buckets, self._examples_directory, self._joins),
                beam.pvalue.AsSingleton(newest),
            )
        )
        return (
            (cleaned[_COUNTS_TAG], written)
            | "AllCounts" >> beam.Flatten()
            | "AddUp" >> beam.CombineGlobally(merge_counts)
        )


class ReadAndClean(beam.DoFn):
    """A row group into (bucket, Spilled positives); counts, newest second and requests on the side."""

    def __init__(
        self,
        spec: FeatureSpec,
        config: IngestConfig,
        buckets: int,
        examples_directory: str,
        window: Window = ALL_DAYS,
        joins: Joins = Joins(),
        dead_letters_directory: str = "",
    ) -> None:
        super().__init__()
        self._window = window
        self._dead_letters_directory = dead_letters_directory
        self._spec = spec
        self._config = config
        self._buckets = buckets
        self._work = Path(examples_directory) / WORK_FOLDER
        self._joins = joins

    def process(self, row_group: Piece) -> Iterator[Any]:
        """Read a row group in batches, clean them and partition them by user.

        Args:
            row_group: What to read.

        Yields:
            (bucket, Spilled) and, tagged, the counts of each batch, the newest positive's second, and
            (bucket of items, Spilled requests) where the item table is shuffled.
        """
        waiting: list[pa.RecordBatch] = []
        try:
            with self._open_dead_letters(row_group) as dead_letters:
                for batch, rejected in self._read(row_group):
                    kept, counts = logic.clean_batch(
                        batch, row_group.file_index, 0, self._spec, self._config, self._window
                    )
                    yield beam.pvalue.TaggedOutput(_COUNTS_TAG, counts)
                    if len(rejected.letters):
                        dead_letters.write(rejected)
                        yield beam.pvalue.TaggedOutput(_COUNTS_TAG, rejected.count())
                    waiting.append(kept)
                    if sum(len(part) for part in waiting) >= _SPILL_ROWS:
                        yield from self._spill(waiting)
                        waiting = []
                yield from self._spill(waiting)
        # Data, not an exception: what is raised here reaches the user as a worker's traceback.
        except (DataError, StorageError) as error:
            yield beam.pvalue.TaggedOutput(_COUNTS_TAG, IngestCounts(problems=(str(error),)))

    def _read(self, piece: Piece) -> Iterator[tuple[pa.RecordBatch, Rejections]]:
        spec = self._spec
        return read_piece(
            piece,
            spec.tables.interactions,
            "interactions",
            list_columns(spec, self._config),
            [spec.user_id.name, spec.item_id.name],
        )

    def _open_dead_letters(self, piece: Piece) -> DeadLetterWriter:
        # The same name if a failed bundle is retried.
        name = f"interactions-{piece.file_index:05d}-{piece.index:05d}.parquet"
        directory = self._dead_letters_directory
        return DeadLetterWriter(
            Path(directory) / name if directory else None, self._work / f"{uuid.uuid4().hex}.dead"
        )

    def _spill(self, batches: list[pa.RecordBatch]) -> Iterator[Any]:
        rows = logic.as_batch(pa.Table.from_batches(batches)) if batches else None
        if not rows:
            return
        newest = pc.max(rows.column(self._spec.timestamp)).as_py()
        yield beam.pvalue.TaggedOutput(_NEWEST_TAG, newest)
        parts = logic.partition_by_id(rows, self._spec.user_id.name, self._buckets)
        yield from write_spill(self._work, parts).items()
        if self._joins.items == "shuffle":
            item_id = self._spec.item_id.name
            requests = logic.partition_by_id(logic.request_items(parts, item_id), item_id, self._buckets)
            for request in write_spill(self._work, requests).items():
                yield beam.pvalue.TaggedOutput(_REQUESTS_TAG, request)


class PartitionTable(beam.PTransform):
    """A cleaned user or item table into (bucket, Spilled rows)."""

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
    """Requests for items and the item table's rows into (bucket of users, Spilled rows of the table)."""

    def __init__(self, work: Path, item_id: str) -> None:
        super().__init__()
        self._work = work
        self._item_id = item_id

    def process(self, element: tuple[int, dict[str, Iterable[Spilled]]]) -> Iterator[tuple[int, Spilled]]:
        """Look the requested items up.

        Args:
            element: The bucket of items, with its requests and its rows of the item table.

        Yields:
            Per bucket of users where its rows lie.
        """
        _, parts = element
        requests, items = read_spill(parts[_REQUESTS_TAG]), read_spill(parts[_ITEMS])
        if requests and items:
            answers = logic.answer_requests(
                pa.Table.from_batches(requests), pa.Table.from_batches(items), self._item_id
            )
            yield from write_spill(self._work, answers).items()


class WriteBucket(beam.DoFn):
    """All positives of a bucket's users into one example file per split."""

    def __init__(
        self,
        spec: FeatureSpec,
        config: IngestConfig,
        buckets: int,
        examples_directory: str,
        joins: Joins = Joins(),
    ) -> None:
        super().__init__()
        self._spec = spec
        self._config = config
        self._buckets = buckets
        self._examples_directory = examples_directory
        self._joins = joins

    def setup(self) -> None:
        """Load the tables that are broadcast once per worker."""
        work = Path(self._examples_directory) / WORK_FOLDER
        self._schemas = {
            tower: pq.read_schema(work / file)
            for tower, file in (("user", _USERS_FILE), ("item", _ITEMS_FILE))
        }
        self._users = self._items = None
        if self._joins.users == "broadcast":
            self._users = self._join_table("user", pq.read_table(work / _USERS_FILE))
        if self._joins.items == "broadcast":
            self._items = self._join_table("item", pq.read_table(work / _ITEMS_FILE))

    def process(
        self, element: tuple[int, dict[str, Iterable[Spilled]]], newest_second: int | None
    ) -> Iterator[IngestCounts]:
        """Build the bucket and write its files.

        Args:
            element: The bucket's number, its rows, and its part of the tables that are not broadcast.
            newest_second: Seconds since 1970 of the newest positive of all buckets.

        Yields:
            The bucket's counts.
        """
        number, parts = element
        batches = read_spill(parts[_ROWS])
        if not batches:
            return
        users = self._users or self._join_table("user", self._table("user", parts[_USERS]))
        items = self._items or self._join_table("item", self._table("item", parts[_ITEMS]))
        bucket, counts = logic.build_bucket(batches, users, items, self._spec, self._config, newest_second)
        yield counts
        if any(counts.missing.values()):
            return
        for split, code in _SPLITS.items():
            rows = np.flatnonzero(bucket.splits == code)
            if len(rows):
                # In the order of the bucket, a training batch would hold few users.
                rows = np.random.default_rng(number).permutation(rows)
                name = f"examples-{number:05d}-of-{self._buckets:05d}.gz"
                step = logic.rows_per_batch(items, self._spec.history)
                batches_of_examples = (
                    logic.example_batch(bucket, rows[start : start + step], users, items, self._spec)
                    for start in range(0, len(rows), step)
                )
                _replace_from(
                    Path(self._examples_directory) / WORK_FOLDER / f"{uuid.uuid4().hex}.gz",
                    Path(self._examples_directory) / f"Split-{split}" / name,
                    batches_of_examples,
                )

    def _table(self, tower: Literal["user", "item"], spilled: Iterable[Spilled]) -> pa.Table:
        return pa.Table.from_batches(read_spill(spilled), self._schemas[tower])

    def _join_table(self, tower: Literal["user", "item"], table: pa.Table) -> logic.JoinTable:
        name = self._spec.user_id.name if tower == "user" else self._spec.item_id.name
        with_defaults = self._config.missing_metadata == "default"
        history = self._spec.history if tower == "item" else None
        return logic.join_table(table, name, self._spec.table_features(tower), with_defaults, history)


def _replace_from(unfinished: Path, path: Path, batches: Iterable[pa.RecordBatch]) -> None:
    write_examples(unfinished, batches)
    # A retried bundle comes here twice, with the same content under the same name.
    unfinished.replace(path)


def _partition_table(index: int, path: str, id_column: str, buckets: int) -> Iterator[tuple[int, Spilled]]:
    rows = logic.as_batch(pq.ParquetFile(path).read_row_group(index))
    parts = logic.partition_by_id(rows, id_column, buckets)
    yield from write_spill(Path(path).parent, parts).items()


def _latest(seconds: Iterable[int | None]) -> int | None:
    return max((second for second in seconds if second is not None), default=None)


def _write_counts(counts: IngestCounts, path: str) -> None:
    plain = vars(counts) | {"unknown_items": sorted(counts.unknown_items)}
    _replace(Path(path), lambda target: target.write_text(json.dumps(plain), encoding="utf-8"))


def _read_counts(path: Path) -> IngestCounts:
    plain = json.loads(path.read_text(encoding="utf-8"))
    return IngestCounts(
        rows=Counter(plain["rows"]),
        dropped=Counter(plain["dropped"]),
        filled=Counter(plain["filled"]),
        missing=Counter(plain["missing"]),
        unknown_users=tuple(plain["unknown_users"]),
        unknown_items=frozenset(plain["unknown_items"]),
        first_timestamp=plain["first_timestamp"],
        last_timestamp=plain["last_timestamp"],
        problems=tuple(plain["problems"]),
        unread_bytes=plain["unread_bytes"],
        examples=plain["examples"],
    )


def _replace(path: Path, write: Callable[[Path], Any]) -> None:
    """Write a file so that a reader sees all of it or none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f"{path.name}.{uuid.uuid4().hex}.tmp")
    write(unfinished)
    unfinished.replace(path)
