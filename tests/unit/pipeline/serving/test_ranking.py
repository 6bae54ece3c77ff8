import numpy as np
import pyarrow as pa
import pytest

from components.ann_document import AnnDocument
from components.ann_index import search as ann_search
from pipeline.serving import ranking
from pipeline.serving.catalogue import Catalogue
from pipeline.serving.models import Tensor
from pipeline.serving.ranking import (
    Query,
    join_rankers,
    make_retriever_ranker,
    make_tower_ranker,
    search_without,
    stack,
)

pytestmark = pytest.mark.unit

TEXT = np.dtype(object)
CATALOGUE = Catalogue(pa.table({"item_id": ["a", "b", "c", "d"]}), "item_id", [])
# b and d are equal: b comes first.
EMBEDDINGS = np.array([[1, 0], [0.6, 0.8], [0, 1], [0.6, 0.8]], np.float32)


class Tower:
    """Embeds a user as its only input."""

    inputs = {"user": Tensor(np.dtype(np.float32), (None, 2))}  # noqa: RUF012

    def call(self, arrays):
        return {"embedding": arrays["user"]}


def query(x, y, *excluded, k=10, **others):
    return Query({"user": np.array([x, y], np.float32)}, np.array(excluded, int), k, **others)


def names(rankings):
    return ["".join(CATALOGUE.ids.take(pa.array(found.rows)).to_pylist()) for found in rankings]


def test_the_tower_ranks_by_all_scores():
    rank = make_tower_ranker(Tower(), EMBEDDINGS, None)
    found = rank([query(0, 1), query(0, 1, 2, 2), query(1, 0, k=2), query(1, 0, 0, 1, 2, 3)])
    assert names(found) == ["cbda", "bda", "ab", ""]
    assert found[0].scores.tolist() == pytest.approx([1, 0.8, 0.8, 0])


def test_an_index_is_asked_for_more_and_gives_way_where_it_finds_too_few(monkeypatch):
    asked = []

    def search(ann, queries, k):
        asked.append(k)
        found = ann_search.search_exactly(ann.embeddings, queries, k)
        # An index that never finds c.
        return ann_search.TopItems(np.where(found.items == 2, -1, found.items), found.scores)

    monkeypatch.setattr(ranking, "search", search)
    ann = ann_search.Ann(None, EMBEDDINGS, None)
    user = np.array([0, 1], np.float32)
    assert search_without(ann, user, np.array([1, 1]), 1).rows.tolist() == [2]
    assert search_without(ann, np.array([1, 0], np.float32), np.array([0, 0]), 2).rows.tolist() == [1, 3]
    assert asked == [2, 3]


@pytest.mark.parametrize("is_approximate", [False, True])
def test_a_user_without_an_embedding_is_told_from_one_with_nothing_left(is_approximate):
    ann = ann_search.Ann(AnnDocument("m", "exact", 4, 10, 0.9, 0.9), EMBEDDINGS, None)
    rank = make_tower_ranker(Tower(), EMBEDDINGS, ann if is_approximate else None)
    found = rank([query(np.nan, np.nan), query(1, 0, 0, 1, 2, 3), query(np.inf, 0), query(0, 1, k=1)])
    assert [np.isnan(one.scores).tolist() for one in found] == [[True], [], [True], [False]]
    assert found[3].rows.tolist() == [2]


class Retriever:
    """Answers what it was asked for, in the retriever's form."""

    inputs = {  # noqa: RUF012
        "tags": Tensor(TEXT, (None, None)), "exclude": Tensor(TEXT, (None, None)),
        "filter": Tensor(TEXT, (None, None)), "k": Tensor(np.dtype(np.int32), (None,)),
    }  # fmt: skip

    def call(self, arrays):
        self.arrays = {name: array.tolist() for name, array in arrays.items()}
        ids = np.array([[b"c", b"a", b""], [b"b", b"", b""]], object)
        return {"item_ids": ids, "scores": np.array([[2, 1, -np.inf], [3, -np.inf, -np.inf]], np.float32)}


def test_the_retriever_is_given_one_batch_and_its_padding_is_no_item():
    retriever = Retriever()
    tags = [np.array([b"x"], object), np.array([], object)]
    found = make_retriever_ranker(retriever, CATALOGUE)(
        [Query({"tags": tags[0]}, np.array([1, 3]), 3), Query({"tags": tags[1]}, np.zeros(0, int), 1, ("ü",))]
    )
    assert retriever.arrays == {
        "tags": [[b"x"], [b""]],
        "exclude": [[b"b", b"d"], [b"", b""]],
        "filter": [[b""], ["ü".encode()]],
        "k": [3, 1],
    }
    assert names(found) == ["ca", "b"]
    assert found[0].scores.tolist() == [2, 1]


def test_queries_with_a_filter_go_to_the_one_that_knows_it():
    def answer(name):
        return lambda queries: [(name, query.k) for query in queries]

    rank = join_rankers(answer("ann"), answer("retriever"))
    assert rank([query(0, 1, k=1), query(0, 1, k=2, filter=("x",)), query(0, 1, k=3)]) == [
        ("ann", 1), ("retriever", 2), ("ann", 3),
    ]  # fmt: skip


def test_rows_become_a_batch():
    tensors = {"n": Tensor(np.dtype(np.int64), (None,)), "tags": Tensor(TEXT, (None, None))}
    rows = [{"n": np.array(1), "tags": np.array([b"a", b"b"], object)},
            {"n": np.array(2), "tags": np.array([], object)}]  # fmt: skip
    batch = stack(tensors, rows)
    assert batch["n"].tolist() == [1, 2]
    assert batch["tags"].tolist() == [[b"a", b"b"], [b"", b""]]
