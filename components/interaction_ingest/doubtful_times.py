"""What looks wrong about the times of a log, as where they are counted in another unit than is set."""

import numpy as np

from components.interaction_ingest.counts import IngestCounts
from schemas.features import TimeUnit
from schemas.times import SECONDS_PER_DAY


def describe_doubtful_times(counts: IngestCounts, unit: TimeUnit) -> str:
    """Say what looks wrong about the times, and what to do.

    Args:
        counts: What was counted of the positives.
        unit: What times that are numbers were read as.

    Returns:
        A sentence without its full stop; '' where they are of 1990 or later and more than a day apart.
    """
    if not counts.kept:
        return ""
    first, last = int(counts.first_timestamp), int(counts.last_timestamp)
    doubts = []
    if counts.rows_before_1990:
        doubts.append(
            f"{counts.rows_before_1990:,} of {counts.kept:,} positives are from before 1990, the first from "
            f"{show_day(first)}"
        )
    if last - first < SECONDS_PER_DAY and counts.kept > 1:
        doubts.append(f"all positives are within a day, {show_day(first)}")
    if not doubts:
        return ""
    return (
        f"{' and '.join(doubts)}. Times that are numbers were read as {unit}; if that is wrong, set "
        "tables.interactions.unit in the schema file to s, ms, us, ns, yyyymmdd or auto"
    )


def show_day(second: int) -> str:
    """Write the day of a time.

    Args:
        second: Seconds since 1970.

    Returns:
        The day in UTC, as ISO 8601.
    """
    return str(np.datetime64(second, "s").astype("datetime64[D]"))
