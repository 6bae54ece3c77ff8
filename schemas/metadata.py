"""FeatureSpec to the TensorFlow Metadata schemas of the raw examples, one for each table."""

from tensorflow_metadata.proto.v0 import schema_pb2

from schemas.contract import TRAIN_ROWS, VALIDATION_ROWS
from schemas.features import Feature, FeatureSpec, Tower

_TYPES = {"string": schema_pb2.BYTES, "int": schema_pb2.INT, "float": schema_pb2.FLOAT}


def build_schema(spec: FeatureSpec, tower: Tower) -> schema_pb2.Schema:
    """Describe the raw examples of a table: what Transform parses and ExampleValidator checks.

    Args:
        spec: The features of the data set.
        tower: The table: `user`, `item` or `context`.

    Returns:
        One entry per feature of the table, in declaration order; of users and items then the numbers of rows
        that hold them. Single values are scalars (`[batch]`) that every example must hold, multi-valued
        features have variable length, lists of numbers are `[batch, length]`. `values`, `minimum` and
        `maximum` become domains.
    """
    schema = schema_pb2.Schema()
    for feature in spec.table_features(tower):
        entry = schema.feature.add(name=feature.name, type=_TYPES[feature.dtype])
        if not feature.multi_valued:
            _require_shape(entry, *(() if feature.length is None else (feature.length,)))
        _add_domain(entry, feature)
    for name in () if tower == "context" else (TRAIN_ROWS, VALIDATION_ROWS):
        entry = schema.feature.add(name=name, type=schema_pb2.INT)
        _require_shape(entry)
        entry.int_domain.min = 0
    return schema


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
