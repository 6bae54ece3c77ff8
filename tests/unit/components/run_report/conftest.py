import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from components.run_report.event_files import ScalarSeries
from components.run_report.inputs import RunFacts

# What RetrievalEvaluator wrote in two runs on data of `dssm synth`, the second with another seed.
SAMPLES = Path(__file__).parent / "samples"
FIRST, SECOND = "first_evaluation_report.json", "evaluation_report.json"


def make_index(items: int, dim: int = 8) -> tuple[Any, pa.Table]:
    generator = np.random.default_rng(1)
    embeddings = generator.normal(size=(items, dim)).astype(np.float32)
    embeddings /= np.linalg.norm(embeddings, axis=1, keepdims=True)
    catalogue = pa.table(
        {
            "item_id": [f"i{number}" for number in range(items)],
            "genres": [[["Drama", "Comedy", "War"][number % 3]] for number in range(items)],
            "title": [f"Film {number}" for number in range(items)],
        }
    )
    return embeddings, catalogue


def read_document(name: str) -> dict[str, Any]:
    return json.loads((SAMPLES / name).read_text(encoding="utf-8"))


@pytest.fixture
def document() -> dict[str, Any]:
    """Of a model that was compared with a release."""
    return read_document(SECOND)


@pytest.fixture
def first_document() -> dict[str, Any]:
    """Of a model before which there was no release."""
    return read_document(FIRST)


@pytest.fixture
def small_document(first_document: dict[str, Any]) -> dict[str, Any]:
    """Without what takes most of the time to draw."""
    model = first_document["models"][0]
    small_model = {**model, "metrics": {"recall_at_10": model["metrics"]["recall_at_10"]}}
    return {
        **first_document,
        "metrics": {"recall_at_10": first_document["metrics"]["recall_at_10"]},
        "models": [small_model],
        "differences": [],
        "slices": [],
    }


@pytest.fixture(scope="session")
def make_facts() -> Callable[..., RunFacts]:
    """Make the facts of a run with everything in them; a test changes what it is about."""

    def make(items: int = 60, **changes: Any) -> RunFacts:
        embeddings, catalogue = make_index(items)
        facts = RunFacts(
            run_id="20261128T121233.5Z",
            evaluation=read_document(SECOND),
            ingest={
                "rows_read": 1234, "rows_kept": 1200, "dropped": {"not_positive": 34}, "users": 50,
                "items": items,
                "first_timestamp": 86_400, "last_timestamp": 90_000, "window_from": "", "window_to": "",
                "missing_days": [], "filled_defaults": {"year": 7},
            },
            anomalies={
                "tables": ["users", "items"],
                "anomalies": [
                    {"table": "users", "feature": "age", "severity": "WARNING", "reason": "DRIFT",
                     "description": "Too far."},
                ],
                "drift": {
                    "release": 3, "note": "",
                    "distances": [{"table": "users", "feature": "age", "measure": "L-infinity distance",
                                   "value": 0.25, "threshold": 0.1}],
                },
            },
            model={
                "model_id": "m", "steps": 20, "final_loss": 4.5, "recall_by_epoch": [0.1, 0.2],
                "warm_start": None,
            },
            scalars={
                "loss": ScalarSeries([10, 20], [5.0, 4.5]),
                "validation_recall": ScalarSeries([10, 20], [0.1, 0.2]),
            },
            refit_scalars={"loss": ScalarSeries([10, 20], [4.9, 4.4])},
            embeddings=embeddings,
            catalogue=catalogue,
            item_id="item_id",
            display=("title",),
            map_feature="genres",
            settings={"run": {"name": "films"}, "model": {"dim": 8, "layers": [64]}, "report": {}},
            parameters={"epochs": 4, "window_from": None},
        )  # fmt: skip
        return dataclasses.replace(facts, **changes)

    return make
