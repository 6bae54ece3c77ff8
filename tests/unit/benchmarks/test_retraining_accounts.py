"""The accounts of a simulated month find what is wrong: that nothing was rests on them."""

import importlib.util
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.unit

# The benchmarks are no part of the installed package.
_FILE = Path(__file__).resolve().parents[3] / "benchmarks" / "retraining_accounts.py"
_spec = importlib.util.spec_from_file_location("benchmarks_retraining_accounts", _FILE)
accounts = importlib.util.module_from_spec(_spec)
sys.modules[_spec.name] = accounts
_spec.loader.exec_module(accounts)

THERE = [
    {"2026-11-01": 10, "2026-11-02": 20, "2026-11-03": 30},
    {"2026-11-01": 10, "2026-11-02": 20, "2026-11-03": 30, "2026-11-04": 40},
]


def read(*days: int, rows: int, fingerprint: str = "") -> dict:
    files = [f"log/2026-11-{day:02}.csv.gz" for day in days]
    return {"files": files, "rows_read": rows, "fingerprints": {"log": fingerprint or str(days)}}


def find(first: dict, second: dict) -> tuple[tuple[str, ...], tuple[str, ...]]:
    found = accounts.find_wrong_days([first, second], THERE, window_days=2)
    assert found.count == len(found.lost) + len(found.doubled)
    return found.lost, found.doubled


GOOD = read(2, 3, rows=50)


def test_nothing_is_wrong_where_each_run_read_its_days():
    assert find(GOOD, read(3, 4, rows=70)) == ((), ())


def test_a_day_that_was_not_read_is_lost():
    # In its own run, and in the whole month, for no run has read it.
    assert find(GOOD, read(3, rows=30)) == (("2026-11-04", "2026-11-04"), ())


def test_a_day_that_a_later_run_left_out_is_lost_there_alone():
    assert find(GOOD, read(4, rows=40)) == (("2026-11-03",), ())


def test_a_day_that_was_read_twice_is_doubled():
    assert find(GOOD, read(3, 4, 4, rows=70)) == ((), ("2026-11-04",))


def test_a_day_outside_the_window_is_doubled():
    assert find(GOOD, read(2, 3, 4, rows=90)) == ((), ("2026-11-02",))


def test_too_few_rows_are_lost_and_too_many_doubled():
    days = ("2026-11-03", "2026-11-04")
    assert find(GOOD, read(3, 4, rows=69)) == (days, ())
    assert find(GOOD, read(3, 4, rows=71)) == ((), days)


def test_a_run_on_nothing_new_doubles_its_days():
    there = [THERE[0], THERE[0]]
    found = accounts.find_wrong_days([GOOD, GOOD], there, window_days=2)
    assert (found.lost, found.doubled) == ((), ("2026-11-02", "2026-11-03"))


def test_a_file_without_a_date_is_refused():
    with pytest.raises(ValueError, match="expected a file with a date in its name"):
        find({**GOOD, "files": ["log/today.csv"]}, GOOD)
