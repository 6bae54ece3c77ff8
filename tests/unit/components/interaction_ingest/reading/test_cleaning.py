import datetime

import pyarrow as pa
import pytest

from components.interaction_ingest.config import Condition, IngestConfig, PositiveRule, WeightRule
from components.interaction_ingest.reading.cleaning import bad_text_ids, clean_batch, interaction_columns
from components.interaction_ingest.window import Window

pytestmark = pytest.mark.unit


def read_batch(columns, first_row=0):
    """A batch as `read_piece` gives it."""
    rows = len(columns["uid"])
    own = {
        "#microsecond": pa.array([0] * rows, pa.int32()),
        "#row": pa.array(range(first_row, first_row + rows)),
    }
    return pa.record_batch({**columns, **own})


def test_each_row_is_counted_under_the_first_reason_that_holds(spec):
    day = datetime.date(1970, 1, 1)
    raw = read_batch(
        {
            "uid": list("abcde"),
            "iid": list("12345"),
            "at": pa.array([10, 90_000, 20, 90_001, 30], pa.int64()),
            "device": ["tv", None, "x", "x", "x"],
            "rating": [4.1, 5, 4.0, float("nan"), None],
        },
        first_row=100,
    )
    config = IngestConfig(positives=PositiveRule(column="rating", at_least=4.1))
    kept, counts = clean_batch(raw, 2, spec, config, Window(day, day))
    assert kept.to_pylist() == [
        {"uid": "a", "iid": "1", "at": 10, "device": "tv", "#file": 2, "#row": 100, "#microsecond": 0}
    ]
    assert kept.schema.field("#file").type == pa.int32()
    assert counts.rows == {"read": 5}
    assert counts.dropped == {
        "outside_window": 2,
        "below_positive_rule": 1,
        "no_value_for_positive_rule": 1,
    }


@pytest.mark.parametrize("ids", [["a", "b\r", None, "c"], ["a\nb", "b", "", "c"], ["a", None, "b", "c"], []])
def test_empty_ids_and_line_breaks(ids):
    found = bad_text_ids(
        [pa.array(["\n", *ids], pa.string()).slice(1), pa.array(["x"] * len(ids), pa.string())]
    )
    assert found["empty_id"].tolist() == [name == "" for name in ids]
    assert found["line_break_in_id"].tolist() == [
        name is not None and ("\n" in name or "\r" in name) for name in ids
    ]


def test_rows_of_the_days_outside_the_window_are_dropped(spec):
    # 2026-11-22T00:00:00Z is 1,795,305,600.
    times = pa.array([1_795_305_599, 1_795_305_600, 1_795_391_999, 1_795_392_000])
    raw = read_batch({"uid": list("abcd"), "iid": ["1"] * 4, "at": times, "device": ["w"] * 4})
    day = datetime.date(2026, 11, 22)
    for window, users in ((Window(day, day), "bc"), (Window(first=day), "bcd"), (Window(last=day), "abc")):
        kept, counts = clean_batch(raw, 0, spec, IngestConfig(), window)
        assert kept.column("uid").to_pylist() == list(users)
        assert counts.dropped == {"outside_window": 4 - len(users)}
    # Row numbers are those of the file.
    assert kept.column("#row").to_pylist() == [0, 1, 2]


@pytest.mark.parametrize("dtype", [pa.float32(), pa.float64(), pa.decimal128(4, 1)])
def test_positive_rule_includes_its_bound_in_the_columns_own_precision(spec, dtype):
    ratings = pa.array([4.0, 4.1, 4.2]).cast(dtype, safe=False)
    raw = read_batch(
        {"uid": ["a"] * 3, "iid": ["1", "2", "3"], "at": [1, 2, 3], "device": ["w"] * 3, "rating": ratings}
    )
    config = IngestConfig(positives=PositiveRule(column="rating", at_least=4.1))
    kept, _ = clean_batch(raw, 0, spec, config)
    assert kept.column("iid").to_pylist() == ["2", "3"]


def event_batch(**columns):
    rows = {
        "uid": list("abcdef"),
        "iid": ["1"] * 6,
        "at": [1, 2, 3, 4, 5, 6],
        "device": ["w"] * 6,
        "event": ["buy", "like", "view", None, "buy", "view"],
        "dwell": [30, 29, 60, 60, None, 1],
    }
    return read_batch({**rows, **columns})


def test_every_condition_of_a_positive_holds(spec):
    rule = PositiveRule(
        all_of=(Condition(column="event", one_of=("buy", "like")), Condition(column="dwell", at_least=30))
    )
    kept, counts = clean_batch(event_batch(), 0, spec, IngestConfig(positives=rule))
    assert kept.column("uid").to_pylist() == ["a"]
    # Row f fails both: it is counted once, under the first.
    assert counts.dropped == {
        "no_value_for_positive_rule": 2,
        "below_positive_rule": 2,
        "not_in_positive_rule": 1,
    }


def test_two_thresholds_both_hold(spec):
    rule = PositiveRule(
        all_of=(Condition(column="dwell", at_least=30), Condition(column="stars", at_least=4))
    )
    raw = event_batch(dwell=[30, 29, 60, 60, 1, 30], stars=[4, 5, 3, 5, 1, 4])
    kept, counts = clean_batch(raw, 0, spec, IngestConfig(positives=rule))
    assert kept.column("uid").to_pylist() == ["a", "d", "f"]
    assert counts.dropped == {"below_positive_rule": 3}


@pytest.mark.parametrize("kind", [pa.dictionary(pa.int8(), pa.string()), pa.large_string()])
def test_event_types_of_any_text_type(spec, kind):
    rule = PositiveRule(column="event", one_of=("buy",))
    events = pa.array(["buy", "like", "view", None, "buy", "view"]).cast(kind)
    kept, _ = clean_batch(event_batch(event=events), 0, spec, IngestConfig(positives=rule))
    assert kept.column("uid").to_pylist() == ["a", "e"]


def test_event_types_may_be_numbers(spec):
    rule = PositiveRule(column="event", one_of=("7",))
    raw = event_batch(event=pa.array([7, 70, 8, None, 7, 0]))
    kept, _ = clean_batch(raw, 0, spec, IngestConfig(positives=rule))
    assert kept.column("uid").to_pylist() == ["a", "e"]


def test_weight_of_a_column_and_rows_without_one(spec):
    weights = [1.5, 0.0, None, -1.0, float("inf"), 2]
    config = IngestConfig(weight=WeightRule(column="boost"))
    kept, counts = clean_batch(event_batch(boost=weights), 0, spec, config)
    assert kept.column("uid").to_pylist() == ["a", "b", "f"]
    assert kept.column("#weight").to_pylist() == [1.5, 0.0, 2.0]
    assert kept.schema.field("#weight").type == pa.float32()
    assert counts.dropped == {"no_weight": 3}


def test_weight_per_event_type(spec):
    config = IngestConfig(weight=WeightRule(column="event", by_value={"view": 0.25, "buy": 4.0}))
    kept, counts = clean_batch(event_batch(), 0, spec, config)
    assert dict(zip(kept.column("uid").to_pylist(), kept.column("#weight").to_pylist(), strict=True)) == {
        "a": 4.0,
        "c": 0.25,
        "e": 4.0,
        "f": 0.25,
    }
    assert counts.dropped == {"no_weight": 2}


def test_rule_columns_are_read_once_each(spec):
    config = IngestConfig(
        positives=PositiveRule(column="event", one_of=("buy",)), weight=WeightRule(column="event")
    )
    assert interaction_columns(spec, config) == ["uid", "iid", "at", "device", "event"]
