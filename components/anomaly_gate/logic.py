"""Anomalies that ExampleValidator found, as a list a person can read, and the decision to stop."""

import dataclasses
import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from google.protobuf.message import DecodeError
from tensorflow_metadata.proto.v0 import anomalies_pb2

from components.anomaly_gate.drift import Drift
from schemas.contract import ANOMALY_REPORT_FILE, PROGRESS_LOGGER, TRAIN_SPLIT
from schemas.errors import DataError

ANOMALIES_FILE: Final = "SchemaDiff.pb"
"""The file that TFX's ExampleValidator writes for each split."""

_WHOLE_SPLIT: Final = "(whole split)"
_DRIFT: Final = "DRIFT"

_progress = logging.getLogger(PROGRESS_LOGGER)


@dataclasses.dataclass(frozen=True)
class Anomaly:
    """One way in which the data of a split differ from the schema."""

    split: str
    """The split."""
    feature: str
    """The feature, or `(whole split)`."""
    severity: str
    """`ERROR`, `WARNING` or `UNKNOWN`."""
    reason: str
    """TensorFlow Data Validation's name of the kind of anomaly, or `DRIFT`."""
    description: str
    """What is wrong, in a sentence."""

    def __str__(self) -> str:
        return f"{self.split}, {self.feature}: {self.description} [{self.reason}]"


def check_anomalies(
    splits: Mapping[str, Path],
    report_directory: Path,
    drift: Drift | None = None,
    fatal_drift: bool = False,
) -> list[Anomaly]:
    """Report every anomaly and every distance from the last release, and stop where one is an error.

    Args:
        splits: By split name, the folder with ExampleValidator's `SchemaDiff.pb`.
        report_directory: Where `anomaly_report.json` is written, also when an error is raised; it is
            made where it does not exist.
        drift: The comparison with the last release; one beyond its threshold is an anomaly of the train
            split. None: there was no comparison.
        fatal_drift: Whether that anomaly is an error or a warning.

    Returns:
        The anomalies, none of them of severity ERROR; warnings also go to the progress logger.

    Raises:
        DataError: There is no split, a file cannot be read, or an anomaly has severity ERROR.
    """
    if not splits:
        raise DataError(
            "Expected the anomalies of at least one split. Received: none, so nothing was validated."
        )
    anomalies = [anomaly for split, folder in splits.items() for anomaly in read_anomalies(split, folder)]
    if drift is not None:
        anomalies += _drift_anomalies(drift, "ERROR" if fatal_drift else "WARNING")
        _show_drift(drift)
    _write_report(anomalies, list(splits), drift, report_directory)
    errors = [anomaly for anomaly in anomalies if anomaly.severity == "ERROR"]
    if errors:
        listed = "\n".join(f"  - {anomaly}" for anomaly in errors)
        raise DataError(f"{_headline(errors)} ({len(errors)} found):\n{listed}\n{_advise(errors)}")
    for anomaly in anomalies:
        _progress.info("Anomaly (%s): %s", anomaly.severity.lower(), anomaly)
    return anomalies


def read_anomalies(split: str, folder: Path) -> list[Anomaly]:
    """Read what ExampleValidator found in one split.

    Args:
        split: The split's name.
        folder: The folder with `SchemaDiff.pb`.

    Returns:
        One entry per feature and reason, sorted.

    Raises:
        DataError: The file is missing or no Anomalies message.
    """
    file = folder / ANOMALIES_FILE
    try:
        found = anomalies_pb2.Anomalies.FromString(file.read_bytes())
    except (OSError, DecodeError) as error:
        raise DataError(f"Expected the anomalies of split {split!r} in {file}. Received: {error}.") from error
    anomalies = [
        anomaly for feature, info in found.anomaly_info.items() for anomaly in _unpack(split, feature, info)
    ]
    if found.HasField("dataset_anomaly_info"):
        anomalies += _unpack(split, _WHOLE_SPLIT, found.dataset_anomaly_info)
    if found.data_missing:
        anomalies.append(Anomaly(split, _WHOLE_SPLIT, "ERROR", "DATA_MISSING", "The split has no rows."))
    return sorted(anomalies, key=dataclasses.astuple)


def _unpack(split: str, feature: str, info: anomalies_pb2.AnomalyInfo) -> Iterator[Anomaly]:
    severity = anomalies_pb2.AnomalyInfo.Severity.Name(info.severity)
    # Some anomalies carry no reason of their own; they must not vanish.
    reasons: Sequence[anomalies_pb2.AnomalyInfo.Reason] = info.reason or [anomalies_pb2.AnomalyInfo.Reason()]
    for reason in reasons:
        yield Anomaly(
            split=split,
            feature=feature,
            severity=severity,
            reason=anomalies_pb2.AnomalyInfo.Type.Name(reason.type),
            description=(reason.description or info.description or info.short_description).strip(),
        )


def _drift_anomalies(drift: Drift, severity: str) -> list[Anomaly]:
    return [
        Anomaly(
            split=TRAIN_SPLIT,
            feature=found.feature,
            severity=severity,
            reason=_DRIFT,
            description=(
                f"The {found.measure} from release {drift.release} is {found.value:.4f}, above the feature's "
                f"drift_threshold {found.threshold}."
            ),
        )
        for found in drift.features
        if found.is_too_large
    ]


def _show_drift(drift: Drift) -> None:
    if drift.features:
        largest = drift.features[0]
        _progress.info(
            "Drift from release %d measured for %d features, largest: %s, %s %.4f",
            drift.release, len(drift.features), largest.feature, largest.measure, largest.value,
        )  # fmt: skip
    if drift.note:
        _progress.info("Drift not measured: %s", drift.note)


def _headline(errors: Sequence[Anomaly]) -> str:
    if all(error.reason == _DRIFT for error in errors):
        return "The data have drifted too far from the last release"
    return "The data do not fit the schema"


def _advise(errors: Sequence[Anomaly]) -> str:
    advice = []
    if any(error.reason != _DRIFT for error in errors):
        advice.append("Correct the tables, or values, minimum, maximum, default or dtype in the schema file.")
    if any(error.reason == _DRIFT for error in errors):
        advice.append(
            "Where the change is wanted, raise drift_threshold in the schema file or set gate.fatal_drift "
            "to false."
        )
    return " ".join(advice)


def _write_report(anomalies: list[Anomaly], splits: list[str], drift: Drift | None, directory: Path) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    report = {"splits": splits, "anomalies": [dataclasses.asdict(anomaly) for anomaly in anomalies]}
    if drift is not None:
        report["drift"] = dataclasses.asdict(drift)
    text = json.dumps(report, indent=2, ensure_ascii=False)
    (directory / ANOMALY_REPORT_FILE).write_text(text + "\n", encoding="utf-8")
