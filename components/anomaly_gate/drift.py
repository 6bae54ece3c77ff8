"""How far the train split is from that of the last release, feature by feature."""

import dataclasses
from typing import Final

from google.protobuf.message import DecodeError
from tensorflow_metadata.proto.v0 import anomalies_pb2, schema_pb2, statistics_pb2

from schemas import storage
from schemas.contract import TRAIN_STATISTICS_FILE
from schemas.errors import DataError, ReleaseError
from schemas.features import Feature, FeatureSpec
from schemas.metadata import build_schema
from schemas.release import find_latest_state

# No distance of either measure is larger, so that nothing is an anomaly but the distance is reported.
_LARGEST: Final = 1.0

_MEASURES: Final = {
    anomalies_pb2.DriftSkewInfo.Measurement.L_INFTY: "L-infinity distance",
    anomalies_pb2.DriftSkewInfo.Measurement.JENSEN_SHANNON_DIVERGENCE: "Jensen-Shannon divergence",
}


@dataclasses.dataclass(frozen=True)
class FeatureDrift:
    """The distance of one feature's values from those of the last release."""

    feature: str
    """The feature."""
    measure: str
    """`L-infinity distance`: the largest difference of a value's share of all values, 0 to 1.
    `Jensen-Shannon divergence`: of the histograms, to base 2, 0 to 1."""
    value: float
    """The distance."""
    threshold: float | None
    """The feature's `drift_threshold`; None: every distance is fine."""

    @property
    def is_too_large(self) -> bool:
        """Whether the threshold is exceeded."""
        return self.threshold is not None and self.value > self.threshold


@dataclasses.dataclass(frozen=True)
class Drift:
    """The comparison with the last release."""

    release: int | None
    """The release's version; None where there is none to compare with."""
    features: tuple[FeatureDrift, ...]
    """What was compared, the largest distance first."""
    note: str
    """What was not compared, and why; '' where everything was."""


def measure_drift(
    spec: FeatureSpec, statistics: statistics_pb2.DatasetFeatureStatisticsList, serving_directory: str
) -> Drift:
    """Compare the train split with that of the last release.

    Every categorical feature is compared, and every number with a `drift_threshold`.

    Args:
        spec: The features.
        statistics: TFDV's statistics of the train split.
        serving_directory: Where releases are: a path or URI.

    Returns:
        The distances, or why there are none.

    Raises:
        ReleaseError: The last release's manifest or statistics cannot be read.
        StorageError: The serving directory's store cannot be reached or refuses.
    """
    state = find_latest_state(serving_directory)
    if state is None:
        return Drift(None, (), "no release yet, so there is nothing to compare with")
    if state.location is None:
        note = f"release {state.version} was pushed without the statistics of its train split"
        return Drift(None, (), note)
    released = _read_released(storage.join(state.location, TRAIN_STATISTICS_FILE))
    drifts = compare_statistics(spec, statistics, released)
    found = {drift.feature for drift in drifts}
    missing = [feature.name for feature in _compared(spec) if feature.name not in found]
    note = f"release {state.version} has no comparable values of {', '.join(missing)}" if missing else ""
    return Drift(state.version, tuple(drifts), note)


def compare_statistics(
    spec: FeatureSpec,
    statistics: statistics_pb2.DatasetFeatureStatisticsList,
    earlier: statistics_pb2.DatasetFeatureStatisticsList,
) -> list[FeatureDrift]:
    """Measure how far two data sets are from each other.

    Args:
        spec: The features.
        statistics: TFDV's statistics of the one.
        earlier: TFDV's statistics of the other; features that it lacks are left out of the answer.

    Returns:
        The distances of the features that are compared, the largest first.
    """
    features = {feature.name: feature for feature in _compared(spec)}
    schema = schema_pb2.Schema()
    for entry in build_schema(spec).feature:
        if entry.name in features:
            _add_comparator(schema.feature.add(), entry, features[entry.name])
    import tensorflow_data_validation as tfdv

    found = tfdv.validate_statistics(statistics, schema, previous_statistics=earlier)
    drifts = [
        FeatureDrift(
            feature=info.path.step[0],
            measure=_MEASURES[measurement.type],
            value=measurement.value,
            threshold=features[info.path.step[0]].drift_threshold,
        )
        for info in found.drift_skew_info
        for measurement in info.drift_measurements
    ]
    return sorted(drifts, key=lambda drift: (-drift.value, drift.feature))


def read_statistics(content: bytes, source: str) -> statistics_pb2.DatasetFeatureStatisticsList:
    """Parse TFDV's statistics.

    Args:
        content: The file.
        source: Its name, for the message.

    Returns:
        The statistics.

    Raises:
        DataError: They are no statistics.
    """
    try:
        return statistics_pb2.DatasetFeatureStatisticsList.FromString(content)
    except DecodeError as error:
        raise DataError(f"{source}: expected statistics of TFDV. Received: {error}.") from error


def _read_released(location: str) -> statistics_pb2.DatasetFeatureStatisticsList:
    try:
        return read_statistics(storage.read_bytes(location), location)
    except (storage.NotFoundError, DataError) as error:
        raise ReleaseError(
            f"The statistics of the last release cannot be read, so drift cannot be measured: {error} "
            "Restore the file, or remove the release's part 'state' from its manifest."
        ) from error


def _compared(spec: FeatureSpec) -> list[Feature]:
    return [
        feature for feature in spec.features if feature.is_categorical or feature.drift_threshold is not None
    ]


def _add_comparator(target: schema_pb2.Feature, entry: schema_pb2.Feature, feature: Feature) -> None:
    target.CopyFrom(entry)
    comparator = target.drift_comparator
    distance = comparator.infinity_norm if feature.is_categorical else comparator.jensen_shannon_divergence
    distance.threshold = _LARGEST if feature.drift_threshold is None else feature.drift_threshold
