import numpy as np
import pyarrow as pa
import pytest

from components.interaction_ingest import history, logic
from components.interaction_ingest.config import IngestConfig
from schemas.features import Feature, FeatureSpec, History
from schemas.strict_config import parse

pytestmark = pytest.mark.unit

VOCABULARY = {"kind": "vocabulary"}
EVERY_KIND = parse(
    FeatureSpec,
    {
        "name": "shop",
        "history": {
            "name": "recent",
            "length": 3,
            "item_features": ["tags", "brand", "year", "price", "look", "title", "maker"],
            "values_per_item": 2,
            "time_gap_buckets": 4,
        },
        "features": [
            {"name": "uid", "dtype": "string", "tower": "user", "role": "user_id"},
            {"name": "iid", "dtype": "string", "tower": "item", "role": "item_id", "encoding": VOCABULARY},
            {"name": "brand", "dtype": "string", "tower": "item", "encoding": VOCABULARY},
            {
                "name": "tags",
                "dtype": "string",
                "tower": "item",
                "multi_valued": True,
                "encoding": VOCABULARY,
                "default": "none",
            },
            {
                "name": "year",
                "dtype": "int",
                "tower": "item",
                "encoding": {"kind": "bucketize", "buckets": 3},
            },
            {"name": "price", "dtype": "float", "tower": "item", "encoding": {"kind": "z_score"}},
            {"name": "look", "dtype": "float", "length": 2, "tower": "item", "encoding": {"kind": "vector"}},
            {"name": "title", "dtype": "string", "tower": "item", "encoding": {"kind": "text", "buckets": 9}},
            {
                "name": "maker",
                "dtype": "string",
                "tower": "item",
                "encoding": {"kind": "hashed", "buckets": 9},
            },
        ],
    },
    source="test",
)
ITEMS = pa.table(
    {
        "iid": ["a", "b", "c"],
        "brand": ["X", "Y", ""],
        "tags": pa.array([["s", "t", "u"], [], ["", "v", "w", "x"]], pa.list_(pa.string())),
        "year": pa.array([2001, 2002, 2003], pa.int64()),
        "price": pa.array([0.5, 1.5, 2.5], pa.float32()),
        "look": pa.array([[1, 2], [3, 4], [5, 6]], pa.list_(pa.float32())),
        "title": ["one", "two words", "three"],
        "maker": ["m1", "m2", "m3"],
    }
)
USERS = pa.table({"uid": ["u"]})


def join_items(table=ITEMS, with_defaults=False):
    features = EVERY_KIND.table_features("item")
    return logic.join_table(table, "iid", features, with_defaults, EVERY_KIND.history)


def examples_of(log, items, config=None, order=None):
    """Examples of one user's (item, second) pairs, given in the file's order."""
    names, seconds = zip(*log, strict=True)
    batch = pa.record_batch(
        {
            "uid": ["u"] * len(log),
            "iid": list(names),
            "timestamp": pa.array(seconds, pa.int64()),
            "#file": pa.array([0] * len(log), pa.int32()),
            "#row": pa.array(range(len(log)), pa.int64()),
        }
    )
    users = logic.join_table(USERS, "uid", EVERY_KIND.table_features("user"), False)
    bucket, _ = logic.build_bucket([batch], users, items, EVERY_KIND, config or IngestConfig())
    rows = np.arange(len(bucket.rows)) if order is None else np.array(order)
    return logic.example_batch(bucket, rows, users, items, EVERY_KIND)


def test_features_and_gaps_of_a_history_worked_by_hand():
    # In time: b at 10, a at 70, c at 70 (later in the file), a at 100; the rows are asked for newest first.
    examples = examples_of([("a", 70), ("b", 10), ("c", 70), ("a", 100)], join_items(), order=[3, 2, 0])
    found = {name: column for name, column in examples.to_pydict().items() if name.startswith("recent")}
    assert found == {
        "recent": [[b"b", b"a", b"c"], [b"", b"b", b"a"], [b"", b"", b""]],
        # Two values for each item: a has one too many, b none, c an empty one that counts for nothing.
        "recent_tags": [
            [b"", b"", b"s", b"t", b"v", b"w"],
            [b"", b"", b"", b"", b"s", b"t"],
            [b"", b"", b"", b"", b"", b""],
        ],
        "recent_brand": [[b"Y", b"X", b""], [b"", b"Y", b"X"], [b"", b"", b""]],
        "recent_year": [[2002, 2001, 2003], [0, 2002, 2001], [0, 0, 0]],
        "recent_price": [[1.5, 0.5, 2.5], [0.0, 1.5, 0.5], [0.0, 0.0, 0.0]],
        "recent_look": [[3, 4, 1, 2, 5, 6], [0, 0, 3, 4, 1, 2], [0] * 6],
        "recent_title": [[b"two words", b"one", b"three"], [b"", b"two words", b"one"], [b"", b"", b""]],
        "recent_maker": [[b"m2", b"m1", b"m3"], [b"", b"m2", b"m1"], [b"", b"", b""]],
        "recent_gap_seconds": [[90, 30, 30], [-1, 60, 0], [-1, -1, -1]],
    }
    kinds = {field.name: field.type.value_type for field in examples.schema}
    assert (kinds["recent_tags"], kinds["recent_year"]) == (pa.binary(), pa.int64())
    assert (kinds["recent_price"], kinds["recent_look"]) == (pa.float32(), pa.float32())
    assert kinds["recent_gap_seconds"] == pa.int64()


def test_an_item_of_no_table_has_the_defaults_of_the_item_features():
    changes = {
        "brand": ("default", "no brand"),
        "year": ("default", 1999),
        "price": ("default", 9.5),
        "look": ("default", 0.25),
        "title": ("default", "untitled"),
        "maker": ("default", "unknown"),
    }
    features = [
        {**vars(feature), **dict([changes[feature.name]])} if feature.name in changes else vars(feature)
        for feature in EVERY_KIND.features
    ]
    spec = FeatureSpec(
        name="shop", features=tuple(Feature(**one) for one in features), history=EVERY_KIND.history
    )
    items = logic.join_table(ITEMS, "iid", spec.table_features("item"), True, spec.history)
    found = examples_of([("gone", 1), ("a", 2)], items, IngestConfig(missing_metadata="default"))
    row = {name: column[1] for name, column in found.to_pydict().items()}
    assert row["recent"] == [b"", b"", b"gone"]
    assert row["recent_tags"] == [b"", b"", b"", b"", b"none", b""]
    assert row["recent_brand"] == [b"", b"", b"no brand"]
    assert row["recent_year"] == [0, 0, 1999]
    assert row["recent_look"] == [0, 0, 0, 0, 0.25, 0.25]


def test_a_planted_future_item_shows_in_no_column_of_an_earlier_row():
    log = [("b", 10), ("a", 20), ("c", 30), ("b", 40)]
    # Nothing but these rows' own columns can name the brand of c before its time.
    rows = examples_of(log, join_items()).to_pydict()
    for position in range(3):
        assert 2003 not in rows["recent_year"][position]
        assert b"three" not in rows["recent_title"][position]
        assert all(gap >= 0 or gap == -1 for gap in rows["recent_gap_seconds"][position])
    assert rows["recent_title"][3] == [b"two words", b"one", b"three"]


def test_values_beyond_the_limit_are_counted_once_for_each_item():
    # a has one too many, c two of the three that are not empty.
    assert history.count_cut_values(ITEMS, EVERY_KIND) == {"tags": 2}
    wide = parse(History, {"name": "recent", "item_features": ["tags"], "values_per_item": 3}, source="test")
    spec = FeatureSpec(name="shop", features=EVERY_KIND.features, history=wide)
    assert history.count_cut_values(ITEMS, spec) == {}


def test_sliced_columns_are_read_where_they_start():
    sliced = pa.concat_tables([ITEMS, ITEMS]).slice(2, 2).combine_chunks()
    values = history.history_values(
        logic.join_table(sliced, "iid", EVERY_KIND.table_features("item"), False).features["tags"],
        next(feature for feature in EVERY_KIND.features if feature.name == "tags"),
        EVERY_KIND.history,
    )
    assert values.values.to_pylist() == [b"v", b"w", b"s", b"t", b"", b""]
    assert (values.items, values.width) == (2, 2)


def test_large_features_make_smaller_batches():
    assert logic.rows_per_batch(join_items(), EVERY_KIND.history) == 8_192
    assert logic.rows_per_batch(join_items(), None) == 8_192
    long = ITEMS.set_column(6, "title", pa.array(["x" * 1_000_000] * 3))
    # 3 items of about 3/4 MB for each row, since the padding is one item of four, within 64 MiB.
    assert 25 <= logic.rows_per_batch(join_items(long), EVERY_KIND.history) <= 30


def test_a_history_of_ids_alone_costs_nothing_more():
    plain = parse(History, {"name": "recent"}, source="test")
    joined = logic.join_table(ITEMS, "iid", EVERY_KIND.table_features("item"), False, plain)
    assert joined.history == {}
