"""Tables carried over by token, by hand; towers and optimisers are real ones."""

import dataclasses
import json
import logging

import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from schemas.features import FeatureSpec
from schemas.strict_config import parse
from trainer.config import ModelConfig, OptimizerConfig, TrainingConfig, TransformerConfig
from trainer.optimizers import build_optimizer
from trainer.state import SavedTable, TrainingState, read_state, write_state
from trainer.towers import build_towers
from trainer.user_tower import UserTowerInputs
from trainer.vocabularies import EncodedSize
from trainer.warm_start import (
    RowCounts,
    WarmStart,
    dense_by_path,
    list_tower_inputs,
    map_rows,
    take_state,
)

pytestmark = pytest.mark.unit

ITEM_ID = {
    "name": "item",
    "dtype": "string",
    "tower": "item",
    "role": "item_id",
    "encoding": {"kind": "vocabulary"},
}
USER_ID = ITEM_ID | {"name": "user", "tower": "user", "role": "user_id"}
AGE = {"name": "age", "dtype": "float", "tower": "user", "encoding": {"kind": "z_score"}}
PRICE = {"name": "price", "dtype": "float", "tower": "item", "encoding": {"kind": "bucketize", "buckets": 4}}
WEIGHT = {"name": "weight", "dtype": "float", "tower": "item", "encoding": {"kind": "z_score"}}
RATE = 0.01
MODEL = ModelConfig(dim=3, user_layers=(5,), item_layers=(), dropout=0.0)


def make_spec(*features: dict) -> FeatureSpec:
    data = {
        "name": "shop",
        "features": [USER_ID, ITEM_ID, *features],
        "history": {"name": "recent", "length": 2},
    }
    return parse(FeatureSpec, data, "test")


SPEC = make_spec(AGE, PRICE)


def tokens(*names: str, oov: int = 1) -> list[tuple[str, bytes]]:
    return [("token", name.encode()) for name in names] + [("oov", b"%d/%d" % (i, oov)) for i in range(oov)]


def buckets(count: int) -> list[tuple[str, bytes]]:
    return [("bucket", b"%d/%d" % (i, count)) for i in range(count)]


def make_rows(users: list, items: list, price_buckets: int = 4) -> dict[str, list]:
    return {"user": users, "item": items, "price": buckets(price_buckets)}


YESTERDAY = make_rows(tokens("ann", "bob"), tokens("tea", "rum", "ale"))


class Training:
    """Towers and optimiser as a training with these rows has them."""

    def __init__(self, rows, spec=SPEC, model=MODEL, tables="lazy_adam", seed=1):
        self.rows, self.spec, self.model = rows, spec, model
        sizes = {
            name: EncodedSize(
                sum(kind != "oov" for kind, _ in table), sum(kind == "oov" for kind, _ in table)
            )
            for name, table in rows.items()
        }
        self.towers = build_towers(spec, model, sizes, seed)
        self.optimizer = build_optimizer(
            TrainingConfig(learning_rate=RATE, optimizer=OptimizerConfig(tables=tables)),
            replicas=1,
            total_steps=10,
            tables=list(self.towers.tables.values()),
            dense=self.towers.dense_variables,
        )

    def fill(self, start: float) -> None:
        """Count upwards through all weights and slots."""
        for variable in [*self.towers.trainable_variables, *self.optimizer.variables]:
            if variable.dtype == tf.float32:
                size = int(np.prod(variable.shape))
                variable.assign(np.arange(start, start + size, dtype=np.float32).reshape(variable.shape))
                start += size

    def state(self, model_id: str = "m1") -> TrainingState:
        return take_state(
            self.towers,
            self.optimizer,
            model_id=model_id,
            spec=self.spec,
            config=self.model,
            rows=self.rows,
        )

    def start_from(self, state: TrainingState):
        base = WarmStart(7, 1, state, self.rows, list_tower_inputs(self.spec, self.model))
        return base.apply(self.towers, self.optimizer)

    def table(self, name: str) -> np.ndarray:
        return self.towers.tables[name].numpy()

    def slot(self, table: str, name: str) -> np.ndarray:
        return self.optimizer.slots(self.towers.tables[table])[name].numpy()


@pytest.fixture
def yesterday() -> Training:
    training = Training(YESTERDAY)
    training.fill(1000.0)
    training.optimizer.iterations.assign(40)
    return training


def test_rows_go_by_what_they_stand_for():
    new, old = map_rows(tokens("a", "b", "c"), tokens("c", "x", "a", "y"))
    assert list(zip(new.tolist(), old.tolist(), strict=True)) == [(0, 2), (2, 0), (4, 3)]


def test_a_token_that_reads_like_a_bucket_is_none():
    new, _ = map_rows([("token", b"0/1"), ("oov", b"0/1")], [("oov", b"0/1")])
    assert new.tolist() == [0]
    assert map_rows([("token", b"0/1")], [("oov", b"0/1")])[0].shape == (0,)


def test_reordered_added_and_removed_tokens(yesterday):
    # rum moved to the front, ale left, gin and sake came.
    today = Training(make_rows(tokens("bob", "ann", "eve"), tokens("rum", "gin", "tea", "sake")), seed=2)
    fresh, fresh_m = today.table("item").copy(), today.slot("item", "m").copy()
    before, before_m = yesterday.table("item"), yesterday.slot("item", "m")

    counts = today.start_from(yesterday.state())

    assert counts.tables == {
        "item": RowCounts(kept=3, new=2, dropped=1),
        "user": RowCounts(kept=3, new=1, dropped=0),
        "price": RowCounts(kept=4, new=0, dropped=0),
    }
    # Before: tea, rum, ale, outside. Now: rum, gin, tea, sake, outside.
    np.testing.assert_array_equal(today.table("item")[[0, 2, 4]], before[[1, 0, 3]])
    np.testing.assert_array_equal(today.table("item")[[1, 3]], fresh[[1, 3]])
    np.testing.assert_array_equal(today.slot("item", "m")[[0, 2, 4]], before_m[[1, 0, 3]])
    np.testing.assert_array_equal(today.slot("item", "m")[[1, 3]], fresh_m[[1, 3]])
    np.testing.assert_array_equal(today.slot("item", "v")[0], yesterday.slot("item", "v")[1])
    counts_before = yesterday.slot("item", "steps").ravel()
    assert len(set(counts_before)) == 4
    np.testing.assert_array_equal(
        today.slot("item", "steps").ravel(), [counts_before[1], 0, counts_before[0], 0, counts_before[3]]
    )
    np.testing.assert_array_equal(today.table("price"), yesterday.table("price"))
    assert np.abs(fresh).max() < 0.1 < 1000.0 <= before.min()


def test_dense_weights_and_their_slots_come_along(yesterday):
    today = Training(YESTERDAY, seed=2)
    counts = today.start_from(yesterday.state())
    theirs, ours = dense_by_path(yesterday.towers), dense_by_path(today.towers)
    assert counts.dense_new == ()
    assert set(counts.dense_kept) == set(ours) == set(theirs)
    for path, variable in ours.items():
        np.testing.assert_array_equal(variable.numpy(), theirs[path].numpy(), err_msg=path)
        for name, slot in today.optimizer.slots(variable).items():
            np.testing.assert_array_equal(
                slot.numpy(), yesterday.optimizer.slots(theirs[path])[name].numpy(), err_msg=path
            )
        assert today.optimizer.slots(variable)["steps"].numpy() >= 1000.0
    # The schedule of the rate begins anew.
    assert int(today.optimizer.iterations) == 0


def test_what_is_new_moves_by_the_rate(yesterday):
    model = ModelConfig(dim=3, user_layers=(6,), item_layers=(), dropout=0.0)
    today = Training(make_rows(tokens("ann", "eve"), tokens("rum", "gin")), model=model, seed=2)
    counts = today.start_from(yesterday.state())
    tables, dense = today.towers.tables, dense_by_path(today.towers)
    new_rows = {"user": 1, "item": 1}
    before = {name: tables[name].numpy()[row] for name, row in new_rows.items()}
    before |= {path: dense[path].numpy() for path in counts.dense_new}

    sparse = [
        tf.IndexedSlices(tf.ones(table.shape), tf.range(table.shape[0]), tf.constant(table.shape))
        for table in tables.values()
    ]
    today.optimizer.apply([*sparse, *(tf.ones(weight.shape) for weight in today.towers.dense_variables)])

    after = {name: tables[name].numpy()[row] for name, row in new_rows.items()}
    after |= {path: dense[path].numpy() for path in counts.dense_new}
    assert len(after) == 2 + 3
    for name, values in after.items():
        np.testing.assert_allclose(before[name] - values, RATE, rtol=1e-3, err_msg=name)


def test_paths_do_not_depend_on_what_the_process_made_before():
    first = dense_by_path(Training(YESTERDAY).towers)
    second = dense_by_path(Training(YESTERDAY).towers)
    assert list(first) == list(second)
    assert "user_tower/_mlps/0/_hidden/0/kernel" in first
    assert {variable.name for variable in first.values()} != set(first)
    assert sum(int(np.prod(v.shape)) for v in first.values()) == sum(
        int(np.prod(v.shape)) for v in Training(YESTERDAY).towers.dense_variables
    )


def test_a_layer_of_another_width_is_initialised(yesterday):
    model = ModelConfig(dim=3, user_layers=(6,), item_layers=(), dropout=0.0)
    today = Training(YESTERDAY, model=model)
    counts = today.start_from(yesterday.state())
    assert set(counts.dense_new) == {
        "user_tower/_mlps/0/_hidden/0/kernel",
        "user_tower/_mlps/0/_hidden/0/bias",
        "user_tower/_mlps/0/_last/kernel",
    }
    assert np.abs(dense_by_path(today.towers)["user_tower/_mlps/0/_last/kernel"].numpy()).max() < 10.0


def test_the_last_layer_of_a_deeper_mlp_is_initialised(yesterday):
    # Of the same shape, it read what the first hidden layer gives, and now reads the second one.
    today = Training(YESTERDAY, model=ModelConfig(dim=3, user_layers=(5, 5), item_layers=(), dropout=0.0))
    mlp = "user_tower/_mlps/0"
    new = {
        f"{mlp}/_hidden/1/kernel",
        f"{mlp}/_hidden/1/bias",
        f"{mlp}/_last/kernel",
        f"{mlp}/_last/bias",
    }
    assert set(today.start_from(yesterday.state()).dense_new) == new
    shallower = Training(YESTERDAY, seed=2)
    assert set(shallower.start_from(today.state()).dense_new) == {f"{mlp}/_last/kernel", f"{mlp}/_last/bias"}


def test_another_number_of_members_keeps_the_tables_alone(yesterday):
    model = ModelConfig(dim=3, members=3, user_layers=(4,), item_layers=(), dropout=0.0)
    today = Training(YESTERDAY, model=model)
    counts = today.start_from(yesterday.state())
    assert counts.dense_kept == ()
    assert counts.tables["item"] == RowCounts(kept=4, new=0, dropped=0)
    np.testing.assert_array_equal(today.table("item"), yesterday.table("item"))
    # As many members take everything along.
    again = Training(YESTERDAY, model=model, seed=2)
    assert again.start_from(today.state()).dense_new == ()


def test_a_tower_that_reads_other_features_keeps_its_tables_alone(yesterday):
    # One z-scored number in the place of another: every shape is as it was.
    spec = make_spec(AGE | {"name": "tenure"}, PRICE)
    today = Training(YESTERDAY, spec=spec)
    counts = today.start_from(yesterday.state())
    assert counts.dense_kept
    assert {path.split("/")[0] for path in counts.dense_kept} == {"item_tower"}
    assert {path.split("/")[0] for path in counts.dense_new} == {"user_tower"}
    assert counts.tables["user"].kept == 3


def test_features_come_and_go(yesterday):
    rows = {name: table for name, table in YESTERDAY.items() if name != "price"} | {"size": buckets(2)}
    spec = make_spec(AGE, PRICE | {"name": "size", "encoding": {"kind": "bucketize", "buckets": 2}})
    counts = Training(rows, spec=spec).start_from(yesterday.state())
    assert counts.tables["price"] == RowCounts(kept=0, new=0, dropped=4)
    assert counts.tables["size"] == RowCounts(kept=0, new=2, dropped=0)


def test_another_number_of_buckets_starts_anew(yesterday):
    rows = make_rows(tokens("ann", "bob", oov=2), tokens("tea", "rum", "ale"), price_buckets=5)
    spec = make_spec(AGE, PRICE | {"encoding": {"kind": "bucketize", "buckets": 5}})
    counts = Training(rows, spec=spec).start_from(yesterday.state())
    assert counts.tables["price"] == RowCounts(kept=0, new=5, dropped=4)
    assert counts.tables["user"] == RowCounts(kept=2, new=2, dropped=1)


def test_another_optimiser_starts_anew(yesterday, caplog):
    caplog.set_level(logging.INFO, logger="dssm.progress")
    today = Training(YESTERDAY, tables="adagrad")
    counts = today.start_from(yesterday.state())
    assert not counts.slots_kept
    np.testing.assert_array_equal(today.table("item"), yesterday.table("item"))
    np.testing.assert_allclose(today.slot("item", "accumulator"), 0.1)
    assert "the optimiser starts anew, since the release's kept other slots" in caplog.text


def test_a_count_for_each_row_is_not_one_for_the_table():
    yesterday = Training(YESTERDAY, tables="adam")
    yesterday.fill(1000.0)
    today = Training(YESTERDAY, tables="lazy_adam")
    counts = today.start_from(yesterday.state())
    assert not counts.slots_kept
    np.testing.assert_array_equal(today.table("item"), yesterday.table("item"))
    np.testing.assert_array_equal(today.slot("item", "steps"), np.zeros([4, 1]))
    np.testing.assert_array_equal(today.slot("item", "v"), np.zeros([4, 3]))


def test_one_count_for_the_table_goes_with_any_of_its_rows():
    yesterday = Training(YESTERDAY, tables="adam")
    for table in ("item", "price"):
        yesterday.optimizer.slots(yesterday.towers.tables[table])["steps"].assign(42.0)
    # Five buckets are other buckets than four.
    spec = make_spec(AGE, PRICE | {"encoding": {"kind": "bucketize", "buckets": 5}})
    rows = make_rows(tokens("ann"), tokens("gin", "tea"), price_buckets=5)
    today = Training(rows, spec=spec, tables="adam")
    assert today.start_from(yesterday.state()).slots_kept
    assert (today.slot("item", "steps"), today.slot("price", "steps")) == (42.0, 0.0)


def test_slots_of_a_version_without_counts_start_anew(tmp_path, yesterday, caplog):
    caplog.set_level(logging.INFO, logger="dssm.progress")
    state = yesterday.state()

    def without_counts(weight):
        slots = {name: values for name, values in weight.slots.items() if name != "steps"}
        return dataclasses.replace(weight, slots=slots)

    older = dataclasses.replace(
        state,
        tables={name: without_counts(table) for name, table in state.tables.items()},
        dense={path: without_counts(weight) for path, weight in state.dense.items()},
    )
    write_state(tmp_path, older)
    file = tmp_path / "training_state.json"
    description = json.loads(file.read_text()) | {"format": 1, "optimizer_steps": 42}
    for weight in [*description["tables"].values(), *description["dense"].values()]:
        weight["slots"] = list(weight["slots"])
    file.write_text(json.dumps(description))

    today = Training(YESTERDAY, seed=2)
    counts = today.start_from(read_state(tmp_path))
    assert not counts.slots_kept
    assert counts.dense_new == ()
    np.testing.assert_array_equal(today.table("item"), yesterday.table("item"))
    for slot in today.optimizer.variables:
        np.testing.assert_array_equal(slot.numpy(), np.zeros(slot.shape))
    assert "the optimiser starts anew, since the release's kept other slots" in caplog.text


def test_gru_of_a_version_with_a_layer_of_its_own_is_initialised(caplog):
    # Its update gate was what the layer's is from 1, and its weights lay two levels higher.
    caplog.set_level(logging.INFO, logger="dssm.progress")
    model = ModelConfig(dim=3, user_layers=(5,), item_layers=(), history_encoders=("gru",))
    state = Training(YESTERDAY, model=model).state()
    older = {path.replace("/_gru/cell/", "/"): weight for path, weight in state.dense.items()}
    assert len(older.keys() - state.dense.keys()) == 3
    today = Training(YESTERDAY, model=model, seed=2)
    counts = today.start_from(dataclasses.replace(state, dense=older))
    assert set(counts.dense_new) == state.dense.keys() - older.keys()
    assert "user_tower/_mlps/0/_hidden/0/kernel" in counts.dense_kept
    assert f"initialised: {', '.join(counts.dense_new)}" in caplog.text


def test_weights_of_the_transformer_go_by_path_and_shape():
    def build_model(depth):
        settings = TransformerConfig(depth=depth, heads=1, positions="learned")
        return ModelConfig(
            dim=3, user_layers=(), item_layers=(), history_encoders=("transformer",), transformer=settings
        )

    yesterday = Training(YESTERDAY, model=build_model(depth=1))
    today = Training(YESTERDAY, model=build_model(depth=2), seed=2)
    counts = today.start_from(yesterday.state())
    old, new = (
        {path: variable.numpy() for path, variable in dense_by_path(training.towers).items()}
        for training in (yesterday, today)
    )
    # Query, key, value, output, gate, up and down of a block, and the positions.
    assert len([path for path in old if "_transformer" in path]) == 8
    assert set(counts.dense_kept) == old.keys()
    for path, values in old.items():
        np.testing.assert_array_equal(new[path], values)
    assert len(counts.dense_new) == 7
    assert all("_transformer/_blocks/1/" in path for path in counts.dense_new)


def attention_with(heads: int) -> ModelConfig:
    return ModelConfig(
        dim=4, user_layers=(), item_layers=(), history_encoders=("attention", "gru"), attention_heads=heads
    )


@pytest.mark.parametrize(("heads_then", "heads_now"), [(2, 4), (4, 2), (1, 4)])
def test_attention_over_another_number_of_heads_is_initialised(caplog, heads_then, heads_now):
    caplog.set_level(logging.INFO, logger="dssm.progress")
    state = Training(YESTERDAY, model=attention_with(heads_then)).state()
    counts = Training(YESTERDAY, model=attention_with(heads_now), seed=2).start_from(state)
    encoder = "user_tower/_history/_encoders/0/0"
    # Every shape is as it was; what is beside the attention comes along.
    assert counts.dense_new == tuple(
        f"{encoder}/{name}" for name in ("key", "output_projection", "position_embeddings", "query", "value")
    )
    assert set(counts.dense_kept) == state.dense.keys() - set(counts.dense_new)
    assert {"user_tower/_mlps/0/_last/kernel", "item_tower/_mlps/0/_last/kernel"} < set(counts.dense_kept)
    assert f"initialised: {encoder}/key, " in caplog.text


@pytest.mark.parametrize("heads", [2, 4])
def test_attention_over_as_many_heads_comes_along(tmp_path, heads):
    write_state(tmp_path, Training(YESTERDAY, model=attention_with(heads)).state())
    counts = Training(YESTERDAY, model=attention_with(heads), seed=2).start_from(read_state(tmp_path))
    assert counts.dense_new == ()


@pytest.mark.parametrize(("heads", "initialised"), [(2, 0), (4, 5)])
def test_a_release_that_says_no_heads_had_two(tmp_path, heads, initialised):
    write_state(tmp_path, Training(YESTERDAY, model=attention_with(2)).state())
    file = tmp_path / "training_state.json"
    description = json.loads(file.read_text())
    del description["readings"]
    file.write_text(json.dumps(description))
    counts = Training(YESTERDAY, model=attention_with(heads), seed=2).start_from(read_state(tmp_path))
    assert len(counts.dense_new) == initialised


@pytest.mark.parametrize(
    "changed",
    [{"heads": 4}, {"positions": "learned"}, {"activation": "gelu"}, {"dropout": 0.0}, {"heads": 1}],
    ids=str,
)
def test_a_transformer_that_reads_its_weights_otherwise_is_initialised(changed):
    def build_model(**settings):
        # A width at which `gelu` and `swiglu` have matrices of one shape.
        transformer = TransformerConfig(depth=1, feed_forward_width=8, **settings)
        return ModelConfig(
            dim=8, user_layers=(), item_layers=(), history_encoders=("transformer",), transformer=transformer
        )

    state = Training(YESTERDAY, model=build_model()).state()
    today = Training(YESTERDAY, model=build_model(**changed), seed=2)
    counts = today.start_from(state)
    of_transformer = {path for path in dense_by_path(today.towers) if "/_transformer/" in path}
    # Query, key, value, output, up and down at least; what is dropped in training is in no weight.
    assert len(of_transformer) >= 6
    assert set(counts.dense_new) == (set() if "dropout" in changed else of_transformer)


def test_the_readings_of_a_tower_of_ones_own_are_told():
    model = dataclasses.replace(attention_with(4), user_tower=f"{__name__}.build_user_tower")
    readings = Training(YESTERDAY, model=model).state().readings
    assert len(readings) == 5
    assert set(readings.values()) == {"attention_heads 4"}


def build_user_tower(inputs: UserTowerInputs) -> tf_keras.layers.Layer:
    return HistoryAlone(inputs)


class HistoryAlone(tf_keras.layers.Layer):
    def __init__(self, inputs: UserTowerInputs):
        super().__init__()
        self._embedding, self._encoders = inputs.history_embedding, inputs.build_history_encoders()

    def call(self, features, training=False):
        embedded, mask = self._embedding(features)
        vectors = [encoder(embedded, mask) for encoder in self._encoders]
        return tf.math.l2_normalize(tf.add_n(vectors), axis=1, epsilon=1e-12)


def test_the_log_has_the_counts(yesterday, caplog):
    caplog.set_level(logging.INFO, logger="dssm.progress")
    Training(make_rows(tokens("ann"), tokens("gin"))).start_from(yesterday.state())
    assert "Warm start from release 7: item: 1 rows kept, 1 new, 3 dropped" in caplog.text
    assert "other weights kept" in caplog.text


def test_mixed_precision_changes_no_path():
    expected = list(dense_by_path(Training(YESTERDAY).towers))
    tf_keras.mixed_precision.set_global_policy("mixed_bfloat16")
    try:
        assert list(dense_by_path(Training(YESTERDAY).towers)) == expected
    finally:
        tf_keras.mixed_precision.set_global_policy("float32")


def test_rows_that_do_not_fit_the_table_are_refused(yesterday):
    yesterday.rows = make_rows(tokens("ann"), tokens("tea", "rum", "ale"))
    with pytest.raises(ValueError, match=r"Table user: expected 3 rows to be told\. Received: 2\."):
        yesterday.state()


def test_saved_tables_hold_copies(yesterday):
    state = yesterday.state()
    table = state.tables["item"]
    assert isinstance(table, SavedTable)
    before = table.values.copy()
    yesterday.towers.tables["item"].assign_add(tf.ones([4, 3]))
    np.testing.assert_array_equal(table.values, before)
