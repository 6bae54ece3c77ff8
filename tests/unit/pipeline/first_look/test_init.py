"""`dssm init` on tables with traps: what is written is what a run takes, and nothing is overwritten."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from components.interaction_ingest.heads import find_table_problems
from pipeline.cli import main
from pipeline.config import load_config
from schemas.features import load_feature_spec

pytestmark = pytest.mark.unit

USERS, ITEMS, ROWS = 60, 40, 1_200
START = 1_700_000_000


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    """A log, users and items with other names than ours, in three formats."""
    folder = tmp_path_factory.mktemp("shop")
    rng = np.random.default_rng(0)
    user, item = rng.integers(0, USERS, ROWS), rng.integers(0, ITEMS, ROWS)
    seconds = np.sort(rng.integers(START, START + 40 * 86_400, ROWS))
    times = seconds.astype("datetime64[s]")
    log = pa.table(
        {
            "When": pa.array([f"{time}Z" for time in times]),
            "Customer ID": pa.array([None if n % 40 == 0 else f"c{u}" for n, u in enumerate(user)]),
            "SKU": pa.array([f"p{i}" for i in item]),
            "action": pa.array(np.array(["view", "purchase", "remove"])[rng.integers(0, 3, ROWS)]),
            "channel": pa.array(np.array(["web", "shop"])[rng.integers(0, 2, ROWS)]),
        }
    )
    pa.csv.write_csv(log, folder / "log.csv", pa.csv.WriteOptions(delimiter=";"))
    # Two customers have no row.
    users = [
        {
            "id": f"c{u}",
            "category": ["new", "old"][u % 2],
            "newsletter": u % 3 == 0,
            "country": "DE",
            "orders": int((user == u).sum()),
        }
        for u in range(USERS - 2)
    ]
    (folder / "people.jsonl").write_text("".join(json.dumps(row) + "\n" for row in users))
    items = {
        "SKU": [f"p{i}" for i in range(ITEMS)],
        "category": [["toys", "books", "food"][i % 3] for i in range(ITEMS)],
        "price": [None if i == 3 else float(i) / 2 for i in rng.permutation(ITEMS)],
        "made": pa.array(np.datetime64("2001-02-03") + np.arange(ITEMS) * 100),
        "url": [f"http://shop/{i}" for i in range(ITEMS)],
        "title": [f"Thing{i} of{i} kind{i}" for i in range(ITEMS)],
    }
    pq.write_table(pa.table(items), folder / "goods.parquet")
    return folder


@pytest.fixture
def init(tmp_path):
    def run(*arguments, exit_code=0):
        result = CliRunner().invoke(main, ["init", *map(str, arguments), "--output", str(tmp_path / "out")])
        assert result.exit_code == exit_code, result.output
        if not exit_code:
            # What was written is what the ingest of a run takes.
            config = load_config(str(tmp_path / "out" / "config.yaml"))
            assert find_table_problems(config.load_features(), config.ingest, config.data.directory) == []
        return result.output

    return run


def test_three_tables_become_a_project(shop, init, tmp_path):
    screen = init(shop / "people.jsonl", shop / "goods.parquet", shop / "log.csv")
    config = load_config(str(tmp_path / "out" / "config.yaml"))
    spec = config.load_features()
    log, users, items = spec.tables.interactions, spec.tables.users, spec.tables.items
    assert (log.file, log.delimiter, log.timestamp) == ("log.csv", ";", "when")
    assert log.columns == {"customer_id": "Customer ID", "sku": "SKU", "when": "When"}
    assert (users.file, users.columns) == ("people.jsonl", {"customer_id": "id"})
    assert (items.file, items.columns, items.display) == (
        "goods.parquet",
        {"sku": "SKU", "item_category": "category"},
        ("url", "title"),
    )
    features = {feature.name: feature for feature in spec.features}
    assert set(features) == {"customer_id", "sku", "category", "newsletter", "item_category", "price"}
    assert features["price"].encoding.kind == "z_score"
    # Customers without a row have the defaults.
    assert config.ingest.missing_metadata == "default"
    assert features["category"].default == "unknown"
    assert set(config.ingest.positives.one_of) == {"view", "purchase"}
    # A fortieth of the rows has no customer: half as much again, in whole percent.
    assert config.ingest.maximum_rejected_fraction == 0.04
    for expected in (
        "country (people.jsonl): a constant: 'DE'",
        "orders (people.jsonl): it goes with the number of interactions",
        "url (goods.parquet): another value for each item",
        "channel (log.csv): known only with an interaction",
        "96.7% of the log's 60 users are in it",
        "Another one: --item-column NAME",
    ):
        assert expected in screen


def test_the_evidence_stands_beside_the_lines(shop, init, tmp_path):
    init(shop / "people.jsonl", shop / "goods.parquet", shop / "log.csv")
    schema = (tmp_path / "out" / "schema.yaml").read_text()
    assert "# numbers from 0 to 19.5, 39 distinct values, 2.5% missing, evenly spread" in schema
    # What was left out can be taken in by its line.
    for name in ("channel", "made"):
        assert f"# - {{name: {name}" in schema
        schema = schema.replace(f"# - {{name: {name}", f"- {{name: {name}")
    (tmp_path / "more.yaml").write_text(schema)
    features = {one.name: one for one in load_feature_spec(str(tmp_path / "more.yaml")).features}
    assert features["channel"].tower == "context"
    assert features["made"].time_part == "year"


def test_the_next_commands_can_be_typed_as_they_stand(shop, tmp_path):
    out = tmp_path / "my shop"
    result = CliRunner().invoke(main, ["init", str(shop / "log.csv"), "--output", str(out)])
    assert result.output.splitlines()[-2:] == [
        f"  dssm check --config '{out}/config.yaml'",
        f"  dssm run --config '{out}/config.yaml'",
    ]


def test_a_log_alone_says_what_is_known_of_users_and_items(init, tmp_path):
    rng = np.random.default_rng(1)
    user, item = rng.integers(0, USERS, ROWS), rng.integers(0, ITEMS, ROWS)
    log = {
        "visitor": user,
        "song": item,
        "played_at": np.sort(rng.integers(START, START + 40 * 86_400, ROWS)).astype("datetime64[s]"),
        "style": np.array(["rock", "folk", "jazz"])[item % 3],
        "age": 20 + user % 40,
        "volume": rng.random(ROWS),
    }
    pq.write_table(pa.table(log), tmp_path / "plays.parquet")
    screen = init(tmp_path / "plays.parquet")
    assert f"items: {len(set(item.tolist()))} rows made of" in screen
    config = load_config(str(tmp_path / "out" / "config.yaml"))
    towers = {feature.name: feature.tower for feature in config.load_features().features}
    assert towers == {"visitor": "user", "song": "item", "style": "item", "age": "user"}
    items = pq.read_table(tmp_path / "out" / "tables" / "items.parquet").to_pydict()
    assert dict(zip(items["song"], items["style"], strict=True)) == {
        str(i): ["rock", "folk", "jazz"][i % 3] for i in set(item.tolist())
    }


def test_no_table_is_made_of_ids_alone(init, tmp_path):
    rng = np.random.default_rng(2)
    user, item = rng.integers(0, USERS, ROWS), rng.integers(0, ITEMS, ROWS)
    log = {
        "visitor": user,
        "song": item,
        "played_at": np.sort(rng.integers(START, START + 40 * 86_400, ROWS)).astype("datetime64[s]"),
        "style": np.array(["rock", "folk", "jazz"])[item % 3],
        # The one thing known of a visitor is left out.
        "nickname": np.char.add("v", user.astype(str)),
    }
    pq.write_table(pa.table(log), tmp_path / "plays.parquet")
    document = json.loads(init(tmp_path / "plays.parquet", "--json"))
    assert "nickname" in [left["column"] for left in document["left_out"]]
    assert document["tables"]["users"]["path"] is None
    assert [document["tables"][name]["is_derived"] for name in ("users", "items")] == [False, True]
    spec = load_feature_spec(str(tmp_path / "out" / "schema.yaml"))
    assert spec.tables.users is None
    assert spec.tables.items.file.endswith("items.parquet")
    assert [path.name for path in (tmp_path / "out" / "tables").iterdir()] == ["items.parquet"]


def test_a_log_of_ids_alone_needs_no_tables(init, tmp_path):
    rng = np.random.default_rng(3)
    log = {
        "visitor": rng.integers(0, USERS, ROWS),
        "song": rng.integers(0, ITEMS, ROWS),
        "played_at": np.sort(rng.integers(START, START + 40 * 86_400, ROWS)).astype("datetime64[s]"),
    }
    pq.write_table(pa.table(log), tmp_path / "plays.parquet")
    screen = init(tmp_path / "plays.parquet")
    assert "users: those of the log; nothing else is known of them" in screen
    config = load_config(str(tmp_path / "out" / "config.yaml"))
    tables = config.load_features().tables
    assert (tables.users, tables.items) == (None, None)
    assert config.ingest.missing_metadata == "refuse"
    assert not (tmp_path / "out" / "tables").exists()


@pytest.mark.parametrize(("rows_of_user", "is_read"), [(39, False), (40, True)])
def test_the_id_of_users_with_few_rows_is_for_no_tower(init, tmp_path, rows_of_user, is_read):
    user = np.repeat(np.arange(100), rows_of_user)
    item = np.tile(np.arange(30), len(user) // 30)
    user, time = user[: len(item)], 1_700_000_000 + 3_600 * np.arange(len(item))
    pq.write_table(pa.table({"user": user, "item": item, "time": time}), tmp_path / "log.parquet")
    init(tmp_path / "log.parquet")
    spec = load_feature_spec(str(tmp_path / "out" / "schema.yaml"))
    assert (spec.user_id.encoding is not None) == is_read
    assert spec.item_id.encoding is not None
    said = "no tower reads it: half of the users have at most 39 rows"
    assert (said in (tmp_path / "out" / "schema.yaml").read_text()) == (not is_read)


def test_labels_of_users_that_few_rows_stand_with_are_for_no_tower(init, tmp_path):
    # 200 users of 15 rows: two share a postcode, which is 30 rows, and fifty a region.
    user = np.repeat(np.arange(200), 15)
    log = {"user": user, "item": np.tile(np.arange(60), 50), "time": 1_700_000_000 + 3_600 * np.arange(3_000)}
    pq.write_table(pa.table(log), tmp_path / "log.parquet")
    people = {
        "user": np.arange(200),
        "postcode": [f"P{100 + number // 2}" for number in range(200)],
        "region": [f"r{number % 4}" for number in range(200)],
    }
    pq.write_table(pa.table(people), tmp_path / "people.parquet")
    init(tmp_path / "log.parquet", tmp_path / "people.parquet")
    written = (tmp_path / "out" / "schema.yaml").read_text()
    spec = load_feature_spec(str(tmp_path / "out" / "schema.yaml"))
    assert [feature.name for feature in spec.tower_features("user")] == ["region"]
    assert "half of the users share their value with at most 30 rows of the log" in written
    assert "  # - {name: postcode, tower: user" in written


def test_nothing_is_overwritten(shop, init, tmp_path):
    files = (shop / "people.jsonl", shop / "goods.parquet", shop / "log.csv")
    init(*files)
    config = tmp_path / "out" / "config.yaml"
    config.write_text("mine")
    assert "config.yaml already, and nothing is overwritten" in init(*files, exit_code=1)
    assert config.read_text() == "mine"


def test_what_was_said_is_not_found_out(shop, init):
    files = (shop / "people.jsonl", shop / "goods.parquet", shop / "log.csv")
    document = json.loads(init(*files, "--item-column", "SKU", "--name", "mine", "--json"))
    assert (document["name"], document["tables"]["items"]["log_column"]) == ("mine", "SKU")
    assert document["tables"]["items"]["evidence"].startswith("as asked for")


def test_a_column_that_is_not_there_is_told(shop, init):
    files = (shop / "people.jsonl", shop / "goods.parquet", shop / "log.csv")
    screen = init(*files, "--user-column", "buyer", exit_code=1)
    assert "--user-column: expected a column of" in screen
    assert "Received: 'buyer'" in screen


def test_a_log_without_times_is_told(init, tmp_path):
    pq.write_table(pa.table({"user": [1, 1, 2], "item": [3, 4, 3]}), tmp_path / "log.parquet")
    assert "expected a column with the times" in init(tmp_path / "log.parquet", exit_code=1)


def write_rows(path, rows, separator, encoding="utf-8"):
    path.write_bytes("".join(separator.join(map(str, row)) + "\n" for row in rows).encode(encoding))
    return path


def test_files_as_movielens_ships_them_need_no_edit(init, tmp_path):
    rng = np.random.default_rng(4)
    user, item = rng.integers(1, USERS, ROWS), rng.integers(1, ITEMS, ROWS)
    seconds = np.sort(rng.integers(START, START + 40 * 86_400, ROWS))
    log = zip(user, item, rng.integers(1, 6, ROWS), seconds, strict=True)
    films = [(i, f"Amélie {i} (2001)", ["Comedy|Drama", "Crime", "Comedy"][i % 3]) for i in range(1, ITEMS)]
    paths = [
        write_rows(tmp_path / "ratings.dat", log, "::"),
        write_rows(tmp_path / "movies.dat", films, "::", "latin-1"),
    ]
    screen = init(*paths)
    assert "encoding: latin-1" in screen
    tables = load_feature_spec(str(tmp_path / "out" / "schema.yaml")).tables
    for table, encoding, fields in ((tables.interactions, "utf-8", 4), (tables.items, "latin-1", 3)):
        assert (table.format, table.delimiter, table.encoding) == ("csv", "::", encoding)
        assert table.header == tuple(f"column_{number}" for number in range(1, fields + 1))
    assert tables.interactions.columns == {
        "user_id": "column_1",
        "item_id": "column_2",
        "timestamp": "column_4",
    }
    assert tables.items.columns["item_id"] == "column_1"
    assert tables.users is None


@pytest.mark.parametrize(("unit", "per_second"), [("ms", 10**3), ("us", 10**6), ("ns", 10**9)])
def test_the_unit_of_the_times_is_written(init, tmp_path, unit, per_second):
    rng = np.random.default_rng(5)
    seconds = np.sort(rng.integers(START, START + 40 * 86_400, ROWS))
    log = {
        "user": rng.integers(0, USERS, ROWS),
        "item": rng.integers(0, ITEMS, ROWS),
        "at": seconds * per_second,
    }
    pq.write_table(pa.table(log), tmp_path / "log.parquet")
    document = json.loads(init(tmp_path / "log.parquet", "--json"))
    assert document["tables"]["log"]["read_by"]["unit"]["value"] == unit
    assert load_feature_spec(str(tmp_path / "out" / "schema.yaml")).tables.interactions.unit == unit


def test_the_format_of_the_times_is_written(init, tmp_path):
    rng = np.random.default_rng(8)
    seconds = np.sort(rng.integers(START, START + 40 * 86_400, ROWS)).astype("datetime64[s]").tolist()
    times = [time.strftime("%d.%m.%Y %H:%M") for time in seconds]
    log = [("Kunde", "Artikel", "Zeit"), *zip(*rng.integers(0, ITEMS, (2, ROWS)), times, strict=True)]
    screen = init(write_rows(tmp_path / "log.csv", log, ";"))
    assert 'time_format: "%d.%m.%Y %H:%M" (reads all of them)' in screen
    log = load_feature_spec(str(tmp_path / "out" / "schema.yaml")).tables.interactions
    assert (log.timestamp_source, log.time_format) == ("Zeit", "%d.%m.%Y %H:%M")


def test_a_decimal_comma_and_lists_in_brackets_are_written(init, tmp_path):
    rng = np.random.default_rng(6)
    user, item = rng.integers(0, USERS, ROWS), rng.integers(0, ITEMS, ROWS)
    seconds = np.sort(rng.integers(START, START + 40 * 86_400, ROWS))
    log = [("user", "item", "at"), *zip(user, item, seconds, strict=True)]
    items = [("item", "price", "tags"), *((i, f"{i / 4:.2f}".replace(".", ","), f"['a', 'b{i % 3}']")
             for i in range(ITEMS))]  # fmt: skip
    init(write_rows(tmp_path / "log.csv", log, ";"), write_rows(tmp_path / "items.csv", items, ";"))
    spec = load_feature_spec(str(tmp_path / "out" / "schema.yaml"))
    table = spec.tables.items
    assert (table.delimiter, table.decimal, table.list_format) == (";", ",", "python")
    features = {feature.name: feature for feature in spec.features}
    assert features["price"].dtype == "float"
    assert features["tags"].multi_valued


def test_ids_that_pandas_made_floats_are_ids(init, tmp_path):
    rng = np.random.default_rng(7)
    user = rng.integers(0, USERS, ROWS).astype(float)
    user[::50] = np.nan
    item = rng.integers(0, ITEMS, ROWS)
    log = {
        "user": user,
        "item": item,
        "at": np.sort(rng.integers(START, START + 40 * 86_400, ROWS)),
        "style": np.array(["rock", "folk", "jazz"])[item % 3],
        "age": 20 + np.nan_to_num(user) % 40,
    }
    pq.write_table(pa.table(log), tmp_path / "log.parquet")
    document = json.loads(init(tmp_path / "log.parquet", "--json"))
    assert document["tables"]["users"]["log_column"] == "user"
    users = pq.read_table(tmp_path / "out" / "tables" / "users.parquet")
    assert set(users["user"].to_pylist()) == {str(u) for u in range(USERS)}


def test_times_with_a_decimal_comma_are_times(init, tmp_path):
    # 2020-09-13T12:26:40.25Z and on, one a second, in milliseconds.
    times = [f"{(1_600_000_000 + n) * 1000 + 250},5" for n in range(50)]
    rows = [("user", "item", "at"), *((n % 7, n % 5, at) for n, at in enumerate(times))]
    init(write_rows(tmp_path / "log.csv", rows, ";"))
    log = load_feature_spec(str(tmp_path / "out" / "schema.yaml")).tables.interactions
    assert (log.timestamp_source, log.unit, log.delimiter, log.decimal) == ("at", "ms", ";", ",")


def test_a_file_that_is_not_there_is_told(init, tmp_path):
    assert "No file or folder" in init(tmp_path / "log.parquet", exit_code=1)
