import csv

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.config import load_config
from pipeline.recommend.batch import recommend_batch, render_batch
from schemas.errors import DataError, ReleaseError

pytestmark = pytest.mark.unit


@pytest.fixture
def config(toy_serving):
    toy_serving.publish(1)
    return load_config(str(toy_serving.config))


def read_lists(output):
    lists = {}
    for row in pq.read_table(output).to_pylist():
        lists.setdefault(row["user_id"], []).append((row["rank"], row["item_id"], row["score"]))
    return lists


@pytest.mark.parametrize("ending", ["parquet", "csv"])
def test_every_known_user_gets_the_best_items_and_the_others_are_counted(
    config, toy_serving, tmp_path, ending
):
    users, source = ["2", "nobody", "1", "9"], tmp_path / f"users.{ending}"
    if ending == "parquet":
        pq.write_table(pa.table({"user_id": users}), source)
    else:
        with source.open("w", newline="") as stream:
            csv.writer(stream).writerows([["user_id"], *([user] for user in users)])
    output = tmp_path / "made" / "lists.parquet"
    report = recommend_batch(config, str(source), output, 4, None)
    lists = read_lists(output)
    assert list(lists) == ["2", "1"]
    for user, found in lists.items():
        history = toy_serving.known[user]
        # Three items are left to user 1.
        best = toy_serving.best(1, *history, k=4)
        scores = toy_serving.scores(1, *history)
        assert [(rank, item) for rank, item, _ in found] == list(enumerate(best, start=1))
        assert [score for *_, score in found] == pytest.approx(
            [scores[toy_serving.items.index(item)] for item in best], abs=1e-5
        )
    assert (report.version, report.answered, report.items, report.short) == (1, 2, 7, 1)
    assert (report.unknown, report.unknown_examples) == (2, ["nobody", "9"])
    assert "2 users are not in the release and got none: nobody, 9" in render_batch(report, output)
    assert [path.name for path in output.parent.iterdir()] == ["lists.parquet"]


def test_with_repeats_what_a_user_has_is_recommended(config, toy_serving, tmp_path):
    pq.write_table(pa.table({"user_id": ["1"]}), tmp_path / "users.parquet")
    output = tmp_path / "lists.parquet"
    recommend_batch(config, str(tmp_path / "users.parquet"), output, 6, True)
    assert {item for _, item, _ in read_lists(output)["1"]} == set(toy_serving.items)


def test_a_batch_that_fails_leaves_what_was_there(config, tmp_path):
    output = tmp_path / "lists.parquet"
    output.write_text("before")
    with pytest.raises(DataError, match=r"users\.parquet"):
        recommend_batch(config, str(tmp_path / "users.parquet"), output, 2, None)
    assert output.read_text() == "before"


def test_a_release_without_users_is_refused(toy_serving, tmp_path):
    toy_serving.publish(1, users=False)
    pq.write_table(pa.table({"user_id": ["1"]}), tmp_path / "users.parquet")
    with pytest.raises(ReleaseError, match=r"came without\. Train with serving\.users: snapshot"):
        recommend_batch(
            load_config(str(toy_serving.config)), str(tmp_path / "users.parquet"), tmp_path / "o", 2, None
        )


@pytest.mark.parametrize("ann", [False, True])
def test_a_user_whose_features_overflow_stops_the_batch(toy_serving, tmp_path, ann):
    toy_serving.publish(1, ann=ann)
    toy_serving.overflow(1, "1")
    pq.write_table(pa.table({"user_id": ["2", "1"]}), tmp_path / "users.parquet")
    output = tmp_path / "lists.parquet"
    with pytest.raises(DataError, match=r"User 1: expected features .*Received: values that overflow"):
        recommend_batch(
            load_config(str(toy_serving.config)), str(tmp_path / "users.parquet"), output, 2, None
        )
    assert not output.exists()
