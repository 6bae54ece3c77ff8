"""`dssm check` on a log whose figures are worked by hand."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from click.testing import CliRunner

from pipeline.cli import main

pytestmark = pytest.mark.unit

DAY = 86_400
# 2023-11-15 00:00 UTC.
START = 1_700_006_400
# User, item, second, rating: a has four rows, b three, c one. Day 1 has no row.
ROWS = [
    ("a", "x", START, 5.0),
    ("b", "x", START + 10, 4.0),
    ("a", "y", START + 20, 3.0),
    ("b", "y", START + 20, 1.0),
    ("a", "z", START + 2 * DAY, 4.0),
    ("b", "x", START + 2 * DAY, 4.0),
    ("a", "w", START + 2 * DAY, 2.0),
    ("c", "x", START + 2 * DAY + 5, 5.0),
]
FEATURES = [
    {
        "name": "user_id",
        "dtype": "string",
        "tower": "user",
        "role": "user_id",
        "encoding": {"kind": "vocabulary"},
    },
    {
        "name": "item_id",
        "dtype": "string",
        "tower": "item",
        "role": "item_id",
        "encoding": {"kind": "vocabulary"},
    },
]
TABLES = {"users": {"file": "users.parquet"}, "items": {"file": "items.parquet"}}


@pytest.fixture
def check(tmp_path):
    """Run `dssm check` on the log, with changes to the configuration."""
    names = ("user_id", "item_id", "timestamp", "rating")

    def run(*options, rows=ROWS, exit_code=0, users="abc", items="wxyzv", tables=TABLES, **sections):
        columns = dict(zip(names, map(list, zip(*rows, strict=True)), strict=True))
        pq.write_table(pa.table(columns), tmp_path / "interactions.parquet")
        pq.write_table(pa.table({"user_id": list(users)}), tmp_path / "users.parquet")
        pq.write_table(pa.table({"item_id": list(items)}), tmp_path / "items.parquet")
        schema = {"name": "hand", "tables": tables, "features": FEATURES}
        (tmp_path / "schema.yaml").write_text(yaml.safe_dump(schema))
        config = {
            "run": {"name": "hand", "directory": str(tmp_path / "runs")},
            "data": {"schema": str(tmp_path / "schema.yaml"), "directory": str(tmp_path)},
            "serving": {"directory": str(tmp_path / "serving")},
            "training": {"per_replica_batch": 2},
            "evaluation": {"candidates": "all"},
            **sections,
        }
        (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
        arguments = ["check", "--config", str(tmp_path / "config.yaml"), *options]
        result = CliRunner().invoke(main, arguments)
        assert result.exit_code == exit_code, result.output
        return result.output

    return run


def test_figures_worked_by_hand(check):
    found = json.loads(check("--json"))
    assert (found["rows"], found["rows_kept"], found["is_whole"]) == (8, 8, True)
    assert (found["users"], found["items"], found["catalogue_items"]) == (3, 4, 5)
    # a has w, x, y, z; b has x, y; c has x: seven pairs of three times four.
    assert found["density"] == pytest.approx(7 / 12)
    assert (found["first_second"], found["last_second"]) == (START, START + 2 * DAY + 5)
    assert (found["days_without_rows"], found["longest_gap_seconds"]) == (1, 2 * DAY - 20)
    # Of eight rows b's second x alone is a repeat; a has two rows in one second.
    assert (found["repeat_share"], found["duplicate_share"]) == (1 / 8, 0)
    assert found["tied_users_share"] == pytest.approx(1 / 3)
    # The newest of a (w) and b (x) are held out; nobody else has w.
    assert found["splits"] == {"train": 6, "validation": 0, "eval": 2}
    assert (found["cold_items_share"], found["cold_users_share"]) == (0.5, 0)
    assert found["rows_of_users"] == [{"from": 1, "to": 1, "count": 1}, {"from": 2, "to": 3, "count": 1},
                                      {"from": 4, "to": 7, "count": 1}]  # fmt: skip
    # Of five items the list has one: x, with three train rows; that is b's, and not a's.
    assert found["popularity_recall"] == {"1": 0.5}


def test_without_tables_the_users_and_items_are_those_of_the_log(check):
    found = json.loads(check("--json", tables={}))
    assert (found["users"], found["items"], found["catalogue_items"]) == (3, 4, 4)
    assert (found["dropped"], found["users_without_metadata"], found["items_without_metadata"]) == ({}, 0, 0)


def test_rules_say_what_they_drop(check):
    found = json.loads(check("--json", ingest={"positives": {"column": "rating", "at_least": 3}}))
    assert found["dropped"] == {"below_positive_rule": 2}
    assert found["rows_kept"] == 6


def test_the_screen_has_plots_and_what_popularity_reaches(check):
    screen = check()
    assert "8 positives of 3 users with 4 items, 58.333% of all pairs" in screen
    assert "Recall@1 0.500" in screen
    assert "█ 1 users" in screen
    assert "Days without a positive: 1" in screen


def test_what_would_stop_the_run_fails(check):
    screen = check(exit_code=1, users="ab")
    assert "Error: " in screen
    assert "1 users are not in users.parquet, such as 'c'" in screen
    # A step takes 64 rows, and there are six.
    assert "lower training.per_replica_batch" in check(exit_code=1, training={"per_replica_batch": 64})


def test_what_is_doubtful_fails_only_where_it_is_asked_for(check):
    screen = check()
    assert "Warning: 33.3% of the users have interactions in one second" in screen
    assert "Warning: 50.0% of the held-out positives are with items that no train row has" in screen
    check("--strict", exit_code=1)


def test_times_of_1970_are_told_as_by_the_ingest(check):
    rows = [(user, item, second - START + 20_200_913, rating) for user, item, second, rating in ROWS]
    assert (
        "Warning: Times: 8 of 8 positives are from before 1990, the first from 1970-08-22. Times that are "
        "numbers were read as s; if that is wrong, set tables.interactions.unit"
    ) in check(rows=rows)
    assert "Times: " not in check()


def test_times_within_a_day_are_told(check):
    rows = [(user, item, min(second, START + DAY - 1), rating) for user, item, second, rating in ROWS]
    assert "Warning: Times: all positives are within a day, 2023-11-15. Times" in check(rows=rows)


def test_one_large_text_file_is_read_as_far_as_the_sample_goes(check, tmp_path):
    lines = [f"a{number % 1_000},x,{START + number * 60},5.0" for number in range(150_000)]
    (tmp_path / "log.csv").write_text("\n".join(["user_id,item_id,timestamp,rating", *lines]))
    found = json.loads(check("--json", "--sample", "10000", tables={"interactions": {"file": "log.csv"}}))
    assert not found["is_whole"]
    # Twice the sample, to the end of a block of a megabyte, of the 150,000.
    assert 20_000 <= found["rows_read"] < 100_000
    # The last of 105 days begins after the first 148,000 rows.
    window = {"window": {"last_days": 1}}
    options = ("--json", "--sample", "200")
    # A day's users have one row each, which leaves nothing to hold out.
    found = check(*options, exit_code=1, tables={"interactions": {"file": "log.csv"}}, ingest=window)
    assert json.loads(found)["rows_kept"] == 240


def test_a_missing_table_is_told_before_anything_is_read(check, tmp_path):
    check()
    (tmp_path / "items.parquet").unlink()
    result = CliRunner().invoke(main, ["check", "--config", str(tmp_path / "config.yaml")])
    assert result.exit_code == 1
    assert "items.parquet" in result.output
