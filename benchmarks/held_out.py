"""Held-out items to be ranked among all items, as any recommender can be given them.

What benchmarks/quality.py compares models by. The interactions and their splits are those that the pipeline's
ingest has written, what is ranked for whom is decided by `schemas.ranking`, and the places and metrics are
its own, so that every model answers the same question as the pipeline's does in its report.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from components.retrieval_evaluator.baselines.interface import BaselineQueries
from components.retrieval_evaluator.baselines.log import BaselineLog
from components.retrieval_evaluator.data import RECENT_ITEMS
from schemas.contract import CATALOGUE_FILE, EVAL_END, TRAIN_END, VALIDATION_END
from schemas.features import FeatureSpec
from schemas.ranges import list_positions
from schemas.ranking import Candidates, ItemSets, Ranks, choose_targets, compute_metrics, rank_in_blocks
from schemas.ranking.ranks import ScoreBlock
from schemas.sequences import read_sequences


@dataclass(frozen=True)
class SplitSequences:
    """All positives of every user in time, and where the splits end in them."""

    offsets: np.ndarray
    """[users + 1] int64: those of user u are the positions offsets[u] to offsets[u + 1] - 1."""
    items: np.ndarray
    """[positions] int32 rows of the catalogue."""
    times: np.ndarray
    """[positions] int64 seconds since 1970."""
    train_ends: np.ndarray
    """[users] the position where train ends."""
    known_ends: np.ndarray
    """[users] the position where validation ends, and what is held out begins."""
    eval_ends: np.ndarray
    """[users] the position where what is held out ends."""
    item_count: int
    """Items of the catalogue."""

    @property
    def validation_starts(self) -> np.ndarray:
        """[users] the position where what hyperparameters are chosen on begins.

        It is the validation split. Where the configuration makes none it is each user's last known positive,
        of those who have two or more.
        """
        if (self.known_ends > self.train_ends).any():
            return self.train_ends
        begins = self.offsets[:-1]
        return np.where(self.known_ends - begins >= 2, self.known_ends - 1, self.known_ends)


@dataclass(frozen=True)
class HeldOutTask:
    """Known interactions of all users, and the held-out items of some to be ranked among all items."""

    log: BaselineLog
    """The known interactions."""
    users: np.ndarray
    """[queries] number of each query's user."""
    queries: BaselineQueries
    """The targets, the mask and what is known of each query's user."""
    popularity: np.ndarray
    """[items] the number of known interactions with each item."""

    @property
    def item_count(self) -> int:
        """Items of the catalogue."""
        return len(self.popularity)

    def rank(self, score_block: ScoreBlock) -> Ranks:
        """Rank the held-out items as the pipeline's evaluator does.

        Args:
            score_block: Gives the [block, items] float32 scores of the queries of a slice.

        Returns:
            Their places, as far as the largest cut-off.
        """
        queries = self.queries
        return rank_in_blocks(
            score_block, queries.targets, queries.masked, self.item_count, k=min(queries.k, self.item_count)
        ).ranks

    def measure(self, ranks: Ranks, ks: Sequence[int]) -> Mapping[str, np.ndarray]:
        """Compute what the pipeline's report has.

        Args:
            ranks: The places of the held-out items.
            ks: The cut-offs.

        Returns:
            [queries] float64 by the name of the metric.
        """
        return compute_metrics(ranks, self.queries.targets, ks)


def read_split_sequences(sequences: Path, catalogue: Path, spec: FeatureSpec) -> SplitSequences:
    """Read what the ingest has written.

    Args:
        sequences: Its sequences.
        catalogue: Its catalogue.
        spec: The features.

    Returns:
        The positives of every user, those behind the held-out ones left out.
    """
    item = spec.item_id.name
    ids = pq.read_table(catalogue / CATALOGUE_FILE, columns=[item])[item].combine_chunks()
    parts = list(read_sequences(sequences, spec, ids, position_columns=[spec.timestamp]))
    starts = np.cumsum([0, *(len(part.items) for part in parts)])[:-1]
    sizes = np.concatenate([np.diff(part.offsets) for part in parts])
    ends = {
        name: np.concatenate([start + part.ends[name] for start, part in zip(starts, parts, strict=True)])
        for name in (TRAIN_END, VALIDATION_END, EVAL_END)
    }
    return SplitSequences(
        offsets=np.concatenate([[0], np.cumsum(sizes)]),
        items=np.concatenate([part.items for part in parts]),
        times=np.concatenate([part.columns[spec.timestamp].to_numpy() for part in parts]),
        train_ends=ends[TRAIN_END],
        known_ends=ends[VALIDATION_END],
        eval_ends=ends[EVAL_END],
        item_count=len(ids),
    )


def fingerprint_tasks(sequences: SplitSequences, candidates: Candidates, k: int) -> str:
    """Tell the tasks of some interactions from all others.

    Args:
        sequences: The interactions.
        candidates: Which items are ranked.
        k: The largest cut-off.

    Returns:
        16 hexadecimal digits.
    """
    digest = hashlib.sha256(f"{candidates} {k}".encode())
    for field in fields(sequences):
        digest.update(np.asarray(getattr(sequences, field.name)).tobytes())
    return digest.hexdigest()[:16]


def make_tasks(sequences: SplitSequences, candidates: Candidates, k: int) -> tuple[HeldOutTask, HeldOutTask]:
    """Make the task that hyperparameters are chosen by, and the one that is reported.

    Args:
        sequences: The interactions.
        candidates: Which items are ranked.
        k: The largest cut-off.

    Returns:
        The task of validation, which knows nothing that is held out, and that of what is held out.
    """
    starts = sequences.validation_starts
    validation = make_task(sequences, starts, sequences.known_ends, candidates, k)
    final = make_task(sequences, sequences.known_ends, sequences.eval_ends, candidates, k)
    # The window of recent popularity is chosen on the validation split, where there is one.
    sizes = sequences.train_ends - sequences.offsets[:-1]
    log = replace(final.log, train_ends=final.log.offsets[:-1] + sizes)
    return validation, replace(final, log=log)


def make_task(
    sequences: SplitSequences, starts: np.ndarray, ends: np.ndarray, candidates: Candidates, k: int
) -> HeldOutTask:
    """Make a task of ranges of each user's positives.

    Args:
        sequences: The interactions.
        starts: [users] the position where the user's held-out positives begin; what is before it is known.
        ends: [users] the position where they end.
        candidates: Which items are ranked.
        k: The largest cut-off.

    Returns:
        The task, whose queries are the users with a held-out item that is ranked.
    """
    begins, items = sequences.offsets[:-1], sequences.items
    known = list_positions(begins, starts)
    known_sizes = starts - begins
    log_offsets = np.concatenate([[0], np.cumsum(known_sizes)])
    asked = np.flatnonzero(ends > starts)
    seen = ItemSets.from_ranges(items, begins[asked], starts[asked])
    chosen = choose_targets(ItemSets.from_ranges(items, starts[asked], ends[asked]), seen, candidates)
    users, seen = asked[chosen.queries], seen.take(chosen.queries)
    recent = starts[users][:, np.newaxis] + np.arange(-RECENT_ITEMS, 0)
    is_there = recent >= begins[users][:, np.newaxis]
    return HeldOutTask(
        log=BaselineLog(
            offsets=log_offsets,
            train_ends=log_offsets[1:],
            items=items[known],
            times=sequences.times[known],
        ),
        users=users,
        queries=BaselineQueries(
            targets=chosen.targets,
            masked=chosen.masked,
            seen=seen,
            seen_counts=seen.count_in_ranges(items, begins[users], starts[users]),
            recent_items=np.where(is_there, items[np.where(is_there, recent, 0)], np.int32(-1)),
            times=sequences.times[starts[users]],
            candidates=candidates,
            k=k,
        ),
        popularity=np.bincount(items[known], minlength=sequences.item_count),
    )
