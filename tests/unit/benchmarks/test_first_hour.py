import importlib
from pathlib import Path

import pytest

pytestmark = pytest.mark.unit

# The benchmarks are no part of the installed package.
BENCHMARKS = Path(__file__).resolve().parents[3] / "benchmarks"


@pytest.fixture
def first_hour(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("first_hour")


def ended(first_hour, value, baselines, is_released=True, problem=""):
    return first_hour.FirstHour(1.0, 2.0, "recall_at_10", value, baselines, is_released, problem)


@pytest.fixture
def found(first_hour):
    return {
        "good": ended(first_hour, 0.3, {"chance": 0.1, "ALS": 0.2}),
        "below one": ended(first_hour, 0.3, {"chance": 0.1, "ALS": 0.4}),
        "not released": ended(first_hour, 0.3, {"chance": 0.1}, is_released=False),
        "not run": first_hour.not_run("no network"),
    }


def test_a_run_counts_where_the_release_is_above_every_baseline(first_hour, found):
    [(name, figure)] = first_hour.count_runs(found, quick=False).items()
    assert (name, figure.value, figure.bar) == ("runs_without_an_edit", 1, 5)


def test_of_tiny_tables_another_figure_counts_the_runs_that_ended(first_hour, found):
    [(name, figure)] = first_hour.count_runs(found, quick=True).items()
    assert (name, figure.value, figure.bar) == ("runs_that_ended", 3, 1)
    assert "with a release or without" in figure.unit


def test_a_data_set_that_was_not_run_says_why(first_hour):
    assert "grocery was not run: no network" in first_hour.show({"grocery": first_hour.not_run("no network")})
