import dataclasses
import datetime
import re

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from components.interaction_ingest.config import IngestConfig, PositiveRule, WindowConfig
from components.interaction_ingest.reading.entities import load_entity_table
from components.interaction_ingest.reading.inputs import (
    check_inputs,
    check_mapped_names,
    open_interactions,
)
from components.interaction_ingest.window import Window
from schemas.errors import ConfigError, DataError

pytestmark = pytest.mark.unit

LOG = {"uid": ["a", "b"], "iid": [1, 2], "at": [10, 20], "device": ["tv", None], "stars": [1.0, 2.0]}
PEOPLE = {"uid": ["a", "b"], "age": [20, None]}
THINGS = {
    "iid": pa.array([1, 2], pa.int32()),
    "price": [1.5, 2.0],
    "tags": [["x"], []],
    "title": pa.array(["One", None]).dictionary_encode(),
    "unused": [0, 0],
}


@pytest.fixture
def check(spec, tmp_path):
    """Write the three tables, with changes, and check them."""

    def run(config=None, log=None, people=None, things=None, spec=spec, **options):
        for name, base, change in (
            ("log", LOG, log),
            ("people", PEOPLE, people),
            ("things", THINGS, things),
        ):
            columns = {k: v for k, v in {**base, **(change or {})}.items() if v is not None}
            pq.write_table(pa.table(columns), tmp_path / f"{name}.parquet", **options)
        return check_inputs(spec, config or IngestConfig(), str(tmp_path))

    return run


def test_good_tables_are_cast_filled_and_counted(check):
    inputs = check(row_group_size=1)
    assert inputs.rows == 2
    assert [(group.index, group.first_row, group.file_index) for group in inputs.row_groups] == [
        (0, 0, 0),
        (1, 1, 0),
    ]
    assert inputs.users.table.to_pydict() == {"uid": ["a", "b"], "age": [20, 30]}
    assert inputs.users.filled == {"age": 1}
    assert inputs.items.table.to_pydict() == {
        "iid": ["1", "2"],
        "price": [1.5, 2.0],
        "tags": [["x"], []],
    }
    assert inputs.items.table.schema.field("price").type == pa.float32()
    assert (inputs.items.dropped, inputs.items.filled) == ({}, {})


def test_labels_with_line_breaks_are_cleaned_and_counted(check):
    inputs = check(things={"tags": [["Toys\r", "x"], ["a\nb", "c\n"]]})
    assert inputs.items.table.column("tags").to_pylist() == [["Toys", "x"], ["a b", "c"]]
    assert (inputs.items.cleaned, inputs.items.dropped) == ({"tags": 3}, {})


def test_odd_ids_simply_work(check):
    odd = ["with space", "quote\"s and 'these'", "🙂,;", "tab\t", "ünï"]
    inputs = check(people={"uid": odd, "age": [1] * 5})
    assert inputs.users.table.column("uid").to_pylist() == odd
    assert inputs.users.dropped == {}


def test_ids_with_line_breaks_and_empty_ids_are_dropped_and_counted(check):
    people = {"uid": ["a", "b\nc", "d\re", "", "f", None], "age": [1] * 6}
    inputs = check(IngestConfig(maximum_rejected_fraction=0.67), people=people)
    assert inputs.users.table.column("uid").to_pylist() == ["a", "f"]
    assert inputs.users.dropped == {"empty_id": 1, "line_break_in_id": 2, "null_id": 1}


def test_a_table_without_a_row_that_can_be_used_is_not_called_empty(check):
    config = IngestConfig(maximum_rejected_fraction=1.0)
    with pytest.raises(
        DataError, match=r"Received: 2 malformed ones \(empty_id: 1, null_id: 1\), such as .*row"
    ):
        check(config, people={"uid": ["", None]})


@pytest.mark.parametrize("file", ["log", "people", "things"])
def test_files_that_are_missing_empty_or_no_parquet(check, spec, tmp_path, file):
    check()
    path = tmp_path / f"{file}.parquet"
    schema = pq.read_schema(path)
    path.write_bytes(b"")
    with pytest.raises(DataError, match=rf"{file}\.parquet is empty: expected a Parquet file, found 0 bytes"):
        check_inputs(spec, IngestConfig(), str(tmp_path))
    path.write_text("user,item\n1,2\n" * 10)
    with pytest.raises(DataError, match=rf"{file}\.parquet: expected a Parquet file\. It cannot be read"):
        check_inputs(spec, IngestConfig(), str(tmp_path))
    pq.write_table(schema.empty_table(), path)
    with pytest.raises(DataError, match=rf"{file}\.parquet is empty: expected at least one row, found 0"):
        check_inputs(spec, IngestConfig(), str(tmp_path))
    path.unlink()
    with pytest.raises(
        DataError, match=rf"No file .*{file}\.parquet\. Parquet files in the folder: \w+\.parquet, "
    ):
        check_inputs(spec, IngestConfig(), str(tmp_path))
    with pytest.raises(DataError, match=r"No folder .*nowhere: expected it to hold log\.parquet"):
        check_inputs(spec, IngestConfig(), str(tmp_path / "nowhere"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"log": {"iid": None, "item": [1, 2]}},
            "log.parquet: no column 'iid', which is a feature of the schema file. "
            "Its columns: uid, at, device, stars, item. Did you mean 'item'?",
        ),
        (
            {"log": {"at": None, "date": [1, 2]}},
            "log.parquet: no column 'at', which is the time of the interaction",
        ),
        ({"log": {"device": None}}, "log.parquet: no column 'device'"),
        ({"people": {"age": None, "aged": [1, 2]}}, "people.parquet: no column 'age'"),
        (
            {"people": {"age": [[1], [2]]}},
            "people.parquet: column 'age' must hold numbers, booleans, or texts of them. Found: list<",
        ),
        (
            {"people": {"uid": [True, False]}},
            "column 'uid' must hold texts, whole numbers or bytes. Found: bool.",
        ),
        (
            {"things": {"tags": [1, 2]}},
            "column 'tags' must hold lists of texts, numbers or booleans, or texts of",
        ),
        (
            {"log": {"device": [{"a": 1}, {"a": 2}]}},
            "column 'device' must hold texts, numbers, booleans, dates",
        ),
        (
            {"log": {"at": [True, False]}},
            "column 'at' must hold numbers, dates, timestamps, or texts of them",
        ),
        (
            {"people": {"uid": ["a", "b", "a", "c", "c", "c"], "age": [1] * 6}},
            "people.parquet: 'uid' must be unique, but 2 ids stand in more than one row, such as 'a', 'c'.",
        ),
        (
            {"people": {"uid": ["a", None]}},
            "people.parquet: 1 of 2 rows are malformed, up to 50%. Expected at most 0.01 of them "
            "(ingest.maximum_rejected_fraction). Most frequent: null_id: 1 (such as ",
        ),
        (
            {"things": {"price": [float("nan"), None]}},
            "things.parquet: values are missing (null or not a finite number) in 'price' (2). ",
        ),
    ],
)
def test_bad_tables_are_refused(check, change, message):
    with pytest.raises(DataError, match=re.escape(message)):
        check(**change)


def test_the_positive_rules_column_must_be_there_and_hold_numbers(check):
    check(IngestConfig(positives=PositiveRule(column="stars", at_least=2)))
    with pytest.raises(
        DataError, match=r"no column 'star', which is the column of ingest\.positives or .*'stars'"
    ):
        check(IngestConfig(positives=PositiveRule(column="star", at_least=2)))
    with pytest.raises(DataError, match="column 'device' must hold numbers, since"):
        check(IngestConfig(positives=PositiveRule(column="device", at_least=2)))


def test_default_metadata_needs_a_default_on_every_feature(check, spec):
    config = IngestConfig(missing_metadata="default")
    with pytest.raises(ConfigError, match=r"missing_metadata is 'default'.* Without one: price\. Add them"):
        check(config)
    price = dataclasses.replace(spec.features[3], default=0.0)
    check(config, spec=dataclasses.replace(spec, features=(*spec.features[:3], price, *spec.features[4:])))


@pytest.mark.parametrize("statistics", [True, False])
@pytest.mark.parametrize(
    "times",
    [
        pa.array([1_795_305_599, 10, 1_795_305_600, None]),
        pa.array([1_795_305_599_999, 10, 1_795_305_600_000, None], pa.timestamp("ms", tz="Europe/Berlin")),
        pa.array([1_795_305_599, 10, 1_795_305_600, None], pa.uint64()).dictionary_encode(),
    ],
)
def test_last_days_count_back_from_the_newest_interaction(spec, tmp_path, check, times, statistics):
    check()
    log = {"tags": [["a"]] * 4, "uid": ["a"] * 4, "iid": ["1"] * 4, "at": times, "device": ["w"] * 4}
    pq.write_table(pa.table(log), tmp_path / "log.parquet", row_group_size=1, write_statistics=statistics)
    inputs = check_inputs(spec, IngestConfig(), str(tmp_path), WindowConfig(last_days=2))
    assert inputs.window == Window(datetime.date(2026, 11, 21), datetime.date(2026, 11, 22))


def test_the_newest_interaction_is_looked_for_by_the_statistics(spec, tmp_path, check, monkeypatch):
    check(log={"at": pa.array([1_795_305_600, 5], pa.timestamp("s"))}, row_group_size=1)
    read = []
    iter_batches = pq.ParquetFile.iter_batches

    def note(self, *args, row_groups, **options):
        read.extend(row_groups)
        return iter_batches(self, *args, row_groups=row_groups, **options)

    monkeypatch.setattr(pq.ParquetFile, "iter_batches", note)
    found = open_interactions(spec, IngestConfig(), str(tmp_path), WindowConfig(last_days=1))
    assert found.window.first_text == found.window.last_text == "2026-11-22"
    # The second row group's newest time is earlier, so it is not read.
    assert read == [0]


def test_repeated_columns_are_refused(spec, tmp_path, check):
    check()
    table = pa.Table.from_arrays([pa.array(["a"]), pa.array([1]), pa.array([2])], ["uid", "age", "age"])
    pq.write_table(table, tmp_path / "people.parquet")
    with pytest.raises(DataError, match=r"people\.parquet: 2 columns are named 'age'"):
        check_inputs(spec, IngestConfig(), str(tmp_path))


def test_shown_columns_of_different_types_become_texts(spec, tmp_path, check):
    check()
    (tmp_path / "items").mkdir()
    for item, title in ((1, "One"), (2, 1984)):
        table = pa.table({"iid": [item], "price": [1.0], "tags": [["x"]], "title": [title]})
        pq.write_table(table, tmp_path / "items" / f"{item}.parquet")
    tables = dataclasses.replace(
        spec.tables, items=dataclasses.replace(spec.tables.items, file="items", format=None)
    )
    assert load_titles(spec, tables.items, tmp_path) == ["One", "1984"]
    # The ingest itself leaves them alone.
    inputs = check_inputs(dataclasses.replace(spec, tables=tables), IngestConfig(), str(tmp_path))
    assert inputs.items.table.column_names == ["iid", "price", "tags"]


def load_titles(spec, source, folder):
    loaded = load_entity_table(
        source, str(folder), "items", spec.item_id, spec.table_features("item"), IngestConfig(), ["title"]
    )
    return loaded.table.column("title").to_pylist()


def test_a_column_to_show_that_is_missing_is_named(spec, tmp_path, check):
    check()
    assert load_titles(spec, spec.tables.items, tmp_path) == ["One", None]
    check(things={"title": None, "label": ["a", "b"]})
    message = r"things\.parquet: no column 'title', which is a column to show"
    with pytest.raises(DataError, match=message):
        load_titles(spec, spec.tables.items, tmp_path)


def test_a_mapped_name_that_is_no_column_is_refused(spec):
    for table, message in (
        ("interactions", r"tables\.interactions\.columns: .*Received: 'devce'. Did you mean 'device'\?"),
        ("users", r"tables\.users\.columns: expected names of columns that are read: uid, age"),
    ):
        source = dataclasses.replace(getattr(spec.tables, table), columns={"devce": "platform"})
        tables = dataclasses.replace(spec.tables, **{table: source})
        with pytest.raises(ConfigError, match=message):
            check_mapped_names(dataclasses.replace(spec, tables=tables), IngestConfig())


@pytest.mark.parametrize("row_group_size", [1, 10])
def test_malformed_and_future_rows_do_not_move_the_window(spec, tmp_path, check, row_group_size):
    day = 86_400
    log = {
        "uid": ["a", "a", None, "b", "a"],
        "iid": [1, 2, 1, 1, 2],
        # The day 40 has no user, and the day 60 is later than the latest time.
        "at": [day, 2 * day, 40 * day, 3 * day, 60 * day],
        "device": ["tv"] * 5,
        "stars": [1.0] * 5,
    }
    check(log=log, row_group_size=row_group_size)
    config = IngestConfig(latest_time=datetime.datetime(1970, 2, 20))
    inputs = check_inputs(spec, config, str(tmp_path), WindowConfig(last_days=2))
    assert inputs.window == Window(datetime.date(1970, 1, 3), datetime.date(1970, 1, 4))


def test_a_column_with_a_default_may_be_missing_in_a_file_but_not_in_all(spec, tmp_path, check):
    check()
    (tmp_path / "logs").mkdir()
    table = pq.read_table(tmp_path / "log.parquet")
    pq.write_table(table, tmp_path / "logs" / "a.parquet")
    pq.write_table(table.drop_columns("device"), tmp_path / "logs" / "b.parquet")
    log = dataclasses.replace(spec.tables.interactions, file="logs")
    spec = dataclasses.replace(spec, tables=dataclasses.replace(spec.tables, interactions=log))
    assert check_inputs(spec, IngestConfig(), str(tmp_path)).rows == 4
    (tmp_path / "logs" / "a.parquet").unlink()
    with pytest.raises(DataError, match=r"b\.parquet: no column 'device'"):
        check_inputs(spec, IngestConfig(), str(tmp_path))


def test_a_file_that_is_not_like_the_others_is_rejected_whole(spec, tmp_path, check):
    check()
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "a.csv").write_text("uid,iid,at,device\na,1,10,tv\n")
    (tmp_path / "logs" / "b.csv").write_text("uid,iid,a")
    log = dataclasses.replace(spec.tables.interactions, file="logs")
    spec = dataclasses.replace(spec, tables=dataclasses.replace(spec.tables, interactions=log))
    inputs = check_inputs(spec, IngestConfig(), str(tmp_path))
    [letter] = inputs.rejections.letters.to_pylist()
    assert (letter["reason"], inputs.rejections.unread_bytes) == ("unreadable_file", 9)
    assert "no column 'at'" in letter["text"]
    (tmp_path / "logs" / "a.csv").unlink()
    with pytest.raises(DataError, match=r"b\.csv: no column 'at'"):
        check_inputs(spec, IngestConfig(), str(tmp_path))
