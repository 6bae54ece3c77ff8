"""The part of a FeatureSpec that a step reads, so that a change elsewhere does not make the step run again.

TFX reuses a step whose parameters are those of an earlier run. A part is a valid FeatureSpec in which
everything that the step does not read has its default.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Final

from schemas.features import (
    Encoding,
    Feature,
    FeatureSpec,
    History,
    InteractionTable,
    Tables,
    TextEncoding,
    VocabularyEncoding,
)

# Stands for every encoding of a label: that there is one is read, and not which.
_LABEL: Final = VocabularyEncoding(kind="vocabulary")
# Stands for every encoding of a text.
_TEXT: Final = TextEncoding(kind="text", buckets=2)


def ingest_part(spec: FeatureSpec) -> FeatureSpec:
    """Keep what InteractionIngest reads: where the columns are, their types and defaults.

    Args:
        spec: The features.

    Returns:
        The specification without display columns, encodings, allowed values and thresholds. Of the history
        only what tells how many values of its items' lists it leaves out.
    """
    items = spec.tables.items
    tables = replace(spec.tables, items=None if items is None else replace(items, display=()))
    history = None
    lists = tuple(feature.name for feature in spec.history_features if feature.multi_valued)
    if spec.history is not None and lists:
        history = History(
            name=spec.history.name, item_features=lists, values_per_item=spec.history.values_per_item
        )

    def cut(feature: Feature) -> Feature:
        return replace(
            feature,
            # A feature of the history needs one, of any kind.
            encoding=_LABEL if feature.name in lists else _encode_ids(feature),
            values=None,
            minimum=None,
            maximum=None,
            drift_threshold=None,
        )

    return FeatureSpec(name="", features=_map_features(cut, spec), tables=tables, history=history)


def schema_part(spec: FeatureSpec) -> FeatureSpec:
    """Keep what FeatureSchema reads: types, shapes, allowed values, and whether integers are labels.

    Args:
        spec: The features.

    Returns:
        The specification without defaults, thresholds, history, and what the encodings are in detail.
    """

    def cut(feature: Feature) -> Feature:
        return replace(
            feature,
            encoding=_encode_labels(feature),
            time_part=None,
            default=None,
            drift_threshold=None,
        )

    return FeatureSpec(name="", features=_map_features(cut, spec), tables=_keep_timestamp(spec))


def gate_part(spec: FeatureSpec) -> FeatureSpec:
    """Keep what AnomalyGate reads: which features are compared, how, allowed values and the thresholds.

    Args:
        spec: The features.

    Returns:
        The specification without defaults, history, and what the encodings are in detail.
    """

    def cut(feature: Feature) -> Feature:
        return replace(
            feature,
            encoding=_encode_labels(feature),
            time_part=None,
            default=None,
            minimum=None,
            maximum=None,
        )

    return FeatureSpec(name="", features=_map_features(cut, spec), tables=_keep_timestamp(spec))


def model_part(spec: FeatureSpec) -> FeatureSpec:
    """Keep what Transform, training and everything behind it read: encodings, history and defaults.

    Args:
        spec: The features.

    Returns:
        The specification without allowed values, thresholds, and where the columns are.
    """

    def cut(feature: Feature) -> Feature:
        return replace(feature, time_part=None, values=None, minimum=None, maximum=None, drift_threshold=None)

    return FeatureSpec(
        name="",
        features=_map_features(cut, spec),
        tables=_keep_timestamp(spec),
        history=spec.history,
    )


def _map_features(cut: Callable[[Feature], Feature], spec: FeatureSpec) -> tuple[Feature, ...]:
    return tuple(map(cut, spec.features))


def _keep_timestamp(spec: FeatureSpec) -> Tables:
    # No feature may have its name, so a part without it could be one that is refused.
    return Tables(interactions=InteractionTable(timestamp=spec.timestamp))


def _encode_ids(feature: Feature) -> Encoding | None:
    """Give both ids an encoding, and no other feature, since each tower of a specification needs one."""
    return _LABEL if feature.role is not None else None


def _encode_labels(feature: Feature) -> Encoding | None:
    """Keep what `Feature.is_categorical` says, and give both ids an encoding."""
    if feature.dtype == "string" and not feature.is_categorical:
        return _TEXT
    is_label = feature.dtype == "int" and feature.is_categorical
    return _LABEL if is_label else _encode_ids(feature)
