"""Each table is a few rows, which are then its head."""

import dataclasses
import datetime
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from components.interaction_ingest import heads
from components.interaction_ingest.config import (
    IngestConfig,
    LastDaysSplit,
    PositiveRule,
    WindowConfig,
)
from components.interaction_ingest.heads import find_table_problems
from schemas.features import FeatureSpec, UserTable
from schemas.strict_config import parse

pytestmark = pytest.mark.unit

# a and b have three rows each, the newest of which is held out.
LOG: dict[str, Any] = {
    "uid": ["a", "b"] * 3,
    "iid": [1, 2, 2, 1, 1, 1],
    "at": [10, 20, 30, 40, 50, 60],
    "device": ["tv"] * 6,
    "stars": [5] * 6,
}
PEOPLE: dict[str, Any] = {"uid": ["a", "b"], "age": [20, 30]}
THINGS: dict[str, Any] = {"iid": [1, 2], "price": [1.5, 2.0], "tags": [["x"], []]}

Find = Callable[..., list[str]]


@pytest.fixture
def find(spec: FeatureSpec, tmp_path: Path) -> Find:
    """Write the three tables, with changes (None: no such file or column), and look at them."""

    def run(config: IngestConfig | None = None, rows: int = 1, **changes: dict[str, Any] | None) -> list[str]:
        for name, base in (("log", LOG), ("people", PEOPLE), ("things", THINGS)):
            change = changes.get(name, {})
            if change is not None:
                columns = {key: value for key, value in {**base, **change}.items() if value is not None}
                pq.write_table(pa.table(columns), tmp_path / f"{name}.parquet")
        return find_table_problems(spec, config or IngestConfig(), str(tmp_path), rows)

    return run


def test_good_tables_have_no_problem(find: Find) -> None:
    assert find() == []
    # Four train rows are a batch of four.
    assert find(rows=4) == []


def test_everything_that_is_wrong_is_told_at_once(find: Find) -> None:
    found = find(
        log={"at": [True] * 6, "device": None, "stars": None},
        people=None,
        things={"price": [None, 1.0], "iid": [1, 1]},
        config=IngestConfig(positives=PositiveRule(column="stars", at_least=4)),
    )
    assert [message.split(":")[0] for message in found if "people" not in message] == [
        "things.parquet", "things.parquet", "log.parquet", "log.parquet", "log.parquet",
    ]  # fmt: skip
    assert "people.parquet" in found[0]
    for part in ("'iid' must be unique", "in 'price' (1)", "'at' must hold", "'device'", "'stars'"):
        assert sum(part in message for message in found) == 1, part


@pytest.mark.parametrize(
    ("changes", "rows", "config", "message"),
    [
        ({"people": {"uid": ["a", None]}}, 1, {}, "people.parquet: 1 of 2 rows are malformed"),
        ({"people": {"uid": ["a", "c"]}}, 1, {}, "1 users are not in people.parquet, such as 'b'"),
        # Six rows, of which two are held out.
        ({}, 6, {}, "6 rows in a batch of all replicas, and no more than 4 train rows"),
        ({}, 7, {}, "7 rows in a batch of all replicas, and no more than 4 train rows"),
        # That nothing is left for a batch follows, and is not told.
        ({}, 6, {"split": LastDaysSplit(kind="last_days", days=1)}, "the train split is empty"),
        ({}, 1, {"positives": PositiveRule(column="stars", at_least=9)}, "no positives are left of 6"),
    ],
)
def test_small_tables_are_checked_as_the_ingest_does(
    find: Find, changes: dict[str, Any], rows: int, config: dict[str, Any], message: str
) -> None:
    [found] = find(IngestConfig(**config), rows, **changes)
    assert message in found


def test_of_a_large_table_only_what_stops_the_run_for_certain(
    find: Find, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, spec: FeatureSpec
) -> None:
    monkeypatch.setattr(heads, "HEAD_ROWS", 2)
    monkeypatch.setattr("components.interaction_ingest.sources.parquet.READ_ROWS", 2)
    # The users of the table are not known beyond its first rows, and so none is missed.
    many = {"uid": ["c", "d", "a", "b"], "age": [1] * 4}
    assert find(people=many) == []
    # One malformed row of four is as many as there may be, and two of the four are not.
    allowed = IngestConfig(maximum_rejected_fraction=0.25)
    assert find(allowed, people=many | {"uid": ["", "d", "a", "b"]}) == []
    [found] = find(allowed, people=many | {"uid": ["", None, "a", "b"]})
    assert "people.parquet (its first 2 rows): 2 of 4 rows are malformed" in found
    # Of six rows, seven cannot be train rows.
    [found] = find(rows=7)
    assert "7 rows in a batch of all replicas, and no more than 6 train rows" in found
    # A missing value anywhere stops the run; a user of the first rows who is in no table, too.
    [found] = find(things={"iid": [1, 2, 3], "price": [None, 1.0, 2.0], "tags": [[]] * 3})
    assert found.startswith("things.parquet (its first 2 rows): values are missing")
    [found] = find(people={"uid": ["a", "x"]})
    assert found.startswith("log.parquet (its first 2 rows): 1 interactions have no metadata: 1 users")
    assert find(IngestConfig(missing_metadata="drop"), people={"uid": ["a", "x"]}) == []


def test_a_bad_file_of_many_counts_among_all_of_them(spec: FeatureSpec, find: Find, tmp_path: Path) -> None:
    assert find() == []
    (tmp_path / "people.parquet").unlink()
    (tmp_path / "people").mkdir()
    for number in range(4):
        # Two rows of eight are malformed, both of the first file.
        ids = ["", None] if number == 0 else [f"{number} a", f"{number} b"]
        pq.write_table(pa.table({"uid": ids, "age": [1, 1]}), tmp_path / "people" / f"{number}.parquet")
    tables = dataclasses.replace(spec.tables, users=UserTable(file="people", format="parquet"))
    spec = dataclasses.replace(spec, tables=tables)
    drop = IngestConfig(missing_metadata="drop", maximum_rejected_fraction=0.3)
    assert find_table_problems(spec, drop, str(tmp_path)) == []
    refused = dataclasses.replace(drop, maximum_rejected_fraction=0.2)
    [found] = find_table_problems(spec, refused, str(tmp_path))
    assert "people (its first 2 rows): 2 of " in found


def test_a_missing_day_and_a_missing_column_are_told_together(spec: FeatureSpec, tmp_path: Path) -> None:
    log = dataclasses.replace(spec.tables.interactions, file="{date}.parquet")
    ids = [dataclasses.asdict(feature) for feature in spec.features if feature.role is not None]
    alone = parse(
        FeatureSpec,
        {"name": "log", "features": ids, "tables": {"interactions": dataclasses.asdict(log)}},
        source="test",
    )
    days = [datetime.date(2026, 11, day) for day in (18, 22)]
    window = WindowConfig(first=days[0], last=days[1])

    def find_with(columns: dict[str, Any]) -> list[str]:
        for day in days:
            pq.write_table(pa.table(columns), tmp_path / f"{day}.parquet")
        return find_table_problems(alone, IngestConfig(window=window), str(tmp_path))

    missing, column = find_with({key: value for key, value in LOG.items() if key != "iid"})
    assert "3 days of 2026-11-18 to 2026-11-22 have no file" in missing
    assert "no column 'iid'" in column
    # That no row is of these days may follow, and is not told.
    assert find_with(LOG) == [missing]


def test_a_window_that_only_the_whole_log_tells_is_left_to_the_ingest(find: Find) -> None:
    config = IngestConfig(window=WindowConfig(last_days=1))
    assert find(config, people={"uid": ["a", "x"]}) == []
