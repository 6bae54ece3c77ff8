"""The sequences as queries, held-out items, and what the splits before eval say about them."""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from components.retrieval_evaluator.queries import (
    Queries,
    choose_columns,
    concatenate_queries,
    make_queries,
)
from schemas.contract import EVAL_END, TRAIN_END, VALIDATION_END
from schemas.errors import DataError
from schemas.features import FeatureSpec
from schemas.ranking import ItemSets
from schemas.sequences import list_sequence_files, read_sequences


@dataclass(frozen=True)
class EvaluationData:
    """The users with held-out items, in the order of the sequences."""

    queries: Queries
    """What the user tower reads, as of each user's first held-out position."""
    targets: ItemSets
    """The held-out items."""
    seen: ItemSets
    """The items that the users have in the splits before."""
    popularity: npt.NDArray[np.int64]
    """[items] the number of positives with each item in the splits before, of all users."""
    has_validation: bool
    """Whether validation is among the splits before, beside train."""
    sampled_of: int | None
    """The number of users that these were drawn from; None: these are all."""


def read_evaluation_data(
    sequences: Path,
    catalogue_ids: pa.Array,
    spec: FeatureSpec,
    tower_inputs: Collection[str],
    users: int | None = None,
    seed: int = 0,
) -> EvaluationData:
    """Turn the sequences into queries, targets, masks and popularity.

    They are read part by part, and only what belongs to the evaluated users is kept.

    Args:
        sequences: The folder of the sequences.
        catalogue_ids: [items] string ids in the order of the index.
        spec: The features.
        tower_inputs: The raw features that the user tower reads.
        users: Draw this many of the users with held-out items; None: all.
        seed: Which ones.

    Returns:
        The data.

    Raises:
        DataError: Nothing is held out, or the sequences are not those of the features and the catalogue.
        ReleaseError: The user tower reads something that is not in the features.
    """
    columns = choose_columns(spec, tower_inputs)
    drawn = None if users is None else draw_users(count_eval_users(sequences), users, seed)
    popularity = np.zeros(len(catalogue_ids), np.int64)
    queries, targets, seen = [], [], []
    has_validation = False
    number = 0
    for part in read_sequences(
        sequences,
        spec,
        catalogue_ids,
        user_columns=columns.user,
        position_columns=[*columns.context, *([spec.timestamp] if columns.has_gaps else [])],
    ):
        known, held_out = part.ends[VALIDATION_END], part.ends[EVAL_END]
        has_validation |= bool((known > part.ends[TRAIN_END]).any())
        popularity += np.bincount(
            part.items[_list_positions(part.offsets[:-1], known)], minlength=len(catalogue_ids)
        )
        chosen = np.flatnonzero(held_out > known)
        if drawn is not None:
            chosen, number = chosen[drawn[number : number + len(chosen)]], number + len(chosen)
        if len(chosen):
            queries.append(make_queries(part, chosen, spec, columns))
            targets.append(_collect(part.items, known[chosen], held_out[chosen]))
            seen.append(_collect(part.items, part.offsets[chosen], known[chosen]))
    if not queries:
        raise DataError(
            f"Expected at least one held-out interaction in {sequences}. Received: none. "
            "Choose an ingest.split that leaves some."
        )
    return EvaluationData(
        queries=concatenate_queries(queries),
        targets=ItemSets.concatenate(targets),
        seen=ItemSets.concatenate(seen),
        popularity=popularity,
        has_validation=has_validation,
        sampled_of=None if drawn is None or drawn.all() else len(drawn),
    )


def count_eval_users(sequences: Path) -> int:
    """Count the users with held-out items, reading nothing else of them.

    Args:
        sequences: The folder of the sequences.

    Returns:
        Their number.

    Raises:
        DataError: There is no file.
    """
    count = 0
    for path in list_sequence_files(sequences):
        ends = pq.read_table(path, columns=[VALIDATION_END, EVAL_END])
        count += int(np.count_nonzero(ends[EVAL_END].to_numpy() > ends[VALIDATION_END].to_numpy()))
    return count


def draw_users(count: int, users: int, seed: int) -> npt.NDArray[np.bool_]:
    """Draw users by their numbers.

    Args:
        count: Number of users to draw from.
        users: How many to draw; as many as there are where there are fewer.
        seed: Equal seeds draw the same users.

    Returns:
        [count] whether each was drawn.
    """
    drawn = np.zeros(count, bool)
    drawn[np.random.default_rng(seed).choice(count, min(users, count), replace=False)] = True
    return drawn


def _collect(
    items: npt.NDArray[np.int32], starts: npt.NDArray[np.int64], ends: npt.NDArray[np.int64]
) -> ItemSets:
    owners = np.repeat(np.arange(len(starts)), ends - starts)
    return ItemSets.from_pairs(owners, items[_list_positions(starts, ends)], len(starts))


def _list_positions(starts: npt.NDArray[np.int64], ends: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """List the positions of all ranges [start, end), one range after the other."""
    lengths = ends - starts
    offsets = np.cumsum(lengths) - lengths
    return np.arange(lengths.sum()) + np.repeat(starts - offsets, lengths)
