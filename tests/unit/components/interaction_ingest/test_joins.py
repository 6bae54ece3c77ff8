import pyarrow as pa
import pytest

from components.interaction_ingest.config import IngestConfig
from components.interaction_ingest.joins import answer_requests, choose_join, request_items

pytestmark = pytest.mark.unit


def test_the_join_is_chosen_by_size():
    mebibyte = 2**20
    auto = IngestConfig(broadcast_limit_mib=2.0)
    assert [choose_join(auto, size) for size in (0, 2 * mebibyte, 2 * mebibyte + 1)] == [
        "broadcast",
        "broadcast",
        "shuffle",
    ]
    assert choose_join(IngestConfig(join="shuffle"), 0) == "shuffle"
    assert choose_join(IngestConfig(join="broadcast"), 2**60) == "broadcast"


def test_each_bucket_is_answered_with_the_items_that_it_asked_for():
    def rows(items):
        return pa.record_batch({"iid": pa.array(items, pa.string())})

    requests = request_items({4: rows(["b", "a", "b"]), 9: rows(["a", "lost"])}, "iid")
    pairs = zip(requests.column("iid").to_pylist(), requests.column("#bucket").to_pylist(), strict=True)
    assert sorted(pairs) == [("a", 4), ("a", 9), ("b", 4), ("lost", 9)]
    # Another file of the same bucket asks again.
    twice = pa.Table.from_batches([requests, requests.slice(0, 1)])
    answers = answer_requests(twice, pa.table({"iid": ["a", "b", "c"]}), "iid")
    found = {bucket: sorted(answer.column("iid").to_pylist()) for bucket, answer in answers.items()}
    assert found == {4: ["a", "b"], 9: ["a"]}
    lost = pa.table({"iid": ["lost"], "#bucket": pa.array([9])})
    assert answer_requests(lost, pa.table({"iid": ["a"]}), "iid") == {}
