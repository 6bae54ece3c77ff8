import pyarrow as pa
import pytest

from components.interaction_ingest.columns import cast_column
from components.interaction_ingest.missing import fill_missing
from schemas.features import Feature

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("feature", "values", "expected", "missing"),
    [
        (
            Feature("f", "float", "user", default=1),
            [None, float("nan"), float("-inf"), 2.5],
            [1.0, 1.0, 1.0, 2.5],
            3,
        ),
        (Feature("f", "int", "user", default=-1), [None, 4], [-1, 4], 1),
        (Feature("f", "string", "user", default="?"), [None, ""], ["?", ""], 1),
        (Feature("f", "string", "user"), [None, "a"], [None, "a"], 1),
        (
            Feature("f", "string", "item", multi_valued=True, default="?"),
            [["a", None], None, [], ["b"]],
            [["a", "?"], ["?"], [], ["b"]],
            2,
        ),
        (Feature("f", "string", "item", multi_valued=True), [["a", None], None], [["a", None], None], 2),
    ],
)
def test_fill_missing(feature, values, expected, missing):
    column = cast_column(pa.array(values), feature, "f")
    filled, count = fill_missing(column, feature)
    assert filled.to_pylist() == expected
    assert count == missing
