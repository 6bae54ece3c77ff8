"""The sequences as queries, held-out items, and what the splits before eval say about them."""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Final

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
from schemas.features import Feature, FeatureSpec
from schemas.ranges import list_positions
from schemas.ranking import Candidates, Chosen, ItemSets, choose_targets
from schemas.sequences import SequencesPart, list_sequence_files, read_sequences

RECENT_ITEMS: Final = 10
"""How many of the items before a query are kept, whatever the tower reads of them."""


@dataclass(frozen=True)
class EvaluationData:
    """The users with something to be found, in the order of the sequences."""

    queries: Queries
    """What the user tower reads, as of each user's first held-out position."""
    targets: ItemSets
    """The held-out items to be found, at least one of each query."""
    masked: ItemSets
    """The items that are not ranked, no target among them."""
    seen: ItemSets
    """The items that the users have in the splits before."""
    seen_counts: npt.NDArray[np.int64]
    """[pairs of `seen`] how many of the user's positives in the splits before are with each."""
    has_repeat: npt.NDArray[np.bool_]
    """[queries] whether the user had a held-out item before."""
    held_out: int
    """Number of held-out items of the evaluated users, those that are no targets among them."""
    repeated: int
    """How many of these their user had before."""
    users_without_target: int
    """Number of users who are no queries, since they had all of their held-out items before."""
    attributes: pa.Table
    """[queries] the user id, and all features of the user and of the context at the user's first held-out
    position, vectors excepted, whether or not the tower reads them."""
    recent_items: npt.NDArray[np.int32]
    """[queries, RECENT_ITEMS] rows in the catalogue of the user's positives before the first held-out
    position, the newest last; -1: none."""
    times: npt.NDArray[np.int64]
    """[queries] the time of the first held-out position, in seconds since 1970."""
    known_rows: npt.NDArray[np.int64]
    """[queries] number of the user's positives in the splits before."""
    train_rows: npt.NDArray[np.int64]
    """[queries] how many of these are in train."""
    popularity: npt.NDArray[np.int64]
    """[items] the number of positives with each item in the splits before, of all users."""
    train_counts: npt.NDArray[np.int64]
    """[items] how many of these are in train."""
    item_users: npt.NDArray[np.int64]
    """[items] the number of users who have each item in the splits before."""
    user_count: int
    """Number of users who have anything in the splits before."""
    has_validation: bool
    """Whether validation is among the splits before, beside train."""
    sampled_of: int | None
    """The number of users that these were drawn from; None: these are all."""


def read_evaluation_data(
    sequences: Path,
    catalogue_ids: pa.Array,
    spec: FeatureSpec,
    tower_inputs: Collection[str],
    candidates: Candidates,
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
        candidates: What is ranked, and which held-out items are to be found.
        users: Draw this many of the users with held-out items; None: all.
        seed: Which ones.

    Returns:
        The data.

    Raises:
        DataError: Nothing is held out or nothing of it can be found, or the sequences are not those of the
            features and the catalogue.
        ReleaseError: The user tower reads something that is not in the features.
    """
    columns = choose_columns(spec, tower_inputs)
    drawn = None if users is None else draw_users(count_eval_users(sequences), users, seed)
    counts = _Counts.of_none(len(catalogue_ids))
    parts: list[_Part] = []
    number = 0
    of_users, of_contexts = (_list_attributes(spec.table_features(table)) for table in ("user", "context"))
    for part in read_sequences(
        sequences,
        spec,
        catalogue_ids,
        user_columns=list(dict.fromkeys([*columns.user, *of_users])),
        position_columns=list(dict.fromkeys([*columns.context, *of_contexts, spec.timestamp])),
    ):
        known, held_out = part.ends[VALIDATION_END], part.ends[EVAL_END]
        counts.add(part)
        users_here = np.flatnonzero(held_out > known)
        if drawn is not None:
            users_here, number = (
                users_here[drawn[number : number + len(users_here)]],
                number + len(users_here),
            )
        if len(users_here):
            seen = ItemSets.from_ranges(part.items, part.offsets[users_here], known[users_here])
            chosen = choose_targets(
                ItemSets.from_ranges(part.items, known[users_here], held_out[users_here]), seen, candidates
            )
            kept = users_here[chosen.queries]
            seen = seen.take(chosen.queries)
            parts.append(
                _Part(
                    queries=make_queries(part, kept, spec, columns),
                    chosen=chosen,
                    seen=seen,
                    seen_counts=seen.count_in_ranges(part.items, part.offsets[kept], known[kept]),
                    users_without_target=len(users_here) - len(kept),
                    attributes=_take_attributes(part, kept, of_users, of_contexts),
                    recent_items=_take_recent(part, kept),
                    times=part.columns[spec.timestamp].to_numpy()[known[kept]],
                    known_rows=known[kept] - part.offsets[kept],
                    train_rows=part.ends[TRAIN_END][kept] - part.offsets[kept],
                )
            )
    _refuse_nothing(parts, sequences)
    return EvaluationData(
        queries=concatenate_queries([part.queries for part in parts]),
        targets=ItemSets.concatenate([part.chosen.targets for part in parts]),
        masked=ItemSets.concatenate([part.chosen.masked for part in parts]),
        seen=ItemSets.concatenate([part.seen for part in parts]),
        seen_counts=np.concatenate([part.seen_counts for part in parts]),
        has_repeat=np.concatenate([part.chosen.has_repeat for part in parts]),
        held_out=sum(part.chosen.held_out for part in parts),
        repeated=sum(part.chosen.repeated for part in parts),
        users_without_target=sum(part.users_without_target for part in parts),
        attributes=pa.concat_tables([part.attributes for part in parts]).combine_chunks(),
        recent_items=np.concatenate([part.recent_items for part in parts]),
        times=np.concatenate([part.times for part in parts]),
        known_rows=np.concatenate([part.known_rows for part in parts]),
        train_rows=np.concatenate([part.train_rows for part in parts]),
        popularity=counts.known,
        train_counts=counts.train,
        item_users=counts.users,
        user_count=counts.user_count,
        has_validation=counts.has_validation,
        sampled_of=None if drawn is None or drawn.all() else len(drawn),
    )


@dataclass(frozen=True)
class _Part:
    """The queries of a part of the sequences, as `EvaluationData` has those of all."""

    queries: Queries
    chosen: Chosen
    seen: ItemSets
    seen_counts: npt.NDArray[np.int64]
    users_without_target: int
    attributes: pa.Table
    recent_items: npt.NDArray[np.int32]
    times: npt.NDArray[np.int64]
    known_rows: npt.NDArray[np.int64]
    train_rows: npt.NDArray[np.int64]


@dataclass
class _Counts:
    """What the splits before eval hold, of all users."""

    known: npt.NDArray[np.int64]
    train: npt.NDArray[np.int64]
    users: npt.NDArray[np.int64]
    user_count: int = 0
    has_validation: bool = False

    @classmethod
    def of_none(cls, items: int) -> "_Counts":
        return cls(np.zeros(items, np.int64), np.zeros(items, np.int64), np.zeros(items, np.int64))

    def add(self, part: SequencesPart) -> None:
        starts, train, known = part.offsets[:-1], part.ends[TRAIN_END], part.ends[VALIDATION_END]
        items = len(self.known)
        self.train += np.bincount(part.items[list_positions(starts, train)], minlength=items)
        self.known += np.bincount(part.items[list_positions(starts, known)], minlength=items)
        self.users += np.bincount(ItemSets.from_ranges(part.items, starts, known).items, minlength=items)
        self.user_count += int(np.count_nonzero(known > starts))
        self.has_validation |= bool((known > train).any())


def _list_attributes(features: Collection[Feature]) -> list[str]:
    return [feature.name for feature in features if feature.length is None]


def _take_attributes(
    part: SequencesPart,
    users: npt.NDArray[np.int64],
    of_users: Collection[str],
    of_contexts: Collection[str],
) -> pa.Table:
    attributes = part.users.select(list(of_users)).take(pa.array(users))
    contexts = part.columns.select(list(of_contexts)).take(pa.array(part.ends[VALIDATION_END][users]))
    for name in of_contexts:
        attributes = attributes.append_column(name, contexts[name])
    return attributes


def _take_recent(part: SequencesPart, users: npt.NDArray[np.int64]) -> npt.NDArray[np.int32]:
    """Take the items before the first held-out position of each user: [users, RECENT_ITEMS]."""
    first = part.ends[VALIDATION_END][users][:, np.newaxis]
    positions = first + np.arange(-RECENT_ITEMS, 0)
    is_there = positions >= part.offsets[users][:, np.newaxis]
    return np.where(is_there, part.items[np.where(is_there, positions, first)], np.int32(-1))


def _refuse_nothing(parts: Collection[_Part], sequences: Path) -> None:
    if not parts:
        raise DataError(
            f"Expected at least one held-out interaction in {sequences}. Received: none. "
            "Choose an ingest.split that leaves some."
        )
    if not sum(len(part.queries) for part in parts):
        repeated = sum(part.chosen.repeated for part in parts)
        raise DataError(
            f"Expected at least one held-out item in {sequences} that its user did not have before. "
            f"Received: none among {repeated:,}. Set evaluation.candidates: all, which ranks what users "
            "have, too."
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
