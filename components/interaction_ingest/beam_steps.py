"""The interactions' way through Beam: one element is a RecordBatch, never a row."""

import json
import shutil
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Final

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from components.interaction_ingest import logic
from components.interaction_ingest.config import IngestConfig, WindowConfig
from components.interaction_ingest.counts import IngestCounts, merge_counts
from components.interaction_ingest.report import build_report, check_counts
from components.interaction_ingest.tables import RowGroup, check_inputs, open_table
from components.interaction_ingest.window import ALL_DAYS, Window
from schemas.contract import CATALOGUE_FILE, EVAL_SPLIT, INGEST_REPORT_FILE, TRAIN_SPLIT
from schemas.errors import DataError, StorageError
from schemas.features import FeatureSpec

WORK_FOLDER: Final = "ingest-work"
"""Folder beside the splits for unfinished files; removed at the end."""

_SPLITS = {TRAIN_SPLIT: logic.TRAIN, EVAL_SPLIT: logic.EVAL}
_USERS_FILE = "users.parquet"
_ITEMS_FILE = "items.parquet"
_COUNTS_FILE = "counts.json"
_COUNTS_TAG = "counts"
_READ_ROWS = 65_536
_ENCODE_ROWS = 8_192
# A fifth of the default level's time for a fifth more bytes, with histories of 20.
_GZIP_LEVEL = 1


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
) -> dict[str, Any]:
    """Read the three tables and write examples, catalogue and report.

    Args:
        make_pipeline: Makes the Beam pipeline to run on.
        spec: The features.
        config: The positive rule, the split, and what to do about missing metadata.
        data_directory: The folder of the tables: a path or URI.
        examples_directory: Gets Split-train/ and Split-eval/ with gzip TFRecord files of tf.Example,
            each file's rows in a random order that is the same in every run.
        catalogue_directory: Gets the catalogue.
        report_directory: Gets the report.
        window: The days to read; None: all.
        input_fingerprint: What `fingerprint_inputs` gives, for the report; '' to compute it here.

    Returns:
        The report.

    Raises:
        ConfigError: `missing_metadata: default`, and a feature of the tables has no default.
        DataError: The data cannot be used; the message says why.
        StorageError: The tables' store cannot be reached or refuses.
    """
    inputs = check_inputs(spec, config, data_directory, window)
    fingerprint = input_fingerprint or logic.fingerprint_inputs(spec, data_directory)
    examples = Path(examples_directory)
    work = examples / WORK_FOLDER
    split_folders = [examples / f"Split-{split}" for split in _SPLITS]
    for folder in (work, *split_folders):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
    try:
        pq.write_table(inputs.users.table, work / _USERS_FILE)
        pq.write_table(inputs.items.table, work / _ITEMS_FILE)
        with make_pipeline() as pipeline:
            _ = (
                pipeline
                | "RowGroups" >> beam.Create(inputs.row_groups)
                | "Ingest" >> IngestInteractions(spec, config, inputs.rows, examples_directory, inputs.window)
                | "WriteCounts" >> beam.Map(_write_counts, str(work / _COUNTS_FILE))
            )
        counts = _read_counts(work / _COUNTS_FILE)
        check_counts(counts, inputs, spec, config)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    catalogue = logic.build_catalogue(inputs.items.table, spec, counts.unknown_items, config.missing_metadata)
    report = build_report(counts, inputs, len(catalogue), fingerprint)
    _replace(Path(catalogue_directory) / CATALOGUE_FILE, lambda path: pq.write_table(catalogue, path))
    text = json.dumps(report, indent=2, ensure_ascii=False)
    _replace(
        Path(report_directory) / INGEST_REPORT_FILE, lambda path: path.write_text(text, encoding="utf-8")
    )
    return report


class IngestInteractions(beam.PTransform):
    """Row groups of the interactions into example files; gives one IngestCounts for all of them."""

    def __init__(
        self,
        spec: FeatureSpec,
        config: IngestConfig,
        rows: int,
        examples_directory: str,
        window: Window = ALL_DAYS,
    ) -> None:
        super().__init__()
        self._window = window
        self._spec = spec
        self._config = config
        self._buckets = logic.bucket_count(rows)
        self._examples_directory = examples_directory

    def expand(self, row_groups: beam.PCollection) -> beam.PCollection:
        """Attach the steps.

        Args:
            row_groups: `RowGroup` elements.

        Returns:
            A single `IngestCounts`.
        """
        cleaned = (
            row_groups
            | "SpreadRowGroups" >> beam.Reshuffle()
            | "ReadAndClean"
            >> beam.ParDo(ReadAndClean(self._spec, self._config, self._buckets, self._window)).with_outputs(
                _COUNTS_TAG, main="buckets"
            )
        )
        written = (
            cleaned.buckets
            | "GroupByBucket" >> beam.GroupByKey()
            | "WriteBucket"
            >> beam.ParDo(WriteBucket(self._spec, self._config, self._buckets, self._examples_directory))
        )
        return (
            (cleaned[_COUNTS_TAG], written)
            | "AllCounts" >> beam.Flatten()
            | "AddUp" >> beam.CombineGlobally(merge_counts)
        )


class ReadAndClean(beam.DoFn):
    """A row group into (bucket, RecordBatch of positives); counts on the side."""

    def __init__(
        self, spec: FeatureSpec, config: IngestConfig, buckets: int, window: Window = ALL_DAYS
    ) -> None:
        super().__init__()
        self._window = window
        self._spec = spec
        self._config = config
        self._buckets = buckets

    def process(self, row_group: RowGroup) -> Iterator[Any]:
        """Read a row group in batches, clean them and partition them by user.

        Args:
            row_group: What to read.

        Yields:
            (bucket, RecordBatch) and, tagged, the counts of each batch.
        """
        first_row = row_group.first_row
        try:
            batches = open_table(row_group.path).iter_batches(
                batch_size=_READ_ROWS,
                row_groups=[row_group.index],
                columns=logic.interaction_columns(self._spec, self._config),
            )
            for batch in batches:
                kept, counts = logic.clean_batch(
                    batch, row_group.file_index, first_row, self._spec, self._config, self._window
                )
                first_row += batch.num_rows
                yield beam.pvalue.TaggedOutput(_COUNTS_TAG, counts)
                yield from logic.partition_by_user(kept, self._spec.user_id.name, self._buckets).items()
        # Data, not an exception: what is raised here reaches the user as a worker's traceback.
        except (DataError, StorageError) as error:
            yield beam.pvalue.TaggedOutput(_COUNTS_TAG, IngestCounts(problems=(str(error),)))
        except (OSError, pa.ArrowException) as error:
            problem = (
                f"{row_group.path}: row group {row_group.index} cannot be read: {error}. "
                "Is the file damaged? Write it again."
            )
            yield beam.pvalue.TaggedOutput(_COUNTS_TAG, IngestCounts(problems=(problem,)))


class WriteBucket(beam.DoFn):
    """All positives of a bucket's users into one example file per split."""

    def __init__(
        self, spec: FeatureSpec, config: IngestConfig, buckets: int, examples_directory: str
    ) -> None:
        super().__init__()
        self._spec = spec
        self._config = config
        self._buckets = buckets
        self._examples_directory = examples_directory

    def setup(self) -> None:
        """Load the cleaned user and item tables once per worker."""
        work = Path(self._examples_directory) / WORK_FOLDER
        with_defaults = self._config.missing_metadata == "default"
        spec = self._spec
        self._users = logic.join_table(
            pq.read_table(work / _USERS_FILE), spec.user_id.name, spec.table_features("user"), with_defaults
        )
        self._items = logic.join_table(
            pq.read_table(work / _ITEMS_FILE), spec.item_id.name, spec.table_features("item"), with_defaults
        )

    def process(self, element: tuple[int, Iterable[pa.RecordBatch]]) -> Iterator[IngestCounts]:
        """Build the bucket and write its files.

        Args:
            element: The bucket's number and its batches.

        Yields:
            The bucket's counts.
        """
        number, batches = element
        bucket, counts = logic.build_bucket(batches, self._users, self._items, self._spec, self._config)
        yield counts
        if any(counts.missing.values()):
            return
        for split, code in _SPLITS.items():
            rows = np.flatnonzero(bucket.splits == code)
            if len(rows):
                # In the order of the bucket, a training batch would hold few users.
                rows = np.random.default_rng(number).permutation(rows)
                name = f"examples-{number:05d}-of-{self._buckets:05d}.gz"
                self._write(bucket, rows, Path(self._examples_directory) / f"Split-{split}" / name)

    def _write(self, bucket: logic.Bucket, rows: np.ndarray, path: Path) -> None:
        # On first use: a process that only builds the pipeline needs no TensorFlow.
        import tensorflow as tf
        from tfx_bsl.coders.example_coder import RecordBatchToExamplesEncoder

        encoder = RecordBatchToExamplesEncoder()
        unfinished = Path(self._examples_directory) / WORK_FOLDER / f"{uuid.uuid4().hex}.gz"
        options = tf.io.TFRecordOptions("GZIP", compression_level=_GZIP_LEVEL)
        with tf.io.TFRecordWriter(str(unfinished), options) as writer:
            for start in range(0, len(rows), _ENCODE_ROWS):
                batch = logic.example_batch(
                    bucket, rows[start : start + _ENCODE_ROWS], self._users, self._items, self._spec
                )
                for example in encoder.encode(batch):
                    writer.write(example)
        # A retried bundle comes here twice, with the same content under the same name.
        unfinished.replace(path)


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
    )


def _replace(path: Path, write: Callable[[Path], Any]) -> None:
    """Write a file so that a reader sees all of it or none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f"{path.name}.{uuid.uuid4().hex}.tmp")
    write(unfinished)
    unfinished.replace(path)
