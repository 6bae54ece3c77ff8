import numpy as np
import pyarrow as pa
import pytest

from components.retrieval_evaluator.data import count_eval_users, draw_users, read_evaluation_data
from components.retrieval_evaluator.queries import raw_inputs
from schemas.errors import DataError, ReleaseError
from schemas.features import FeatureSpec
from schemas.sequences import FILE_NAME, sequences_schema, write_sequences
from schemas.strict_config import parse

pytestmark = pytest.mark.unit

IDS = pa.array(["a", "b", "c", "d"])
INPUTS = ("age", "tags", "shelf", "history", "history_price", "history_gap_seconds")


@pytest.fixture
def spec():
    encoding = {"encoding": {"kind": "vocabulary"}}
    return parse(
        FeatureSpec,
        {
            "name": "toy",
            "history": {"length": 2, "item_features": ["price"], "time_gap_buckets": 4},
            "features": [
                {"name": "user", "dtype": "string", "tower": "user", "role": "user_id"},
                {"name": "age", "dtype": "int", "tower": "user", "encoding": {"kind": "z_score"}},
                {"name": "tags", "dtype": "string", "tower": "user", "multi_valued": True, **encoding},
                {"name": "shelf", "dtype": "string", "tower": "context", **encoding},
                {"name": "item", "dtype": "string", "tower": "item", "role": "item_id", **encoding},
                {"name": "price", "dtype": "int", "tower": "item", "encoding": {"kind": "z_score"}},
            ],
        },
        source="test",
    )


@pytest.fixture
def catalogue():
    return pa.table({"item": IDS, "price": [1, 2, 3, 4]})


def make_row(user, items, ends, age=1, tags=()):
    return {
        "user": user,
        "age": age,
        "tags": list(tags),
        "item": list(items),
        "timestamp": [100 + 10 * position for position in range(len(items))],
        "shelf": [f"{user}{position}" for position in range(len(items))],
        **dict(zip(("train_end", "validation_end", "eval_end"), ends, strict=True)),
    }


@pytest.fixture
def write(spec, tmp_path):
    """Write one file for each list of rows."""

    def write_files(*files):
        folder = tmp_path / "sequences"
        folder.mkdir()
        for number, rows in enumerate(files):
            table = pa.Table.from_pylist(rows, sequences_schema(spec, has_weights=False))
            write_sequences(table, folder / FILE_NAME.format(number=number, files=len(files)))
        return folder

    return write_files


@pytest.fixture
def sequences(write):
    return write(
        [
            # Train a b, validation a, eval c a c, and d in no split.
            make_row("ü", "abacacd", (2, 3, 6), age=11, tags=["x", "y"]),
            make_row("only train", "bb", (2, 2, 2)),
        ],
        [make_row("new", "d", (0, 0, 1), age=12), make_row("one before", "cd", (1, 1, 2), age=13)],
    )


def rows_of(item_sets):
    return [
        item_sets.items[start:end].tolist()
        for start, end in zip(item_sets.offsets[:-1], item_sets.offsets[1:], strict=True)
    ]


def test_held_out_and_seen_items_and_counts(sequences, spec):
    data = read_evaluation_data(sequences, IDS, spec, INPUTS, "all")
    assert data.queries.users["user"].to_pylist() == ["ü", "new", "one before"]
    assert rows_of(data.targets) == [[0, 2], [3], [3]]
    assert rows_of(data.seen) == [[0, 1], [], [2]]
    # a twice and b once, and c once; what is held out is not counted.
    assert data.seen_counts.tolist() == [2, 1, 1]
    assert rows_of(data.masked) == [[], [], []]
    assert data.has_repeat.tolist() == [True, False, False]
    assert (data.held_out, data.repeated, data.users_without_target) == (4, 1, 0)
    # a twice and b once of ü, b twice of the user without held-out items, c once.
    assert data.popularity.tolist() == [2, 3, 1, 0]
    assert data.train_counts.tolist() == [1, 3, 1, 0]
    assert (data.item_users.tolist(), data.user_count) == ([1, 2, 1, 0], 3)
    assert (data.has_validation, data.sampled_of) == (True, None)


def test_repeats_are_no_targets_where_candidates_are_new(sequences, spec):
    data = read_evaluation_data(sequences, IDS, spec, INPUTS, "new")
    # Of ü's held-out a and c the a is known.
    assert rows_of(data.targets) == [[2], [3], [3]]
    assert rows_of(data.masked) == rows_of(data.seen) == [[0, 1], [], [2]]
    assert data.has_repeat.tolist() == [True, False, False]
    assert (data.held_out, data.repeated, data.users_without_target) == (4, 1, 0)


def test_a_user_who_has_all_held_out_items_is_no_query_where_candidates_are_new(write, spec):
    folder = write(
        [make_row("again", "aba", (2, 2, 3)), make_row("other", "bacd", (1, 2, 3), age=7)],
        [make_row("again too", "aa", (1, 1, 2)), make_row("fourth", "cad", (2, 2, 3), age=9)],
    )
    data = read_evaluation_data(folder, IDS, spec, INPUTS, "new")
    assert data.queries.users["user"].to_pylist() == ["other", "fourth"]
    assert data.queries.users["age"].to_pylist() == data.attributes["age"].to_pylist() == [7, 9]
    assert rows_of(data.targets) == [[2], [3]]
    assert (data.held_out, data.repeated, data.users_without_target) == (4, 2, 2)
    assert data.times.tolist() == [120, 120]
    assert data.popularity.tolist() == [4, 2, 1, 0]
    everything = read_evaluation_data(folder, IDS, spec, INPUTS, "all")
    assert everything.queries.users["user"].to_pylist() == ["again", "other", "again too", "fourth"]
    assert (everything.held_out, everything.repeated, everything.users_without_target) == (4, 2, 0)


def test_only_repeats_are_an_error_where_candidates_are_new(write, spec):
    folder = write([make_row("again", "aba", (2, 2, 3))])
    with pytest.raises(DataError, match=r"none among 1\. Set evaluation\.candidates: all"):
        read_evaluation_data(folder, IDS, spec, INPUTS, "new")


def test_what_is_known_at_the_first_held_out_position(write, spec):
    long = make_row("long", "abcdabcdabcda", (9, 12, 13), age=5, tags=["x"])
    data = read_evaluation_data(write([long, make_row("new", "d", (0, 0, 1))]), IDS, spec, [], "all")
    # The newest ten of the twelve before, oldest first.
    assert data.recent_items.tolist() == [[2, 3, 0, 1, 2, 3, 0, 1, 2, 3], [-1] * 10]
    assert data.times.tolist() == [100 + 12 * 10, 100]
    assert data.known_rows.tolist() == [12, 0]
    assert data.train_rows.tolist() == [9, 0]
    # Also what the tower does not read.
    assert data.queries.users.column_names == ["user"]
    assert data.attributes.to_pylist() == [
        {"user": "long", "age": 5, "tags": ["x"], "shelf": "long12"},
        {"user": "new", "age": 1, "tags": [], "shelf": "new0"},
    ]


def test_raw_inputs_are_those_before_the_first_held_out_position(sequences, spec, catalogue):
    data = read_evaluation_data(sequences, IDS, spec, INPUTS, "all")
    table = raw_inputs(data.queries, slice(0, 3), spec, catalogue)
    assert set(table.column_names) == {"user", *INPUTS}
    assert table["age"].to_pylist() == [11, 12, 13]
    assert table["tags"].to_pylist() == [["x", "y"], [], []]
    assert table["shelf"].to_pylist() == ["ü3", "new0", "one before1"]
    # ü's first held-out positive is its fourth, at 130; before it are b at 110 and a at 120.
    assert table["history"].to_pylist() == [["b", "a"], ["", ""], ["", "c"]]
    assert table["history_price"].to_pylist() == [[2, 1], [0, 0], [0, 3]]
    assert table["history_gap_seconds"].to_pylist() == [[20, 10], [-1, -1], [-1, 10]]
    assert raw_inputs(data.queries, slice(2, 3), spec, catalogue).to_pylist() == table.slice(2).to_pylist()


def test_only_what_the_tower_reads_is_kept(sequences, spec, catalogue):
    data = read_evaluation_data(sequences, IDS, spec, ["age"], "all")
    assert (data.queries.history, data.queries.seconds, data.queries.now) == (None, None, None)
    assert raw_inputs(data.queries, slice(0, 1), spec, catalogue).to_pylist() == [{"user": "ü", "age": 11}]
    assert read_evaluation_data(sequences, IDS, spec, ["history"], "all").queries.seconds is None


def test_a_tower_that_reads_something_else_is_refused(sequences, spec):
    with pytest.raises(ReleaseError, match=r"reads \['colour'\], which the schema file does not have\."):
        read_evaluation_data(sequences, IDS, spec, ["age", "colour"], "all")


def test_nothing_held_out_is_an_error(write, spec):
    with pytest.raises(DataError, match="at least one held-out interaction"):
        read_evaluation_data(write([make_row("u", "ab", (2, 2, 2))]), IDS, spec, ["age"], "all")


@pytest.mark.parametrize("files", [1, 3])
def test_a_sample_holds_the_drawn_users_and_all_users_popularity(write, spec, files):
    rows = [make_row(f"u{number}", "ab", (1, 1, 1 + number % 2), age=number) for number in range(60)]
    sequences = write(*(rows[part::files] for part in range(files)))
    assert count_eval_users(sequences) == 30
    everyone = read_evaluation_data(sequences, IDS, spec, ["age"], "all")
    data = read_evaluation_data(sequences, IDS, spec, ["age"], "all", users=7, seed=3)
    assert data.sampled_of == 30
    drawn = np.array(everyone.queries.users["user"].to_pylist())[draw_users(30, 7, seed=3)]
    assert data.queries.users["user"].to_pylist() == drawn.tolist()
    assert data.targets.sizes.tolist() == [1] * 7
    assert data.popularity.tolist() == everyone.popularity.tolist() == [60, 0, 0, 0]
    assert not data.has_validation


def test_drawing():
    assert draw_users(100, 10, seed=0).sum() == 10
    np.testing.assert_array_equal(draw_users(100, 10, seed=0), draw_users(100, 10, seed=0))
    assert (draw_users(100, 10, seed=0) != draw_users(100, 10, seed=1)).any()
    assert draw_users(3, 10, seed=0).all()


def test_a_sample_as_large_as_the_users_is_none(sequences, spec):
    data = read_evaluation_data(sequences, IDS, spec, ["age"], "all", users=3)
    assert (len(data.queries), data.sampled_of) == (3, None)


@pytest.mark.parametrize("inputs", [INPUTS, ("age",)])
def test_some_queries_are_those_of_these_users(spec, catalogue, sequences, inputs):
    queries = read_evaluation_data(sequences, IDS, spec, inputs, "all").queries
    every = raw_inputs(queries, slice(None), spec, catalogue)
    assert len(every) == 3
    taken = raw_inputs(queries.take(np.array([2, 0])), slice(None), spec, catalogue)
    assert taken.to_pylist() == every.take([2, 0]).to_pylist()
