"""Run directories with an ML Metadata of the shape that `dssm run` leaves, without TFX."""

import json
import sqlite3
from pathlib import Path

import ml_metadata
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from ml_metadata.proto import metadata_store_pb2

TYPES = {
    "InteractionIngest": "components.interaction_ingest.component.InteractionIngest",
    "AnomalyGate": "components.anomaly_gate.component.AnomalyGate",
    "Trainer": "components.tower_trainer.component.TowerTrainer",
    "RetrievalEvaluator": "components.retrieval_evaluator.component.RetrievalEvaluator",
    "TowerPusher": "components.tower_pusher.component.TowerPusher",
}


class RunDirectory:
    """A run directory to which a test adds runs."""

    def __init__(self, path: Path):
        self.path = path
        path.mkdir(parents=True)
        connection = metadata_store_pb2.ConnectionConfig()
        connection.sqlite.filename_uri = str(path / "metadata.sqlite")
        self.store = ml_metadata.MetadataStore(connection)
        self.types = {}

    def add(self, tfx_id, start, *steps, run_id="", pipeline="shop"):
        """Add a run that starts at `start` (seconds since 1970), with steps as `add_step` takes them."""
        contexts = [self._context("pipeline", pipeline), self._context("pipeline_run", tfx_id)]
        self.store.put_parent_contexts(
            [metadata_store_pb2.ParentContext(child_id=contexts[1].id, parent_id=contexts[0].id)]
        )
        self._set_times("Context", contexts[1].id, start, start)
        self.run = start, contexts, run_id
        for step in steps:
            self.add_step(*step)

    def add_step(self, name, state, end):
        """Add a step to the last run; `end`: the second of the run at which it last said something."""
        start, contexts, run_id = self.run
        execution = metadata_store_pb2.Execution(
            type_id=self._type("execution", TYPES[name]),
            last_known_state=metadata_store_pb2.Execution.State.Value(state),
        )
        if name in ("AnomalyGate", "TowerPusher"):
            execution.custom_properties["run_id"].string_value = run_id
        node = self._context("node", f"{contexts[0].name}.{name}")
        self.execution, _, _ = self.store.put_execution(execution, [], [*contexts, node])
        self._set_times("Execution", self.execution, start, start + end)

    def add_output(self, key, uri="", **properties):
        """Add an output to the last step."""
        artifact = metadata_store_pb2.Artifact(type_id=self._type("artifact", f"{key}.Type"), uri=str(uri))
        for name, value in properties.items():
            artifact.custom_properties[name].int_value = value
        [artifact_id] = self.store.put_artifacts([artifact])
        event = metadata_store_pb2.Event(
            artifact_id=artifact_id, execution_id=self.execution, type=metadata_store_pb2.Event.OUTPUT
        )
        event.path.steps.add().key = key
        event.path.steps.add().index = 0
        self.store.put_events([event])

    def _type(self, kind, name):
        if (kind, name) not in self.types:
            message = getattr(metadata_store_pb2, f"{kind.title()}Type")(name=name)
            self.types[kind, name] = getattr(self.store, f"put_{kind}_type")(message)
        return self.types[kind, name]

    def _context(self, kind, name):
        found = self.store.get_context_by_type_and_name(kind, name)
        if found is None:
            self.store.put_contexts(
                [metadata_store_pb2.Context(type_id=self._type("context", kind), name=name)]
            )
            found = self.store.get_context_by_type_and_name(kind, name)
        return found

    def _set_times(self, table, row, created, updated):
        # ML Metadata takes them from the clock.
        with sqlite3.connect(self.path / "metadata.sqlite") as connection:
            connection.execute(
                f"UPDATE {table} SET create_time_since_epoch = ?, last_update_time_since_epoch = ?"
                " WHERE id = ?",
                (int(created * 1000), int(updated * 1000), row),
            )


@pytest.fixture(scope="session")
def make_run_directory():
    return RunDirectory


@pytest.fixture
def run_directory(tmp_path):
    return RunDirectory(tmp_path / "runs")


@pytest.fixture(scope="session")
def write_evaluation():
    """Write the two files of an evaluation: `users` by name, with a value for each metric."""

    def write(folder, users, metrics, **changes):
        folder.mkdir(parents=True, exist_ok=True)
        report = {
            "model_id": folder.name,
            "run_id": f"run of {folder.name}",
            "data_fingerprint": "ab12",
            "metrics": {name: sum(values) / len(values) for name, values in metrics.items()},
            "gate": {"metric": next(iter(metrics))},
            "users": len(users),
            "users_sampled_of": None,
            "held_out": len(users),
            "catalogue_items": 50,
            "seen_splits": ["train"],
            "protocol": {
                "candidates": "new",
                "ks": [10],
                "seed": 0,
                "resamples": 1000,
                "split": {"kind": "latest_per_user"},
            },
        }
        (folder / "evaluation_report.json").write_text(json.dumps(report | changes))
        columns = {name: pa.array(values, pa.float64()) for name, values in metrics.items()}
        pq.write_table(pa.table({"user": pa.array(users, pa.string()), **columns}),
                       folder / "per_user_metrics.parquet")  # fmt: skip
        return folder

    return write
