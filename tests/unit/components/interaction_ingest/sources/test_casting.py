import numpy as np
import pyarrow as pa
import pytest

from components.interaction_ingest.sources.casting import cast_leniently, to_text
from components.interaction_ingest.sources.numbers import PLAUSIBLE_NUMBER, to_numbers

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    "kind", [pa.list_(pa.string()), pa.large_list(pa.string()), pa.list_(pa.string(), 1)]
)
def test_a_bad_element_does_not_spoil_the_lists_beside_it(kind):
    values = pa.array([[str(n) if n != 5 else "x"] for n in range(9)], kind)
    numbers = pa.list_(pa.float64())

    def cast(part):
        # What stands alone and does not fit is asked for again as a null text.
        return pa.nulls(len(part), numbers) if pa.types.is_string(part.type) else part.cast(numbers)

    typed, bad = cast_leniently(values, cast)
    assert typed.to_pylist() == [[float(n)] if n != 5 else None for n in range(9)]
    assert np.flatnonzero(bad).tolist() == [5]


def test_texts_that_look_like_no_number_are_not_tried_one_by_one():
    tried = []

    def cast(values):
        tried.append(len(values))
        return to_numbers(values)

    texts = ["never", " 1.5", "", "-2e3", None, "nan", ".5", "1x"] * 100
    typed, bad = cast_leniently(pa.array(texts[:-1]), cast, PLAUSIBLE_NUMBER)
    assert typed.to_pylist()[:4] == [None, 1.5, None, -2000.0]
    assert bad[:8].tolist() == [True, False, True, False, False, False, False, True]
    texts = ["never"] * 1000 + ["7"]
    tried.clear()
    typed, bad = cast_leniently(pa.array(texts), cast, PLAUSIBLE_NUMBER)
    assert (typed[-1].as_py(), bad.sum(), tried) == (7.0, 1000, [1001, 1001])


def test_lists_with_text_that_is_not_utf8():
    child = pa.Array.from_buffers(pa.string(), 4, pa.array([b"a", b"b", b"\xff", b"d"]).buffers())
    lists = pa.ListArray.from_arrays(pa.array([0, 2, 2, 3, 4], pa.int32()), child)
    values, bad = to_text(lists)
    assert bad.tolist() == [False, False, True, False]
    assert values.to_pylist() == [["a", "b"], [], None, ["d"]]
    values, bad = to_text(lists.slice(2))
    assert (bad.tolist(), values.to_pylist()) == ([True, False], [None, ["d"]])
