"""What the report says of the sequences, and of item features that a history has no place for."""

import datetime
from collections import Counter
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from components.interaction_ingest.counts import IngestCounts, merge_counts
from components.interaction_ingest.splits import TRAIN
from components.interaction_ingest.user_sequences import UserSequences
from schemas.features import FeatureSpec
from schemas.times import SECONDS_PER_DAY

# 1, 2, 4, ... 8,388,608: always the same, so that the figures of two runs can be laid side by side.
_EDGES: Final = tuple(2**power for power in range(24))


def count_figures(sequences: UserSequences, timestamp: str) -> IngestCounts:
    """Count the train rows of users and days.

    Args:
        sequences: The sequences of some users.
        timestamp: Name of the timestamp.

    Returns:
        Counts that hold nothing else.
    """
    seconds = sequences.columns.column(timestamp).to_numpy()
    days, rows = np.unique(seconds[sequences.splits == TRAIN] // SECONDS_PER_DAY, return_counts=True)
    powers = enumerate(_powers(sequences.ends[:, 0]).tolist())
    found = IngestCounts(
        users_by_train_rows=Counter({power: count for power, count in powers if count}),
        train_rows_by_day=Counter(dict(zip(days.tolist(), rows.tolist(), strict=True))),
    )
    return merge_counts([found])


def describe_figures(counts: IngestCounts, train_rows_of_items: npt.NDArray[np.int64]) -> dict[str, Any]:
    """Write the figures of the sequences down for the report.

    Args:
        counts: The sum over the whole run.
        train_rows_of_items: [items] number of train rows of each item.

    Returns:
        Histograms of the train rows of each user and of each item that has one, counts[i] of numbers from
        edges[i] up to but without edges[i + 1], the last one of all larger numbers; and the train rows of
        each day, by its date.
    """
    users = [counts.users_by_train_rows[power] for power in range(len(_EDGES))]
    epoch = datetime.date(1970, 1, 1)
    return {
        "train_positives_per_user": _histogram(users),
        "train_positives_per_item": _histogram(_powers(train_rows_of_items).tolist()),
        "train_positives_per_day": {
            (epoch + datetime.timedelta(days=day)).isoformat(): count
            for day, count in sorted(counts.train_rows_by_day.items())
        },
    }


def _powers(numbers: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Count the numbers between one power of two and the next; 0 is in none."""
    places = np.searchsorted(_EDGES, numbers[numbers > 0], side="right") - 1
    return np.bincount(places, minlength=len(_EDGES))


def _histogram(counts: list[int]) -> dict[str, list[int]]:
    return {"edges": list(_EDGES), "counts": counts}


def count_cut_values(items: pa.Table, spec: FeatureSpec) -> dict[str, int]:
    """Count the values of the items that a history has no place for.

    Args:
        items: The cleaned item table.
        spec: The features.

    Returns:
        Per multi-valued feature of the history the values beyond `values_per_item`, empty ones left out, each
        item counted once; only numbers above 0.
    """
    cut = {}
    for feature in spec.history_features:
        if spec.history is not None and feature.multi_valued:
            column = items.column(feature.name).combine_chunks()
            is_present = pc.greater(pc.binary_length(column.flatten()), 0)
            item_of_value = pc.list_parent_indices(column).filter(is_present).to_numpy()
            count = int(np.maximum(np.bincount(item_of_value) - spec.history.values_per_item, 0).sum())
            if count:
                cut[feature.name] = count
    return cut
