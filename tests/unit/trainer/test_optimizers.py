import typing

import numpy as np
import pytest
import tensorflow as tf

from schemas.errors import ConfigError, TrainingError
from schemas.features import FeatureSpec
from schemas.strict_config import parse
from trainer.config import HistoryEncoderName, ModelConfig, OptimizerConfig, TrainingConfig
from trainer.optimizers import RateSchedule, build_optimizer, scale_learning_rate
from trainer.strategy import create_strategy
from trainer.towers import build_towers
from trainer.vocabularies import EncodedSize

pytestmark = pytest.mark.unit

ROWS, DIM, RATE = 5, 2, 0.1
# Rows 1 and 3 twice in a step; row 4 never.
LOOKUPS = ([1, 3, 1], [3, 3, 0], [0, 1, 2])
GENERATOR = np.random.default_rng(7)
START = GENERATOR.normal(size=(ROWS, DIM))
VALUES = [GENERATOR.normal(size=(3, DIM)) for _ in LOOKUPS]
DENSE_START = GENERATOR.normal(size=3)
DENSE = [GENERATOR.normal(size=3) for _ in LOOKUPS]


def dense_gradient(rows, values):
    gradient = np.zeros((ROWS, DIM))
    np.add.at(gradient, rows, values)
    return gradient


def sgd(weights, gradients, touched):
    for gradient in gradients:
        weights = weights - RATE * gradient
    return weights, {}


def adagrad(weights, gradients, touched):
    accumulator = np.full_like(weights, 0.1)
    for gradient in gradients:
        accumulator += gradient**2
        weights = weights - RATE * gradient / np.sqrt(accumulator)
    return weights, {"accumulator": accumulator}


def lazy_adam(weights, gradients, touched):
    weights, m, v = weights.copy(), np.zeros_like(weights), np.zeros_like(weights)
    steps = np.zeros((len(weights), *(1 for _ in weights.shape[1:])))
    for gradient, rows in zip(gradients, touched, strict=True):
        steps[rows] += 1
        m[rows] = 0.9 * m[rows] + 0.1 * gradient[rows]
        v[rows] = 0.999 * v[rows] + 0.001 * gradient[rows] ** 2
        m_hat, v_hat = m[rows] / (1 - 0.9 ** steps[rows]), v[rows] / (1 - 0.999 ** steps[rows])
        weights[rows] -= RATE * m_hat / (np.sqrt(v_hat) + 1e-8)
    return weights, {"m": m, "v": v, "steps": steps}


def adam(weights, gradients, touched):
    weights, slots = lazy_adam(weights, gradients, [list(range(len(weights)))] * len(gradients))
    return weights, slots | {"steps": len(gradients)}


EXPECTED = {"sgd": sgd, "adagrad": adagrad, "adam": adam, "lazy_adam": lazy_adam}


def build(tables, dense="sgd", **settings):
    config = TrainingConfig(
        learning_rate=RATE, optimizer=OptimizerConfig(tables=tables, dense=dense, **settings)
    )
    strategy = create_strategy(1)
    with strategy.scope():
        table, weights = tf.Variable(START, dtype=tf.float32), tf.Variable(DENSE_START, dtype=tf.float32)
        optimizer = build_optimizer(config, replicas=1, total_steps=100, tables=[table], dense=[weights])
    return strategy, table, weights, optimizer


def slices(rows, values):
    values, rows = tf.constant(values, tf.float32), tf.constant(rows, tf.int64)
    return tf.IndexedSlices(values, rows, tf.constant([ROWS, DIM]))


def take_steps(strategy, optimizer):
    @tf.function
    def step(gradients):
        strategy.run(lambda: optimizer.apply(gradients))

    for rows, values, dense in zip(LOOKUPS, VALUES, DENSE, strict=True):
        step([slices(rows, values), tf.constant(dense, tf.float32)])


@pytest.mark.parametrize("name", ["sgd", "adagrad", "adam", "lazy_adam"])
def test_tables_follow_the_formula_with_repeated_rows_summed(name):
    strategy, table, _, optimizer = build(name)
    take_steps(strategy, optimizer)
    gradients = [dense_gradient(*lookup) for lookup in zip(LOOKUPS, VALUES, strict=True)]
    weights, slots = EXPECTED[name](START, gradients, [sorted(set(rows)) for rows in LOOKUPS])
    np.testing.assert_allclose(table.numpy(), weights, rtol=1e-4)
    assert optimizer.slots(table).keys() == slots.keys()
    for slot, values in slots.items():
        np.testing.assert_allclose(optimizer.slots(table)[slot].numpy(), values, rtol=1e-4)
    # The row that no step held.
    np.testing.assert_array_equal(table.numpy()[4], START[4].astype(np.float32))


@pytest.mark.parametrize("name", ["sgd", "adagrad", "adam", "lazy_adam"])
def test_dense_weights_follow_the_formula(name):
    strategy, _, weights, optimizer = build("sgd", dense=name)
    take_steps(strategy, optimizer)
    expected, slots = EXPECTED[name](DENSE_START, DENSE, [[0, 1, 2]] * 3)
    np.testing.assert_allclose(weights.numpy(), expected, rtol=1e-4)
    assert optimizer.slots(weights).keys() == slots.keys()
    for slot, values in slots.items():
        np.testing.assert_allclose(optimizer.slots(weights)[slot].numpy(), values, rtol=1e-4)
    assert optimizer.iterations.numpy() == 3


def test_a_row_first_seen_late_moves_by_the_rate():
    strategy, table, _, optimizer = build("lazy_adam")
    gradient = np.array([[0.5, -2.0]])

    @tf.function
    def step(row):
        change = tf.IndexedSlices(tf.constant(gradient, tf.float32), row[None], tf.constant([ROWS, DIM]))
        strategy.run(lambda: optimizer.apply([change, None]))

    for _ in range(99):
        step(tf.constant(1))
    # As long as all gradients of a row are the same g, m / (1 - b1^t) = g and v / (1 - b2^t) = g^2.
    for late in range(1, 21):
        step(tf.constant(3))
        moved = table.numpy()[3] - START[3]
        np.testing.assert_allclose(moved, [-late * RATE, late * RATE], rtol=1e-4)
    np.testing.assert_array_equal(optimizer.slots(table)["steps"].numpy(), [[0], [99], [0], [20], [0]])


def test_weights_first_reached_late_move_by_the_rate():
    strategy, table, weights, optimizer = build("adam", dense="adam")
    for _ in range(9):
        strategy.run(lambda: optimizer.apply([tf.ones([ROWS, DIM]), None]))
    strategy.run(lambda: optimizer.apply([None, tf.constant([0.5, -2.0, 3.0])]))
    np.testing.assert_allclose(weights.numpy() - DENSE_START, [-RATE, RATE, -RATE], rtol=1e-4)
    assert optimizer.slots(table)["steps"].numpy() == 9
    assert optimizer.slots(weights)["steps"].numpy() == 1


def test_gradients_of_zeros_are_not_counted():
    strategy, table, _, optimizer = build("lazy_adam")
    # Row 2 has a gradient of zeros, those of row 1 cancel out, row 3 comes twice.
    gradient = slices([2, 1, 3, 1, 3], [[0, 0], [1, 2], [1, 1], [-1, -2], [1, 1]])
    strategy.run(lambda: optimizer.apply([gradient, None]))
    np.testing.assert_array_equal(optimizer.slots(table)["steps"].numpy(), [[0], [0], [0], [1], [0]])


def test_a_whole_gradient_moves_each_row_by_its_own_count():
    strategy, table, _, optimizer = build("lazy_adam")
    whole = GENERATOR.normal(size=(ROWS, DIM))
    strategy.run(lambda: optimizer.apply([slices(LOOKUPS[0], VALUES[0]), None]))
    strategy.run(lambda: optimizer.apply([tf.constant(whole, tf.float32), None]))
    gradients = [dense_gradient(LOOKUPS[0], VALUES[0]), whole]
    weights, slots = lazy_adam(START, gradients, [[1, 3], list(range(ROWS))])
    np.testing.assert_allclose(table.numpy(), weights, rtol=1e-4)
    np.testing.assert_array_equal(optimizer.slots(table)["steps"].numpy(), [[1], [2], [1], [2], [1]])
    np.testing.assert_array_equal(slots["steps"], [[1], [2], [1], [2], [1]])


def test_updates_touch_no_whole_table():
    strategy, _, _, optimizer = build("lazy_adam")
    sparse, dense = slices(LOOKUPS[0], VALUES[0]), tf.constant(DENSE[0], tf.float32)

    @tf.function
    def step():
        strategy.run(lambda: optimizer.apply([sparse, dense]))

    shapes = [
        tuple(output.shape)
        for operation in step.get_concrete_function().graph.get_operations()
        for output in operation.outputs
        if output.shape.rank is not None
    ]
    assert (ROWS, DIM) not in shapes
    assert (ROWS, 1) not in shapes


def test_weights_without_a_gradient_stay(caplog):
    strategy, table, weights, optimizer = build("adagrad", dense="adam")
    strategy.run(lambda: optimizer.apply([None, tf.ones([3])]))
    np.testing.assert_array_equal(table.numpy(), START.astype(np.float32))
    assert (weights.numpy() < DENSE_START).all()
    assert table.name in caplog.text


def test_gradients_that_are_too_few():
    strategy, _, _, optimizer = build("adagrad")
    with pytest.raises(TrainingError, match=r"each of 2 variables\. Received: 1"):
        strategy.run(lambda: optimizer.apply([tf.ones([3])]))


def test_slots_of_a_stranger():
    *_, optimizer = build("adagrad")
    with pytest.raises(TrainingError, match=r"Received: stranger"):
        optimizer.slots(tf.Variable(0.0, name="stranger"))


def test_a_checkpoint_holds_slots_and_steps(tmp_path):
    strategy, table, weights, optimizer = build("lazy_adam", dense="adagrad")
    take_steps(strategy, optimizer)
    path = tf.train.Checkpoint(optimizer=optimizer).save(str(tmp_path / "state"))
    _, other_table, other_weights, other = build("lazy_adam", dense="adagrad")
    tf.train.Checkpoint(optimizer=other).restore(path).assert_consumed()
    assert other.iterations.numpy() == 3
    for variable, restored in ((table, other_table), (weights, other_weights)):
        for name, slot in optimizer.slots(variable).items():
            np.testing.assert_array_equal(slot.numpy(), other.slots(restored)[name].numpy())
    # By `LOOKUPS`.
    np.testing.assert_array_equal(other.slots(other_table)["steps"].numpy(), [[2], [2], [1], [2], [0]])
    # The iterations, three slots of lazy Adam, one of Adagrad.
    assert len(optimizer.variables) == 1 + 3 + 1


@pytest.mark.parametrize(
    ("decay", "final_share", "expected"),
    [
        # Peak 0.1, warm-up of 4 steps, 12 in all: steps 1, 4, 8, 12 and one too many.
        ("constant", 0.0, [0.025, 0.1, 0.1, 0.1, 0.1]),
        ("linear", 0.0, [0.025, 0.1, 0.05, 0.0, 0.0]),
        ("linear", 0.2, [0.025, 0.1, 0.06, 0.02, 0.02]),
        ("cosine", 0.0, [0.025, 0.1, 0.05, 0.0, 0.0]),
        ("cosine", 0.2, [0.025, 0.1, 0.06, 0.02, 0.02]),
    ],
)
def test_learning_rate_rises_and_falls(decay, final_share, expected):
    config = OptimizerConfig(warmup_steps=4, decay=decay, final_share=final_share)
    schedule = RateSchedule(RATE, config, total_steps=12)
    rates = [float(schedule.rate(tf.constant(step, tf.float32))) for step in (1, 4, 8, 12, 13)]
    np.testing.assert_allclose(rates, expected, atol=1e-8)


def test_cosine_differs_from_linear_between_its_ends():
    schedule = RateSchedule(1.0, OptimizerConfig(decay="cosine"), total_steps=12)
    # cos(pi / 3) = 1 / 2.
    assert float(schedule.rate(tf.constant(4.0))) == pytest.approx(0.75)


def test_warmup_as_long_as_the_training():
    with pytest.raises(ConfigError, match=r"warmup_steps: expected fewer than .*, 12\. Received: 12"):
        RateSchedule(RATE, OptimizerConfig(warmup_steps=12), total_steps=12)


def test_tables_have_a_rate_of_their_own():
    config = TrainingConfig(
        learning_rate=0.1,
        scale_learning_rate="linear",
        optimizer=OptimizerConfig(tables="sgd", dense="sgd", tables_learning_rate=1.0),
    )
    strategy = create_strategy(1)
    with strategy.scope():
        table, weights = tf.Variable(tf.zeros([2, 1])), tf.Variable(tf.zeros([1]))
        optimizer = build_optimizer(config, replicas=3, total_steps=9, tables=[table], dense=[weights])
    gradient = tf.IndexedSlices(tf.ones([1, 1]), tf.constant([0]), tf.constant([2, 1]))
    strategy.run(lambda: optimizer.apply([gradient, tf.ones([1])]))
    np.testing.assert_allclose(table.numpy(), [[-3.0], [0.0]])
    np.testing.assert_allclose(weights.numpy(), [-0.3], rtol=1e-6)
    assert optimizer.learning_rate(1) == pytest.approx(0.3)


@pytest.mark.parametrize(
    ("rule", "replicas", "expected"),
    [("none", 4, 0.01), ("linear", 4, 0.04), ("sqrt", 4, 0.02), ("linear", 1, 0.01), ("sqrt", 1, 0.01)],
)
def test_learning_rate_follows_the_global_batch(rule, replicas, expected):
    settings = TrainingConfig(learning_rate=0.01, scale_learning_rate=rule)
    assert scale_learning_rate(settings, replicas) == pytest.approx(expected)


@pytest.mark.parametrize("encoder", typing.get_args(HistoryEncoderName))
def test_padding_of_a_history_touches_no_row(encoder):
    """The most frequent value is row 0: with lazy Adam it must not move in a batch that does not hold it."""
    vocabulary = {"encoding": {"kind": "vocabulary"}}
    spec = parse(
        FeatureSpec,
        {
            "name": "t",
            "history": {
                "length": 3, "item_features": ["tags", "price"], "values_per_item": 2, "time_gap_buckets": 4
            },
            "features": [
                {"name": "user", "dtype": "string", "tower": "user", "role": "user_id"},
                {"name": "item", "dtype": "string", "tower": "item", "role": "item_id"} | vocabulary,
                {"name": "tags", "dtype": "string", "tower": "item", "multi_valued": True} | vocabulary,
                {"name": "price", "dtype": "float", "tower": "item", "encoding": {"kind": "z_score"}},
            ],
        },
        "test",
    )  # fmt: skip
    sizes = {
        "item": EncodedSize(5, 1),
        "tags": EncodedSize(4, 1),
        "history_gap_seconds": EncodedSize(4, 0),
    }
    towers = build_towers(spec, ModelConfig(dim=4, history_encoders=(encoder,)), sizes, seed=1)
    tables = towers.tables
    optimizer = build_optimizer(
        TrainingConfig(),
        replicas=1,
        total_steps=9,
        tables=list(tables.values()),
        dense=towers.dense_variables,
    )
    tags = np.array([[0, 3], [1, -1], [2, -1], [3, 1], [-1, -1]])

    def step(histories, gaps, items):
        histories = np.array(histories)
        is_item = histories >= 0
        history_tags = np.where(is_item[:, :, None], tags[histories], -1)
        features = {
            "history": tf.constant(histories),
            "history_tags": tf.constant(history_tags),
            "history_price": tf.constant(np.where(is_item, histories, 0), tf.float32),
            "history_gap_seconds": tf.constant(gaps, tf.int64),
            "item": tf.constant(items, tf.int64),
            "tags": tf.constant(tags[items]),
            "price": tf.constant(items, tf.float32),
        }
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(towers.user(features) * tf.constant([1.0, 2.0, 3.0, 4.0]))
            loss += tf.reduce_sum(towers.item(features) * tf.constant([4.0, 3.0, 2.0, 1.0]))
        optimizer.apply(tape.gradient(loss, [*tables.values(), *towers.dense_variables]))
        return {name: table.numpy() for name, table in tables.items()}

    before = step([[-1, 1, 0], [2, 1, 0]], [[-1, 1, 0], [3, 1, 0]], [0, 4])
    slots = {
        table: {name: slot.numpy() for name, slot in optimizer.slots(tables[table]).items()}
        for table in tables
    }
    # Item 1 has the tag 1, item 2 the tag 2.
    after = step([[-1, -1, 1], [-1, -1, -1]], [[-1, -1, 2], [-1, -1, -1]], [2, 4])
    held = {"item": {1, 2, 4}, "tags": {1, 2}, "history_gap_seconds": {2}}
    assert set(tables) == set(held)
    for table, rows in held.items():
        moved = np.abs(after[table] - before[table]).max(axis=1) > 0
        assert set(np.flatnonzero(moved)) == rows, table
        still = sorted(set(range(len(moved))) - rows)
        for name, slot in optimizer.slots(tables[table]).items():
            np.testing.assert_array_equal(slot.numpy()[still], slots[table][name][still])
