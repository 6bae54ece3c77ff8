import dataclasses

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from components.interaction_ingest.config import IngestConfig, WindowConfig
from components.interaction_ingest.reading.inputs import open_interactions
from schemas.errors import DataError

pytestmark = pytest.mark.unit

# 2020-09-13T12:26:40Z, by `date -ud @1600000000`.
SECOND = 1_600_000_000


@pytest.fixture
def find_unit(spec, tmp_path):
    """Write logs with given times, and find their unit and the window of their last day."""

    def find(*logs, unit="auto", decimal="."):
        (tmp_path / "logs").mkdir()
        for number, times in enumerate(logs):
            rows = len(times)
            table = pa.table({"uid": ["a"] * rows, "iid": ["b"] * rows, "at": times, "device": ["tv"] * rows})
            pq.write_table(table, tmp_path / "logs" / f"{number}.parquet")
        log = dataclasses.replace(spec.tables.interactions, file="logs", unit=unit, decimal=decimal)
        changed = dataclasses.replace(spec, tables=dataclasses.replace(spec.tables, interactions=log))
        opened = open_interactions(changed, IngestConfig(), str(tmp_path), WindowConfig(last_days=1))
        [unit] = {piece.time_unit for piece in opened.looked.pieces}
        return unit, opened.window.last_text

    return find


@pytest.mark.parametrize(
    ("times", "unit"),
    [
        ([SECOND], "s"),
        ([SECOND * 1000], "ms"),
        ([SECOND * 10**6], "us"),
        ([SECOND * 10**9], "ns"),
        ([20200913], "yyyymmdd"),
        (["2020-09-13T00:00:00Z"], "s"),
        ([str(SECOND * 1000), "2020-09-13"], "ms"),
        ([SECOND * 1e3, float("nan")], "ms"),
    ],
)
def test_the_unit_is_the_one_that_makes_times_of_usual_years(find_unit, times, unit):
    assert find_unit(pa.array(times)) == (unit, "2020-09-13")


def test_the_unit_of_times_with_a_decimal_comma_is_found(find_unit):
    assert find_unit(pa.array([f"{SECOND}250,5"]), decimal=",") == ("ms", "2020-09-13")


def test_a_few_times_of_another_unit_are_left_to_be_malformed(find_unit):
    assert find_unit(pa.array([SECOND * 1000] * 99 + [SECOND]))[0] == "ms"


@pytest.mark.parametrize("times", [[10, 20], [SECOND] * 9 + [SECOND * 1000], [SECOND // 100]])
def test_a_unit_that_cannot_be_told_is_refused(find_unit, times):
    with pytest.raises(DataError, match=r"the unit of the times in 'at' cannot be told.* Set tables\.inter"):
        find_unit(pa.array(times, pa.int64()))


def test_logs_of_several_units_are_refused(find_unit):
    with pytest.raises(DataError, match=r"have several units: s in .*0\.parquet, ms in .*2\.parquet"):
        find_unit(pa.array([SECOND]), pa.array([SECOND]), pa.array([SECOND * 1000]))


def test_a_unit_that_is_set_is_not_looked_for(find_unit):
    assert find_unit(pa.array([20200913]), unit="s") == ("s", "1970-08-22")
