"""FeatureSpec to the TensorFlow Metadata schema of the raw examples."""

from tensorflow_metadata.proto.v0 import schema_pb2

from schemas.contract import GAP_PADDING, WEIGHT
from schemas.features import Feature, FeatureSpec, History

_TYPES = {"string": schema_pb2.BYTES, "int": schema_pb2.INT, "float": schema_pb2.FLOAT}


def build_schema(spec: FeatureSpec, has_weights: bool = False) -> schema_pb2.Schema:
    """Describe the raw examples: what Transform parses and ExampleValidator checks.

    Args:
        spec: The features of the data set.
        has_weights: Whether the examples hold the column `weight`.

    Returns:
        One entry per feature, in declaration order, then the history's columns, the timestamp and the
        weight. Single values are scalars (`[batch]`) that every example must hold, multi-valued features
        have variable length, lists of numbers and the history are `[batch, length]`, and what the history
        holds of a list is `[batch, length, values]`. `values`, `minimum` and `maximum` become domains, but
        not in the history, whose padding is outside them.
    """
    schema = schema_pb2.Schema()
    for feature in spec.features:
        entry = schema.feature.add(name=feature.name, type=_TYPES[feature.dtype])
        if not feature.multi_valued:
            _require_shape(entry, *(() if feature.length is None else (feature.length,)))
        _add_domain(entry, feature)
    if spec.history is not None:
        _add_history(schema, spec.history, spec.history_features)
    _require_shape(schema.feature.add(name=spec.timestamp, type=schema_pb2.INT))
    if has_weights:
        weight = schema.feature.add(name=WEIGHT, type=schema_pb2.FLOAT)
        _require_shape(weight)
        weight.float_domain.min = 0.0
        weight.float_domain.disallow_nan = True
        weight.float_domain.disallow_inf = True
    return schema


def _add_history(schema: schema_pb2.Schema, history: History, features: tuple[Feature, ...]) -> None:
    _require_shape(schema.feature.add(name=history.name, type=schema_pb2.BYTES), history.length)
    for feature in features:
        entry = schema.feature.add(name=history.feature_column(feature.name), type=_TYPES[feature.dtype])
        _require_shape(entry, *history.feature_shape(feature))
        if feature.dtype == "float":
            entry.float_domain.disallow_nan = True
    if history.time_gap_buckets is not None:
        entry = schema.feature.add(name=history.gap_column, type=schema_pb2.INT)
        _require_shape(entry, history.length)
        entry.int_domain.min = GAP_PADDING


def _require_shape(entry: schema_pb2.Feature, *sizes: int) -> None:
    entry.presence.min_fraction = 1.0
    entry.shape.SetInParent()
    for size in sizes:
        entry.shape.dim.add(size=size)


def _add_domain(entry: schema_pb2.Feature, feature: Feature) -> None:
    if feature.dtype == "string":
        if feature.values is not None:
            entry.string_domain.name = feature.name
            entry.string_domain.value.extend(feature.values)
        return
    domain = entry.int_domain if feature.dtype == "int" else entry.float_domain
    if feature.dtype == "float":
        domain.disallow_nan = True
    if feature.minimum is not None:
        domain.min = feature.minimum
    if feature.maximum is not None:
        domain.max = feature.maximum
    if feature.dtype == "int" and feature.is_categorical:
        # An integer that is a label, not a quantity: statistics count its values instead of averaging them.
        domain.is_categorical = True
