import numpy as np
import pyarrow as pa
import pytest

from components.interaction_ingest.ordering import keep_rows, order_rows, owners, rows_after, stable_order

pytestmark = pytest.mark.unit


def test_owners_rows_after_and_what_is_left():
    offsets = np.array([0, 3, 4, 6])
    assert owners(offsets).tolist() == [0, 0, 0, 1, 2, 2]
    assert rows_after(offsets).tolist() == [2, 1, 0, 0, 1, 0]
    keep = np.array([False, True, True, True, False, True])
    assert keep_rows(offsets, keep).tolist() == [0, 2, 3, 4]
    assert (len(owners(np.array([0]))), len(rows_after(np.array([0])))) == (0, 0)


@pytest.mark.parametrize("numbers", [[2, 0, 2, 1, 0], [70_000, 0, 70_000, 65_536, 0], []])
def test_equal_numbers_stay_as_they_stand(numbers):
    expected = sorted(range(len(numbers)), key=lambda row: numbers[row])
    assert stable_order(np.array(numbers, np.int64)).tolist() == expected


def test_any_order_of_the_rows_gives_the_order_of_a_sort_in_python():
    random = np.random.default_rng(4)
    rows = 300
    columns = {
        "at": random.integers(-5, 5, rows),
        "#microsecond": random.integers(0, 3, rows).astype(np.int32),
        "#file": random.integers(0, 2, rows).astype(np.int32),
        "#row": random.permutation(rows),
    }
    users, keep = random.integers(0, 9, rows), random.random(rows) < 0.8
    keys = [tuple(int(column[row]) for column in columns.values()) for row in range(rows)]
    kept = [row for row in range(rows) if keep[row]]
    first = {user: min(keys[row] for row in kept if users[row] == user) for user in users[kept]}
    expected = sorted(kept, key=lambda row: (first[users[row]], keys[row]))
    order, offsets = order_rows(pa.table(columns), users, keep, "at")
    assert order.tolist() == expected
    assert offsets.tolist() == [
        0,
        *(place for place in range(1, len(kept)) if users[expected[place]] != users[expected[place - 1]]),
        len(kept),
    ]
    nothing, offsets = order_rows(pa.table(columns), users, np.zeros(rows, bool), "at")
    assert (len(nothing), offsets.tolist()) == (0, [0])
