import numpy as np
import pyarrow as pa
import pytest

from pipeline.first_look.entities import EntityUse
from pipeline.first_look.exclusion import find_rare, find_reason, rank_correlation
from pipeline.first_look.profiles import profile_column

pytestmark = pytest.mark.unit

DAY = 86_400
START = 1_600_000_000
ROWS = 40
# Item i has i + 1 interactions, the newest of them i days after the start and with user i of as many.
USE = {
    side: EntityUse(
        side,
        np.arange(1, ROWS + 1),
        START + DAY * np.arange(ROWS, dtype=float),
        np.arange(ROWS),
    )
    for side in ("user", "item")
}
PARTNERS = [f"p{number}" for number in range(ROWS)]


def reason(values, name="column", side="item"):
    column = profile_column(name, pa.chunked_array([pa.array(values)]))
    return find_reason(column, USE[side], PARTNERS)


def test_rank_correlation_worked_by_hand():
    # Ranks 1 2 3 4 and 2 1 4 3: 1 - 6 * (1 + 1 + 1 + 1) / (4 * 15) = 0.6.
    assert rank_correlation(np.array([10.0, 20, 30, 40]), np.array([5.0, 1, 9, 7])) == pytest.approx(0.6)
    assert rank_correlation(np.array([1.0, 1, 1]), np.array([1.0, 2, 3])) == 0.0


def test_rank_correlation_gives_ties_their_mean_rank():
    # Ranks 1.5 1.5 3 4 and 1 2 3 4: covariance 1.5 + 0.5 + 0.25 + 2.25, variances 4.5 and 5.
    value = rank_correlation(np.array([1.0, 1, 2, 3]), np.array([1.0, 2, 3, 4]))
    assert value == pytest.approx(4.5 / np.sqrt(4.5 * 5))


def test_a_counter_is_told_whatever_its_name():
    assert "counter of popularity" in reason((np.arange(ROWS) ** 2).tolist())


def test_a_counter_by_name_needs_less():
    half = (np.arange(ROWS) + np.random.default_rng(0).permutation(ROWS)).tolist()
    assert 0.4 < rank_correlation(np.array(half, float), np.arange(ROWS, dtype=float)) < 0.8
    assert reason(half, "pages") is None
    assert "counter" in reason(half, "number_of_views")


def test_the_newest_time_is_told():
    late = (START + DAY * np.arange(ROWS)).tolist()
    assert "the newest interaction" in reason(late, "last_order", "user")
    # A time long before tells nothing; a number can be a feature as it is, a time only by a part of it.
    early = START - 500 * DAY + DAY * np.random.default_rng(0).permutation(ROWS)
    assert reason(early.tolist(), "joined", "user") is None
    assert "a part of it" in reason(early.astype("datetime64[s]"), "joined", "user")


def test_the_newest_item_of_a_user_is_told():
    assert "newest item of 100%" in reason(PARTNERS, "favourite", "user")
    assert reason(["a", "b"] * (ROWS // 2), "favourite", "user") is None


@pytest.mark.parametrize(
    ("values", "name", "expected"),
    [
        ([7] * ROWS, "kind", "a constant: 7"),
        ([None] * ROWS, "kind", "no value at all"),
        ([4.0, 3.5] * (ROWS // 2), "avg_rating", "mean of ratings"),
        ([f"A-{n}" for n in range(ROWS)], "article", "no more than the id"),
        (list(range(ROWS, 0, -1))[::-1], "row", "counter"),
    ],
)
def test_each_reason_is_given(values, name, expected):
    kind = pa.string() if values[0] is None else None
    column = profile_column(name, pa.chunked_array([pa.array(values, kind)]))
    assert expected in find_reason(column, USE["item"], PARTNERS)


def test_a_number_of_its_own_is_no_reason():
    numbers = np.random.default_rng(3).normal(size=ROWS)
    assert reason(numbers.tolist(), "price") is None


def test_use_counts_the_rows_of_each_id_and_finds_the_newest():
    # Rows: a with x at 1, b with y at 2, a with y at 3, an unknown id, and one without a time.
    use = EntityUse.measure(
        "user",
        pa.array(["a", "b", "c"]),
        pa.array(["b", "a", "d"]),
        np.array([1, 0, 1, 2, 1]),
        np.array([0, 1, 1, 0, 0]),
        np.array([1.0, 2, 3, 4, np.nan]),
    )
    assert use.interactions.tolist() == [2, 1, 0]
    assert use.newest_partner.tolist() == [1, 1, -1]
    np.testing.assert_array_equal(use.newest_seconds, [3, 2, np.nan])


def test_labels_that_few_rows_stand_with_are_rare():
    # In the sample a stands with 10 + 20 rows, b with 40 and c with 5; a user without rows does not count.
    # The four with rows and a label have 30, 30, 40 and 5: in the middle 30, and 60 of a log that was half
    # seen.
    column = profile_column("city", pa.chunked_array([pa.array(["a", "a", "b", "b", "c", None])]))
    use = EntityUse("user", np.array([10, 20, 40, 0, 5, 99]), np.full(6, np.nan), np.full(6, -1))
    assert find_rare(column, use, 0.5, 60) is None
    assert "at most 60 rows" in str(find_rare(column, use, 0.5, 61))
    unused = EntityUse("user", np.zeros(6, np.int64), np.full(6, np.nan), np.full(6, -1))
    assert find_rare(column, unused, 0.5, 61) is None
