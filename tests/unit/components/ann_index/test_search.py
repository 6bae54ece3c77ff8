import dataclasses
import threading

import faiss
import numpy as np
import pytest

from components.ann_document import AnnDocument, read_document, write_document
from components.ann_index import ladder
from components.ann_index.ladder import Build, build_index
from components.ann_index.search import Ann, read_ann, search, search_exactly, search_index
from schemas.errors import ReleaseError

pytestmark = pytest.mark.unit

ITEMS, DIM = 3000, 16
BUILDS = {
    "ivf_flat": (Build("ivf_flat", {"nlist": 16}), {"nprobe": 16}),
    "ivf_sq8": (Build("ivf_sq8", {"nlist": 16}), {"nprobe": 16}),
    "hnsw": (Build("hnsw", {"M": 16, "efConstruction": 100}), {"efSearch": 512}),
}


def make_vectors(count, seed):
    vectors = np.random.default_rng(seed).normal(size=(count, DIM)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def rank(embeddings, queries, k):
    """Every item's score in double precision, and a stable sort."""
    scores = queries.astype(np.float64) @ embeddings.astype(np.float64).T
    rows = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return rows, np.take_along_axis(scores, rows, axis=1)


def make_document(kind="exact", items=ITEMS, **changes):
    document = AnnDocument("m1", kind, items, k=10, target_recall=0.95, floor=0.95)
    return dataclasses.replace(document, **changes)


@pytest.fixture(scope="module")
def embeddings():
    return make_vectors(ITEMS, seed=1)


@pytest.fixture(scope="module")
def queries():
    return make_vectors(20, seed=2)


@pytest.mark.parametrize("kind", BUILDS)
def test_an_index_that_looks_everywhere_finds_what_exact_search_does(kind, embeddings, queries):
    build, search_parameters = BUILDS[kind]
    index = build_index(build, embeddings, seed=0)
    ann = Ann(make_document(kind, parameters={**build.parameters, **search_parameters}), embeddings, index)
    found = search(ann, queries, 10)
    rows, scores = rank(embeddings, queries, 10)
    np.testing.assert_array_equal(found.items, rows)
    np.testing.assert_allclose(found.scores, scores, atol=1e-6)
    assert (found.items.dtype, found.scores.dtype) == (np.int32, np.float32)


def test_exact_search(embeddings, queries):
    found = search(Ann(make_document(), embeddings, None), queries, 7)
    rows, scores = rank(embeddings, queries, 7)
    np.testing.assert_array_equal(found.items, rows)
    np.testing.assert_allclose(found.scores, scores, atol=1e-6)


@pytest.mark.parametrize("kind", BUILDS)
def test_of_equal_scores_the_first_in_the_catalogue_is_first(kind, embeddings):
    # Each vector twice: the best item and its double, then the second and its double.
    doubled = np.concatenate([embeddings[:500], embeddings[:500]])
    build, parameters = BUILDS[kind]
    index = build_index(build, doubled, seed=0)
    [effort] = parameters.values()
    found = search_index(index, build, effort, doubled, embeddings[7:8], 4)
    assert set(found.items[0, :2].tolist()) == {7, 507}
    assert found.items[0, 0] == 7
    assert found.items[0, 1] == 507
    assert found.items[0, 3] == found.items[0, 2] + 500


def test_less_is_found_where_less_is_looked_at(embeddings, queries):
    build = Build("ivf_flat", {"nlist": 64})
    index = build_index(build, embeddings, seed=0)
    rows, _ = rank(embeddings, queries, 10)

    def recall(effort):
        found = search_index(index, build, effort, embeddings, queries, 10).items
        return np.mean([len(set(a) & set(b)) / 10 for a, b in zip(found, rows, strict=True)])

    assert recall(1) < recall(8) < recall(64) == 1


def test_where_fewer_are_found_the_rest_is_marked(queries):
    few = make_vectors(5, seed=3)
    build = Build("ivf_flat", {"nlist": 2})
    found = search_index(build_index(build, few, seed=0), build, 2, few, queries, 8)
    rows, _ = rank(few, queries, 5)
    np.testing.assert_array_equal(found.items, np.pad(rows, ((0, 0), (0, 3)), constant_values=-1))
    assert np.isneginf(found.scores[:, 5:]).all()
    # In one list of two there are fewer yet, and an item that was not found has no score.
    found = search_index(build_index(build, few, seed=0), build, 1, few, queries, 5)
    assert (found.items == -1).any()
    np.testing.assert_array_equal(np.isneginf(found.scores), found.items == -1)


def test_a_list_longer_than_was_tuned_for_is_full(embeddings, queries):
    build = Build("hnsw", {"M": 16, "efConstruction": 40})
    index = build_index(build, embeddings, seed=0)
    found = search_index(index, build, 16, embeddings, queries, 200)
    assert (found.items >= 0).all()
    assert all(len(set(row)) == 200 for row in found.items.tolist())


def test_threads_with_settings_of_their_own_do_not_disturb_each_other(embeddings, queries):
    build = Build("ivf_flat", {"nlist": 64})
    index = build_index(build, embeddings, seed=0)
    efforts = (1, 2, 8, 64)
    alone = {effort: search_index(index, build, effort, embeddings, queries, 10).items for effort in efforts}
    differ = []

    def ask(effort):
        for _ in range(10):
            found = search_index(index, build, effort, embeddings, queries, 10).items
            if not np.array_equal(found, alone[effort]):
                differ.append(effort)

    threads = [threading.Thread(target=ask, args=(effort,)) for effort in efforts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert differ == []


def test_faiss_uses_no_more_threads_than_the_process_has_cores(monkeypatch):
    threads = faiss.omp_get_max_threads()
    monkeypatch.setattr(ladder, "usable_cores", lambda: 1)
    try:
        ladder.load_faiss()
        assert faiss.omp_get_max_threads() == 1
    finally:
        faiss.omp_set_num_threads(threads)


def write_part(folder, document, index=None):
    folder.mkdir()
    write_document(document, folder)
    if index is not None:
        faiss.write_index(index, str(folder / "index.faiss"))


def test_what_was_written_is_read(tmp_path, embeddings, queries):
    build, parameters = BUILDS["ivf_sq8"]
    index = build_index(build, embeddings, seed=0)
    document = make_document("ivf_sq8", parameters={**build.parameters, **parameters}, recall=0.97)
    write_part(tmp_path / "ann", document, index)
    assert read_document(tmp_path / "ann") == document
    found = search(read_ann(tmp_path / "ann", embeddings, "m1"), queries, 10)
    np.testing.assert_array_equal(found.items, search_exactly(embeddings, queries, 10).items)


def test_an_exact_one_needs_no_file(tmp_path, embeddings, queries):
    write_part(tmp_path / "ann", make_document(reason="it is small"))
    found = search(read_ann(tmp_path / "ann", embeddings, "m1"), queries, 3)
    np.testing.assert_array_equal(found.items, rank(embeddings, queries, 3)[0])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_id": "m2"}, "3,000 items of training 'm2'. Expected 3,000 items of training 'm1'"),
        ({"items": 2999}, "2,999 items of training 'm1'. Expected 3,000 items"),
    ],
)
def test_an_index_of_other_embeddings_is_refused(tmp_path, embeddings, changes, message):
    write_part(tmp_path / "ann", make_document(**changes))
    with pytest.raises(ReleaseError, match=message):
        read_ann(tmp_path / "ann", embeddings, "m1")


def test_a_file_that_faiss_cannot_read_is_refused(tmp_path, embeddings):
    document = make_document("ivf_flat", parameters={"nlist": 16, "nprobe": 1})
    write_part(tmp_path / "ann", document)
    with pytest.raises(ReleaseError, match=r"Cannot read .*index\.faiss"):
        read_ann(tmp_path / "ann", embeddings, "m1")
    (tmp_path / "ann" / "index.faiss").write_bytes(b"what is this")
    with pytest.raises(ReleaseError, match=r"Cannot read .*index\.faiss"):
        read_ann(tmp_path / "ann", embeddings, "m1")
    other = build_index(Build("ivf_flat", {"nlist": 16}), embeddings[:100], seed=0)
    faiss.write_index(other, str(tmp_path / "ann" / "index.faiss"))
    with pytest.raises(ReleaseError, match=r"holds 100 vectors of 16 numbers\. Expected 3,000 of 16"):
        read_ann(tmp_path / "ann", embeddings, "m1")


@pytest.mark.parametrize("content", ["", "[]", '{"part": "ann", "tried": []}', '{"part": "ann", "tried": 1}'])
def test_a_document_that_is_none_is_refused(tmp_path, content):
    write_part(tmp_path / "ann", make_document())
    (tmp_path / "ann" / "ann.json").write_text(content)
    with pytest.raises(ReleaseError, match="Cannot read the approximate index"):
        read_document(tmp_path / "ann")


def test_two_ids_in_one_part_are_refused(tmp_path):
    write_part(tmp_path / "ann", make_document())
    (tmp_path / "ann" / "dssm_part.json").write_text('{"model_id": "m2", "part": "ann"}')
    with pytest.raises(ReleaseError, match=r"'m1' in ann\.json and 'm2' in dssm_part\.json"):
        read_document(tmp_path / "ann")
