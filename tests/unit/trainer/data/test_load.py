"""From the ingest's files and three transform graphs, here made by hand, to the arrays of a training."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tensorflow as tf

from schemas.errors import DataError
from schemas.features import FeatureSpec
from schemas.sequences import sequences_schema, write_sequences
from schemas.strict_config import parse
from trainer.data.load import InputFolders, load_training_data
from trainer.data.transform_graphs import TransformGraphs

pytestmark = pytest.mark.unit

VOCABULARY = {"kind": "vocabulary"}
GAPS = {"length": 2, "time_gap_buckets": 2}


def make_spec(history=GAPS):
    features = [
        {"name": "user", "dtype": "string", "tower": "user", "role": "user_id"},
        {"name": "age", "dtype": "int", "tower": "user", "encoding": {"kind": "z_score"}},
        {"name": "hour", "dtype": "int", "tower": "context", "encoding": VOCABULARY},
        {"name": "item", "dtype": "string", "tower": "item", "role": "item_id", "encoding": VOCABULARY},
    ]
    return parse(FeatureSpec, {"name": "shop", "features": features, "history": history}, "test")


def make_row(user, age, items, seconds, weights, hours, ends):
    ends = dict(zip(("train_end", "validation_end", "eval_end"), ends, strict=True))
    lists = {"item": items, "timestamp": seconds, "weight": weights, "hour": hours}
    return {"user": user, "age": age, **lists, **ends}


ROWS = [
    make_row("u", 1, ["i30", "i10", "i20", "i10"], [0, 10, 40, 70], [1, 2, 3, 4], [9, 8, 7, 6], (2, 3, 4)),
    make_row("v", 2, [], [], [], [], (0, 0, 0)),
    make_row("w", 3, ["i20", "i20", "i30"], [100, 105, 125], [5, 6, 7], [5, 4, 3], (3, 3, 3)),
]


def write(folder, rows, number=0, files=1, has_weights=True, **options):
    table = pa.Table.from_pylist(rows, sequences_schema(make_spec(), has_weights))
    path = folder / f"sequences-{number:05d}-of-{files:05d}.parquet"
    write_sequences(table, path)
    if options:
        pq.write_table(table, path, **options)


def save_graph(folder, name, dtype, encode):
    module = tf.Module()
    module.resources = []
    function = tf.function(lambda inputs: {name: encode(inputs[name])})
    module.transform_fn = function.get_concrete_function({name: tf.TensorSpec([None], dtype)})
    tf.saved_model.save(module, str(folder / "transform_fn"))


@pytest.fixture(scope="module")
def graphs(tmp_path_factory):
    """An age is halved, an hour gets 100 more, and an item its number."""
    folder = tmp_path_factory.mktemp("graphs")
    save_graph(folder / "user", "age", tf.int64, lambda age: tf.cast(age, tf.float32) / 2)
    save_graph(folder / "context", "hour", tf.int64, lambda hour: hour + 100)
    save_graph(
        folder / "item",
        "item",
        tf.string,
        lambda item: tf.strings.to_number(tf.strings.substr(item, 1, 2), tf.int64),
    )
    return TransformGraphs(*(str(folder / name) for name in ("user", "item", "context")))


@pytest.fixture
def folders(tmp_path, graphs):
    """The sequences in two files, the first one of two row groups, and a catalogue of three items."""
    for name in ("sequences", "catalogue"):
        (tmp_path / name).mkdir()
    write(tmp_path / "sequences", ROWS[:2], files=2, row_group_size=1)
    write(tmp_path / "sequences", ROWS[2:], number=1, files=2)
    pq.write_table(pa.table({"item": ["i30", "i10", "i20"]}), tmp_path / "catalogue" / "catalogue.parquet")
    return InputFolders(str(tmp_path / "sequences"), str(tmp_path / "catalogue"), graphs)


def load(folders, *, read_validation=False, fits_validation=False, history=GAPS):
    return load_training_data(
        folders, make_spec(history), read_validation=read_validation, fits_validation=fits_validation
    )


def test_the_users_of_all_files_and_row_groups_come_one_after_the_other(folders):
    data = load(folders, read_validation=True)
    sequences = data.sequences
    np.testing.assert_array_equal(sequences.offsets, [0, 3, 3, 6])
    np.testing.assert_array_equal(sequences.items, [0, 1, 2, 2, 2, 0])
    np.testing.assert_array_equal(sequences.seconds, [0, 10, 40, 100, 105, 125])
    np.testing.assert_array_equal(sequences.weights, [1, 2, 3, 5, 6, 7])
    np.testing.assert_array_equal(sequences.contexts["hour"], [109, 108, 107, 105, 104, 103])
    assert sequences.items.dtype == np.int32
    assert sequences.weights.dtype == np.float32
    np.testing.assert_array_equal(data.users["age"], [0.5, 1.0, 1.5])
    np.testing.assert_array_equal(data.items["item"], [30, 10, 20])
    np.testing.assert_array_equal(data.history_items["history"], [30, 10, 20])
    assert data.item_count == 3
    np.testing.assert_array_equal(data.train.positions(), [0, 1, 3, 4, 5])
    np.testing.assert_array_equal(data.validation.positions(), [2])
    np.testing.assert_array_equal(data.validation.offsets, [0, 1, 1, 1])


def test_without_the_validation_split_only_train_is_in_memory(folders):
    data = load(folders)
    sequences = data.sequences
    assert data.validation is None
    np.testing.assert_array_equal(sequences.offsets, [0, 2, 2, 5])
    np.testing.assert_array_equal(sequences.items, [0, 1, 2, 2, 0])
    np.testing.assert_array_equal(sequences.seconds, [0, 10, 100, 105, 125])
    np.testing.assert_array_equal(sequences.weights, [1, 2, 5, 6, 7])
    np.testing.assert_array_equal(sequences.contexts["hour"], [109, 108, 105, 104, 103])
    np.testing.assert_array_equal(data.train.positions(), [0, 1, 2, 3, 4])
    # Nothing behind it is held either.
    assert all(values.base is None for values in (sequences.items, sequences.seconds, sequences.weights))


def test_times_and_weights_are_read_where_something_reads_them(folders):
    write(Path(folders.sequences), ROWS[:2], files=2, has_weights=False)
    write(Path(folders.sequences), ROWS[2:], number=1, files=2, has_weights=False)
    sequences = load(folders, history={"length": 2}).sequences
    assert (sequences.seconds, sequences.weights) == (None, None)


@pytest.mark.parametrize(
    ("fits_validation", "boundary"),
    [
        # Train has the gaps 5, 10, 20, 25; of the upper half the least is 20.
        (False, 20),
        # Validation adds 30 and 40.
        (True, 25),
    ],
)
def test_gap_quantiles_are_those_of_the_rows_that_are_fitted(fits_validation, boundary, folders):
    data = load(folders, read_validation=True, fits_validation=fits_validation)
    np.testing.assert_array_equal(data.gap_boundaries, [boundary])


def test_a_split_without_rows_names_itself_and_its_own_remedy(folders):
    for number, rows in enumerate((ROWS[:2], ROWS[2:])):
        without = [row | {"train_end": 0, "validation_end": min(2, row["validation_end"])} for row in rows]
        write(Path(folders.sequences), without, number=number, files=2)
    with pytest.raises(DataError, match=r"rows of the split train in .*sequences\. .*ingest\.split") as error:
        load(folders, read_validation=True)
    assert "early_stopping" not in str(error.value)
    for number, rows in enumerate((ROWS[:2], ROWS[2:])):
        without = [row | {"validation_end": row["train_end"]} for row in rows]
        write(Path(folders.sequences), without, number=number, files=2)
    with pytest.raises(DataError, match=r"split validation in .*ingest\.validation: true.*early_stopping"):
        load(folders, read_validation=True)
    assert len(load(folders).train) == 5


def test_a_file_that_is_missing_is_named_with_what_to_do(folders, tmp_path):
    elsewhere = str(tmp_path / "elsewhere")
    given = folders.graphs
    for broken, message in (
        (
            InputFolders(folders.sequences, elsewhere, given),
            r"elsewhere/catalogue\.parquet\. .*artifact catalogue",
        ),
        (
            InputFolders(elsewhere, folders.catalogue, given),
            r"in .*elsewhere\. Received: none\. Run the ingest",
        ),
        (
            InputFolders(
                folders.sequences, folders.catalogue, TransformGraphs(given.user, elsewhere, given.context)
            ),
            r"transform graph in .*elsewhere\. .*run that step again",
        ),
        (
            InputFolders(folders.sequences, folders.catalogue, TransformGraphs(given.user, given.item)),
            r"context features .*Received: none\. .*--context-transform",
        ),
    ):
        with pytest.raises(DataError, match=message):
            load(broken)


def test_sequences_without_the_item_id_are_those_of_another_schema(folders):
    path = Path(folders.sequences) / "sequences-00001-of-00002.parquet"
    pq.write_table(pq.read_table(path).drop_columns(["item"]), path)
    with pytest.raises(DataError, match=r"00001-of-00002\.parquet: expected the columns .*no item\."):
        load(folders)
