"""When the splits of a run's sequences lie, which tells what another model has seen of them."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from schemas.contract import EVAL_END, TRAIN_END, VALIDATION_END
from schemas.features import FeatureSpec
from schemas.sequences import list_sequence_files


@dataclass(frozen=True)
class SplitTimes:
    """Ends of the splits, in seconds since 1970; None of a split without a row."""

    train_until: int | None
    """The newest train row."""
    validation_from: int | None
    """The oldest validation row."""
    validation_until: int | None
    """The newest validation row."""
    held_out_from: int | None
    """The oldest held-out row."""
    held_out_until: int | None
    """The newest held-out row."""

    @property
    def log_until(self) -> int:
        """The newest row of any split, in seconds since 1970."""
        ends = (self.train_until, self.validation_until, self.held_out_until)
        return max(end for end in ends if end is not None)


def read_split_times(sequences: Path, spec: FeatureSpec) -> SplitTimes:
    """Read when the splits lie, one row group at a time.

    Args:
        sequences: The folder of the sequences.
        spec: The features.

    Returns:
        The times.

    Raises:
        DataError: There is no file.
    """
    oldest: dict[str, int] = {}
    newest: dict[str, int] = {}
    for path in list_sequence_files(sequences):
        with pq.ParquetFile(path) as file:
            for group in range(file.num_row_groups):
                table = file.read_row_group(group, columns=[spec.timestamp, *_ENDS])
                for split, seconds in _times_by_split(table, spec.timestamp).items():
                    if len(seconds):
                        oldest[split] = min(int(seconds.min()), oldest.get(split, int(seconds[0])))
                        newest[split] = max(int(seconds.max()), newest.get(split, int(seconds[0])))
    return SplitTimes(
        train_until=newest.get(TRAIN_END),
        validation_from=oldest.get(VALIDATION_END),
        validation_until=newest.get(VALIDATION_END),
        held_out_from=oldest.get(EVAL_END),
        held_out_until=newest.get(EVAL_END),
    )


_ENDS = (TRAIN_END, VALIDATION_END, EVAL_END)


def _times_by_split(table: pa.Table, timestamp: str) -> dict[str, np.ndarray]:
    """Give the times of each split's rows, by the column that ends it."""
    lists = table.column(timestamp).combine_chunks()
    seconds, starts = lists.flatten().to_numpy(), lists.offsets.to_numpy().astype(np.int64)
    starts -= starts[0]
    owners = np.repeat(np.arange(len(table)), np.diff(starts))
    places = np.arange(len(seconds)) - starts[owners]
    found, begins = {}, np.zeros(len(table), np.int64)
    for name in _ENDS:
        ends = table.column(name).to_numpy().astype(np.int64)
        found[name] = seconds[(places >= begins[owners]) & (places < ends[owners])]
        begins = ends
    return found
