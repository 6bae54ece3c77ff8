"""The time since each interaction of a history, in quantile buckets."""

import numpy as np
import numpy.typing as npt

from schemas.errors import DataError
from trainer.data.sequences import FlatSequences, Rows

# Of so many rows the share of gaps below a boundary is known to 0.1 %, far below the 1 % that
# tft.quantiles allows itself.
_SAMPLED_ROWS = 500_000


def learn_gap_boundaries(
    sequences: FlatSequences, rows: Rows, length: int, buckets: int, seed: int = 0
) -> npt.NDArray[np.int64]:
    """Find the quantiles of the seconds from the interactions of a history to the row's own.

    Args:
        sequences: The positives, with their times.
        rows: The rows whose histories count; of more than half a million, as many that are drawn at random.
        length: Positions of a history.
        buckets: Number of quantile buckets.
        seed: Of the draw.

    Returns:
        [buckets - 1] ascending: bucket b holds the gaps g with boundaries[b - 1] <= g < boundaries[b].

    Raises:
        DataError: The sequences have no times, or no row has a history.
    """
    if sequences.seconds is None:
        raise DataError("history.time_gap_buckets: expected sequences with times. Received: none.")
    if len(rows) > _SAMPLED_ROWS:
        # Twice the same row does no harm; without such, a draw can take 8 bytes for each row of all.
        drawn = np.random.default_rng(seed).integers(len(rows), size=_SAMPLED_ROWS)
    else:
        drawn = np.arange(len(rows))
    users, positions = rows.locate(drawn)
    starts = sequences.offsets[users]
    gaps = [
        (sequences.seconds[positions] - sequences.seconds[np.maximum(positions - lag, 0)])[
            positions - lag >= starts
        ]
        for lag in range(1, length + 1)
    ]
    every = np.concatenate(gaps)
    if not len(every):
        raise DataError(
            "history.time_gap_buckets: expected rows with a history. Received: none, since no user has two "
            "train rows. Leave time_gap_buckets out, or give more data."
        )
    shares = np.arange(1, buckets) / buckets
    # The first gap of the next bucket: a value of the data, as tft.quantiles gives.
    return np.quantile(every, shares, method="higher").astype(np.int64)
