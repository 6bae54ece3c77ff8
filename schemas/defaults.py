"""What stands in for the features of users and items without metadata, where the schema file does not say."""

import dataclasses
import math
from collections.abc import Mapping

from schemas.features import Feature, FeatureSpec


def choose_defaults(spec: FeatureSpec) -> dict[str, str | int | float]:
    """Choose a default for every user and item feature that has none.

    Of texts it is the empty one, which no vocabulary holds, so that it is encoded as a value never seen;
    where the schema file lists the values, the first of them. Of numbers it is 0, or what its minimum and
    maximum allow next to it.

    Args:
        spec: The features.

    Returns:
        The defaults by feature; of a list, what each of its values is.
    """
    return {
        feature.name: _choose_default(feature)
        for feature in spec.features
        if feature.tower != "context" and feature.role is None and feature.default is None
    }


def add_defaults(spec: FeatureSpec, defaults: Mapping[str, str | int | float]) -> FeatureSpec:
    """Give features their defaults.

    Args:
        spec: The features.
        defaults: What `choose_defaults` gives.

    Returns:
        The features with these defaults.
    """
    features = tuple(
        dataclasses.replace(feature, default=defaults[feature.name]) if feature.name in defaults else feature
        for feature in spec.features
    )
    return dataclasses.replace(spec, features=features)


def _choose_default(feature: Feature) -> str | int | float:
    if feature.dtype == "string":
        return feature.values[0] if feature.values else ""
    number: int | float = 0
    if feature.minimum is not None:
        number = max(number, feature.minimum)
    if feature.maximum is not None:
        number = min(number, feature.maximum)
    if feature.dtype == "float":
        return float(number)
    # A bound need not be whole itself.
    return math.ceil(number) if number > 0 else math.floor(number)
