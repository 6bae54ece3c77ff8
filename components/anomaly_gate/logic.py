"""Anomalies that ExampleValidator found, as a list a person can read, and the decision to stop."""

import dataclasses
import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from google.protobuf.message import DecodeError
from tensorflow_metadata.proto.v0 import anomalies_pb2

from components.anomaly_gate.drift import TABLES, Drift
from components.anomaly_gate.statistics import TableStatistics
from schemas.contract import ANOMALY_REPORT_FILE, PROGRESS_LOGGER
from schemas.errors import DataError
from schemas.features import FeatureSpec, Tower

ANOMALIES_FILE: Final = "SchemaDiff.pb"
"""The file that TFX's ExampleValidator writes for each split."""

_WHOLE_TABLE: Final = "(whole table)"
_DRIFT: Final = "DRIFT"

_progress = logging.getLogger(PROGRESS_LOGGER)


@dataclasses.dataclass(frozen=True)
class Anomaly:
    """One way in which the data of a table differ from the schema."""

    table: str
    """The table: `users`, `items`, `sequences`, or the contexts of a split, such as `contexts (train)`."""
    feature: str
    """The feature, or `(whole table)`."""
    severity: str
    """`ERROR`, `WARNING` or `UNKNOWN`."""
    reason: str
    """TensorFlow Data Validation's name of the kind of anomaly, or `DRIFT`."""
    description: str
    """What is wrong, in a sentence."""

    def __str__(self) -> str:
        return f"{self.table}, {self.feature}: {self.description} [{self.reason}]"


def check_anomalies(
    anomalies: Mapping[str, Sequence[Anomaly]],
    report_directory: Path,
    drift: Drift | None = None,
    fatal_drift: bool = False,
) -> list[Anomaly]:
    """Report every anomaly and every distance from the current release, and stop where one is an error.

    Args:
        anomalies: By the table's name, what was found in it.
        report_directory: Where `anomaly_report.json` is written, also when an error is raised; it is
            made where it does not exist.
        drift: The comparison with the current release; a distance beyond its threshold is an anomaly. None:
            there was no comparison.
        fatal_drift: Whether that anomaly is an error or a warning.

    Returns:
        The anomalies, none of them of severity ERROR; warnings also go to the progress logger.

    Raises:
        DataError: There is no table, or an anomaly has severity ERROR.
    """
    if not anomalies:
        raise DataError(
            "Expected the anomalies of at least one table. Received: none, so nothing was validated."
        )
    found = [anomaly for of_table in anomalies.values() for anomaly in of_table]
    if drift is not None:
        found += _drift_anomalies(drift, "ERROR" if fatal_drift else "WARNING")
        _show_drift(drift)
    _write_report(found, list(anomalies), drift, report_directory)
    errors = [anomaly for anomaly in found if anomaly.severity == "ERROR"]
    if errors:
        listed = "\n".join(f"  - {anomaly}" for anomaly in errors)
        raise DataError(f"{_headline(errors)} ({len(errors)} found):\n{listed}\n{_advise(errors)}")
    for anomaly in found:
        _progress.info("Anomaly (%s): %s", anomaly.severity.lower(), anomaly)
    return found


def find_unexpected_values(
    spec: FeatureSpec, tower: Tower, statistics: TableStatistics, found: Sequence[Anomaly]
) -> list[Anomaly]:
    """Find values outside `values` that TFDV does not see, since only rows of weight 0 have them.

    TFDV checks numbers and shapes of every row, but strings by the weights. A wrong value is as wrong in an
    item that was not sold yet.

    Args:
        spec: The features.
        tower: The table.
        statistics: Its statistics.
        found: What TFDV found in it.

    Returns:
        The anomalies, for the features of which TFDV found no unexpected values.
    """
    kind = anomalies_pb2.AnomalyInfo.Type.Name(anomalies_pb2.AnomalyInfo.ENUM_TYPE_UNEXPECTED_STRING_VALUES)
    known = {anomaly.feature for anomaly in found if anomaly.reason == kind}
    anomalies = []
    for feature in spec.table_features(tower):
        if feature.values is None or feature.name in known:
            continue
        unexpected = sorted(set(statistics.list_labels(feature.name)) - set(feature.values))
        if unexpected:
            description = (
                f"Without any train row, but with values missing from the schema: {', '.join(unexpected)}."
            )
            anomalies.append(Anomaly(TABLES[tower], feature.name, "ERROR", kind, description))
    return anomalies


def read_anomalies(table: str, folder: Path) -> list[Anomaly]:
    """Read what ExampleValidator found in one split of a table's examples.

    Args:
        table: What the table, or its split, is called.
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
        raise DataError(f"Expected the anomalies of {table} in {file}. Received: {error}.") from error
    anomalies = [
        anomaly for feature, info in found.anomaly_info.items() for anomaly in _unpack(table, feature, info)
    ]
    if found.HasField("dataset_anomaly_info"):
        anomalies += _unpack(table, _WHOLE_TABLE, found.dataset_anomaly_info)
    if found.data_missing:
        anomalies.append(Anomaly(table, _WHOLE_TABLE, "ERROR", "DATA_MISSING", "There are no rows."))
    return sorted(anomalies, key=dataclasses.astuple)


def _unpack(table: str, feature: str, info: anomalies_pb2.AnomalyInfo) -> Iterator[Anomaly]:
    severity = anomalies_pb2.AnomalyInfo.Severity.Name(info.severity)
    # Some anomalies carry no reason of their own; they must not vanish.
    reasons: Sequence[anomalies_pb2.AnomalyInfo.Reason] = info.reason or [anomalies_pb2.AnomalyInfo.Reason()]
    for reason in reasons:
        yield Anomaly(
            table=table,
            feature=feature,
            severity=severity,
            reason=anomalies_pb2.AnomalyInfo.Type.Name(reason.type),
            description=(reason.description or info.description or info.short_description).strip(),
        )


def _drift_anomalies(drift: Drift, severity: str) -> list[Anomaly]:
    return [
        Anomaly(
            table=found.table,
            feature=found.feature,
            severity=severity,
            reason=_DRIFT,
            description=(
                f"The {found.measure} from release {drift.release} is {found.value:.4f}, above "
                f"{found.setting} {found.threshold}."
            ),
        )
        for found in drift.distances
        if found.is_too_large
    ]


def _show_drift(drift: Drift) -> None:
    if drift.distances:
        largest = drift.distances[0]
        _progress.info(
            "Drift from release %d measured at %d places, largest: %s, %s, %s %.4f",
            drift.release, len(drift.distances),
            largest.table, largest.feature, largest.measure, largest.value,
        )  # fmt: skip
    if drift.note:
        _progress.info("Drift not measured: %s", drift.note)


def _headline(errors: Sequence[Anomaly]) -> str:
    if all(error.reason == _DRIFT for error in errors):
        return "The data have drifted too far from the current release"
    return "The data do not fit the schema"


def _advise(errors: Sequence[Anomaly]) -> str:
    advice = []
    if any(error.reason != _DRIFT for error in errors):
        advice.append("Correct the tables, or values, minimum, maximum, default or dtype in the schema file.")
    if any(error.reason == _DRIFT for error in errors):
        advice.append(
            "Where the change is wanted, raise drift_threshold in the schema file or the key of "
            "gate.sequence_drift, or set gate.fatal_drift to false."
        )
    return " ".join(advice)


def _write_report(anomalies: list[Anomaly], tables: list[str], drift: Drift | None, directory: Path) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    report = {"tables": tables, "anomalies": [dataclasses.asdict(anomaly) for anomaly in anomalies]}
    if drift is not None:
        report["drift"] = dataclasses.asdict(drift)
    text = json.dumps(report, indent=2, ensure_ascii=False)
    (directory / ANOMALY_REPORT_FILE).write_text(text + "\n", encoding="utf-8")
