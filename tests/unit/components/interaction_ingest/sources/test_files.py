import datetime
import re

import pytest

from components.interaction_ingest.config import WindowConfig
from components.interaction_ingest.sources.files import choose_days, find_files
from schemas.errors import ConfigError, DataError
from schemas.features import InteractionTable

pytestmark = pytest.mark.unit

DAYS = ["2026-11-18", "2026-11-19", "2026-11-21", "2026-11-22"]


@pytest.fixture
def make(tmp_path):
    def run(*names):
        for name in names:
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(name)

    return run


def find(tmp_path, file, **options):
    files = find_files(InteractionTable(file=file, **options), str(tmp_path))
    assert all(file.path == str(tmp_path / file.name) for file in files)
    return [(file.name, file.format) for file in files]


def test_a_file_a_folder_and_patterns(make, tmp_path):
    make(
        "a.csv.gz",
        "logs/b.jsonl",
        "logs/c.ndjson.zst",
        "logs/deep/d.JSON",
        "logs/_SUCCESS",
        "logs/.part.jsonl",
    )
    make("logs/_temporary/x.jsonl", "logs/notes.txt", "more/e1.tfrecord", "more/e22.tfrecords.gz")
    assert find(tmp_path, "a.csv.gz") == [("a.csv.gz", "csv")]
    in_folder = [("logs/b.jsonl", "jsonl"), ("logs/c.ndjson.zst", "jsonl"), ("logs/deep/d.JSON", "jsonl")]
    assert find(tmp_path, "logs") == find(tmp_path, "logs/") == in_folder
    assert find(tmp_path, "logs/*.jsonl") == [("logs/b.jsonl", "jsonl")]
    assert find(tmp_path, "**/*.JSON") == [("logs/deep/d.JSON", "jsonl")]
    assert find(tmp_path, "m?re/e?.tfrecord") == [("more/e1.tfrecord", "tfrecord")]
    assert find(tmp_path, "more/*") == [
        ("more/e1.tfrecord", "tfrecord"),
        ("more/e22.tfrecords.gz", "tfrecord"),
    ]
    assert find(tmp_path, "logs/notes.txt", format="csv") == [("logs/notes.txt", "csv")]
    [outside] = find_files(InteractionTable(file=str(tmp_path / "a.csv.gz")), "/nowhere")
    assert outside.path == outside.name == str(tmp_path / "a.csv.gz")


def test_files_that_cannot_be_told_or_found(make, tmp_path):
    make("mixed/a.csv", "mixed/b.parquet", "odd/a.log")
    with pytest.raises(
        ConfigError, match=r"mixed: expected files of one format.*mixed/a\.csv|Received: a\.csv, b\.parq"
    ):
        find(tmp_path, "mixed")
    with pytest.raises(ConfigError, match=r"odd/\*: expected files of one format.* set the table's 'format'"):
        find(tmp_path, "odd/*")
    with pytest.raises(DataError, match=r"No file .*b\.csv\. CSV files in the folder: a\.csv"):
        find(tmp_path, "mixed/b.csv")
    with pytest.raises(
        DataError, match=r"No file fits .*mixed/x\*\. Files below .*mixed: a\.csv, b\.parquet"
    ):
        find(tmp_path, "mixed/x*")


def test_daily_logs_by_date_and_by_span(make, tmp_path):
    # 2026-11-22 is day 20,779: 1,795,305,600 seconds of 86,400.
    make(
        *(f"day={day}/log-{day}.csv" for day in DAYS),
        "day=2026-11-20/log-2026-11-19.csv",
        "day=2026-13-01/log-2026-13-01.csv",
    )
    make("span/20778.csv", "span/20779.csv", "span/99999999999.csv")
    files = find_files(InteractionTable(file="day={date}/log-{date}.csv"), str(tmp_path))
    assert [str(file.day) for file in files] == DAYS
    spans = find_files(InteractionTable(file="span/{SPAN}.csv"), str(tmp_path))
    assert [str(file.day) for file in spans] == ["2026-11-21", "2026-11-22"]


@pytest.mark.parametrize(
    ("window", "chosen", "missing"),
    [
        ({"maximum_missing_days": 1}, DAYS, ["2026-11-20"]),
        # Unless the configuration says otherwise, one of each seven days that have begun.
        ({}, DAYS, ["2026-11-20"]),
        ({"last_days": 2}, DAYS[2:], []),
        ({"last_days": 4, "maximum_missing_days": 1}, DAYS[1:], ["2026-11-20"]),
        ({"last_days": 6, "maximum_missing_days": 2}, DAYS, ["2026-11-17", "2026-11-20"]),
        ({"first": datetime.date(2026, 11, 21)}, DAYS[2:], []),
        (
            {
                "first": datetime.date(2026, 11, 19),
                "last": datetime.date(2026, 11, 20),
                "maximum_missing_days": 1,
            },
            DAYS[1:2],
            ["2026-11-20"],
        ),
    ],
)
def test_a_window_chooses_days_and_lists_the_missing_ones(make, tmp_path, window, chosen, missing):
    make(*(f"{day}.csv" for day in DAYS))
    files = find_files(InteractionTable(file="{date}.csv"), str(tmp_path))
    found, daily = choose_days(files, WindowConfig(**window), "{date}.csv")
    assert [str(file.day) for file in found] == chosen
    assert [str(day) for day in daily.missing] == missing


@pytest.mark.parametrize(
    ("window", "message"),
    [
        (
            {"maximum_missing_days": 0},
            "1 days of 2026-11-18 to 2026-11-22 have no file: 2026-11-20. Expected at most 0; there are",
        ),
        (
            {"last_days": 6},
            "2 days of 2026-11-17 to 2026-11-22 have no file: 2026-11-17, 2026-11-20. Expected at most 1;",
        ),
        # The eighth day begins another seven.
        ({"last_days": 8}, "4 days of 2026-11-15 to 2026-11-22 have no file: 2026-11-15, 2026-11-16, "),
        (
            {"last_days": 10, "maximum_missing_days": 5},
            "6 days of 2026-11-13 to 2026-11-22 have no file: 2026-11-13, 2026-11-14, 2026-11-15, "
            "2026-11-16, 2026-11-17 and 1 more. Expected at most 5",
        ),
        (
            {
                "first": datetime.date(2027, 1, 1),
                "last": datetime.date(2027, 1, 2),
                "maximum_missing_days": 9,
            },
            "2 days of 2027-01-01 to 2027-01-02 have no file: 2027-01-01, 2027-01-02. ",
        ),
        ({"last_days": 10**9}, "days of 0001-01-01 to 2026-11-22 have no file: 0001-01-01, "),
    ],
)
def test_too_many_missing_days_stop_the_run(make, tmp_path, window, message):
    make(*(f"{day}.csv" for day in DAYS))
    files = find_files(InteractionTable(file="{date}.csv"), str(tmp_path))
    with pytest.raises(DataError, match=re.escape(message)):
        choose_days(files, WindowConfig(**window), "{date}.csv")


def test_a_day_with_an_empty_file_is_missing_and_one_to_come_is_not_the_newest(make, tmp_path):
    make(*(f"{day}.csv" for day in DAYS), "2062-11-22.csv")
    (tmp_path / "2026-11-22.csv").write_bytes(b"")
    files = find_files(InteractionTable(file="{date}.csv"), str(tmp_path))
    window = WindowConfig(last_days=2, maximum_missing_days=1)
    found, daily = choose_days(files, window, "{date}.csv", today=datetime.date(2026, 11, 21))
    assert [str(file.day) for file in found] == ["2026-11-21", "2026-11-22"]
    assert daily.missing == (datetime.date(2026, 11, 22),)


def test_a_name_with_an_impossible_day_is_left_out_with_a_warning(make, tmp_path, caplog):
    make("2026-11-20.csv", "2026-11-31.csv")
    [file] = find_files(InteractionTable(file="{date}.csv"), str(tmp_path))
    assert file.name == "2026-11-20.csv"
    assert "2026-11-31.csv is not read" in caplog.text
