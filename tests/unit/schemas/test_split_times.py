import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from schemas.features import FeatureSpec
from schemas.sequences import FILE_NAME
from schemas.split_times import SplitTimes, read_split_times
from schemas.strict_config import parse

pytestmark = pytest.mark.unit


@pytest.fixture
def spec():
    return parse(
        FeatureSpec,
        {
            "name": "toy",
            "history": {"length": 2},
            "features": [
                {"name": "user", "dtype": "string", "tower": "user", "role": "user_id"},
                {
                    "name": "item",
                    "dtype": "string",
                    "tower": "item",
                    "role": "item_id",
                    "encoding": {"kind": "vocabulary"},
                },
            ],
        },
        source="test",
    )


def write(folder, number, rows):
    columns = {
        "timestamp": [times for times, *_ in rows],
        "train_end": [ends[0] for _, *ends in rows],
        "validation_end": [ends[1] for _, *ends in rows],
        "eval_end": [ends[2] for _, *ends in rows],
    }
    pq.write_table(pa.table(columns), folder / FILE_NAME.format(number=number, files=2), row_group_size=1)


def test_the_ends_are_those_of_all_users_over_files_and_row_groups(tmp_path, spec):
    # The last row of the first user and the whole second user of the first file are in no split.
    write(tmp_path, 0, [([10, 20, 30, 99], 1, 2, 3), ([1000], 0, 0, 0)])
    write(tmp_path, 1, [([15, 18], 2, 2, 2), ([5, 7, 25, 28], 1, 2, 4)])
    assert read_split_times(tmp_path, spec) == SplitTimes(
        train_until=18, validation_from=7, validation_until=20, held_out_from=25, held_out_until=30
    )


def test_a_split_without_rows_has_no_time(tmp_path, spec):
    write(tmp_path, 0, [([10, 20], 2, 2, 2)])
    assert read_split_times(tmp_path, spec) == SplitTimes(20, None, None, None, None)
