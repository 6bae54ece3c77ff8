"""What a training leaves for the next one, in files that need nothing but numpy.

    <folder>/training_state.json   what was trained, names, shapes, and what these do not tell; written last
    <folder>/weights.npz           every array, uncompressed:
        table/<name>/values        [rows, dim] float32, an embedding table
        table/<name>/slot/<slot>   [rows, dim], [rows, 1] or [] float32, what the optimiser keeps for it
        table/<name>/kinds         [rows] uint8, what each row stands for: its place in `ROW_KINDS`
        table/<name>/ends          [rows] int64, where each row's token ends in `tokens`
        table/<name>/tokens        [bytes] uint8, the tokens one after the other
        dense/<path>/values        any other weight, by its path in its tower
        dense/<path>/slot/<slot>   what the optimiser keeps for it, of its shape, [rows, 1, ...] or []

The Trainer writes it into its model, and the pusher beside the vocabularies and the statistics of a release.
"""

import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np

from schemas.contract import MODEL_ID, TRAINING_STATE_FILE
from schemas.errors import ReleaseError

Row = tuple[str, bytes]
"""What a row of an embedding table stands for: its kind, and the token or the place of the bucket."""

ROW_KINDS: Final = ("token", "oov", "bucket")

FORMAT: Final = 2
"""Raised when an older program could no longer read the files, or a newer one reads other meaning in them."""

# Format 1 lists the names of slots, which all have their weight's shape; format 2 has the shape of each.
_READ_FORMATS: Final = (1, FORMAT)

_WEIGHTS_FILE: Final = "weights.npz"


@dataclass(frozen=True)
class SavedWeight:
    """A weight and what the optimiser keeps for it."""

    values: np.ndarray
    """The weight, float32."""
    slots: Mapping[str, np.ndarray]
    """By name, arrays with a value for each element of the weight, each of its rows, or the whole of it."""


@dataclass(frozen=True)
class SavedTable(SavedWeight):
    """An embedding table: values are [rows, dim], slots [rows, dim], [rows, 1] or []."""

    rows: Sequence[Row]
    """What each row stands for."""


@dataclass(frozen=True)
class TrainingState:
    """The end of a training."""

    model_id: str
    """The training."""
    dim: int
    """Width of the embeddings."""
    tower_inputs: Mapping[str, Sequence[str]]
    """What the vectors are that each tower's MLP reads, in their order."""
    tables: Mapping[str, SavedTable]
    """The embedding tables by name."""
    dense: Mapping[str, SavedWeight]
    """The other weights by their path, such as item_tower/_mlps/0/_hidden/0/kernel."""
    readings: Mapping[str, str] = field(default_factory=dict)
    """How weights are read where their shapes do not tell, by path, as `HistoryEncoder.reading`; '' where
    there is none."""


def write_state(folder: Path, state: TrainingState) -> None:
    """Write a state; without its last file, the JSON, there is none.

    Args:
        folder: Where the files go; it is made where it does not exist.
        state: The state.
    """
    folder.mkdir(parents=True, exist_ok=True)
    arrays: dict[str, np.ndarray] = {}
    for name, table in state.tables.items():
        arrays |= _weight_arrays(f"table/{name}", table)
        arrays |= _row_arrays(f"table/{name}", table.rows)
    for path, weight in state.dense.items():
        arrays |= _weight_arrays(f"dense/{path}", weight)
    np.savez(folder / _WEIGHTS_FILE, allow_pickle=False, **arrays)
    description = {
        "format": FORMAT,
        MODEL_ID: state.model_id,
        "dim": state.dim,
        "tower_inputs": {tower: list(inputs) for tower, inputs in state.tower_inputs.items()},
        "tables": {name: _describe(table) for name, table in state.tables.items()},
        "dense": {path: _describe(weight) for path, weight in state.dense.items()},
        "readings": dict(state.readings),
    }
    (folder / TRAINING_STATE_FILE).write_text(json.dumps(description, indent=1) + "\n", encoding="utf-8")


def read_state(folder: Path) -> TrainingState | None:
    """Read a state.

    Args:
        folder: Where `write_state` wrote.

    Returns:
        The state; None where the folder holds none, or one of a format of a later version of this program.

    Raises:
        ReleaseError: The files are there but cannot be read.
    """
    file = folder / TRAINING_STATE_FILE
    if not file.is_file():
        return None
    try:
        description = json.loads(file.read_text(encoding="utf-8"))
        if description["format"] not in _READ_FORMATS:
            return None
        with np.load(folder / _WEIGHTS_FILE, allow_pickle=False) as arrays:
            return TrainingState(
                model_id=str(description[MODEL_ID]),
                dim=int(description["dim"]),
                tower_inputs=description["tower_inputs"],
                tables={
                    name: SavedTable(
                        *_read_weight(arrays, f"table/{name}", entry), _read_rows(arrays, f"table/{name}")
                    )
                    for name, entry in description["tables"].items()
                },
                dense={
                    path: SavedWeight(*_read_weight(arrays, f"dense/{path}", entry))
                    for path, entry in description["dense"].items()
                },
                # Releases of before have none.
                readings=description.get("readings", {}),
            )
    except (OSError, ValueError, TypeError, KeyError, zipfile.BadZipFile) as error:
        raise ReleaseError(
            f"Cannot read the training state in {folder}: {error!r}. Restore the release, or set "
            "training.warm_start: false for one run, whose release has a state again."
        ) from error


def _describe(weight: SavedWeight) -> dict[str, Any]:
    slots = {name: list(slot.shape) for name, slot in sorted(weight.slots.items())}
    return {"shape": list(weight.values.shape), "slots": slots}


def _weight_arrays(prefix: str, weight: SavedWeight) -> dict[str, np.ndarray]:
    return {
        f"{prefix}/values": weight.values,
        **{f"{prefix}/slot/{name}": slot for name, slot in weight.slots.items()},
    }


def _row_arrays(prefix: str, rows: Sequence[Row]) -> dict[str, np.ndarray]:
    tokens = b"".join(token for _, token in rows)
    return {
        f"{prefix}/kinds": np.array([ROW_KINDS.index(kind) for kind, _ in rows], np.uint8),
        f"{prefix}/ends": np.cumsum([len(token) for _, token in rows], dtype=np.int64),
        f"{prefix}/tokens": np.frombuffer(tokens, np.uint8),
    }


def _read_weight(
    arrays: Mapping[str, np.ndarray], prefix: str, entry: Mapping[str, Any]
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    saved = entry["slots"]
    shapes = saved if isinstance(saved, dict) else dict.fromkeys(saved, entry["shape"])
    slots = {name: _read_array(arrays, f"{prefix}/slot/{name}", shape) for name, shape in shapes.items()}
    return _read_array(arrays, f"{prefix}/values", entry["shape"]), slots


def _read_array(arrays: Mapping[str, np.ndarray], name: str, shape: Sequence[int]) -> np.ndarray:
    array = arrays[name]
    if list(array.shape) != list(shape):
        raise ValueError(f"{name}: expected the shape {shape}. Received: {array.shape}")
    return array


def _read_rows(arrays: Mapping[str, np.ndarray], prefix: str) -> list[Row]:
    tokens, ends = arrays[f"{prefix}/tokens"].tobytes(), arrays[f"{prefix}/ends"].tolist()
    kinds = arrays[f"{prefix}/kinds"].tolist()
    return [
        (ROW_KINDS[kind], tokens[start:end])
        for kind, start, end in zip(kinds, [0, *ends], ends, strict=False)
    ]
