from dataclasses import replace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.embed.rows import read_rows
from pipeline.embed.table import choose_source, open_table
from schemas.errors import ConfigError, DataError, ReleaseError
from schemas.features import Feature, VocabularyEncoding

pytestmark = pytest.mark.unit

# A Saturday, 11:00 UTC.
NOW = 1_795_863_600.0
INPUTS = {"age", "city", "device", "seen", "seen_gap_seconds"}


@pytest.fixture
def open_users(spec, tmp_path):
    def run(inputs=INPUTS, without=(), **columns):
        table = pa.table({"person": ["1"], "age": [20], "city": ["x"]} | columns)
        pq.write_table(table.drop_columns(list(without)), tmp_path / "t.parquet")
        source = choose_source(spec, "users", "t.parquet", None)
        return open_table(spec, "users", source, str(tmp_path), inputs, now=NOW)

    return run


def test_only_what_the_tower_reads_is_needed(open_users):
    table = open_users()
    # `note` has no encoding, and is not there; the id has another name in the files.
    assert {column.name: column.source for column in table.columns} == {
        "user": "person", "age": "age", "city": "city",
    }  # fmt: skip
    assert [(one.feature.name, one.value) for one in table.stand_ins] == [("device", "web")]
    assert (table.history, table.history_seconds, table.rows) == (None, None, 1)


def test_a_context_feature_and_the_history_are_read_where_they_are(open_users):
    seen = {"seen": [["i"]], "seen_seconds": [[1]], "device": ["tv"]}
    table = open_users(**seen)
    assert [feature.name for feature in table.features] == ["age", "city", "device"]
    assert (table.stand_ins, table.history, table.history_seconds) == ((), "seen", "seen_seconds")
    # A tower that reads no gaps needs no times, and one without a history none of both.
    assert open_users(INPUTS - {"seen_gap_seconds"}, **seen).history_seconds is None
    without = open_users({"age", "city", "device"}, **seen)
    assert (without.reads_history, without.history) == (False, None)
    assert table.reads_history


def test_rows_that_name_their_own_columns_may_have_a_history_later_on(spec, tmp_path):
    (tmp_path / "t.jsonl").write_text('{"person": "1", "age": 20, "city": "x"}\n')
    source = choose_source(spec, "users", "t.jsonl", None)
    table = open_table(spec, "users", source, str(tmp_path), INPUTS, NOW)
    assert (table.history, table.stand_ins, table.rows) == ("seen", (), None)


def test_a_context_feature_without_column_and_default_is_refused(spec, tmp_path):
    without = replace(
        spec, features=tuple(replace(f, default=None) if f.name == "device" else f for f in spec.features)
    )
    pq.write_table(pa.table({"person": ["1"], "age": [20], "city": ["x"]}), tmp_path / "t.parquet")
    source = choose_source(without, "users", "t.parquet", None)
    with pytest.raises(DataError, match=r"reads the context features \['device'\].*Received: neither"):
        open_table(without, "users", source, str(tmp_path), INPUTS, NOW)


def test_what_does_not_fit_is_refused(spec, open_users):
    with pytest.raises(DataError, match="no column 'city', which is a feature"):
        open_users(without=["city"])
    with pytest.raises(DataError, match="column 'seen' must hold lists of texts"):
        open_users(seen=[1])
    with pytest.raises(ReleaseError, match=r"tower of users reads \['height'\]"):
        open_users(INPUTS | {"height"})
    with pytest.raises(ConfigError, match="--format: expected --input"):
        choose_source(spec, "users", None, "csv")


@pytest.fixture
def timed(spec):
    """The schema with two hours: `hour` of the log's own time, and `sent` of another column of the log."""
    log = replace(spec.tables.interactions, columns={"hour": "timestamp", "sent": "sent_at"})
    hour, sent = (
        Feature(
            name=name,
            dtype="int",
            tower="context",
            time_part="hour",
            encoding=VocabularyEncoding("vocabulary"),
            # Only what the log holds is held against it.
            maximum=9,
        )
        for name in ("hour", "sent")
    )
    return replace(spec, tables=replace(spec.tables, interactions=log), features=(*spec.features, hour, sent))


def test_a_part_of_the_logs_time_that_the_table_has_not_is_that_of_now(timed, tmp_path):
    pq.write_table(pa.table({"person": ["1"], "age": [20], "city": ["x"]}), tmp_path / "t.parquet")
    source = choose_source(timed, "users", "t.parquet", None)
    table = open_table(timed, "users", source, str(tmp_path), {"age", "hour"}, NOW)
    assert [(one.feature.name, one.value) for one in table.stand_ins] == [("hour", 11)]
    # The hour of another column is not known.
    with pytest.raises(DataError, match=r"reads the context features \['sent'\]"):
        open_table(timed, "users", source, str(tmp_path), {"age", "sent"}, NOW)


def read_hours(timed, name, directory):
    """What stands in the rows of a table for the hour, and how often that is the one of now."""
    source = choose_source(timed, "users", name, None)
    table = open_table(timed, "users", source, str(directory), {"age", "hour"}, NOW)
    assert table.stand_ins == ()
    read = [part for piece in table.pieces for part in read_rows(piece, table)]
    assert not any(counts.missing for _, counts, _ in read)
    hours = [hour for rows, _, _ in read for hour in rows["hour"].to_pylist()]
    return hours, sum(counts.filled["hour"] for _, counts, _ in read)


def test_a_row_that_has_no_part_of_the_logs_time_gets_that_of_now(timed, tmp_path):
    row = '{"person": "1", "age": 20, "city": "x"%s}\n'
    (tmp_path / "none.jsonl").write_text(row % "" * 2)
    # 18,000 seconds are five hours.
    rows = (row % "", row % ', "hour": 18000', row % ', "hour": null')
    (tmp_path / "some.jsonl").write_text("".join(rows))
    assert read_hours(timed, "none.jsonl", tmp_path) == ([11, 11], 2)
    assert read_hours(timed, "some.jsonl", tmp_path) == ([11, 5, 11], 2)
    # A format with columns, in one file of which there is one.
    users = pa.table({"person": ["1"], "age": [20], "city": ["x"]})
    (tmp_path / "files").mkdir()
    pq.write_table(users, tmp_path / "files" / "a.parquet")
    pq.write_table(users.append_column("hour", pa.array([18000])), tmp_path / "files" / "b.parquet")
    assert read_hours(timed, "files", tmp_path) == ([11, 5], 1)
