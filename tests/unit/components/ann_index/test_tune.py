import numpy as np
import pytest

from components.ann_index import tune
from components.ann_index.config import AnnConfig
from components.ann_index.ladder import list_branches
from components.ann_index.tune import choose_index, count_found, time_queries
from schemas.ranking import TopItems

pytestmark = pytest.mark.unit

DIM = 16


def make_clusters(count, seed, spread=0.4):
    """Unit vectors around 50 directions, as those of a trained tower are."""
    generator = np.random.default_rng(seed)
    centres = np.random.default_rng(0).normal(size=(50, DIM))
    vectors = centres[generator.integers(0, 50, count)] + spread * generator.normal(size=(count, DIM))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture(scope="module")
def embeddings():
    return make_clusters(6000, seed=1)


@pytest.fixture(scope="module")
def queries():
    return make_clusters(400, seed=2)


@pytest.fixture
def clock(monkeypatch):
    """Milliseconds in the order in which they are asked for: exact search, each index, the index again."""

    def set_times(*milliseconds):
        times = iter(milliseconds)
        monkeypatch.setattr(tune, "time_queries", lambda answer, queries, count: next(times))

    return set_times


def find_rows(vectors, queries, k):
    scores = queries.astype(np.float64) @ vectors.astype(np.float64).T
    return np.argsort(-scores, axis=1, kind="stable")[:, :k]


@pytest.mark.parametrize("kind", ["ivf_flat", "ivf_sq8", "hnsw"])
def test_the_recall_that_is_reported_is_the_share_that_is_found_of_other_queries(
    kind, embeddings, queries, clock
):
    clock(10.0, 1.0, 2.0, 1.0)
    config = AnnConfig(kinds=(kind,), target_recall=0.9, k=5, seed=3)
    chosen = choose_index(embeddings, queries, config, "m1")
    document = chosen.document
    assert document.kind == kind
    # The second half of the queries in the order of the seed.
    half = queries[np.random.default_rng(3).permutation(400)[200:]]
    index = chosen.index
    if kind == "hnsw":
        index.hnsw.efSearch = document.parameters["efSearch"]
    else:
        index.nprobe = document.parameters["nprobe"]
    fetched = 20 if kind == "ivf_sq8" else 5
    _, rows = index.search(half, fetched)
    shares = []
    for found, best, query in zip(rows, find_rows(embeddings, half, 5), half, strict=True):
        kept = sorted(found, key=lambda row: -float(embeddings[row].astype(np.float64) @ query))[:5]
        shares.append(len(set(kept) & set(best)) / 5)
    assert document.recall == pytest.approx(np.mean(shares))
    error = 1.96 * np.std(shares, ddof=1) / np.sqrt(200)
    assert document.recall_low == pytest.approx(np.mean(shares) - error)
    assert document.recall_high == pytest.approx(min(1, np.mean(shares) + error))
    assert (document.queries, document.k, document.items, document.model_id) == (200, 5, 6000, "m1")
    assert document.recall >= 0.9


def test_the_least_effort_that_is_enough_beyond_chance_is_taken(embeddings, queries, clock):
    [one, _] = list_branches(("ivf_flat",), len(embeddings))
    half = queries[np.random.default_rng(0).permutation(400)[:200]]
    best = find_rows(embeddings, half, 5)
    index = tune.build_index(one[0], embeddings, 0)
    means, errors = {}, {}
    for nprobe in (1, 2, 3, 4, 6, 8, 12, 16, 24, 32):
        index.nprobe = nprobe
        _, rows = index.search(half, 5)
        shares = np.array([len(set(a) & set(b)) / 5 for a, b in zip(rows, best, strict=True)])
        means[nprobe], errors[nprobe] = shares.mean(), shares.std(ddof=1) / np.sqrt(200)
    # Three lists find a standard error more than this, which is not enough.
    target = means[3] - errors[3]
    enough = [nprobe for nprobe, mean in means.items() if mean - 3 * errors[nprobe] >= target]
    clock(10.0, 1.0, 1.0, 1.0)
    config = AnnConfig(kinds=("ivf_flat",), k=5, target_recall=float(target))
    document = choose_index(embeddings, queries, config, "m1").document
    assert document.tried[0].parameters == {**one[0].parameters, "nprobe": enough[0]}
    assert enough[0] > 3


@pytest.mark.parametrize(("sufficient", "built"), [(5.0, 1), (5.1, 2), (None, 2)])
def test_nothing_more_is_built_where_search_is_fast_enough(embeddings, queries, clock, sufficient, built):
    clock(10.0, 2.0, *([1.0] * built))
    config = AnnConfig(kinds=("ivf_flat",), sufficient_speedup=sufficient)
    assert len(choose_index(embeddings, queries, config, "m1").document.tried) == built


def test_the_fastest_is_taken(embeddings, queries, clock):
    # Of sqrt(6000) and 4 sqrt(6000) lists, 77 and 310, the nearest powers of two.
    clock(10.0, 3.0, 2.0, 2.5)
    document = choose_index(embeddings, queries, AnnConfig(kinds=("ivf_flat",)), "m1").document
    assert [one.parameters["nlist"] for one in document.tried] == [64, 256]
    assert document.parameters["nlist"] == 256
    assert (document.exact_ms, document.ann_ms, document.speedup) == (10.0, 2.5, 4.0)
    assert [one.ms for one in document.tried] == [3.0, 2.0]
    assert document.reason is None


def test_a_costlier_graph_is_built_only_where_the_cheaper_one_finds_too_little(
    embeddings, queries, clock, monkeypatch
):
    clock(10.0, 1.0, 1.0)
    document = choose_index(embeddings, queries, AnnConfig(kinds=("hnsw",)), "m1").document
    assert [one.parameters["M"] for one in document.tried] == [16]
    # At so little effort neither finds enough.
    monkeypatch.setattr(tune, "EFFORTS", {"efSearch": (1,)})
    clock(10.0, 1.0, 1.0)
    document = choose_index(
        embeddings, queries, AnnConfig(kinds=("hnsw",), k=1, target_recall=1.0), "m1"
    ).document
    assert [one.parameters["M"] for one in document.tried] == [16, 32]
    assert [one.reaches_target for one in document.tried] == [False, False]
    assert (document.kind, document.recall, document.speedup) == ("exact", 1.0, None)
    assert document.reason == "no index reaches a recall of 1"


def test_an_index_that_is_no_faster_is_not_taken(embeddings, queries, clock):
    clock(1.0, 1.5, 1.0)
    chosen = choose_index(embeddings, queries, AnnConfig(kinds=("ivf_flat",)), "m1")
    assert (chosen.index, chosen.document.kind) == (None, "exact")
    assert chosen.document.reason == "no index that finds enough is faster"
    assert len(chosen.document.tried) == 2


def test_the_same_seed_chooses_the_same(embeddings, queries, clock):
    documents = []
    for _ in range(2):
        clock(10.0, 1.0, 2.0, 1.0)
        chosen = choose_index(embeddings, queries, AnnConfig(kinds=("ivf_sq8",), seed=5), "m1")
        documents.append((chosen.document.parameters, chosen.document.recall))
    assert documents[0] == documents[1]


def test_of_items_that_tie_for_the_last_places_any_will_do():
    found = TopItems(
        np.array([[4, 9], [1, -1]], np.int32),
        # The first list misses an item with the score of its last one, the second a better one.
        np.array([[0.9, 0.5], [0.7, -np.inf]], np.float32),
    )
    assert count_found(found, np.array([0.5, 0.6], np.float32)).tolist() == [2, 1]
    # Another order of the same sum is no other score; a worse item is.
    almost = np.nextafter(np.float32(0.5), np.float32(1))
    assert count_found(found, np.array([almost, 0.71], np.float32)).tolist() == [2, 0]
    assert count_found(found, np.array([0.501, 0.6], np.float32)).tolist() == [1, 1]


def test_the_median_of_single_queries_is_timed(monkeypatch):
    # The first answer is not timed; the others take 1, 7 and 2 milliseconds.
    ticks = iter([0.0, 1.0, 2.0, 2.001, 3.0, 3.007, 4.0, 4.002])
    asked = []

    class Clock:
        @staticmethod
        def perf_counter():
            return next(ticks)

    monkeypatch.setattr(tune, "time", Clock)
    queries = np.arange(8, dtype=np.float32).reshape(4, 2)

    def answer(query):
        asked.append(query.tolist())
        if len(asked) == 1:
            next(ticks)

    assert time_queries(answer, queries, 3) == pytest.approx(2)
    assert asked == [[[6, 7]], [[0, 1]], [[2, 3]], [[4, 5]]]
