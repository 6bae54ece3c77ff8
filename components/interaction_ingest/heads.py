"""What of the tables would stop the ingest, as far as their files, columns and first rows tell."""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from components.interaction_ingest.buckets import as_batch
from components.interaction_ingest.config import IngestConfig, WindowConfig
from components.interaction_ingest.counts import IngestCounts, merge_counts, missing_message
from components.interaction_ingest.dead_letters import Rejections, refuse_too_many
from components.interaction_ingest.missing import fill_missing
from components.interaction_ingest.reading.cleaning import clean_batch
from components.interaction_ingest.reading.entities import EntityTable, refuse_duplicates, without_table
from components.interaction_ingest.reading.inputs import Inputs, look_into_log
from components.interaction_ingest.reading.table_files import TableFiles, look_into_files
from components.interaction_ingest.report import check_counts, refuse_small_train_split, refuse_unknown
from components.interaction_ingest.sources.files import DailyLogs, choose_days, find_files
from components.interaction_ingest.sources.parts import Column, DataFile
from components.interaction_ingest.sources.reading import list_columns, list_entity_columns, read_piece
from components.interaction_ingest.user_sequences import build_sequences
from components.interaction_ingest.window import Window
from schemas.errors import DssmError
from schemas.features import Feature, FeatureSpec, InteractionTable, ItemTable, TableSource, UserTable

HEAD_ROWS: Final = 10_000
"""How many rows of a table are looked at; whole batches of a reader, so there may be some more."""


class Problems:
    """Gathers what would stop a run, each message once."""

    def __init__(self) -> None:
        """Begin with none."""
        self.messages: list[str] = []

    def find(self, check: Callable[[], object]) -> bool:
        """Keep what a check raises.

        Args:
            check: Raises DssmError where something is wrong.

        Returns:
            Whether it raised nothing.
        """
        try:
            check()
        except DssmError as error:
            if str(error) not in self.messages:
                self.messages.append(str(error))
            return False
        return True


@dataclasses.dataclass(frozen=True)
class _Head:
    """The first rows of a table, as the ingest reads them."""

    batches: tuple[tuple[int, pa.RecordBatch], ...]
    """The rows that can be used, each batch with the index of its file."""
    rejections: tuple[Rejections, ...]
    """Those that cannot."""
    is_whole: bool
    """Whether the table has no more rows."""

    @property
    def rejected(self) -> IngestCounts:
        """What was dropped, by reason."""
        return merge_counts(part.count() for part in self.rejections)

    @property
    def kept(self) -> int:
        """Number of rows that can be used."""
        return sum(batch.num_rows for _, batch in self.batches)

    def name(self, file: str) -> str:
        """Name the rows that a message is about."""
        rows = self.kept + self.rejected.rows["read"]
        return file if self.is_whole else f"{file} (its first {rows:,} rows)"


def find_table_problems(
    spec: FeatureSpec, config: IngestConfig, data_directory: str, minimum_train_rows: int = 1
) -> list[str]:
    """Find everything that would stop the ingest, as far as the heads of the tables tell.

    Nothing is found that would not stop it. Where the tables are no larger than their heads, the rules are
    applied and the splits made as well.

    Args:
        spec: The features, and the tables.
        config: The rules, with the window.
        data_directory: The folder of the tables: a path or URI.
        minimum_train_rows: The fewest train rows that can be trained on: a global batch.

    Returns:
        Messages: what was expected, what came, what to do.
    """
    problems = Problems()
    users = _look_at_entities(
        spec.tables.users, "users", spec.table_features("user"), config, data_directory, problems
    )
    items = _look_at_entities(
        spec.tables.items, "items", spec.table_features("item"), config, data_directory, problems
    )
    log = _find_log(spec, config, data_directory, problems)
    if log is None:
        return problems.messages
    files, looked, daily = log
    has_all_files = len(looked.files) == len(files)
    ids = [spec.user_id.name, spec.item_id.name]
    head = _read_head(
        looked, spec.tables.interactions, "interactions", list_columns(spec, config), ids, has_all_files
    )
    is_good = problems.find(
        lambda: _refuse_rejected(head, looked, files, spec.tables.interactions.file, config)
    )
    if looked.is_counted and has_all_files and not head.is_whole:
        problems.find(lambda: refuse_small_train_split(looked.rows, minimum_train_rows))
    # Of daily logs with too many missing days it is not known which are read.
    are_days_known = daily is not None or files[0].day is None
    window = _find_window(config.window, daily) if are_days_known else None
    if window is not None and is_good:
        inputs = Inputs(
            row_groups=looked.pieces,
            rows=looked.rows,
            window=window,
            users=users or without_table(spec.user_id),
            items=items or without_table(spec.item_id),
            is_counted=looked.is_counted,
            files=looked.files,
            daily=daily,
            rejections=looked.rejections,
        )
        known = (users is not None, items is not None)
        _check_rows(spec, config, inputs, head, known, minimum_train_rows, problems)
    return problems.messages


def _look_at_entities(
    source: UserTable | ItemTable | None,
    name: str,
    features: Sequence[Feature],
    config: IngestConfig,
    data_directory: str,
    problems: Problems,
) -> EntityTable | None:
    """Check the head of a user or item table; give the table where that is all of it, or there is none."""
    [id_feature] = [feature for feature in features if feature.role is not None]
    if source is None:
        return without_table(id_feature)
    columns = list_entity_columns(source, features, ())
    files = _find_files(source, data_directory, problems)
    looked = _look(
        files, columns, lambda chosen, wanted: look_into_files(source, name, chosen, wanted), problems
    )
    if looked is None:
        return None
    has_all_files = len(looked.files) == len(files)
    head = _read_head(looked, source, name, columns, [id_feature.name], has_all_files)
    is_good = problems.find(lambda: _refuse_rejected(head, looked, files, source.file, config))
    if not head.kept:
        return None
    rows = pa.Table.from_batches([batch for _, batch in head.batches])
    file = head.name(source.file)
    values = {feature.name: rows.column(feature.name).combine_chunks() for feature in features}
    is_good &= problems.find(lambda: refuse_duplicates(file, id_feature.name, values[id_feature.name]))
    missing = {}
    for feature in features:
        if feature.role is None and feature.default is None:
            _, missing[feature.name] = fill_missing(values[feature.name], feature)
    missing = {feature: count for feature, count in missing.items() if count}
    if missing:
        problems.messages.append(missing_message(file, missing))
    if not (is_good and head.is_whole) or missing:
        return None
    return EntityTable(
        table=pa.table({id_feature.name: values[id_feature.name]}),
        dropped=dict(head.rejected.dropped),
        filled={},
        files=looked.files,
        rejections=head.rejections,
    )


def _find_log(
    spec: FeatureSpec, config: IngestConfig, data_directory: str, problems: Problems
) -> tuple[Sequence[DataFile], TableFiles, DailyLogs | None] | None:
    """Find the files of the window's interactions, and look into them."""
    log = spec.tables.interactions
    files, daily = _find_files(log, data_directory, problems), None
    if files and files[0].day is not None:
        chosen: list[tuple[tuple[DataFile, ...], DailyLogs]] = []
        window = config.window or WindowConfig()
        if problems.find(lambda: chosen.append(choose_days(files, window, log.file))):
            [(files, daily)] = chosen
    columns = list_columns(spec, config)
    looked = _look(
        files, columns, lambda chosen, wanted: look_into_log(log, chosen, wanted, config), problems
    )
    return None if looked is None else (files, looked, daily)


def _find_files(
    source: InteractionTable | UserTable | ItemTable, data_directory: str, problems: Problems
) -> tuple[DataFile, ...]:
    found: list[tuple[DataFile, ...]] = []
    problems.find(lambda: found.append(find_files(source, data_directory)))
    return found[0] if found else ()


def _look(
    files: Sequence[DataFile],
    columns: Sequence[Column],
    look: Callable[[Sequence[DataFile], Sequence[Column]], TableFiles],
    problems: Problems,
) -> TableFiles | None:
    """Look into the first file or, if it cannot be used, into all of them; then every column is told."""
    if not files:
        return None
    for some in (files[:1], files):
        try:
            return look(some, columns)
        except DssmError:
            pass
    fits = [problems.find(functools.partial(look, files, [column])) for column in columns]
    if all(fits):
        problems.find(functools.partial(look, files, columns))
    return None


def _read_head(
    looked: TableFiles,
    source: TableSource,
    table: str,
    columns: Sequence[Column],
    id_names: Sequence[str],
    has_all_files: bool,
) -> _Head:
    batches: list[tuple[int, pa.RecordBatch]] = []
    rejections = [looked.rejections]
    rows, is_whole = 0, has_all_files
    for number, piece in enumerate(looked.pieces, start=1):
        for batch, rejected in read_piece(piece, source, table, columns, id_names):
            if rows >= HEAD_ROWS:
                is_whole = False
                break
            batches.append((piece.file_index, batch))
            rejections.append(rejected)
            rows += batch.num_rows + len(rejected.letters)
        if rows >= HEAD_ROWS and (not is_whole or number < len(looked.pieces)):
            is_whole = False
            break
    return _Head(tuple(batches), tuple(r for r in rejections if len(r.letters)), is_whole)


def _refuse_rejected(
    head: _Head, looked: TableFiles, files: Sequence[DataFile], file: str, config: IngestConfig
) -> None:
    """Refuse a head with more malformed rows than the whole table may have."""
    size_bytes = sum(one.size_bytes for one in files)
    counts = merge_counts([head.rejected, IngestCounts.of_read(head.kept)])
    if not head.is_whole:
        # As if the files that were not looked into were like those that were.
        rows = looked.rows * size_bytes // max(1, looked.size_bytes)
        counts = merge_counts([counts, IngestCounts.of_read(max(0, rows - counts.rows["read"]))])
    refuse_too_many(head.name(file), counts, size_bytes, config.maximum_rejected_fraction)


def _find_window(window: WindowConfig | None, daily: DailyLogs | None) -> Window | None:
    """Give the days that are read; None where only the whole log tells."""
    if daily is not None:
        return daily.asked
    if window is None:
        return Window()
    return None if window.last_days is not None else Window(window.first, window.last)


def _check_rows(
    spec: FeatureSpec,
    config: IngestConfig,
    inputs: Inputs,
    head: _Head,
    known: tuple[bool, bool],
    minimum_train_rows: int,
    problems: Problems,
) -> None:
    """Apply the rules to the first rows, and check what follows of them for the whole."""
    cleaned = [
        clean_batch(batch, file_index, spec, config, inputs.window) for file_index, batch in head.batches
    ]
    rows = [batch for batch, _ in cleaned if batch.num_rows]
    counted = [head.rejected, *(counts for _, counts in cleaned)]
    if rows:
        newest = max(pc.max(batch.column(spec.timestamp)).as_py() for batch in rows)
        ids = [
            table.table.column(name).combine_chunks()
            if is_known and source is not None
            # Without a table, or where it is too large to know all of it, none is missed.
            else as_batch(pa.Table.from_batches(rows).select([name])).column(0).unique()
            for table, name, source, is_known in (
                (inputs.users, spec.user_id.name, spec.tables.users, known[0]),
                (inputs.items, spec.item_id.name, spec.tables.items, known[1]),
            )
        ]
        _, counts = build_sequences(rows, ids[0], ids[1], spec, config, newest)
        counted.append(counts)
    total = merge_counts(counted)
    is_sound = False
    if head.is_whole and all(known):
        is_sound = problems.find(lambda: check_counts(total, inputs, spec, config))
    elif config.missing_metadata == "refuse":
        source = head.name(spec.tables.interactions.file)
        problems.find(lambda: refuse_unknown(total, inputs, spec, source))
    if head.is_whole:
        # Where something else is wrong, that may be why the train split is small.
        train_rows = total.rows["train"] if is_sound else total.rows["read"]
        problems.find(lambda: refuse_small_train_split(train_rows, minimum_train_rows))
