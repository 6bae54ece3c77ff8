import numpy as np
import pytest

from components.retrieval_evaluator.baselines.interface import BaselineQueries
from components.retrieval_evaluator.baselines.log import BaselineLog
from schemas.ranking import ItemSets, choose_targets


def to_sets(rows):
    owners = [query for query, row in enumerate(rows) for _ in row]
    items = [item for row in rows for item in row]
    return ItemSets.from_pairs(np.array(owners, int), np.array(items, int), len(rows))


@pytest.fixture
def make_log():
    """Make a log of each user's items, in time: one second after the other, unless times are given."""

    def make(rows, times=None, train_sizes=None):
        sizes = [len(row) for row in rows]
        offsets = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
        flat = np.arange(offsets[-1]) if times is None else [time for row in times for time in row]
        return BaselineLog(
            offsets=offsets,
            train_ends=offsets[:-1] + np.array(sizes if train_sizes is None else train_sizes, np.int64),
            items=np.array([item for row in rows for item in row], np.int32),
            times=np.array(flat, np.int64),
        )

    return make


@pytest.fixture
def make_queries():
    """Make queries of users with these known items, in time."""

    def make(known, held_out, times=None, candidates="new", k=100):
        seen = to_sets(known)
        chosen = choose_targets(to_sets(held_out), seen, candidates)
        seen = seen.take(chosen.queries)
        owners = chosen.queries[seen.owners]
        recent = np.full((len(known), 10), -1, np.int32)
        for row, items in zip(recent, known, strict=True):
            row[10 - len(items[-10:]) :] = items[-10:]
        return BaselineQueries(
            targets=chosen.targets,
            masked=chosen.masked,
            seen=seen,
            seen_counts=np.array(
                [known[query].count(item) for query, item in zip(owners, seen.items, strict=True)], np.int64
            ),
            recent_items=recent[chosen.queries],
            times=np.array([10**6] * len(known) if times is None else times, np.int64)[chosen.queries],
            candidates=candidates,
            k=k,
        )

    return make


@pytest.fixture
def random_case(make_log, make_queries):
    """Make random users with known and held-out items, some of whom have no known item."""

    def make(seed, candidates, items=12, users=30):
        rng = np.random.default_rng(seed)
        rows = [rng.integers(0, items, rng.integers(0, 9)).tolist() for _ in range(users)]
        held_out = [rng.integers(0, items, rng.integers(1, 4)).tolist() for _ in range(users)]
        log = make_log(rows)
        return (
            log,
            make_queries(rows, held_out, candidates=candidates),
            np.bincount(log.items, minlength=items),
        )

    return make


@pytest.fixture
def assert_ranked_by():
    """Compare places with those by dense scores, where differences of rounding are ties or not."""

    def check(ranks, scores, queries):
        masked = np.zeros(scores.shape, bool)
        masked[queries.masked.owners, queries.masked.items] = True
        for pair, (query, item) in enumerate(zip(queries.targets.owners, queries.targets.items, strict=True)):
            difference = scores[query][~masked[query]] - scores[query, item]
            assert ranks.better[pair] == np.count_nonzero(difference > 1e-5)
            assert ranks.tied[pair] == np.count_nonzero(np.abs(difference) <= 1e-5) - 1

    return check
