"""A training that starts from the weights of a release, whatever has become of its vocabularies."""

import dataclasses
import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from schemas.contract import ITEM_TOWER, PROGRESS_LOGGER, USER_TOWER
from schemas.features import FeatureSpec
from trainer.config import ModelConfig
from trainer.history import HistoryEncoder
from trainer.optimizers import Optimizer
from trainer.state import Row, SavedTable, SavedWeight, TrainingState
from trainer.towers import Towers

_PROGRESS = logging.getLogger(PROGRESS_LOGGER)


@dataclass(frozen=True)
class RowCounts:
    """What became of the rows of an embedding table."""

    kept: int
    """Rows that came from the release."""
    new: int
    """Rows that the release does not have; they were initialised."""
    dropped: int
    """Rows of the release that this training does not have."""


@dataclass(frozen=True)
class WarmStartCounts:
    """What a warm start carried over."""

    tables: Mapping[str, RowCounts]
    """By embedding table, those included that are in the release alone."""
    dense_kept: tuple[str, ...]
    """Paths of the other weights that came from the release."""
    dense_new: tuple[str, ...]
    """Paths of those that were initialised, since the release has none of that path, shape and reading."""
    slots_kept: bool
    """Whether what the optimiser keeps for each weight came along."""


@dataclass(frozen=True)
class WarmStart:
    """The weights of a release, and what this training's rows stand for."""

    release: int
    """Version of the release."""
    in_a_row: int
    """Warm starts in a row, this one included, since a training that began from nothing."""
    state: TrainingState
    """Its weights and slots."""
    rows: Mapping[str, Sequence[Row]]
    """What the rows of this training's embedding tables stand for, by table."""
    tower_inputs: Mapping[str, Sequence[str]]
    """What `list_tower_inputs` gives for this training."""

    @property
    def base_id(self) -> str:
        """The training that this one begins from."""
        return self.state.model_id

    def apply(self, towers: Towers, optimizer: Optimizer) -> WarmStartCounts:
        """Give new towers the release's weights, and their optimiser its slots.

        Embedding rows go by what they stand for: a token's row to the same token, that of a bucket to the
        same one of as many buckets. Other weights go by path, shape and reading, as by how many heads; the
        last layer of an MLP only where it follows as many layers; and of a tower that reads other vectors
        than it did, none: the rows of its MLP would belong to other features. Slots go with their weights;
        where the optimiser keeps others than the release's did, none goes.

        Args:
            towers: Freshly built; changed in place.
            optimizer: Theirs, before its first step; changed in place.

        Returns:
            What was carried over.
        """
        dense, readings = dense_by_path(towers), list_readings(towers)
        pairs: list[tuple[tf.Variable, SavedWeight]] = [
            (variable, self.state.tables[name])
            for name, variable in towers.tables.items()
            if name in self.state.tables
        ]
        kept = {
            path: self.state.dense[path]
            for path, variable in dense.items()
            if self._is_kept(path, variable, readings.get(path, ""))
            and _reads_the_same(path, self.state.dense, dense)
        }
        pairs += [(dense[path], weight) for path, weight in kept.items()]
        slots_kept = all(_are_alike(optimizer.slots(variable), weight.slots) for variable, weight in pairs)

        counts = {name: RowCounts(0, 0, len(table.rows)) for name, table in self.state.tables.items()}
        for name, variable in towers.tables.items():
            saved = self.state.tables.get(name)
            if saved is None:
                counts[name] = RowCounts(0, len(self.rows[name]), 0)
                continue
            slots = optimizer.slots(variable) if slots_kept else {}
            counts[name] = _carry_rows(variable, slots, saved, self.rows[name])
        for path, weight in kept.items():
            dense[path].assign(weight.values)
            if slots_kept:
                for name, slot in optimizer.slots(dense[path]).items():
                    slot.assign(weight.slots[name])
        result = WarmStartCounts(
            tables=counts,
            dense_kept=tuple(kept),
            dense_new=tuple(path for path in dense if path not in kept),
            slots_kept=slots_kept,
        )
        self._log(result)
        return result

    def _is_kept(self, path: str, variable: tf.Variable, reading: str) -> bool:
        tower = path.split("/", maxsplit=1)[0]
        saved = self.state.dense.get(path)
        return (
            saved is not None
            and saved.values.shape == tuple(variable.shape)
            and self.state.readings.get(path, "") == reading
            and list(self.state.tower_inputs.get(tower, ())) == list(self.tower_inputs[tower])
        )

    def _log(self, counts: WarmStartCounts) -> None:
        for name, rows in counts.tables.items():
            _PROGRESS.info(
                "Warm start from release %d: %s: %s rows kept, %s new, %s dropped",
                self.release, name, *(f"{number:,}" for number in dataclasses.astuple(rows)),
            )  # fmt: skip
        total = len(counts.dense_kept) + len(counts.dense_new)
        new = f"; initialised: {', '.join(counts.dense_new)}" if counts.dense_new else ""
        slots = (
            "" if counts.slots_kept else "; the optimiser starts anew, since the release's kept other slots"
        )
        _PROGRESS.info(
            "Warm start from release %d: %d of %d other weights kept%s%s",
            self.release, len(counts.dense_kept), total, new, slots,
        )  # fmt: skip


def take_state(
    towers: Towers,
    optimizer: Optimizer,
    *,
    model_id: str,
    spec: FeatureSpec,
    config: ModelConfig,
    rows: Mapping[str, Sequence[Row]],
) -> TrainingState:
    """Take what the next training needs out of the towers and their optimiser.

    Args:
        towers: The trained towers.
        optimizer: Theirs.
        model_id: Identifies the training.
        spec: The features.
        config: The `model` section.
        rows: What the rows of the embedding tables stand for, as `table_rows` gives them.

    Returns:
        The state.

    Raises:
        ValueError: A table has other rows than `rows` says.
    """
    tables = {}
    for name, variable in towers.tables.items():
        if len(rows[name]) != variable.shape[0]:
            raise ValueError(
                f"Table {name}: expected {variable.shape[0]} rows to be told. Received: {len(rows[name])}."
            )
        tables[name] = SavedTable(variable.numpy(), _read_slots(optimizer, variable), rows[name])
    return TrainingState(
        model_id=model_id,
        dim=config.dim,
        tower_inputs=list_tower_inputs(spec, config),
        tables=tables,
        dense={
            path: SavedWeight(variable.numpy(), _read_slots(optimizer, variable))
            for path, variable in dense_by_path(towers).items()
        },
        readings=list_readings(towers),
    )


def list_tower_inputs(spec: FeatureSpec, config: ModelConfig) -> dict[str, list[str]]:
    """List the vectors that each tower's MLP reads, in their order.

    Args:
        spec: The features.
        config: The `model` section.

    Returns:
        Names of features and history encoders by tower; of a user's own tower its dotted path first, and of
        several members their number.
    """
    members = [] if config.members == 1 else [f"members:{config.members}"]
    user = [*members] if config.user_tower is None else [config.user_tower]
    user += [feature.name for feature in spec.tower_features("user")]
    if spec.history is not None:
        user += [f"{spec.history.name}:{encoder}" for encoder in config.history_encoders]
    item = [*members, *(feature.name for feature in spec.tower_features("item"))]
    return {USER_TOWER: user, ITEM_TOWER: item}


def map_rows(old: Sequence[Row], new: Sequence[Row]) -> tuple[np.ndarray, np.ndarray]:
    """Find the rows of a table that stand for the same in two trainings.

    Args:
        old: What each row stood for.
        new: What each row stands for.

    Returns:
        The places in `new`, ascending, and those in `old`, [kept] int64 each.
    """
    places = {row: place for place, row in enumerate(old)}
    pairs = [(place, places[row]) for place, row in enumerate(new) if row in places]
    found = np.array(pairs, np.int64).reshape(-1, 2)
    return found[:, 0], found[:, 1]


def dense_by_path(towers: Towers) -> dict[str, tf.Variable]:
    """Name the weights that are no embedding tables, by a name that is the same in every process.

    Args:
        towers: The towers.

    Returns:
        Each by its path of attributes from its tower; one that both towers use by its path in the item
        tower.

    Raises:
        ValueError: A weight belongs to no attribute of a tower.
    """
    wanted = {id(variable): variable for variable in towers.dense_variables}
    # Keras numbers layers by the order in which the process makes them, so its names are of no use here.
    paths = {
        id(value): path
        for tower, layer in ((USER_TOWER, towers.user), (ITEM_TOWER, towers.item))
        for path, value in _walk(layer, tower)
    }
    missing = [variable.name for key, variable in wanted.items() if key not in paths]
    if missing:
        raise ValueError(
            f"Expected every weight to be an attribute of a layer in one of the towers. Received: {missing}, "
            "which are not."
        )
    return dict(sorted((paths[key], variable) for key, variable in wanted.items()))


def list_readings(towers: Towers) -> dict[str, str]:
    """Tell how weights of the history encoders are read where their shapes do not tell.

    Args:
        towers: The towers.

    Returns:
        `HistoryEncoder.reading` by path; weights where it is '' are left out.
    """
    readings = {
        id(variable): layer.reading
        for layer in towers.user.submodules
        if isinstance(layer, HistoryEncoder)
        for variable in layer.trainable_variables
    }
    paths = {path: readings.get(id(variable), "") for path, variable in dense_by_path(towers).items()}
    return {path: reading for path, reading in paths.items() if reading}


def _walk(root: tf.Module, name: str) -> list[tuple[str, tf.Variable]]:
    """List every variable below a layer, each once, by the shortest path."""
    view = tf.train.TrackableView(root)
    found, seen, level = [], {id(root)}, [(name, root)]
    while level:
        below = []
        for path, parent in level:
            for child_name, child in sorted(view.children(parent).items()):
                if id(child) in seen:
                    continue
                seen.add(id(child))
                child_path = f"{path}/{child_name}"
                if isinstance(child, tf.Variable):
                    found.append((child_path, child))
                else:
                    below.append((child_path, child))
        level = below
    return found


def _reads_the_same(path: str, old: Collection[str], new: Collection[str]) -> bool:
    """Tell whether the last layer of an MLP follows as many layers as it did; true of all other weights."""
    mlp, is_last, _ = path.partition("/_last/")
    hidden = f"{mlp}/_hidden/"
    return not is_last or {p for p in old if p.startswith(hidden)} == {p for p in new if p.startswith(hidden)}


def _are_alike(slots: Mapping[str, tf.Variable], saved: Mapping[str, np.ndarray]) -> bool:
    """Tell whether saved slots have the same names, and shapes that differ in the number of rows alone."""
    return slots.keys() == saved.keys() and all(
        (len(slot.shape), tuple(slot.shape[1:])) == (saved[name].ndim, saved[name].shape[1:])
        for name, slot in slots.items()
    )


def _carry_rows(
    variable: tf.Variable, slots: Mapping[str, tf.Variable], saved: SavedTable, rows: Sequence[Row]
) -> RowCounts:
    new, old = map_rows(saved.rows, rows)
    for target, source in [(variable, saved.values), *((slots[name], saved.slots[name]) for name in slots)]:
        if source.ndim > 0:
            values = target.numpy()
            values[new] = source[old]
            target.assign(values)
        elif len(new) > 0:
            # One value for all rows, which has no meaning for a table whose rows are all new.
            target.assign(source)
    return RowCounts(kept=len(new), new=len(rows) - len(new), dropped=len(saved.rows) - len(old))


def _read_slots(optimizer: Optimizer, variable: tf.Variable) -> dict[str, np.ndarray]:
    # What `numpy` gives of a scalar is no array.
    return {name: np.asarray(slot.numpy()) for name, slot in optimizer.slots(variable).items()}
