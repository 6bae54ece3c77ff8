"""A user tower of the user's own: what its builder is given, and what the tower is held to."""

import difflib
import importlib
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras

from schemas.contract import HISTORY_PADDING_KEY
from schemas.errors import ConfigError
from schemas.features import Feature, FeatureSpec, TextEncoding, VectorEncoding, ZScoreEncoding
from trainer.config import ModelConfig
from trainer.encoders import FeatureEncoder
from trainer.history import HistoryEmbedding, HistoryEncoder, build_history_encoder
from trainer.vocabularies import EncodedSize

_KEY = "model.user_tower"
# float32 divides and multiplies by the norm; a tower that forgot to normalise is further off.
_NORM_TOLERANCE = 1e-3
_TRIAL_ROWS = 3


@dataclass(frozen=True)
class UserTowerInputs:
    """What the builder of a user tower is given."""

    spec: FeatureSpec
    """Every feature of the data set; the tower may read those that `columns` names."""
    config: ModelConfig
    """The `model` section; `config.dim` is the width that the tower must give."""
    sizes: Mapping[str, EncodedSize]
    """Rows of each embedding table by feature or column name."""
    encoders: Mapping[str, FeatureEncoder]
    """By feature name: the layer that makes a [batch, dim] float32 vector of a user or context feature. Their
    embedding tables are trained sparsely and go along in a warm start."""
    history_embedding: HistoryEmbedding | None
    """Called with all features, it gives the vectors of the history's items, [batch, length, dim] float32,
    made with the item tower's embeddings, and the mask, [batch, length] float32. None without a history."""
    seed: int
    """For initial weights, so that equal seeds give equal towers."""

    @property
    def columns(self) -> dict[str, tf.TensorSpec]:
        """Shape and type of every transformed column that the tower may read, by name."""
        return {name: tf.TensorSpec.from_tensor(value) for name, value in _make_trial_batch(self).items()}

    def build_history_encoders(self) -> list[HistoryEncoder]:
        """Build the encoders that `model.history_encoders` names.

        Returns:
            Layers that are called with the vectors and the mask of `history_embedding`, in training also with
            a seed for what they drop of their own, and give [batch, dim]; none without a history.
        """
        history = self.spec.history
        if history is None:
            return []
        return [
            build_history_encoder(name, history.length, self.config, self.seed + 1 + i)
            for i, name in enumerate(self.config.history_encoders)
        ]


class OwnUserTower(tf_keras.layers.Layer):
    """Shows a user's own tower the columns of the user side alone.

    Args:
        layer: The tower.
        columns: Names of the columns that it may read.
    """

    def __init__(self, layer: tf_keras.layers.Layer, columns: list[str]) -> None:
        super().__init__(name="own_user_tower", dtype="float32")
        self._layer = layer
        self._columns = columns
        self._takes_seed = "seed" in inspect.signature(layer.call).parameters

    def call(
        self, features: Mapping[str, tf.Tensor], training: bool = False, seed: tf.Tensor | None = None
    ) -> tf.Tensor:
        """Embed a batch.

        Args:
            features: Transformed features by name.
            training: Whether the tower is being trained.
            seed: [2] int64, another one at every step and replica; for a tower whose `call` takes it.

        Returns:
            [batch, dim] float32, L2-normalised.
        """
        own = {name: features[name] for name in self._columns}
        more = {"seed": seed} if self._takes_seed else {}
        return self._layer(own, training=training, **more)


def user_columns(spec: FeatureSpec) -> list[str]:
    """List the transformed columns that a user tower may read.

    Args:
        spec: The features.

    Returns:
        The encoded user and context features, the history and the columns beside it.
    """
    names = [feature.name for feature in spec.tower_features("user")]
    return names if spec.history is None else [*names, *spec.history.columns]


def build_own_user_tower(path: str, inputs: UserTowerInputs) -> OwnUserTower:
    """Build a user's own tower and try it on a small made-up batch.

    Args:
        path: Dotted path of the function that builds it, `model.user_tower`.
        inputs: What the function is given.

    Returns:
        The tower with all its variables.

    Raises:
        ConfigError: The function cannot be imported or fails, or what it returns breaks the contract: a
            tf_keras layer, called with a dict of the user side's columns and `training`, that gives
            [batch, dim] float32 rows of norm 1.
    """
    builder = load_builder(path)
    try:
        layer = builder(inputs)
    except Exception as error:
        raise ConfigError(
            f"{_KEY}: expected {path} to build a tower from a UserTowerInputs. It raised "
            f"{type(error).__name__}: {error}."
        ) from error
    if not isinstance(layer, tf_keras.layers.Layer):
        raise ConfigError(
            f"{_KEY}: expected {path} to return a layer of Keras 2, a tf_keras.layers.Layer. Received: a "
            f"{type(layer).__module__}.{type(layer).__qualname__}."
        )
    tower = OwnUserTower(layer, user_columns(inputs.spec))
    _try(path, tower, inputs)
    return tower


def load_builder(path: str) -> Callable[[UserTowerInputs], Any]:
    """Import the function that builds a user tower.

    Args:
        path: Its dotted path.

    Returns:
        The function.

    Raises:
        ConfigError: There is no such function.
    """
    module_name, _, name = path.rpartition(".")
    if not module_name:
        raise ConfigError(
            f"{_KEY}: expected the dotted path of a function, such as my_package.towers.build_user_tower. "
            f"Received: {path!r}."
        )
    try:
        module = importlib.import_module(module_name)
    except Exception as error:
        raise ConfigError(
            f"{_KEY}: expected an importable module {module_name!r} in {path!r}. Importing it raised "
            f"{type(error).__name__}: {error}. Install its package where the Trainer runs, or put its folder "
            "on PYTHONPATH."
        ) from error
    if not hasattr(module, name):
        near = difflib.get_close_matches(name, dir(module), n=1)
        raise ConfigError(
            f"{_KEY}: expected a function {name!r} in the module {module_name!r}. There is none"
            + (f"; did you mean {near[0]!r}?" if near else ".")
        )
    builder = getattr(module, name)
    if not callable(builder):
        raise ConfigError(
            f"{_KEY}: expected {path} to be a function that takes a UserTowerInputs. Received: a "
            f"{type(builder).__name__}."
        )
    return builder


def _try(path: str, tower: OwnUserTower, inputs: UserTowerInputs) -> None:
    """Call a tower once, so that it has its variables, and hold the result to the contract."""
    batch = _make_trial_batch(inputs)
    columns = ", ".join(batch)
    try:
        output = tower(batch, training=False)
    except KeyError as error:
        raise ConfigError(
            f"{_KEY}: the tower of {path} reads the column {_explain(error)!r}, which is not on the user "
            f"side. A user tower may read: {columns}."
        ) from error
    except Exception as error:
        raise ConfigError(
            f"{_KEY}: expected the tower of {path} to take (features, training), features being a dict of "
            f"the columns {columns}. Called with {_TRIAL_ROWS} made-up rows it raised "
            f"{type(error).__name__}: {_explain(error)}."
        ) from error
    dim = inputs.config.dim
    if not tf.is_tensor(output) or output.dtype != tf.float32 or output.shape != [_TRIAL_ROWS, dim]:
        received = f"{output.dtype.name} {output.shape}" if tf.is_tensor(output) else type(output).__name__
        raise ConfigError(
            f"{_KEY}: expected the tower of {path} to give float32 of the shape [batch, dim], here "
            f"{(_TRIAL_ROWS, dim)} (model.dim = {dim}). Received: {received}."
        )
    norms = np.linalg.norm(output.numpy(), axis=1)
    # A tower that reads a history alone may well give zeros for an empty one.
    embedded = norms[:-1] if inputs.spec.history is not None else norms
    if not np.isfinite(norms).all() or np.abs(embedded - 1.0).max() > _NORM_TOLERANCE:
        raise ConfigError(
            f"{_KEY}: expected the tower of {path} to give vectors of norm 1. Received the norms "
            f"{norms.tolist()}. End it with tf.math.l2_normalize(vectors, axis=1, epsilon=1e-12)."
        )


def _explain(error: Exception) -> str:
    """Take off what Keras puts around an error in a layer: the layer's name and all its arguments."""
    text = str(error.args[0]) if error.args else ""
    around = text.split("\n\n")
    return "\n\n".join(around[1:-1]) if text.startswith("Exception encountered when calling") else text


def _make_trial_batch(inputs: UserTowerInputs) -> dict[str, tf.Tensor]:
    """Make rows of the user side's columns: a full history, one of a single item, and none."""
    spec = inputs.spec
    generator = np.random.default_rng(inputs.seed)
    batch = {}
    for feature in spec.tower_features("user"):
        batch[feature.name] = _draw(generator, feature, inputs.sizes, [_TRIAL_ROWS], 2)
    history = spec.history
    if history is not None:
        shape = [_TRIAL_ROWS, history.length]
        here = np.arange(history.length) >= np.array([[0], [history.length - 1], [history.length]])
        columns = {history.name: _draw(generator, spec.item_id, inputs.sizes, shape, 1)}
        for feature in spec.history_features:
            columns[history.feature_column(feature.name)] = _draw(
                generator, feature, inputs.sizes, shape, history.values_per_item
            )
        if history.time_gap_buckets is not None:
            columns[history.gap_column] = generator.integers(0, history.time_gap_buckets, shape)
        for name, values in columns.items():
            padding = 0.0 if values.dtype == np.float32 else HISTORY_PADDING_KEY
            mask = here.reshape([*shape, *([1] * (values.ndim - 2))])
            batch[name] = np.where(mask, values, padding).astype(values.dtype)
    return {name: tf.constant(values) for name, values in batch.items()}


def _draw(
    generator: np.random.Generator,
    feature: Feature,
    sizes: Mapping[str, EncodedSize],
    shape: list[int],
    list_length: int,
) -> np.ndarray:
    match feature.encoding:
        case ZScoreEncoding():
            return generator.standard_normal(shape, np.float32)
        case VectorEncoding():
            return generator.standard_normal([*shape, feature.length or 1], np.float32)
    if feature.multi_valued or isinstance(feature.encoding, TextEncoding):
        shape = [*shape, list_length]
    size = sizes[feature.name]
    return generator.integers(0, size.in_vocabulary + size.oov_buckets, shape)
