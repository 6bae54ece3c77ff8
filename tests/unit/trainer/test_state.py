import json

import numpy as np
import pytest

from schemas.errors import ReleaseError
from trainer.state import SavedTable, SavedWeight, TrainingState, read_state, write_state

pytestmark = pytest.mark.unit

ROWS = [
    ("token", b"plain"),
    ("token", b""),
    ("token", b"two words\nand a \x00 byte \xff"),
    ("token", "füllwort".encode()),
    ("oov", b"0/1"),
]


def make_state() -> TrainingState:
    values = np.arange(10, dtype=np.float32).reshape(5, 2)
    return TrainingState(
        model_id="m1",
        dim=2,
        tower_inputs={"user_tower": ["age"], "item_tower": ["item"]},
        tables={"item": SavedTable(values, {"m": values + 100, "steps": values[:, :1] + 200}, ROWS)},
        dense={
            "item_tower/_mlps/0/_last/kernel": SavedWeight(
                np.float32([[1, 2], [3, 4]]), {"steps": np.float32(7)}
            )
        },
        readings={"item_tower/_mlps/0/_last/kernel": "heads 4"},
    )


def test_what_is_read_is_what_was_written(tmp_path):
    write_state(tmp_path / "state", make_state())
    state = read_state(tmp_path / "state")
    assert (state.model_id, state.dim) == ("m1", 2)
    assert state.tower_inputs == {"user_tower": ["age"], "item_tower": ["item"]}
    table = state.tables["item"]
    assert list(table.rows) == ROWS
    assert table.values.dtype == np.float32
    np.testing.assert_array_equal(table.values, [[0, 1], [2, 3], [4, 5], [6, 7], [8, 9]])
    np.testing.assert_array_equal(table.slots["m"][0], [100, 101])
    np.testing.assert_array_equal(table.slots["steps"], [[200], [202], [204], [206], [208]])
    assert state.readings == {"item_tower/_mlps/0/_last/kernel": "heads 4"}
    [(path, weight)] = state.dense.items()
    assert path == "item_tower/_mlps/0/_last/kernel"
    np.testing.assert_array_equal(weight.values, [[1, 2], [3, 4]])
    assert weight.slots == {"steps": np.float32(7)}
    assert weight.slots["steps"].shape == ()


def test_numpy_and_json_alone_can_read_it(tmp_path):
    write_state(tmp_path, make_state())
    description = json.loads((tmp_path / "training_state.json").read_text())
    assert description["tables"] == {"item": {"shape": [5, 2], "slots": {"m": [5, 2], "steps": [5, 1]}}}
    [weight] = description["dense"].values()
    assert weight == {"shape": [2, 2], "slots": {"steps": []}}
    with np.load(tmp_path / "weights.npz", allow_pickle=False) as arrays:
        ends = arrays["table/item/ends"]
        assert arrays["table/item/tokens"].tobytes()[ends[2] : ends[3]].decode() == "füllwort"
        assert arrays["table/item/kinds"].tolist() == [0, 0, 0, 0, 1]


def test_a_folder_without_one_has_none(tmp_path):
    assert read_state(tmp_path) is None


def test_a_state_of_another_format_is_none(tmp_path):
    write_state(tmp_path, make_state())
    file = tmp_path / "training_state.json"
    file.write_text(file.read_text().replace('"format": 2', '"format": 3'))
    assert read_state(tmp_path) is None


def test_a_state_of_format_1_is_read(tmp_path):
    """Its slots have their weight's shape and are listed by name alone; the count of the steps is one."""
    values = np.float32([[1, 2], [3, 4]])
    prefix = "dense/item_tower/_mlps/0/_last/kernel"
    np.savez(
        tmp_path / "weights.npz",
        **{f"{prefix}/values": values, f"{prefix}/slot/m": values + 10, f"{prefix}/slot/v": values + 20},
    )
    description = {
        "format": 1, "model_id": "m0", "dim": 2, "optimizer_steps": 77, "tower_inputs": {}, "tables": {},
        "dense": {"item_tower/_mlps/0/_last/kernel": {"shape": [2, 2], "slots": ["m", "v"]}},
    }  # fmt: skip
    (tmp_path / "training_state.json").write_text(json.dumps(description))
    state = read_state(tmp_path)
    assert state.model_id == "m0"
    weight = state.dense["item_tower/_mlps/0/_last/kernel"]
    np.testing.assert_array_equal(weight.values, values)
    assert set(weight.slots) == {"m", "v"}
    assert state.readings == {}
    np.testing.assert_array_equal(weight.slots["v"], values + 20)


def damage_json(folder):
    (folder / "training_state.json").write_text("{")


def truncate_weights(folder):
    content = (folder / "weights.npz").read_bytes()
    (folder / "weights.npz").write_bytes(content[: len(content) // 2])


def remove_weights(folder):
    (folder / "weights.npz").unlink()


def change_shape(folder):
    file = folder / "training_state.json"
    file.write_text(file.read_text().replace("5,\n", "6,\n"))


def change_shape_of_a_slot(folder):
    file = folder / "training_state.json"
    file.write_text(file.read_text().replace('"steps": []', '"steps": [1]'))


@pytest.mark.parametrize(
    "damage", [damage_json, truncate_weights, remove_weights, change_shape, change_shape_of_a_slot]
)
def test_a_damaged_state_is_one_clear_error(tmp_path, damage):
    write_state(tmp_path, make_state())
    damage(tmp_path)
    with pytest.raises(ReleaseError, match=r"Cannot read the training state .*warm_start: false for one run"):
        read_state(tmp_path)
