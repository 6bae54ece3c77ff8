"""Anomalies that ExampleValidator found, as a list a person can read, and the decision to stop."""

import dataclasses
import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from google.protobuf.message import DecodeError
from tensorflow_metadata.proto.v0 import anomalies_pb2

from schemas.contract import ANOMALY_REPORT_FILE, PROGRESS_LOGGER
from schemas.errors import DataError

ANOMALIES_FILE: Final = "SchemaDiff.pb"
"""The file that TFX's ExampleValidator writes for each split."""

_WHOLE_SPLIT: Final = "(whole split)"

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
    """TensorFlow Data Validation's name of the kind of anomaly."""
    description: str
    """What is wrong, in a sentence."""

    def __str__(self) -> str:
        return f"{self.split}, {self.feature}: {self.description} [{self.reason}]"


def check_anomalies(splits: Mapping[str, Path], report_directory: Path) -> list[Anomaly]:
    """Report every anomaly and stop where one is an error.

    Args:
        splits: By split name, the folder with ExampleValidator's `SchemaDiff.pb`.
        report_directory: Where `anomaly_report.json` is written, also when an error is raised; it is
            made where it does not exist.

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
    _write_report(anomalies, list(splits), report_directory)
    errors = [anomaly for anomaly in anomalies if anomaly.severity == "ERROR"]
    if errors:
        listed = "\n".join(f"  - {anomaly}" for anomaly in errors)
        raise DataError(
            f"The data do not fit the schema ({len(errors)} found):\n{listed}\n"
            "Correct the tables, or values, minimum, maximum, default or dtype in the schema file."
        )
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


def _write_report(anomalies: list[Anomaly], splits: list[str], directory: Path) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    report = {"splits": splits, "anomalies": [dataclasses.asdict(anomaly) for anomaly in anomalies]}
    text = json.dumps(report, indent=2, ensure_ascii=False)
    (directory / ANOMALY_REPORT_FILE).write_text(text + "\n", encoding="utf-8")
