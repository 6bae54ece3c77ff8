"""What the statistics of files tell without reading them, and the newest interaction."""

import re
from collections.abc import Callable, Iterator, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from components.interaction_ingest.config import IngestConfig
from components.interaction_ingest.reading.cleaning import clean_batch
from components.interaction_ingest.reading.table_files import TableFiles
from components.interaction_ingest.sources.parts import LAST_SECOND, Bounds, Column, Piece
from components.interaction_ingest.sources.reading import is_possible_time, list_columns, read_piece
from components.interaction_ingest.sources.registry import FORMATS
from components.interaction_ingest.sources.times import to_time
from components.interaction_ingest.window import Window
from schemas.errors import DataError
from schemas.features import FeatureSpec, TableSource


def find_newest_second(looked: TableFiles, source: TableSource, columns: Sequence[Column]) -> int | None:
    """Find the time of the newest interaction that is not malformed.

    Args:
        looked: The interactions.
        source: How they are read.
        columns: Their columns.

    Returns:
        Seconds since 1970; None if no row has a usable time and usable ids.

    Raises:
        StorageError: The store cannot be reached or refuses.
    """
    time = _timestamp_of(columns)
    ids = [column for column in columns if column.feature is not None and column.feature.role is not None]

    def read(piece: Piece) -> Iterator[pa.RecordBatch]:
        # What cannot be read is met again, and counted then.
        for batch, _ in read_piece(piece, source, "interactions", [*ids, time], [c.name for c in ids]):
            yield batch

    return find_newest(looked.pieces, time, read)


def find_newest_positive(
    looked: TableFiles, spec: FeatureSpec, config: IngestConfig, window: Window
) -> int | None:
    """Find the time of the newest positive, which a split by the last days counts back from.

    Args:
        looked: The interactions.
        spec: The features.
        config: The rules.
        window: The days that are read.

    Returns:
        Seconds since 1970; None if there is no positive.

    Raises:
        StorageError: The store cannot be reached or refuses.
    """
    log, columns = spec.tables.interactions, list_columns(spec, config)
    ids = [spec.user_id.name, spec.item_id.name]

    def read(piece: Piece) -> Iterator[pa.RecordBatch]:
        for batch, _ in read_piece(piece, log, "interactions", columns, ids):
            yield clean_batch(batch, piece.file_index, spec, config, window)[0]

    return find_newest(looked.pieces, _timestamp_of(columns), read)


def can_hold(piece: Piece, column: Column, text: str) -> bool:
    """Tell from the statistics of a row group whether an id may stand in it.

    Args:
        piece: The row group, or a file of another format.
        column: The id.
        text: The id's text, also where the file has numbers.

    Returns:
        False if it stands in no row; True otherwise, also where that is not known.
    """
    [bounds] = FORMATS[piece.format].find_bounds([piece], column.source)
    if bounds is None:
        return True
    low, high = bounds.low, bounds.high
    if isinstance(low, int) and isinstance(high, int):
        # The largest unsigned number of 64 bits has 20 digits.
        return bool(re.fullmatch(r"0|-?[1-9][0-9]{0,19}", text)) and low <= int(text) <= high
    return not (isinstance(low, str) and isinstance(high, str)) or low <= text <= high


def _timestamp_of(columns: Sequence[Column]) -> Column:
    return next(column for column in columns if column.kind == "timestamp")


def find_newest(
    pieces: Sequence[Piece],
    column: Column,
    read: Callable[[Piece], Iterator[pa.RecordBatch]],
    newest: int | None = None,
) -> int | None:
    """Find the newest time of pieces, of which no more are read than may hold it.

    Args:
        pieces: What the log, or a part of it, is read in.
        column: The times.
        read: Reads a piece: batches with the times as int64 seconds, by the column's name.
        newest: The newest time of the log's other pieces, in seconds since 1970.

    Returns:
        Seconds since 1970, of these pieces and the others; None if there is no time.

    Raises:
        StorageError: The store cannot be reached or refuses.
    """
    if not pieces:
        return newest
    # What the statistics of a row group say is a bound: its newest row may be malformed. So the row groups
    # are read from the highest bound down, of a log in order only the last one.
    found = FORMATS[pieces[0].format].find_bounds(pieces, column.source)
    bounds = [
        (_newest_of_statistics(piece, of_piece), piece) for piece, of_piece in zip(pieces, found, strict=True)
    ]
    for bound, piece in sorted(
        bounds, key=lambda pair: LAST_SECOND if pair[0] is None else pair[0], reverse=True
    ):
        if newest is not None and bound is not None and bound <= newest:
            break
        for batch in read(piece):
            second = pc.max(batch.column(column.name)).as_py()
            newest = second if newest is None or (second is not None and second > newest) else newest
    return newest


def _newest_of_statistics(piece: Piece, bounds: Bounds | None) -> int | None:
    if bounds is None:
        return None
    if pa.types.is_string(bounds.type) or pa.types.is_large_string(bounds.type):
        # The last text need not be the newest time.
        return None
    try:
        ticks = to_time(pa.array([bounds.high], bounds.type), piece.time_unit)[0].as_py()
    except (OverflowError, DataError, pa.ArrowException):
        return None
    second = None if ticks is None else ticks // 10**6
    # With an impossible time in it, the row group has to be read.
    return second if second is not None and is_possible_time(second, piece.latest_second) else None
