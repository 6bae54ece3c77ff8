import pyarrow as pa
import pytest

from components.interaction_ingest.buckets import bucket_count, partition_by_id

pytestmark = pytest.mark.unit


def test_bucket_count_is_at_least_one_and_bounds_a_bucket():
    assert bucket_count(1) == 1
    assert 100_000 <= 10_000_000 / bucket_count(10_000_000) <= 1_000_000


def test_partition_by_id_keeps_every_row_and_each_user_in_one_bucket():
    users = [f"user {i % 40} 🙂" for i in range(200)]
    whole = pa.record_batch({"uid": users, "row": list(range(200))})
    parts = partition_by_id(whole, "uid", 7)
    assert sorted(row for part in parts.values() for row in part.column("row").to_pylist()) == list(
        range(200)
    )
    bucket_of = {user: b for b, part in parts.items() for user in part.column("uid").to_pylist()}
    assert sum(len(set(part.column("uid").to_pylist())) for part in parts.values()) == 40
    assert len(parts) == 7
    # Another batch, where the user stands at another place, agrees.
    for bucket, part in partition_by_id(whole.slice(120, 33), "uid", 7).items():
        assert {bucket_of[user] for user in part.column("uid").to_pylist()} == {bucket}


def test_partition_by_id_of_nothing_is_nothing():
    assert partition_by_id(pa.record_batch({"uid": pa.array([], pa.string())}), "uid", 1) == {}
