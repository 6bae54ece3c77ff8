"""The whole of `dssm embed`: a table and a release in, a folder of Parquet files out."""

import functools
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import apache_beam as beam
import pyarrow.parquet as pq

from components.interaction_ingest.counts import IngestCounts, merge_counts, missing_message
from components.interaction_ingest.dead_letters import refuse_too_many, write_rejections
from components.interaction_ingest.outputs import write_whole
from components.towers import load_tower
from pipeline.config import PipelineConfig
from pipeline.embed.embedder import Embedder, Model, load_embedder
from pipeline.embed.histories import EMPTY, GIVEN, KNOWN
from pipeline.embed.report import EmbedReport, report_to_json
from pipeline.embed.steps import (
    EMBEDDINGS_PATTERN,
    FILE_ROWS,
    HISTORIES,
    REJECTED_FILE,
    REJECTED_FOLDER,
    WRITTEN,
    EmbedTable,
    group_pieces,
)
from pipeline.embed.table import InputTable, TableName, choose_source, open_table
from schemas import storage
from schemas.contract import INDEX, ITEM_TOWER, USER_TOWER, USERS
from schemas.errors import ConfigError, DataError
from schemas.features import FeatureSpec, Format
from schemas.folders import remove_folder
from schemas.release import Release, read_current_release, read_release

# Readers of Parquet folders leave out names that start so.
EMBEDDINGS_MANIFEST_FILE: Final = "_manifest.json"
"""File that says what the embeddings are."""

_COUNTS_FILE: Final = "_counts.json"
# The folder of files that `--input` is relative to.
_WORKING_DIRECTORY: Final = "."


@dataclass(frozen=True)
class EmbedRequest:
    """What is to be embedded."""

    table: TableName
    """Whose table it is."""
    output: str
    """The folder to write, new or empty: a local path."""
    input: str | None = None
    """A file, folder or pattern: a path or URI; None: the schema file's table."""
    format: Format | None = None
    """The format of its files; None: what their names end in."""
    version: int | None = None
    """The release; None: the current one."""
    now: int | None = None
    """The time that the embeddings are for, in seconds since 1970. None: the time since each interaction is
    counted up to the newest one that the release knows, and parts of the log's time are those of now."""


def embed(config: PipelineConfig, features: FeatureSpec, request: EmbedRequest) -> EmbedReport:
    """Embed a table with a release, by Beam.

    Args:
        config: The checked configuration.
        features: The features that `config.data.schema` names.
        request: What is to be embedded.

    Returns:
        What was written.

    Raises:
        ConfigError: The output is no new or empty folder, or the configuration does not fit the table.
        DataError: The table cannot be used, or too many of its rows are malformed. Nothing was written.
        ReleaseError: There is no such release, it is damaged, or it does not fit the schema file.
        StorageError: The table's or the releases' store cannot be reached or refuses.
    """
    output = check_output(request.output)
    source = choose_source(features, request.table, request.input, request.format)
    # Kept until the end: with it goes what keeps the release from being removed.
    release = _read_release(config, request)
    part = USER_TOWER if request.table == "users" else ITEM_TOWER
    tower = load_tower(release.paths[part], part)
    table = open_table(
        features,
        request.table,
        source,
        config.data.directory if request.input is None else _WORKING_DIRECTORY,
        tower.inputs,
        time.time() if request.now is None else request.now,
    )
    model = Model(
        spec=features,
        part=part,
        tower=release.paths[part],
        index=release.index if table.reads_history else None,
        users=release.users if table.reads_history else None,
        now=request.now,
    )
    with finish_whole(output) as folder:
        counts, rows = embed_files(
            functools.partial(beam.Pipeline, argv=list(config.beam.options)),
            table,
            functools.partial(load_embedder, model),
            folder,
            config.ingest.maximum_rejected_fraction,
        )
        report = EmbedReport(
            release=release.version,
            model_id=tower.model_id,
            table=request.table,
            input=source.file,
            id=table.id_feature.name,
            dim=tower.dim,
            rows_read=counts.rows["read"],
            rows=sum(rows.values()),
            rejected=dict(counts.dropped),
            filled=dict(counts.filled),
            stand_ins={one.feature.name: one.value for one in table.stand_ins},
            histories=_count_histories(counts) if table.reads_history else None,
            files=rows,
        )
        write_whole(
            folder / EMBEDDINGS_MANIFEST_FILE,
            lambda path: path.write_text(report_to_json(report), encoding="utf-8"),
        )
    return report


def check_output(location: str) -> Path:
    """Refuse a folder that is not new or empty.

    Args:
        location: The folder: a path or URI.

    Returns:
        Its path.

    Raises:
        ConfigError: It holds something, is a file, or is in an object store.
        StorageError: The URI's scheme is unknown.
    """
    if storage.is_remote(location):
        raise ConfigError(
            f"--output: expected a local folder, which appears whole or not at all. Received: {location}. "
            "Copy the folder afterwards."
        )
    output = Path(storage.join(location))
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise ConfigError(
            f"--output: expected a new or empty folder. Received: {output}, which is "
            f"{'not empty' if output.is_dir() else 'a file'}. Name another one, or remove it."
        )
    return output


@contextmanager
def finish_whole(output: Path) -> Iterator[Path]:
    """Let a folder appear whole, or not at all.

    Args:
        output: The folder, new or empty.

    Yields:
        A folder beside it to write to, which takes its place in the end; after an error it is removed.

    Raises:
        ConfigError: The folder cannot be written.
    """
    unfinished = output.parent / f".{output.name}.unfinished-{uuid.uuid4().hex}"
    try:
        unfinished.mkdir(parents=True)
    except OSError as error:
        raise ConfigError(
            f"--output: expected a folder that can be written. Received: {output}, {error}."
        ) from error
    try:
        yield unfinished
        try:
            # An empty folder gives way; one that was filled meanwhile does not.
            unfinished.rename(output)
        except OSError as error:
            raise ConfigError(
                f"--output: expected {output} to be new or empty still. Received: {error}. Nothing was "
                "written; name another folder."
            ) from error
    finally:
        remove_folder(unfinished, ignore_errors=True)


def embed_files(
    make_pipeline: Callable[[], beam.Pipeline],
    table: InputTable,
    load: Callable[[], Embedder],
    folder: Path,
    maximum_rejected_fraction: float,
    file_rows: int = FILE_ROWS,
) -> tuple[IngestCounts, dict[str, int]]:
    """Embed the rows of a table into files of a folder, and check that none is missing.

    Args:
        make_pipeline: Makes the Beam pipeline to run on.
        table: The table.
        load: Loads what embeds it, in a worker.
        folder: Gets the files; all workers must see it under this path.
        maximum_rejected_fraction: How many malformed rows there may be.
        file_rows: Rows after which a new file begins.

    Returns:
        What was counted; and the rows of each file by its name, in the order of the table.

    Raises:
        DataError: The table cannot be used, or a row is neither written nor counted as rejected.
    """
    counts_file = folder / _COUNTS_FILE
    with make_pipeline() as pipeline:
        _ = (
            pipeline
            | "Groups" >> beam.Create(group_pieces(table.pieces, file_rows))
            | "EmbedTable" >> EmbedTable(table, load, folder, file_rows)
            | "WriteCounts" >> beam.Map(_write_counts, counts_file)
        )
    counts = IngestCounts.from_json(counts_file.read_text(encoding="utf-8"))
    counts_file.unlink()
    for left in folder.rglob("*.tmp"):
        # Of a bundle that failed, and was retried.
        left.unlink()
    counts = merge_counts([counts, table.rejections.count()])
    if len(table.rejections.letters):
        name = Path(REJECTED_FILE.format(group="files")).stem
        write_rejections([table.rejections], name, str(folder / REJECTED_FOLDER), folder / REJECTED_FOLDER)
    if counts.problems:
        raise DataError(" ".join(counts.problems))
    refuse_too_many(table.source.file, counts, table.size_bytes, maximum_rejected_fraction)
    if counts.missing:
        raise DataError(missing_message(table.source.file, dict(counts.missing)))
    rows = {path.name: pq.read_metadata(path).num_rows for path in sorted(folder.glob(EMBEDDINGS_PATTERN))}
    check_rows(counts, sum(rows.values()), table)
    return counts, rows


def check_rows(counts: IngestCounts, written: int, table: InputTable) -> None:
    """Check that every row is either embedded or counted as rejected.

    Args:
        counts: What the workers counted.
        written: Rows of the files.
        table: The table, of which the format may tell how many rows it has.

    Raises:
        DataError: Rows are missing, or are there twice.
    """
    read, rejected = counts.rows["read"], counts.dropped.total()
    in_files = read if table.rows is None else table.rows + table.rejections.count().rows["read"]
    if not in_files - rejected == counts.rows[WRITTEN] == written or read != in_files:
        raise DataError(
            f"{table.source.file}: expected an embedding for each of {in_files:,} rows but the {rejected:,} "
            f"rejected ones. Received: {read:,} rows read and {written:,} embeddings. Was the table written "
            "meanwhile? Embed it again."
        )


def _read_release(config: PipelineConfig, request: EmbedRequest) -> Release:
    serving, cache = config.serving.directory, config.run.release_cache
    parts = (USER_TOWER, INDEX, USERS) if request.table == "users" else (ITEM_TOWER,)
    if request.version is None:
        return read_current_release(serving, cache, parts)
    return read_release(serving, request.version, cache, parts)


def _count_histories(counts: IngestCounts) -> dict[str, int]:
    kinds = {
        name.removeprefix(HISTORIES): count
        for name, count in counts.rows.items()
        if name.startswith(HISTORIES)
    }
    return dict.fromkeys((GIVEN, KNOWN, EMPTY), 0) | kinds


def _write_counts(counts: IngestCounts, path: Path) -> None:
    write_whole(path, lambda unfinished: unfinished.write_text(counts.to_json(), encoding="utf-8"))
