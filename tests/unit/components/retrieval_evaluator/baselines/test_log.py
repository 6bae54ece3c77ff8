import numpy as np
import pyarrow as pa
import pytest

from components.retrieval_evaluator.baselines.log import draw_users_up_to, read_baseline_log
from schemas.features import FeatureSpec
from schemas.sequences import FILE_NAME, sequences_schema, write_sequences
from schemas.strict_config import parse

pytestmark = pytest.mark.unit

IDS = pa.array(["a", "b", "c", "d"])


@pytest.fixture
def spec():
    encoding = {"encoding": {"kind": "vocabulary"}}
    return parse(
        FeatureSpec,
        {
            "name": "toy",
            "features": [
                {"name": "user", "dtype": "string", "tower": "user", "role": "user_id", **encoding},
                {"name": "item", "dtype": "string", "tower": "item", "role": "item_id", **encoding},
            ],
        },
        source="test",
    )


@pytest.fixture
def write(spec, tmp_path):
    """Write one file for each list of (items, ends)."""

    def write_files(*files):
        for number, users in enumerate(files):
            rows = [
                {
                    "user": f"{number}-{user}",
                    "item": list(items),
                    "timestamp": [100 * user + position for position in range(len(items))],
                    **dict(zip(("train_end", "validation_end", "eval_end"), ends, strict=True)),
                }
                for user, (items, ends) in enumerate(users)
            ]
            table = pa.Table.from_pylist(rows, sequences_schema(spec, has_weights=False))
            write_sequences(table, tmp_path / FILE_NAME.format(number=number, files=len(files)))
        return tmp_path

    return write_files


def test_holds_train_and_validation_of_all_users_and_nothing_after(write, spec):
    folder = write([("abcdd", (2, 3, 4)), ("d", (0, 0, 1))], [("bb", (2, 2, 2))])
    log = read_baseline_log(folder, spec, IDS)
    assert log.offsets.tolist() == [0, 3, 3, 5]
    assert log.train_ends.tolist() == [2, 3, 5]
    assert log.items.tolist() == [0, 1, 2, 1, 1]
    assert log.times.tolist() == [0, 1, 2, 0, 1]
    assert log.owners.tolist() == [0, 0, 0, 2, 2]
    assert (log.sampled_of, log.sample_note) == (None, None)


def test_a_matrix_has_each_item_once_and_leaves_the_log_as_it_is(write, spec):
    log = read_baseline_log(write([("abad", (4, 4, 4)), ("cc", (2, 2, 2))]), spec, IDS)
    assert log.as_matrix(4).toarray().tolist() == [[1, 1, 0, 1], [0, 0, 1, 0]]
    assert log.offsets.tolist() == [0, 4, 6]
    assert log.items.tolist() == [0, 1, 0, 3, 2, 2]


def test_more_interactions_than_may_be_are_a_sample_of_whole_users(write, spec):
    users = [("abcd"[: 1 + number % 4], (1 + number % 4,) * 3) for number in range(40)]
    folder = write(users[:25], users[25:])
    log = read_baseline_log(folder, spec, IDS, most_interactions=50, seed=1)
    assert 46 < len(log.items) <= 50
    assert log.sampled_of == 100
    assert log.sample_note == (
        f"from {len(log.items)} of 100 known interactions ({len(log.items)}.0%): "
        "all those of randomly drawn users"
    )
    # A user's items begin with a and go on in the order of the alphabet: nobody's sequence was cut.
    drawn = draw_users_up_to(np.array([len(items) for items, _ in users]), 50, seed=1)
    expected = [items for (items, _), is_drawn in zip(users, drawn, strict=True) if is_drawn]
    assert ["".join("abcd"[i] for i in part) for part in np.split(log.items, log.offsets[1:-1])] == expected
    np.testing.assert_array_equal(read_baseline_log(folder, spec, IDS, 50, seed=1).items, log.items)
    assert read_baseline_log(folder, spec, IDS, 50, seed=2).times.tolist() != log.times.tolist()


def test_drawing_users():
    sizes = np.array([3, 3, 3, 3])
    assert draw_users_up_to(sizes, 12, seed=0).all()
    for most, users in ((11, 3), (6, 2), (5, 1), (2, 0)):
        assert draw_users_up_to(sizes, most, seed=0).sum() == users
    # The user with more than there may be alone takes nobody's place.
    assert draw_users_up_to(np.array([100, 1, 1]), 2, seed=0).tolist() == [False, True, True]
    assert len({tuple(draw_users_up_to(sizes, 6, seed)) for seed in range(20)}) > 1
