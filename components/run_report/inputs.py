"""Everything that a report is made of, read from the artifacts of a run."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from components.candidate_indexer.logic import read_index
from components.run_report.event_files import ScalarSeries, read_scalars
from components.run_report.item_groups import choose_feature
from schemas.contract import (
    ANOMALY_REPORT_FILE,
    CATALOGUE_FILE,
    EVALUATION_REPORT_FILE,
    INGEST_REPORT_FILE,
    MODEL_INFO_FILE,
)
from schemas.errors import DataError

REFIT: Final = "refit"
"""The folder of the logs of a second training, on train and validation."""


@dataclass(frozen=True)
class RunFolders:
    """Where the artifacts are."""

    evaluation: Path
    """RetrievalEvaluator's report."""
    ingest: Path
    """InteractionIngest's report."""
    anomalies: Path
    """AnomalyGate's report."""
    model: Path
    """The trained towers, with model.json."""
    logs: Path
    """TensorBoard's logs of the training."""
    index: Path
    """The candidate index."""


@dataclass(frozen=True)
class RunFacts:
    """What is known of a run."""

    run_id: str
    """What the release's manifest calls the run."""
    evaluation: Mapping[str, Any]
    """RetrievalEvaluator's document."""
    ingest: Mapping[str, Any]
    """InteractionIngest's."""
    anomalies: Mapping[str, Any]
    """AnomalyGate's."""
    model: Mapping[str, Any]
    """The Trainer's model.json."""
    scalars: Mapping[str, ScalarSeries]
    """What the training logged, by tag."""
    refit_scalars: Mapping[str, ScalarSeries]
    """What the second training of early stopping logged; empty without one."""
    embeddings: npt.NDArray[np.float32]
    """[items, dim] the index, mapped from its file."""
    catalogue: pa.Table
    """[items] the catalogue in the order of the index: the id, `display` and `map_feature`."""
    item_id: str
    """Name of the item id."""
    display: Sequence[str]
    """The columns of the catalogue that say what an item is called."""
    map_feature: str | None
    """The column that colours a map of the items; None where no column groups them."""
    settings: Mapping[str, Any]
    """The configuration, section by section, without what changes from run to run."""
    parameters: Mapping[str, Any]
    """What this run was given beside it."""


def read_facts(
    folders: RunFolders,
    *,
    run_id: str,
    item_id: str,
    display: Sequence[str],
    map_feature: str | None,
    settings: Mapping[str, Any],
    parameters: Mapping[str, Any],
) -> RunFacts:
    """Read the artifacts of a run.

    Args:
        folders: Where they are.
        run_id: What the release's manifest calls the run.
        item_id: Name of the item id.
        display: The columns that say what an item is called; those that the catalogue lacks are left out.
        map_feature: The column that colours a map of the items; None: one is chosen.
        settings: The configuration, section by section.
        parameters: What this run was given beside it.

    Returns:
        The facts; the embeddings are mapped from their file.

    Raises:
        DataError: A document is missing or no JSON object, or the catalogue has no column `map_feature`.
        ReleaseError: There is no index.
    """
    # A catalogue may have wide columns, such as vectors, of which nothing is shown.
    index = read_index(folders.index, [item_id])
    file = folders.index / CATALOGUE_FILE
    shown = [name for name in display if name in pq.read_schema(file).names and name != item_id]
    feature = choose_feature(file, map_feature, {item_id, *shown})
    columns = dict.fromkeys([item_id, *shown, *([] if feature is None else [feature])])
    return RunFacts(
        run_id=run_id,
        evaluation=_read_document(folders.evaluation / EVALUATION_REPORT_FILE),
        ingest=_read_document(folders.ingest / INGEST_REPORT_FILE),
        anomalies=_read_document(folders.anomalies / ANOMALY_REPORT_FILE),
        model=_read_document(folders.model / MODEL_INFO_FILE),
        scalars=read_scalars(folders.logs),
        refit_scalars=read_scalars(folders.logs / REFIT),
        embeddings=index.embeddings,
        catalogue=pq.read_table(file, columns=list(columns)),
        item_id=item_id,
        display=shown,
        map_feature=feature,
        settings=settings,
        parameters=parameters,
    )


def _read_document(file: Path) -> Mapping[str, Any]:
    try:
        document = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"Expected a JSON document in {file}. Received: {error}.") from error
    if not isinstance(document, dict):
        raise DataError(f"Expected a JSON object in {file}. Received: {type(document).__name__}.")
    return document
