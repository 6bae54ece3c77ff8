"""`dssm recommend --batch`: recommendations to all users of a table, as `dssm serve` would answer them."""

import contextlib
import dataclasses
import functools
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from components.interaction_ingest.reading.table_files import look_into_files
from components.interaction_ingest.sources.files import find_files
from components.interaction_ingest.sources.reading import list_entity_columns, read_piece
from pipeline.config import PipelineConfig
from pipeline.serving.engine import BATCH_QUERIES, Engine, EngineSettings, load_engine
from pipeline.serving.errors import RequestError
from pipeline.serving.metrics import Metrics
from pipeline.serving.ranking import Ranker, Ranking, make_tower_ranker
from pipeline.serving.recommending import Question, RecommendRequest
from schemas.contract import RAW_SIGNATURE, USER_TOWER
from schemas.errors import ConfigError, DataError, ReleaseError
from schemas.features import FeatureSpec, UserTable, load_feature_spec
from schemas.release import follow_current

_WORKING_DIRECTORY: Final = "."
_SHOWN_USERS: Final = 5
_ROW_GROUP_ROWS: Final = 1 << 17


@dataclasses.dataclass
class BatchReport:
    """What became of the users of a table."""

    version: int
    """The release's version."""
    answered: int = 0
    """Users who got recommendations."""
    items: int = 0
    """Rows written."""
    short: int = 0
    """Users for whom fewer items were left than were asked for."""
    unknown: int = 0
    """Users whom the release does not know."""
    unknown_examples: list[str] = dataclasses.field(default_factory=list)
    """Some of them."""
    rejected: Counter[str] = dataclasses.field(default_factory=Counter)
    """Rows of the table that could not be read, by reason."""
    notes: Counter[str] = dataclasses.field(default_factory=Counter)
    """What was assumed, and for how many users."""


def recommend_batch(
    config: PipelineConfig, source: str, output: Path, k: int, repeats: bool | None
) -> BatchReport:
    """Recommend to all users of a table.

    Features and histories are those that the release knows of the users; the table needs no column but
    their ids, called as in the user table. A context feature that is a part of the log's time is that of the
    batch's start, the same for all users; another one stands at its default, a text without one at a value
    never seen. Memory holds the release and a few users.

    Args:
        config: The configuration.
        source: The table: a file, folder or pattern of any format, a path or URI.
        output: The Parquet file to write, of the columns user (called as in the schema file), rank from 1,
            item and score; it is there once it is whole.
        k: Number of items for each user.
        repeats: Whether what a user has can be recommended; None: as `evaluation.candidates` says.

    Returns:
        What became of the users.

    Raises:
        ConfigError: The format of the table cannot be told, or the output cannot be written.
        DataError: The table is missing or unreadable, lacks the ids, a number that the model reads is not
            known and has no default, or the model gives a user no score.
        ReleaseError: There is no release, it is incomplete, mixed, damaged or of another schema, or came
            without its users.
        StorageError: The table or the release is in an object store, which cannot be reached or refuses.
    """
    spec = load_feature_spec(config.data.schema)
    threads = min(8, len(os.sched_getaffinity(0)))
    settings = EngineSettings(
        serving_directory=config.serving.directory,
        cache_directory=config.run.release_cache,
        spec=spec,
        schema=config.data.schema,
        ranks_new_items=config.evaluation.candidates == "new" if repeats is None else not repeats,
        calls=threads,
    )
    with ThreadPoolExecutor(threads) as pool:
        engine = follow_current(
            config.serving.directory, lambda version: load_engine(settings, version, pool, Metrics())
        )
        if engine.users is None:
            raise ReleaseError(
                f"--batch: expected a release with its users. Received: release {engine.version}, which came "
                "without. Train with serving.users: snapshot."
            )
        report = BatchReport(version=engine.version)
        with _writes(output, spec) as writer:
            users = _read_users(source, spec, report)
            for table in _group(_answer_all(engine, spec, users, k, report)):
                writer.write_table(table)
    return report


def render_batch(report: BatchReport, output: Path) -> str:
    """Render what became of the users.

    Args:
        report: What `recommend_batch` returned.
        output: The file that it wrote.

    Returns:
        Lines for the screen.
    """
    lines = [
        f"{report.items:,} recommendations to {report.answered:,} users, from release {report.version}, are "
        f"in {output}"
    ]
    if report.unknown:
        more = ", ..." if report.unknown > len(report.unknown_examples) else ""
        lines.append(
            f"Note: {report.unknown:,} users are not in the release and got none: "
            f"{', '.join(report.unknown_examples)}{more}"
        )
    if report.short:
        lines.append(f"Note: for {report.short:,} users fewer items were left than asked for.")
    lines += [f"Note: {rows:,} rows were left out: {reason}" for reason, rows in report.rejected.items()]
    lines += [f"Note: {note} ({users:,} users)" for note, users in report.notes.items()]
    return "\n".join(lines)


def _read_users(path: str, spec: FeatureSpec, report: BatchReport) -> Iterator[str]:
    source = dataclasses.replace(spec.tables.users or UserTable(), file=path, format=None)
    columns = list_entity_columns(source, [spec.user_id], ())
    looked = look_into_files(source, "users", find_files(source, _WORKING_DIRECTORY), columns)
    for piece in looked.pieces:
        for batch, rejected in read_piece(piece, source, "users", columns, [spec.user_id.name]):
            report.rejected.update(rejected.count().dropped)
            yield from batch.column(spec.user_id.name).to_pylist()


def _answer_all(
    engine: Engine, spec: FeatureSpec, users: Iterator[str], k: int, report: BatchReport
) -> Iterator[pa.RecordBatch]:
    # The retriever of a model for new items leaves the history out by itself, also where repeats are wanted.
    signature = engine.models[USER_TOWER].signatures[RAW_SIGNATURE]
    rank = make_tower_ranker(signature, engine.embeddings, engine.ann)
    # One time for all: the users of a long table would else be told different hours.
    ask = functools.partial(_ask, engine, k, time.time())
    while some := list(islice(users, BATCH_QUERIES)):
        yield _answer(engine, rank, ask, spec, some, report)


def _group(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.Table]:
    """Put small batches together, of which each would become a row group."""
    group: list[pa.RecordBatch] = []
    for batch in batches:
        group.append(batch)
        if sum(one.num_rows for one in group) >= _ROW_GROUP_ROWS:
            yield pa.Table.from_batches(group)
            group = []
    if group:
        yield pa.Table.from_batches(group)


def _answer(
    engine: Engine,
    rank: Ranker,
    ask: Callable[[str], Question],
    spec: FeatureSpec,
    users: Sequence[str],
    report: BatchReport,
) -> pa.RecordBatch:
    assert engine.users is not None
    questions = []
    for user in users:
        if engine.users.find(user) is None:
            report.unknown += 1
            if len(report.unknown_examples) < _SHOWN_USERS:
                report.unknown_examples.append(user)
        else:
            questions.append(ask(user))
    rankings = rank([question.query for question in questions]) if questions else []
    for question, ranking in zip(questions, rankings, strict=True):
        if np.isnan(ranking.scores).any():
            raise DataError(
                f"User {question.user}: expected features that the model gives a score for. Received: "
                "values that overflow in it. Look for extreme numbers in the user table."
            )
        report.notes.update(question.notes)
        report.short += len(ranking.rows) < question.query.k
        report.items += len(ranking.rows)
    report.answered += len(questions)
    return _to_rows(engine, spec, questions, rankings)


def _ask(engine: Engine, k: int, now: float, user: str) -> Question:
    try:
        # A table of ids gives no features: no sentence says how to set one.
        return engine.recommender.ask(RecommendRequest(user=user, k=k), now, set_by=None)
    except RequestError as error:
        raise DataError(f"User {user}: {error}") from error


def _to_rows(
    engine: Engine, spec: FeatureSpec, questions: Sequence[Question], rankings: Sequence[Ranking]
) -> pa.RecordBatch:
    lengths = [len(ranking.rows) for ranking in rankings]
    rows = np.concatenate([np.zeros(0, np.int64), *(ranking.rows for ranking in rankings)])
    ranks = np.concatenate([np.zeros(0, np.int32), *(np.arange(1, length + 1) for length in lengths)])
    scores = np.concatenate([np.zeros(0, np.float32), *(ranking.scores for ranking in rankings)])
    users = np.repeat(np.array([question.user for question in questions], object), lengths)
    return pa.record_batch(
        [
            pa.array(users, pa.string()),
            pa.array(ranks, pa.int32()),
            engine.catalogue.ids.take(pa.array(rows)),
            pa.array(scores, pa.float32()),
        ],
        schema=_schema(spec),
    )


def _schema(spec: FeatureSpec) -> pa.Schema:
    return pa.schema(
        {
            spec.user_id.name: pa.string(),
            "rank": pa.int32(),
            spec.item_id.name: pa.string(),
            "score": pa.float32(),
        }
    )


@contextlib.contextmanager
def _writes(output: Path, spec: FeatureSpec) -> Iterator[pq.ParquetWriter]:
    """Write a file that is there once it is whole."""
    unfinished = output.with_name(f".tmp-{output.name}")
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        writer = pq.ParquetWriter(unfinished, _schema(spec))
    except OSError as error:
        raise ConfigError(f"--output: cannot write {output}: {error}. Name another file.") from error
    try:
        with writer:
            yield writer
        unfinished.replace(output)
    finally:
        unfinished.unlink(missing_ok=True)
