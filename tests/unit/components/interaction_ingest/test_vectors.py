import math

import pyarrow as pa
import pytest

from components.interaction_ingest.columns import cast_column
from components.interaction_ingest.missing import fill_missing
from schemas.errors import DataError
from schemas.features import Feature, VectorEncoding

pytestmark = pytest.mark.unit

VECTOR = VectorEncoding(kind="vector")
LOOK = Feature(name="look", dtype="float", length=2, tower="item", encoding=VECTOR)
FILLED = Feature(name="look", dtype="float", length=2, tower="item", encoding=VECTOR, default=0.5)


@pytest.mark.parametrize(
    "kind", [pa.list_(pa.float64()), pa.list_(pa.float32(), 2), pa.large_list(pa.int64())]
)
def test_lists_of_numbers_become_lists_of_float32(kind: pa.DataType) -> None:
    cast = cast_column(
        pa.chunked_array([pa.array([[1, 2], None], kind), pa.array([[3, 4]], kind)]), LOOK, "t"
    )
    assert cast.type == pa.list_(pa.float32())
    assert cast.to_pylist() == [[1, 2], None, [3, 4]]


def test_an_empty_list_is_no_vector() -> None:
    cast = cast_column(pa.array([[1.0, 2.0], [], None]), LOOK, "items")
    assert cast.to_pylist() == [[1, 2], None, None]
    assert fill_missing(cast, FILLED)[0].to_pylist() == [[1, 2], [0.5, 0.5], [0.5, 0.5]]


def test_a_list_of_another_length_is_refused() -> None:
    column = pa.array([[1.0, 2.0], [1.0], None, [1.0, 2.0, 3.0]])
    with pytest.raises(DataError, match=r"items: column 'look': expected 2 numbers.*Received: 1.*in 2 rows"):
        cast_column(column, LOOK, "items")


def test_a_list_is_missing_where_it_or_a_number_in_it_is() -> None:
    column = pa.array([[1.0, 2.0], None, [math.nan, 2.0], [1.0, None], [math.inf, 0.0], [3.0, 4.0]])
    values = cast_column(column, LOOK, "items")
    assert fill_missing(values, LOOK)[1] == 4
    filled, count = fill_missing(values.slice(1), FILLED)
    assert count == 4
    assert filled.to_pylist() == [[0.5, 0.5]] * 4 + [[3.0, 4.0]]
    assert filled.type == pa.list_(pa.float32())
