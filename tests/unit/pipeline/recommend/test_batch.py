import csv
import itertools
from types import SimpleNamespace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from pipeline.config import load_config
from pipeline.recommend import batch
from pipeline.recommend.batch import recommend_batch, render_batch
from pipeline.serving import recommending
from pipeline.serving.ranking import make_tower_ranker
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


def declare_context(toy_serving, **feature):
    """Make a context feature of what the toy tower reads as `age`."""
    file = toy_serving.config.with_name("schema.yaml")
    content = yaml.safe_load(file.read_text())
    content["tables"]["interactions"] = {"columns": {"age": "timestamp"}}
    others = [one for one in content["features"] if one["name"] != "age"]
    context = {"name": "age", "dtype": "int", "tower": "context", "encoding": {"kind": "vocabulary"}}
    file.write_text(yaml.safe_dump(content | {"features": [*others, context | feature]}))


def test_all_users_of_a_batch_are_told_one_time_and_nothing_to_set(
    config, toy_serving, tmp_path, monkeypatch
):
    declare_context(toy_serving, time_part="hour")
    # A Saturday, 11:00 UTC; each look at the clock finds it an hour later.
    clock = itertools.count(1_795_863_600, 3600)
    monkeypatch.setattr(batch, "time", SimpleNamespace(time=lambda: next(clock)))
    monkeypatch.setattr(recommending, "time", SimpleNamespace(time=lambda: next(clock)))
    hours = []

    def make_ranker(*parts):
        rank = make_tower_ranker(*parts)

        def remember(queries):
            hours.extend(int(query.inputs["age"]) for query in queries)
            return rank(queries)

        return remember

    monkeypatch.setattr(batch, "make_tower_ranker", make_ranker)
    monkeypatch.setattr(batch, "BATCH_QUERIES", 2)
    pq.write_table(pa.table({"user_id": ["1", "2", "21"]}), tmp_path / "users.parquet")
    output = tmp_path / "lists.parquet"
    report = recommend_batch(config, str(tmp_path / "users.parquet"), output, 2, None)
    assert hours == [11, 11, 11]
    assert report.notes == {
        "age is not given: that of now was used.": 3,
        "gender is not known: it counts as a value never seen.": 1,
        "tags is not known: it counts as a value never seen.": 1,
        "taste is not known: its default 0.5 was used.": 1,
    }
    assert "Note: age is not given: that of now was used. (3 users)" in render_batch(report, output)


def test_a_number_of_the_context_without_a_default_needs_one_in_the_schema(config, toy_serving, tmp_path):
    declare_context(toy_serving)
    pq.write_table(pa.table({"user_id": ["1"]}), tmp_path / "users.parquet")
    output = tmp_path / "lists.parquet"
    with pytest.raises(
        DataError, match=r"User 1: .*\['age'\], which have no default.*Give a default in .*schema\.yaml\.$"
    ):
        recommend_batch(config, str(tmp_path / "users.parquet"), output, 2, None)
    # What it tells to do helps.
    declare_context(toy_serving, default=3)
    report = recommend_batch(config, str(tmp_path / "users.parquet"), output, 2, None)
    assert report.notes == {"age is not known: its default 3 was used.": 1}
