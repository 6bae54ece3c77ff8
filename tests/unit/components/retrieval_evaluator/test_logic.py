import itertools
import json
import math

import numpy as np
import pyarrow as pa
import pytest

from components.retrieval_evaluator.logic import (
    ItemSets,
    compute_metrics,
    evaluate_scores,
    rank_targets,
    read_evaluation_data,
    read_examples,
    write_blessing,
    write_report,
)
from schemas.errors import DataError, ReleaseError
from schemas.features import FeatureSpec
from schemas.strict_config import parse

pytestmark = pytest.mark.unit


def sets(*rows):
    users = [user for user, row in enumerate(rows) for _ in row]
    return ItemSets.from_pairs(np.array(users, int), np.array(list(itertools.chain(*rows)), int), len(rows))


def scores(*rows):
    return np.array(rows, np.float32)


def test_item_sets_keep_each_pair_once_and_users_without_a_pair():
    grouped = ItemSets.from_pairs(np.array([2, 0, 2, 2]), np.array([5, 1, 3, 5]), 4)
    assert grouped.sizes.tolist() == [1, 0, 2, 0]
    assert grouped.items.tolist() == [1, 3, 5]
    assert grouped.owners.tolist() == [0, 2, 2]
    part = grouped.of_users(slice(1, 3))
    assert part.sizes.tolist() == [0, 2]
    assert part.items.tolist() == [3, 5]


@pytest.mark.parametrize(
    ("seen", "rank"),
    [
        ([], 3),  # items 0 (better) and 2 (tied) stand before it
        ([0], 2),  # the better one is masked
        ([0, 2], 1),  # the tied one too
        ([3], 3),  # a masked item that was worse changes nothing
        ([1], 3),  # the target itself was seen: it stays in
    ],
)
def test_rank_with_a_tie_below_and_seen_items_out(seen, rank):
    assert rank_targets(scores([0.9, 0.5, 0.5, 0.1]), sets([1]), sets(seen)).tolist() == [rank]


def test_ranks_of_several_targets_per_user():
    ranks = rank_targets(
        scores([4, 3, 2, 1], [5, 5, 1, 0], [1, 2, 3, 4]),
        sets([0, 2], [0, 1], [0]),
        sets([], [], [3]),
    )
    # The second user's targets tie with each other, so each is second.
    assert ranks.tolist() == [1, 3, 2, 2, 3]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_non_finite_scores_are_refused(bad):
    with pytest.raises(ValueError, match="finite scores"):
        rank_targets(scores([1, bad, 0]), sets([0]), sets([]))


def test_metrics_worked_by_hand():
    # User 0: two held out, at ranks 1 and 3. User 1: one held out, outside the catalogue.
    metrics = compute_metrics(np.array([1, 3]), np.array([0, 0]), np.array([2, 1]), [1, 2, 3])
    ideal = 1 + 1 / math.log2(3)
    assert metrics == pytest.approx(
        {
            "recall_at_1": (1 / 1 + 0) / 2,
            "recall_at_2": (1 / 2 + 0) / 2,
            "recall_at_3": (2 / 2 + 0) / 2,
            "ndcg_at_1": 0.5,
            "ndcg_at_2": 1 / ideal / 2,
            "ndcg_at_3": (1 + 1 / 2) / ideal / 2,
            "mrr_at_1": 0.5,
            "mrr_at_2": 0.5,
            "mrr_at_3": 0.5,
        }
    )


def test_reciprocal_rank_is_zero_beyond_the_cut_off():
    metrics = compute_metrics(np.array([4]), np.array([0]), np.array([1]), [3, 4])
    assert metrics["mrr_at_3"] == 0
    assert metrics["mrr_at_4"] == 0.25


@pytest.mark.parametrize("held_out", [[], [1, 0]])
def test_metrics_need_users_with_held_out_items(held_out):
    with pytest.raises(ValueError, match="at least one held-out item"):
        compute_metrics(np.array([], int), np.array([], int), np.array(held_out, int), [10])


def test_popularity_example():
    # Train counts of items a b c d: 3 2 2 1. User 0 saw a, holds out c: b ties above it, so rank 2.
    # User 1 saw b and c, holds out d: a stands above it, so rank 2. User 2 saw nothing, holds out a: rank 1.
    popularity = np.array([3, 2, 2, 1], np.float32)
    metrics = evaluate_scores(
        lambda users: np.tile(popularity, (users.stop - users.start, 1)),
        sets([2], [3], [0]),
        sets([0], [1, 2], []),
        item_count=4,
        ks=[1, 2],
        block_scores=8,
    )
    assert metrics["recall_at_1"] == pytest.approx(1 / 3)
    assert metrics["recall_at_2"] == pytest.approx(1)
    assert metrics["mrr_at_2"] == pytest.approx((1 / 2 + 1 / 2 + 1) / 3)


def slow_metrics(matrix, targets, seen, unreachable, ks):
    """One user, one target, one item at a time."""
    users = []
    for user, row in enumerate(matrix.tolist()):
        ranks = []
        for target in targets[user]:
            better = 0
            for item, score in enumerate(row):
                masked = item in seen[user] and item not in targets[user]
                if item != target and not masked and score >= row[target]:
                    better += 1
            ranks.append(better + 1)
        held_out = len(targets[user]) + unreachable[user]
        result = {}
        for k in ks:
            n = min(k, held_out)
            result[f"recall_at_{k}"] = sum(rank <= k for rank in ranks) / n
            dcg = sum(math.log(2) / math.log(rank + 1) for rank in ranks if rank <= k)
            result[f"ndcg_at_{k}"] = dcg / sum(math.log(2) / math.log(place + 1) for place in range(1, n + 1))
            result[f"mrr_at_{k}"] = max([1 / rank for rank in ranks if rank <= k], default=0)
        users.append(result)
    return {name: sum(user[name] for user in users) / len(users) for name in users[0]}


@pytest.mark.parametrize("block_scores", [1, 90, 10_000])
@pytest.mark.parametrize("seed", [0, 1])
def test_same_as_a_slow_implementation_on_random_data_with_ties(seed, block_scores):
    random = np.random.default_rng(seed)
    user_count, item_count = 23, 30
    matrix = random.integers(0, 12, (user_count, item_count)).astype(np.float32)
    targets, seen, unreachable = [], [], random.integers(0, 3, user_count)
    for user in range(user_count):
        count = random.integers(0 if unreachable[user] else 1, 6)
        targets.append(random.choice(item_count, count, replace=False).tolist())
        seen.append(random.choice(item_count, random.integers(0, 15), replace=False).tolist())
    found = evaluate_scores(
        lambda users: matrix[users].copy(),
        sets(*targets),
        sets(*seen),
        item_count,
        [1, 3, 10, 40],
        unreachable,
        block_scores,
    )
    assert found == pytest.approx(slow_metrics(matrix, targets, seen, unreachable, [1, 3, 10, 40]))


def make_features():
    return parse(
        FeatureSpec,
        {
            "name": "toy",
            "history": {"length": 2},
            "features": [
                {"name": "user", "dtype": "string", "tower": "user", "role": "user_id"},
                {"name": "age", "dtype": "int", "tower": "user", "encoding": {"kind": "z_score"}},
                {
                    "name": "tags",
                    "dtype": "string",
                    "tower": "user",
                    "multi_valued": True,
                    "encoding": {"kind": "vocabulary"},
                },
                {
                    "name": "item",
                    "dtype": "string",
                    "tower": "item",
                    "role": "item_id",
                    "encoding": {"kind": "vocabulary"},
                },
            ],
        },
        source="test",
    )


def write_split(folder, *shards):
    import tensorflow as tf

    folder.mkdir(parents=True)
    for number, rows in enumerate(shards):
        with tf.io.TFRecordWriter(str(folder / f"examples-{number:05d}.gz"), "GZIP") as writer:
            for user, item, timestamp, age, tags, history in rows:
                example = tf.train.Example()
                features = example.features.feature
                features["user"].bytes_list.value.append(user.encode())
                features["item"].bytes_list.value.append(item.encode())
                features["timestamp"].int64_list.value.append(timestamp)
                features["age"].int64_list.value.append(age)
                features["tags"].bytes_list.value.extend(tag.encode() for tag in tags)
                features["history"].bytes_list.value.extend(one.encode() for one in history)
                writer.write(example.SerializeToString())
    return folder


def test_evaluation_data_from_examples(tmp_path):
    evaluation = write_split(
        tmp_path / "eval",
        [
            ("ü 1", "b", 30, 11, ["x"], ["", "late"]),
            ("u2", "gone", 10, 20, [], ["", ""]),
            ("ü 1", "b", 20, 12, ["x", "y"], ["", "early"]),  # the same item again, earlier
        ],
        [
            ("ü 1", "c", 20, 13, [], ["", "second shard"]),  # as early, but a later row
            ("u2", "gone", 11, 21, [], ["a", "b"]),
            ("u2", "also gone", 12, 22, [], ["a", "b"]),
            ("u2", "a", 12, 23, [], ["a", "b"]),
        ],
    )
    train = write_split(
        tmp_path / "train",
        [("ü 1", "a", 1, 0, [], ["", ""]), ("u3", "a", 1, 0, [], ["", ""]), ("ü 1", "a", 2, 0, [], ["", ""])],
        [("u2", "gone", 1, 0, [], ["", ""]), ("u2", "c", 1, 0, [], ["", ""])],
    )
    (train / "beam-temp-left-behind").mkdir()
    data = read_evaluation_data(
        [train], evaluation, pa.array(["a", "b", "c", "d"]), make_features(), ["history", "age", "tags"]
    )
    assert data.user_ids.to_pylist() == ["ü 1".encode(), b"u2"]
    assert sorted(data.queries.column_names) == ["age", "history", "tags"]
    assert data.queries["age"].to_pylist() == [12, 20]
    assert data.queries["tags"].to_pylist() == [[b"x", b"y"], []]
    assert data.queries["history"].to_pylist() == [[b"", b"early"], [b"", b""]]
    assert data.targets.sizes.tolist() == [2, 1]
    assert data.targets.items.tolist() == [1, 2, 0]
    assert data.unreachable.tolist() == [0, 2]
    assert data.seen.sizes.tolist() == [1, 1]
    assert data.seen.items.tolist() == [0, 2]
    assert data.popularity.tolist() == [3, 0, 1, 0]


def test_validation_rows_are_known_before_eval(tmp_path):
    evaluation = write_split(tmp_path / "eval", [("u", "c", 30, 1, [], ["a", "b"])])
    train = write_split(tmp_path / "train", [("u", "a", 10, 1, [], ["", ""]), ("v", "a", 1, 1, [], ["", ""])])
    validation = write_split(tmp_path / "validation", [("u", "b", 20, 1, [], ["", "a"])])
    for known, seen, popularity in (([train], [0], [2, 0, 0]), ([train, validation], [0, 1], [2, 1, 0])):
        data = read_evaluation_data(known, evaluation, pa.array(["a", "b", "c"]), make_features(), ["age"])
        assert data.seen.items.tolist() == seen
        assert data.popularity.tolist() == popularity
        assert data.targets.items.tolist() == [2]


def test_queries_hold_every_column_of_the_history(tmp_path):
    import tensorflow as tf

    vocabulary = {"kind": "vocabulary"}
    features = [
        {"name": "user", "dtype": "string", "tower": "user", "role": "user_id"},
        {"name": "item", "dtype": "string", "tower": "item", "role": "item_id", "encoding": vocabulary},
        {"name": "tags", "dtype": "string", "tower": "item", "multi_valued": True, "encoding": vocabulary},
        {"name": "year", "dtype": "int", "tower": "item", "encoding": vocabulary},
        {"name": "look", "dtype": "float", "length": 2, "tower": "item", "encoding": {"kind": "vector"}},
    ]
    history = {
        "length": 2,
        "item_features": ["tags", "year", "look"],
        "values_per_item": 2,
        "time_gap_buckets": 2,
    }
    spec = parse(FeatureSpec, {"name": "toy", "history": history, "features": features}, source="test")
    row = {
        "history_tags": [b"", b"", b"x", b"y"],
        "history_year": [0, 2001],
        "history_look": [0.0, 0.0, 0.5, 1.5],
        "history_gap_seconds": [-1, 60],
    }
    example = tf.train.Example()
    for name, values in (row | {"user": [b"u"], "item": [b"a"], "timestamp": [7]}).items():
        kind = {bytes: "bytes_list", int: "int64_list", float: "float_list"}[type(values[0])]
        getattr(example.features.feature[name], kind).value.extend(values)
    (tmp_path / "eval").mkdir()
    with tf.io.TFRecordWriter(str(tmp_path / "eval" / "examples.gz"), "GZIP") as writer:
        writer.write(example.SerializeToString())
    split = tmp_path / "eval"
    data = read_evaluation_data([split], split, pa.array(["a"]), spec, list(row))
    assert data.queries.to_pylist() == [row]
    plain = parse(FeatureSpec, {"name": "toy", "history": {"length": 2}, "features": features}, source="test")
    with pytest.raises(ReleaseError, match="history_gap_seconds"):
        read_evaluation_data([split], split, pa.array(["a"]), plain, list(row))


def test_tower_input_that_the_schema_lacks_is_refused(tmp_path):
    split = write_split(tmp_path / "split", [("u", "a", 1, 0, [], ["", ""])])
    with pytest.raises(ReleaseError, match=r"\['shoe_size'\].*'toy'"):
        read_evaluation_data([split], split, pa.array(["a"]), make_features(), ["shoe_size"])


def test_empty_eval_split_is_refused(tmp_path):
    split = write_split(tmp_path / "split", [])
    with pytest.raises(DataError, match="at least one held-out interaction"):
        read_evaluation_data([split], split, pa.array(["a"]), make_features(), ["age"])


def test_split_without_files_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"Expected examples \(\*\.gz\)"):
        next(read_examples(tmp_path, {"user": "string"}))


def test_row_without_a_value_is_refused(tmp_path):
    split = write_split(
        tmp_path / "split", [("u", "a", 1, 0, ["x", "y"], ["", ""]), ("u", "a", 1, 0, [], ["", ""])]
    )
    with pytest.raises(DataError, match=r"'tags'.*one value in every row"):
        next(read_examples(split, {"tags": "string"}))


def test_report_and_blessing_files(tmp_path):
    write_report({"blessed": True}, tmp_path / "report")
    assert json.loads((tmp_path / "report" / "evaluation_report.json").read_text()) == {"blessed": True}
    write_blessing(True, tmp_path / "yes")
    write_blessing(False, tmp_path / "no")
    assert [(file.name, file.stat().st_size > 0) for file in (tmp_path / "yes").iterdir()] == [
        ("BLESSED", True)
    ]
    assert [file.name for file in (tmp_path / "no").iterdir()] == ["NOT_BLESSED"]
