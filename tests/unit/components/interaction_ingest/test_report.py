import dataclasses
import datetime
import re
from collections import Counter

import pyarrow as pa
import pytest

from components.interaction_ingest.config import (
    Condition,
    CutOffSplit,
    IngestConfig,
    LastDaysSplit,
    LatestPerUserSplit,
    PositiveRule,
)
from components.interaction_ingest.counts import IngestCounts, merge_counts
from components.interaction_ingest.dead_letters import DeadLetter, make_rejections
from components.interaction_ingest.reading.entities import EntityTable
from components.interaction_ingest.reading.inputs import Inputs
from components.interaction_ingest.report import build_report, check_counts, summarize
from components.interaction_ingest.window import ALL_DAYS, Window
from schemas.errors import DataError

pytestmark = pytest.mark.unit

DAYS = {"interactions": {"2026-11-22": "ab"}, "users": {"": "cd"}, "items": {"": "ef"}}
WARNING = (
    "2 of 7 positives are from before 1990, the first from 1970-01-01 and all positives are within a day, "
    "1970-01-01. Times that are numbers were read as s; if that is wrong, set tables.interactions.unit in "
    "the schema file to s, ms, us, ns, yyyymmdd or auto"
)
FIGURES = {"train_positives_per_day": {"2026-11-22": 6}}


def inputs(rows, window=ALL_DAYS):
    empty = pa.table({"uid": ["a"]})
    users, items = (
        EntityTable(empty, {"line_break_in_id": 2}, {"age": 3}),
        EntityTable(empty, {}, {}, {"title": 4}, names=frozenset("zba")),
    )
    return Inputs(row_groups=(), rows=rows, window=window, users=users, items=items)


def counts(read=10, train=6, held_out=1, dropped=3, **fields):
    rows = Counter(read=read, train=train, eval=held_out, users=4, users_with_one_positive=2)
    rows.update(users_of_log=5, unknown_users=1)
    return IngestCounts(
        rows=rows, dropped=Counter(null_id=dropped), first_timestamp=5.0, last_timestamp=90.0, **fields
    )


def test_merge_counts_does_not_depend_on_grouping():
    parts = [
        counts(unknown_users=("b", "a"), unknown_items=frozenset("xy"), filled=Counter(device=1)),
        IngestCounts(unknown_users=tuple("cdefg"), unknown_items=frozenset("yz"), problems=("p",)),
        IngestCounts(rows=Counter(read=2), dropped=Counter(null_id=1, empty_id=1), first_timestamp=-3.0),
        IngestCounts(users_by_train_rows=Counter({0: 3}), train_rows_by_day=Counter({7: 1, 8: 2})),
        IngestCounts(users_by_train_rows=Counter({0: 1, 4: 1}), train_rows_by_day=Counter({7: 5})),
    ]
    whole = merge_counts(parts)
    assert whole == merge_counts(
        [merge_counts([*parts[2:4], parts[0]]), merge_counts([]), merge_counts([parts[4], parts[1]])]
    )
    assert IngestCounts.from_json(whole.to_json()) == whole
    assert whole.rows["read"] == 12
    assert whole.users_by_train_rows == {0: 4, 4: 1}
    assert whole.train_rows_by_day == {7: 6, 8: 2}
    assert whole.dropped == {"null_id": 4, "empty_id": 1}
    assert whole.unknown_users == ("a", "b", "c", "d", "e")
    assert whole.unknown_items == frozenset("xyz")
    assert (whole.first_timestamp, whole.last_timestamp, whole.problems) == (-3.0, 90.0, ("p",))


def test_report_and_its_line():
    report = build_report(
        counts(
            unknown_items=frozenset("q"),
            filled=Counter(device=7, x=0),
            cleaned=Counter(device=1),
            rows_before_1990=2,
        ),
        inputs(10),
        5,
        "f00d",
        DAYS,
        FIGURES,
        {},
        {"age": 40, "city": ""},
    )
    assert report == {
        "rows_read": 10,
        "rows_kept": 7,
        "dropped": {"null_id": 3},
        "train_rows": 6,
        "validation_rows": 0,
        "eval_rows": 1,
        "skipped_rows": 0,
        "users": 4,
        "items": 5,
        "users_with_one_positive": 2,
        "users_of_log": 5,
        "unknown_users": 1,
        "unknown_items": 1,
        "items_of_table": 1,
        "metadata_defaults": {"age": 40, "city": ""},
        "filled_defaults": {"age": 3, "device": 7},
        "history_values_cut": {},
        "line_breaks_cleaned": {"title": 4, "device": 1},
        "item_table_columns": ["a", "b", "z"],
        "user_table_dropped": {"line_break_in_id": 2},
        "item_table_dropped": {},
        "first_timestamp": 5,
        "last_timestamp": 90,
        "time_unit": "s",
        "warnings": [WARNING],
        "window_from": "",
        "window_to": "",
        "missing_days": [],
        "input_fingerprint": "f00d",
        "day_fingerprints": DAYS,
        "files": {"interactions": [], "users": [], "items": []},
        "rejected": {"null_id": 3},
        "unread_bytes": 0,
        "sequence_figures": FIGURES,
    }
    assert summarize(report) == (
        "Ingest: 10 interactions read, 7 kept (6 train, 1 eval, 0 skipped), dropped: 3 null_id; "
        "4 users, 5 items in the catalogue; times 1970-01-01 to 1970-01-01 UTC; "
        "2 rows of the user table dropped: line_break_in_id; "
        "1 of 5 users and 1 of 2 items without metadata, given age 40, city ''; "
        "defaults filled in: age 3, device 7; line breaks in labels made spaces: title 4, device 1. "
        f"Warning: {WARNING}"
    )


def test_validation_and_what_a_history_has_no_place_for_are_in_the_report_and_its_line():
    found = counts(train=4)
    found.rows["validation"] = 2
    report = build_report(found, inputs(10), 5, "f00d", DAYS, FIGURES, {"tags": 1_200}, {})
    assert (report["rows_kept"], report["validation_rows"]) == (7, 2)
    assert report["history_values_cut"] == {"tags": 1_200}
    line = summarize(report)
    assert "7 kept (4 train, 2 validation, 1 eval, 0 skipped)" in line
    assert "; values of items beyond history.values_per_item, in no history: tags 1,200" in line


def test_times_of_usual_years_and_more_than_a_day_are_in_no_doubt():
    found = dataclasses.replace(counts(), first_timestamp=1_600_000_000.0, last_timestamp=1_600_086_400.0)
    report = build_report(found, inputs(10), 5, "f00d", DAYS, FIGURES, {}, {})
    assert report["warnings"] == []
    assert "; times 2020-09-13 to 2020-09-14 UTC;" in summarize(report)
    in_milliseconds = dataclasses.replace(inputs(10), time_unit="ms")
    report = build_report(found, in_milliseconds, 5, "f00d", DAYS, FIGURES, {}, {})
    assert report["time_unit"] == "ms"
    assert "; times 2020-09-13 to 2020-09-14 UTC (numbers read as ms);" in summarize(report)
    report = build_report(
        dataclasses.replace(found, last_timestamp=1_600_086_399.0),
        inputs(10),
        5,
        "f00d",
        DAYS,
        FIGURES,
        {},
        {},
    )
    assert report["warnings"][0].startswith("all positives are within a day, 2020-09-13. Times")


def test_a_window_is_in_the_report_and_its_line():
    window = Window(datetime.date(2026, 11, 1), datetime.date(2026, 11, 22))
    report = build_report(counts(), inputs(10, window), 5, "f00d", DAYS, FIGURES, {}, {})
    assert (report["window_from"], report["window_to"]) == ("2026-11-01", "2026-11-22")
    assert (
        "5 items in the catalogue; times 1970-01-01 to 1970-01-01 UTC; days 2026-11-01 to 2026-11-22; "
        in summarize(report)
    )
    half = build_report(
        counts(), inputs(10, Window(last=datetime.date(2026, 11, 22))), 5, "f00d", DAYS, FIGURES, {}, {}
    )
    assert "; days from the start to 2026-11-22; " in summarize(half)


def test_a_window_that_leaves_nothing_is_named(spec):
    found = IngestCounts(rows=Counter(read=10), dropped=Counter(outside_window=10))
    message = (
        "dropped: outside_window: 10. The window is 2026-11-01 to the end. Change ingest.positives or the"
    )
    with pytest.raises(DataError, match=re.escape(message)):
        check_counts(found, inputs(10, Window(datetime.date(2026, 11, 1))), spec, IngestConfig())


CUT_OFF = IngestConfig(
    split=CutOffSplit(kind="cut_off", time=datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC))
)
CUT_OFF_AND_VALIDATION = dataclasses.replace(CUT_OFF, validation=True, validation_days=3)
LAST_AND_VALIDATION = IngestConfig(split=LastDaysSplit(kind="last_days", days=30), validation=True)
SKIP_TWO = IngestConfig(split=LatestPerUserSplit(kind="latest_per_user", skip_latest=2))


@pytest.mark.parametrize(
    ("found", "config", "message"),
    [
        (
            counts(read=9),
            IngestConfig(),
            "10 rows are in the file, 9 were read, 7 kept and 3 dropped. Expected",
        ),
        (
            counts(train=7),
            IngestConfig(),
            "10 rows are in the file, 10 were read, 8 kept and 3 dropped. Expected",
        ),
        (
            counts(train=0, held_out=0, dropped=10),
            IngestConfig(positives=PositiveRule(column="stars", at_least=4)),
            "log.parquet: no positives are left of 10 interactions; dropped: null_id: 10. "
            "The rule is stars >= 4. Change ingest.positives",
        ),
        (
            counts(train=7, held_out=0),
            SKIP_TWO,
            "the eval split is empty. The 7 positives are of 4 users, none with more than 3",
        ),
        (
            counts(train=7, held_out=0),
            CUT_OFF,
            "the eval split is empty. The 7 positives are from 1970-01-01T00:00:05 to 1970-01-01T00:01:30 "
            "UTC, and those from ingest.split.time 2020-01-01T00:00:00+00:00 on are eval",
        ),
        (counts(train=0, held_out=7), CUT_OFF, "the train split is empty"),
        (
            counts(train=0, held_out=7),
            CUT_OFF,
            "choose a time in between. Of 10 interactions, these were dropped before: null_id: 3.",
        ),
        (
            counts(),
            CUT_OFF_AND_VALIDATION,
            "the validation split is empty. The 7 positives are from 1970-01-01T00:00:05 to "
            "1970-01-01T00:01:30 UTC; those from ingest.split.time 2020-01-01T00:00:00+00:00 on are eval, "
            "and those of the 3 days before it validation: choose a time in between",
        ),
        (
            counts(),
            LAST_AND_VALIDATION,
            "the validation split is empty. The 7 positives with metadata leave it none: the last 30 days "
            "are eval, the 1 before them validation. Change ingest.split.days",
        ),
        (
            counts(),
            IngestConfig(validation=True),
            "the validation split is empty. The 7 positives are of 4 users, none with more than 2, and one",
        ),
        (
            counts(train=0, held_out=7),
            IngestConfig(split=LastDaysSplit(kind="last_days", days=30)),
            "the train split is empty. The 7 positives with metadata leave nothing on one side of the "
            "last 30 days: change ingest.split.days",
        ),
        (
            counts(train=0, held_out=0, dropped=10),
            IngestConfig(
                positives=PositiveRule(
                    all_of=(
                        Condition(column="event", one_of=("buy", "like")),
                        Condition(column="dwell", at_least=30),
                    )
                )
            ),
            "The rule is event one of buy, like and dwell >= 30. Change",
        ),
        (
            counts(read=12, dropped=5, examples={"null_id": "log.parquet, row 7: {}"}, unread_bytes=0),
            IngestConfig(),
            "10 rows are in the file, 12 were read, 7 kept and 5 dropped.",
        ),
        (
            counts(missing=Counter(device=2)),
            IngestConfig(),
            "log.parquet: values are missing (null or not a finite number) in 'device' (2)",
        ),
        (counts(problems=("page 3 is damaged",)), IngestConfig(), "page 3 is damaged"),
    ],
)
def test_what_cannot_be_trained_on_is_refused(spec, found, config, message):
    config = dataclasses.replace(config, maximum_rejected_fraction=1.0)
    with pytest.raises(DataError, match=re.escape(message)):
        check_counts(found, inputs(10), spec, config)


def test_unknown_ids_are_refused_with_counts_and_examples(spec):
    found = counts(dropped=0, unknown_users=("no one",), unknown_items=frozenset(f"i{n}" for n in range(7)))
    found.dropped["missing_metadata"] = 3
    message = (
        "log.parquet: 3 interactions have no metadata: 1 users are not in people.parquet, such as 'no one'; "
        "7 items are not in things.parquet, such as 'i0', 'i1', 'i2', 'i3', 'i4'. Add them to the tables, "
        "or set ingest.missing_metadata to drop or default."
    )
    with pytest.raises(DataError, match=re.escape(message)):
        check_counts(found, inputs(10), spec, IngestConfig())
    check_counts(found, inputs(10), spec, IngestConfig(missing_metadata="drop"))


def test_items_whose_rows_were_dropped_are_said_to_be_so(spec):
    letters = [
        DeadLetter("wrong_type", "things.csv", 3, column="price", expected="a number", text='{"iid": 7}'),
        DeadLetter("too_few_fields", "things.csv", 4, text="8,"),
    ]
    good = inputs(10)
    items = EntityTable(
        good.items.table, {"wrong_type": 1}, {}, rejections=(make_rejections("items", letters),)
    )
    found = counts(dropped=0, unknown_items=frozenset(["7", "9"]))
    found.rows["unknown_users"] = 0
    found.dropped["missing_metadata"] = 3
    message = (
        "3 interactions have no metadata: 2 items have no row in things.parquet that can be used, such as "
        "'7', '9'; rows of '7' stand there, but were dropped as malformed: wrong_type (things.csv, row 3, "
        "column 'price', expected a number: {\"iid\": 7}). Add them"
    )
    with pytest.raises(DataError, match=re.escape(message)):
        check_counts(found, dataclasses.replace(good, items=items), spec, IngestConfig())
    # A row that could not be taken apart may be that of any of them.
    cut = EntityTable(good.items.table, {}, {}, rejections=(make_rejections("items", letters[1:]),))
    with pytest.raises(DataError, match=r"such as '7', '9' \(1 of its rows were dropped as malformed"):
        check_counts(found, dataclasses.replace(good, items=cut), spec, IngestConfig())
    # Where nothing at all is left, that is why.
    nothing = IngestCounts(
        rows=Counter(read=10), dropped=Counter(missing_metadata=10), unknown_items=frozenset(["7"])
    )
    with pytest.raises(DataError, match=r"no positives are left of 10 .* rows of '7' stand there, but were"):
        check_counts(
            nothing, dataclasses.replace(good, items=items), spec, IngestConfig(missing_metadata="drop")
        )


def test_an_empty_log_is_called_empty(spec):
    with pytest.raises(DataError, match=r"is empty: expected at least one row, found 0"):
        check_counts(counts(read=0, train=0, held_out=0, dropped=0), inputs(0), spec, IngestConfig())
