"""How far the train split is from that of the current release: its features, and its numbers of positives."""

import dataclasses
import datetime
import json
from collections.abc import Mapping
from typing import Any, Final

from components.anomaly_gate.config import SequenceDriftConfig
from components.anomaly_gate.distances import compare_quantiles, jensen_shannon, l_infinity
from components.anomaly_gate.statistics import TableStatistics, parse_statistics
from schemas import storage
from schemas.contract import (
    CONTEXT_STATISTICS_FILE,
    ITEM_STATISTICS_FILE,
    SEQUENCE_FIGURES_FILE,
    USER_STATISTICS_FILE,
)
from schemas.errors import DataError, ReleaseError
from schemas.features import Feature, FeatureSpec, Tower
from schemas.release import ReleasedState, find_current_state, read_state_file

TABLES: Final[Mapping[Tower, str]] = {"user": "users", "item": "items", "context": "contexts"}
"""What the report and messages call the tables."""

_SEQUENCES: Final = "sequences"
_FILES: Final[Mapping[Tower, str]] = {
    "user": USER_STATISTICS_FILE,
    "item": ITEM_STATISTICS_FILE,
    "context": CONTEXT_STATISTICS_FILE,
}
_L_INFINITY: Final = "L-infinity distance"
_JENSEN_SHANNON: Final = "Jensen-Shannon divergence"
_RATIO: Final = "ratio of the means"


@dataclasses.dataclass(frozen=True)
class Distance:
    """How far one thing is from what it was in the current release."""

    table: str
    """`users`, `items`, `contexts`, or `sequences`."""
    feature: str
    """The feature, or of the sequences what is counted, such as `positives_per_user`."""
    measure: str
    """`L-infinity distance`: the largest difference of a value's share of all values, 0 to 1.
    `Jensen-Shannon divergence`: of the histograms, to base 2, 0 to 1. `ratio of the means`: the larger
    one over the smaller one."""
    value: float
    """The distance."""
    threshold: float | None
    """The largest that is fine; None: every one is."""

    @property
    def setting(self) -> str:
        """What the threshold is called where it is set."""
        return f"gate.sequence_drift.{self.feature}" if self.table == _SEQUENCES else "drift_threshold"

    @property
    def is_too_large(self) -> bool:
        """Whether the threshold is exceeded."""
        return self.threshold is not None and self.value > self.threshold


@dataclasses.dataclass(frozen=True)
class TrainSplit:
    """What is known of a train split."""

    tables: Mapping[Tower, TableStatistics]
    """The statistics of users and items by their train rows, and of the train rows' contexts where there are
    context features."""
    figures: Mapping[str, Any]
    """The sequences' figures, as in the ingest's report."""


@dataclasses.dataclass(frozen=True)
class Drift:
    """The comparison with the current release."""

    release: int | None
    """The release's version; None where there is none to compare with."""
    distances: tuple[Distance, ...]
    """What was compared, the largest distance first; the numbers of positives last."""
    note: str
    """What was not compared, and why; '' where everything was."""


def measure_drift(
    spec: FeatureSpec, config: SequenceDriftConfig, train: TrainSplit, serving_directory: str
) -> Drift:
    """Compare the train split with that of the current release.

    Every categorical feature is compared, every number with a `drift_threshold`, and the numbers of positives
    of users, items and days.

    Args:
        spec: The features.
        config: What is allowed of the numbers of positives.
        train: The train split.
        serving_directory: Where releases are: a path or URI.

    Returns:
        The distances, or why there are none.

    Raises:
        ReleaseError: The current release's manifest or what it kept of its train split cannot be read.
        StorageError: The serving directory's store cannot be reached or refuses.
    """
    state = find_current_state(serving_directory)
    if state is None:
        return Drift(None, (), "no release yet, so there is nothing to compare with")
    if state.location is None:
        note = f"release {state.version} was pushed without the statistics of its train split"
        return Drift(None, (), note)
    released = _read_released(state, state.location)
    if released is None:
        note = (
            f"release {state.version} keeps no statistics of its users and items, since it was made by an "
            "earlier version of this program"
        )
        return Drift(None, (), note)
    features = compare_features(spec, train.tables, released.tables)
    found = {distance.feature for distance in features}
    missing = [feature.name for feature in _compared(spec) if feature.name not in found]
    note = f"release {state.version} has no comparable values of {', '.join(missing)}" if missing else ""
    sequences = compare_figures(config, train.figures, released.figures)
    return Drift(state.version, (*features, *sequences), note)


def compare_features(
    spec: FeatureSpec,
    tables: Mapping[Tower, TableStatistics],
    earlier: Mapping[Tower, TableStatistics],
) -> list[Distance]:
    """Measure how far the features of two data sets are from each other.

    Args:
        spec: The features.
        tables: The statistics of the one.
        earlier: The statistics of the other; features that it lacks are left out of the answer.

    Returns:
        The distances of the features that are compared, the largest first.
    """
    distances = []
    for feature in _compared(spec):
        if feature.tower in tables and feature.tower in earlier:
            value = _compare(feature, tables[feature.tower], earlier[feature.tower])
            if value is not None:
                measure = _L_INFINITY if feature.is_categorical else _JENSEN_SHANNON
                table = TABLES[feature.tower]
                distances.append(Distance(table, feature.name, measure, value, feature.drift_threshold))
    return sorted(distances, key=lambda distance: (-distance.value, distance.feature))


def compare_figures(
    config: SequenceDriftConfig, figures: Mapping[str, Any], earlier: Mapping[str, Any]
) -> list[Distance]:
    """Measure how far the numbers of positives of two train splits are from each other.

    Args:
        config: What is allowed.
        figures: `sequence_figures` of the one's ingest report.
        earlier: The same of the other; what either has no positives of is left out of the answer.

    Returns:
        The divergences of the histograms per user and per item, and the ratio of the means per day.
    """
    distances = []
    for name, threshold in (
        ("positives_per_user", config.positives_per_user),
        ("positives_per_item", config.positives_per_item),
    ):
        counts, others = (_by_edge(side[f"train_{name}"]) for side in (figures, earlier))
        if counts and others:
            value = jensen_shannon(counts, others)
            distances.append(Distance(_SEQUENCES, name, _JENSEN_SHANNON, value, threshold))
    means = [_mean_per_day(side["train_positives_per_day"]) for side in (figures, earlier)]
    if all(means):
        value = max(means) / min(means)
        name, threshold = "positives_per_day", config.positives_per_day
        distances.append(Distance(_SEQUENCES, name, _RATIO, value, threshold))
    return distances


def _compare(feature: Feature, table: TableStatistics, earlier: TableStatistics) -> float | None:
    if feature.is_categorical:
        labels, others = table.count_labels(feature.name), earlier.count_labels(feature.name)
        return l_infinity(labels, others) if labels and others else None
    numbers, other_numbers = table.read_quantiles(feature.name), earlier.read_quantiles(feature.name)
    return compare_quantiles(numbers, other_numbers) if numbers and other_numbers else None


def _by_edge(histogram: Mapping[str, Any]) -> dict[int, int]:
    pairs = zip(histogram["edges"], histogram["counts"], strict=True)
    return {edge: count for edge, count in pairs if count > 0}


def _mean_per_day(counts: Mapping[str, int]) -> float:
    """Average over the days from the first with a positive to the last; 0 without any."""
    if not counts:
        return 0.0
    days = [datetime.date.fromisoformat(day) for day in counts]
    return sum(counts.values()) / ((max(days) - min(days)).days + 1)


def _read_released(state: ReleasedState, location: str) -> TrainSplit | None:
    """Read what a release kept of its train split; None where it kept nothing."""
    contents = {name: _read_file(state, name) for name in (*_FILES.values(), SEQUENCE_FIGURES_FILE)}
    if not any(contents.values()):
        return None
    try:
        for name in (USER_STATISTICS_FILE, ITEM_STATISTICS_FILE, SEQUENCE_FIGURES_FILE):
            if contents[name] is None:
                raise DataError(f"{storage.join(location, name)} is missing.")
        tables = {
            tower: parse_statistics(content, storage.join(location, name))
            for tower, name in _FILES.items()
            if (content := contents[name]) is not None
        }
        return TrainSplit(tables, json.loads(contents[SEQUENCE_FIGURES_FILE] or b""))
    except (DataError, ValueError) as error:
        raise ReleaseError(
            f"The statistics of the current release cannot be read, so drift cannot be measured: {error} "
            "Restore the file, or remove the release's part 'state' from its manifest."
        ) from error


def _read_file(state: ReleasedState, name: str) -> bytes | None:
    try:
        return read_state_file(state, name)
    except storage.NotFoundError:
        return None


def _compared(spec: FeatureSpec) -> list[Feature]:
    return [
        feature for feature in spec.features if feature.is_categorical or feature.drift_threshold is not None
    ]
