"""What the user tower is given of one user: checked values, and what stands in for those not known."""

import csv
import difflib
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np

from components.interaction_ingest.sources.times import take_part_at
from schemas.errors import ConfigError, ReleaseError
from schemas.features import Feature, FeatureSpec

# What a string feature is when nobody said: no vocabulary holds it, so the tower reads an unseen value.
UNKNOWN_TEXT: Final = ""

_KINDS: Final = {"int": "a whole number", "float": "a number"}
# What the tower's inputs hold: int64 and float32.
_LARGEST: Final = {"int": 2**63 - 1, "float": float(np.finfo(np.float32).max)}


def parse_feature(spec: FeatureSpec, name: str, text: str) -> Any:
    """Read a feature of the user tower from the command line.

    Args:
        spec: The features.
        name: The feature's name.
        text: Its value; a multi-valued feature's values are separated by commas, with quotes around a value
            that holds one, and so are the numbers of a list.

    Returns:
        A value, or a list of them.

    Raises:
        ConfigError: There is no such feature, or it cannot have the value.
    """
    label = f"--feature {name}"
    if name == spec.user_id.name:
        raise ConfigError(f"{label}={text}: a known user is named with --user {text}.")
    feature = _find_feature(spec, name, f"{label}={text}")
    if feature.multi_valued:
        return _check_texts(feature, next(csv.reader([text], skipinitialspace=True), []), label)
    if feature.dtype == "string":
        return _check_texts(feature, [text], label)[0]
    if feature.length is None:
        return _parse_number(feature, text, label)
    parts = text.split(",")
    if len(parts) != feature.length:
        raise ConfigError(
            f"{label}: expected {feature.length} numbers separated by commas. Received: {len(parts)}."
        )
    return [_parse_number(feature, part, label) for part in parts]


def check_feature(spec: FeatureSpec, name: str, value: Any) -> Any:
    """Check a feature of the user tower that came as JSON.

    Args:
        spec: The features.
        name: The feature's name.
        value: A text, a number or a list of them, as the feature is declared.

    Returns:
        The value.

    Raises:
        ConfigError: There is no such feature, or it cannot have the value.
    """
    label = f"features.{name}"
    if name == spec.user_id.name:
        raise ConfigError(f"{label}: a known user is named with 'user'. Received: a feature of that name.")
    feature = _find_feature(spec, name, label)
    if not feature.is_list:
        return _check_value(feature, value, label)
    what = "texts" if feature.multi_valued else f"{feature.length} numbers"
    if not isinstance(value, list) or (feature.length is not None and len(value) != feature.length):
        received = f"a list of {len(value)}" if isinstance(value, list) else _name_type(value)
        raise ConfigError(f"{label}: expected a list of {what}. Received: {received}.")
    return [_check_value(feature, one, label) for one in value]


def fill_features(
    spec: FeatureSpec,
    schema: str,
    names: Sequence[str],
    user: str | None,
    row: Mapping[str, Any] | None,
    given: Mapping[str, Any],
    find_median: Callable[[Feature], int | float | None],
    set_by: Callable[[str], str] | None,
    now: float,
    notes: list[str],
) -> dict[str, Any]:
    """Find a value for every input of the user tower but the history.

    A feature that is neither given nor known is, in this order: a part of the log's time, that of now; its
    default; for a string, a value that no vocabulary holds; for a number that is no label, the median.

    Args:
        spec: The features.
        schema: Where they were read from, for messages.
        names: The tower's inputs without those of the history.
        user: The user's id; None for a user never seen.
        row: The user's row of the user table; None if there is none.
        given: Checked values that take the place of those in the row.
        find_median: Gives the median of all users; None where there is none.
        set_by: Says how one gives a feature, by its name; None where nobody can, as in a batch.
        now: The time of the request in seconds since 1970.
        notes: What was assumed is appended here.

    Returns:
        The values by name, in the order in which the features are declared.

    Raises:
        ReleaseError: The tower reads a feature that is not declared.
        ConfigError: There is no value for some of them.
    """
    declared = {feature.name: feature for feature in spec.tower_features("user")}
    unknown = sorted(set(names) - set(declared))
    if unknown:
        raise ReleaseError(
            f"The release's user tower reads {unknown}, which {schema} does not have. "
            "Use the configuration that the release was made with."
        )

    def note(name: str, text: str) -> None:
        notes.append(text if set_by is None else f"{text} {set_by(name)} sets it.")

    inputs: dict[str, Any] = {}
    missing: list[str] = []
    for feature in (declared[name] for name in declared if name in names):
        name = feature.name
        known = _known_value(feature, (row or {}).get(name))
        if feature.role is not None:
            inputs[name] = UNKNOWN_TEXT if user is None else user
        elif name in given:
            inputs[name] = given[name]
        elif known is not None:
            inputs[name] = known
        elif spec.is_of_log_time(feature):
            inputs[name] = take_part_at(now, feature)
            # Without the value, so that the notes of many users are the same.
            note(name, f"{name} is not given: that of now was used.")
        elif feature.default is not None:
            inputs[name] = feature.default_value
            notes.append(f"{name} is not known: its default {feature.default!r} was used.")
        elif feature.dtype == "string":
            inputs[name] = [] if feature.multi_valued else UNKNOWN_TEXT
            note(name, f"{name} is not known: it counts as a value never seen.")
        elif (median := find_median(feature)) is not None:
            inputs[name] = median
            note(name, f"{name} is not known: the median of all users, {median}, was used.")
        else:
            missing.append(name)
    if missing:
        remedy = f"a default in {schema}" if set_by is None else " ".join(map(set_by, missing))
        raise ConfigError(
            f"Expected a value for each of {missing}, which have no default. Received: none. Give {remedy}."
        )
    return inputs


def has_median(feature: Feature) -> bool:
    """Tell whether the median of a feature over the user table means something.

    Args:
        feature: The feature.

    Returns:
        False for labels, whose middle means nothing, for lists, and for what is not in the user table.
    """
    return feature.tower == "user" and not feature.is_categorical and not feature.is_list


def median_of(feature: Feature, numbers: np.ndarray) -> int | float | None:
    """Give the median of a feature.

    Args:
        feature: A single number.
        numbers: [users] finite values.

    Returns:
        The median as the feature's type has it; None of no users.
    """
    if not len(numbers):
        return None
    median = float(np.median(numbers))
    return round(median) if feature.dtype == "int" else median


def _find_feature(spec: FeatureSpec, name: str, label: str) -> Feature:
    usable = {feature.name: feature for feature in spec.tower_features("user") if feature.role is None}
    if name not in usable:
        nearest = difflib.get_close_matches(name, usable, n=1, cutoff=0.0)
        raise ConfigError(
            f"{label}: no feature of the user tower is named {name!r}"
            + (f"; did you mean {nearest[0]!r}?" if nearest else "; it has none that can be given.")
        )
    return usable[name]


def _parse_number(feature: Feature, text: str, label: str) -> int | float:
    try:
        number = int(text) if feature.dtype == "int" else float(text)
    except ValueError:
        raise ConfigError(f"{label}: expected {_KINDS[feature.dtype]}. Received: {text!r}.") from None
    return _check_range(feature, number, label, repr(text))


def _check_value(feature: Feature, value: Any, label: str) -> Any:
    if feature.dtype == "string":
        if not isinstance(value, str):
            raise ConfigError(f"{label}: expected a text. Received: {_name_type(value)}.")
        return _check_texts(feature, [value], label)[0]
    accepted = int if feature.dtype == "int" else (int, float)
    if not isinstance(value, accepted) or isinstance(value, bool):
        raise ConfigError(f"{label}: expected {_KINDS[feature.dtype]}. Received: {_name_type(value)}.")
    return _check_range(feature, value, label, f"{value!r:.60}")


def _check_range(feature: Feature, number: int | float, label: str, received: str) -> int | float:
    largest = _LARGEST[feature.dtype]
    low = -largest if feature.minimum is None else feature.minimum
    high = largest if feature.maximum is None else feature.maximum
    # A whole number of hundreds of digits is no float: it is compared before it would be made one.
    if not low <= number <= high or not math.isfinite(number):
        raise ConfigError(f"{label}: expected a number from {low} to {high}. Received: {received}.")
    return number


def _check_texts(feature: Feature, values: list[str], label: str) -> list[str]:
    if feature.values is not None and (unknown := [value for value in values if value not in feature.values]):
        raise ConfigError(f"{label}: expected one of {list(feature.values)}. Received: {unknown}.")
    return values


def _known_value(feature: Feature, value: Any) -> Any:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    if feature.multi_valued:
        return [str(one) for one in value]
    if feature.length is not None:
        numbers = [math.nan if one is None else float(one) for one in value]
        return numbers if numbers and all(map(math.isfinite, numbers)) else None
    return {"string": str, "int": int, "float": float}[feature.dtype](value)


def _name_type(value: Any) -> str:
    names = {bool: "a boolean", dict: "an object", list: "a list", str: "a text", type(None): "null"}
    return names.get(type(value), f"the number {value!r:.60}")
