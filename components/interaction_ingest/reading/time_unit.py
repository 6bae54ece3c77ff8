"""What the times of a log that are numbers count."""

from collections import Counter
from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from components.interaction_ingest.counts import FIRST_USUAL_SECOND
from components.interaction_ingest.sources.casting import to_text
from components.interaction_ingest.sources.parts import Column, Piece
from components.interaction_ingest.sources.registry import FORMATS
from components.interaction_ingest.sources.times import list_numbers
from schemas.errors import DataError
from schemas.features import InteractionTable, TimeUnit

_UNITS_PER_SECOND: Final[dict[TimeUnit, int]] = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
_FIRST_DAY: Final = 19_900_101
_SAMPLE_ROWS: Final = 10_000
# Of a sample; the others are malformed, as they are under any unit.
_SMALLEST_SHARE: Final = 0.99


def find_time_unit(pieces: Sequence[Piece], log: InteractionTable, time: Column) -> TimeUnit:
    """Find the unit of a log's times from the first rows of its first, middle and last piece.

    Args:
        pieces: What the log is read in.
        log: How it is read, its `unit` among that.
        time: The column of the times.

    Returns:
        The log's unit, for `auto` the only one under which the times lie between 1990 and the latest time
        that there can be; `s` where no time is a number.

    Raises:
        DataError: `auto`, and there is no such unit, or not the same one in all of these pieces.
        StorageError: The store cannot be reached or refuses.
    """
    if log.unit != "auto":
        return log.unit
    chosen = {id(piece): piece for piece in (pieces[0], pieces[len(pieces) // 2], pieces[-1])}
    samples = [(piece, _read_sample(piece, log, time)) for piece in chosen.values()]
    found: dict[TimeUnit, str] = {}
    for piece, numbers in samples:
        if len(numbers):
            found.setdefault(_choose_unit(numbers, piece, time), piece.path)
    if len(found) > 1:
        shown = ", ".join(f"{unit} in {path}" for unit, path in found.items())
        raise DataError(
            f"{log.file}: the times in {time.source!r} have several units: {shown}. Expected one: write them "
            "again, or set tables.interactions.unit to that of most."
        )
    return next(iter(found), "s")


def _choose_unit(numbers: npt.NDArray[np.float64], piece: Piece, time: Column) -> TimeUnit:
    latest = piece.latest_second
    counts: Counter[TimeUnit] = Counter()
    for unit, per_second in _UNITS_PER_SECOND.items():
        fits = (numbers >= FIRST_USUAL_SECOND * per_second) & (numbers <= latest * per_second)
        counts[unit] = int(fits.sum())
    last_day = np.datetime64(latest, "s").item()
    last = last_day.year * 10_000 + last_day.month * 100 + last_day.day
    counts["yyyymmdd"] = int(((numbers >= _FIRST_DAY) & (numbers <= last)).sum())
    [(unit, count)] = counts.most_common(1)
    if count >= _SMALLEST_SHARE * len(numbers):
        return unit
    raise DataError(
        f"{piece.path}: the unit of the times in {time.source!r} cannot be told. Expected numbers that are "
        "between 1990 and now in one of s, ms, us, ns and yyyymmdd. Received: "
        f"{numbers.min():.15g} to {numbers.max():.15g}. Set tables.interactions.unit to one of them."
    )


def _read_sample(piece: Piece, log: InteractionTable, time: Column) -> npt.NDArray[np.float64]:
    for part in FORMATS[piece.format].read(piece, log, [time]):
        if part.batch is not None and part.batch.num_rows:
            values, _ = to_text(part.batch.column(time.name)[:_SAMPLE_ROWS])
            return list_numbers(values, log.decimal)
    return np.zeros(0)
