import dataclasses

import numpy as np
import pyarrow as pa
import pytest

from components.retrieval_evaluator.data import EvaluationData
from components.retrieval_evaluator.queries import Queries
from components.retrieval_evaluator.slices import build_slices, classify_popularity, item_columns
from schemas.features import FeatureSpec
from schemas.ranking import ItemSets
from schemas.strict_config import parse

pytestmark = pytest.mark.unit

FEATURES = [
    {"name": "user", "dtype": "string", "tower": "user", "role": "user_id"},
    {"name": "gender", "dtype": "string", "tower": "user"},
    {"name": "age", "dtype": "int", "tower": "user"},
    {"name": "tags", "dtype": "string", "tower": "user", "multi_valued": True},
    {"name": "taste", "dtype": "float", "tower": "user", "length": 2},
    {"name": "hour", "dtype": "int", "tower": "context"},
    {"name": "item", "dtype": "string", "tower": "item", "role": "item_id"},
    {"name": "genres", "dtype": "string", "tower": "item", "multi_valued": True},
    {"name": "price", "dtype": "float", "tower": "item"},
    {"name": "title", "dtype": "string", "tower": "item", "encoding": {"kind": "text", "buckets": 10}},
]
CATALOGUE = pa.table(
    {
        "item": ["a", "b", "c"],
        "genres": [["x"], ["x", "y"], []],
        "price": pa.array([1.0, 2.5, 1.0], pa.float32()),
    }
)


@pytest.fixture
def spec():
    features = [
        feature | ({"encoding": {"kind": "vocabulary"}} if feature["name"] in ("user", "item") else {})
        for feature in FEATURES
    ]
    return parse(FeatureSpec, {"name": "toy", "features": features}, "test")


@pytest.fixture
def data():
    """User 0 holds out a and b, users 1 and 2 hold out c."""
    users = pa.table({"user": ["u0", "u1", "u2"]})
    return EvaluationData(
        queries=Queries(users, users.select([]), None, None, None),
        targets=ItemSets(np.array([0, 2, 3, 4]), np.array([0, 1, 2, 2], np.int32)),
        masked=ItemSets.empty(3),
        seen=ItemSets.empty(3),
        seen_counts=np.zeros(0, np.int64),
        has_repeat=np.array([False, True, False]),
        held_out=4,
        repeated=1,
        users_without_target=0,
        attributes=pa.table(
            {
                "user": ["u0", "u1", "u2"],
                "gender": ["F", "", "F"],
                "age": [30, 7, 30],
                "tags": pa.array([["p", "q"], ["q"], []], pa.list_(pa.string())),
                "hour": [1, 1, 1],
            }
        ),
        recent_items=np.full((3, 10), -1, np.int32),
        times=np.zeros(3, np.int64),
        known_rows=np.array([0, 4, 60]),
        train_rows=np.array([0, 0, 60]),
        popularity=np.array([9, 3, 0]),
        train_counts=np.array([9, 3, 0]),
        item_users=np.array([9, 3, 0]),
        user_count=10,
        has_validation=False,
        sampled_of=None,
    )


def by_group(slices):
    groups = {}
    for one in slices:
        groups.setdefault(one.group, {})[one.label] = one.queries.tolist()
    return groups


def test_every_group_of_slices(data, spec):
    found = by_group(build_slices(data, spec, CATALOGUE, "all"))
    assert found == {
        "gender": {"F": [0, 2], "unknown": [1]},
        "age": {"7": [1], "30": [0, 2]},
        # A user with two values is in the slices of both, one without any in none.
        "tags": {"q": [0, 1], "p": [0]},
        # All have the same hour: it is left out. Of the held-out items c has no genre.
        "genres": {"x": [0], "y": [0]},
        "price": {"1": [0, 1, 2], "2.5": [0]},
        "popularity of the held-out item": {"head": [0], "tail": [0], "never trained": [1, 2]},
        "user": {"known": [2], "new": [0, 1]},
        "history length": {"0": [0], "1 to 4": [1], "50 or more": [2]},
        "held-out items": {"first purchases": [0, 2], "repeats": [1]},
    }


def test_repeats_are_told_apart_only_where_they_are_asked_for(data, spec):
    assert "held-out items" not in by_group(build_slices(data, spec, CATALOGUE, "new"))


def test_the_columns_that_are_needed(data, spec):
    assert item_columns(spec) == ["genres", "price"]
    found = by_group(build_slices(data, spec, CATALOGUE.select(["genres"]), "new"))
    assert "price" not in found


def many(data, **attributes):
    count = len(next(iter(attributes.values())))
    base = {name: [data.attributes[name][0].as_py()] * count for name in data.attributes.column_names}
    users = pa.table({"user": [str(number) for number in range(count)]})
    return dataclasses.replace(
        data,
        queries=Queries(users, users.select([]), None, None, None),
        attributes=pa.table(base | attributes),
        targets=ItemSets.of_one(np.zeros(count, int)),
        known_rows=np.zeros(count, int),
        train_rows=np.zeros(count, int),
        has_repeat=np.zeros(count, bool),
    )


def test_the_most_frequent_strings_and_the_rest(data, spec):
    # v00 is there once, v01 twice and so on to v11.
    values = [f"v{number:02}" for number in range(12) for _ in range(number + 1)]
    found = by_group(build_slices(many(data, gender=values), spec, CATALOGUE, "new"))
    assert list(found) == ["gender"]
    assert list(found["gender"]) == [f"v{number:02}" for number in range(11, 1, -1)] + ["other values"]
    assert found["gender"]["other values"] == [0, 1, 2]
    assert found["gender"]["v02"] == [3, 4, 5]


def test_quartiles_of_numbers_with_many_values(data, spec):
    ages = [*range(100, 0, -1), None]
    found = by_group(build_slices(many(data, age=pa.array(ages)), spec, CATALOGUE, "new"))["age"]
    sizes = {label: len(queries) for label, queries in found.items()}
    assert sizes == {
        "up to 25": 25, "above 25 to 50": 25, "above 50 to 75": 25, "above 75": 25, "unknown": 1,
    }  # fmt: skip
    # Age 1 is the hundredth.
    assert found["up to 25"] == list(range(75, 100))


@pytest.mark.parametrize(
    ("counts", "classes"),
    [
        # 10 of 20 rows are the first item's; of five items in train the last two are the tail.
        ([10, 4, 3, 2, 1, 0], [0, 1, 2, 2, 2, 3]),
        ([10, 4, 3, 2, 1, 1, 0], [0, 0, 1, 2, 2, 2, 3]),
        # Equally popular: no part of them is the tail.
        ([2, 2, 2, 2], [0, 0, 0, 0]),
        ([0, 5], [3, 0]),
        ([0, 0], [3, 3]),
    ],
)
def test_head_torso_and_tail(counts, classes):
    assert classify_popularity(np.array(counts)).tolist() == classes
