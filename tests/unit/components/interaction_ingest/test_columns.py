import pyarrow as pa
import pytest

from components.interaction_ingest.columns import cast_column, to_microseconds
from schemas.errors import DataError
from schemas.features import Feature

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("dtype", "column", "expected"),
    [
        ("string", pa.array([1, None], pa.int16()), ["1", None]),
        ("string", pa.array(["a b", "é"], pa.large_string()), ["a b", "é"]),
        ("string", pa.array(["x", "x"]).dictionary_encode(), ["x", "x"]),
        ("string", pa.array([3, 3], pa.int32()).dictionary_encode(), ["3", "3"]),
        ("int", pa.array([True, False]), [1, 0]),
        ("int", pa.array([1, 2], pa.int8()), [1, 2]),
        ("float", pa.array([2**60 + 1, 1], pa.int64()), [2.0**60, 1.0]),
        ("float", pa.array([None, 1], pa.float64()), [None, 1.0]),
        ("float", pa.nulls(1), [None]),
    ],
)
def test_cast_column_takes_every_type_that_fits(dtype, column, expected):
    feature = Feature(name="x", dtype=dtype, tower="user")
    values = cast_column(column, feature, "f")
    assert values.type == {"string": pa.string(), "int": pa.int64(), "float": pa.float32()}[dtype]
    assert values.to_pylist() == expected


@pytest.mark.parametrize(
    "column",
    [
        pa.array([["a"], None, []], pa.large_list(pa.large_string())),
        pa.ListArray.from_arrays(
            [0, 1, 1, 1], pa.array(["a"]).dictionary_encode(), mask=pa.array([False, True, False])
        ),
    ],
)
def test_cast_column_takes_every_list_type_that_fits(column):
    feature = Feature(name="x", dtype="string", tower="item", multi_valued=True)
    values = cast_column(column, feature, "f")
    assert values.type == pa.list_(pa.string())
    assert values.to_pylist() == [["a"], None, []]


def test_cast_column_refuses_what_does_not_fit():
    no_utf8 = pa.Array.from_buffers(pa.string(), 1, pa.array([b"\xff"]).buffers())
    with pytest.raises(DataError, match=r"log\.parquet: column 'x' holds a value that is no string"):
        cast_column(no_utf8, Feature(name="x", dtype="string", tower="user"), "log.parquet")
    with pytest.raises(DataError, match="'x' holds a value that is no int"):
        cast_column(pa.array([2**63], pa.uint64()), Feature(name="x", dtype="int", tower="user"), "f")


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        (pa.array([3, -1, None, 2**62]), [3_000_000, -1_000_000, None, (2**63 // 10**6 - 1) * 10**6]),
        (pa.array([10_900, -1], pa.timestamp("ms")), [10_900_000, -1_000]),
        (pa.array([1_999, -1], pa.timestamp("ns")), [1, -1]),
        (pa.array([7], pa.timestamp("us", "Asia/Tokyo")), [7]),
    ],
)
def test_timestamps_in_microseconds(column, expected):
    assert to_microseconds(column).to_pylist() == expected
