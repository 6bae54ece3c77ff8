"""`dssm train` as a TFJob would start it: real processes that find each other by TF_CONFIG on 127.0.0.1."""

import collections
import contextlib
import functools
import json
import os
import signal
import socket
import textwrap
import time

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tensorflow as tf
import tensorflow_transform.beam as tft_beam
import yaml
from tensorflow_transform.tf_metadata.dataset_metadata import DatasetMetadata

from schemas.contract import CATALOGUE_FILE
from schemas.features import FeatureSpec
from schemas.metadata import build_schema
from schemas.sequences import sequences_schema, write_sequences
from schemas.strict_config import parse, to_json
from trainer.preprocessing import preprocessing_fn

pytestmark = pytest.mark.integration

# Each takes some seconds on an idle machine.
PROCESS_SECONDS = 400

SCHEMA = """
name: shop
history: {name: history, length: 3}
features:
  - {name: user_id, dtype: string, tower: user, role: user_id, encoding: {kind: vocabulary}}
  - {name: age, dtype: float, tower: user, encoding: {kind: z_score}}
  - {name: device, dtype: string, tower: context, encoding: {kind: vocabulary}}
  - {name: item_id, dtype: string, tower: item, role: item_id, encoding: {kind: vocabulary}}
  - {name: genres, dtype: string, tower: item, multi_valued: true, encoding: {kind: vocabulary}}
"""
USERS, ITEMS = 12, 10
# Of each user, the last of whose positives is a validation row: 70 and 12.
TRAIN_ROWS_OF_USER = [6] * 10 + [5] * 2
TRAIN_ROWS = sum(TRAIN_ROWS_OF_USER)


def make_users():
    """A row of the sequences for each user."""
    generator = np.random.default_rng(1)
    users = []
    for user, train in enumerate(TRAIN_ROWS_OF_USER):
        positives = train + 1
        # Each user has one favourite, so that there is something to learn.
        items = [
            user % ITEMS if generator.random() < 0.9 else generator.integers(0, ITEMS)
            for _ in range(positives)
        ]
        users.append(
            {
                "user_id": f"u{user}",
                "age": float(generator.normal()),
                "item_id": [f"i{item}" for item in items],
                "timestamp": list(range(positives)),
                "device": [f"d{generator.integers(0, 3)}" for _ in range(positives)],
                "train_end": train,
                "validation_end": positives,
                "eval_end": positives,
            }
        )
    return users


def make_tables(users):
    """The rows of the users, the items and the contexts, as their Transforms read them."""
    train = [(item, device) for user in users for item, device in zip(*train_part(user), strict=True)]
    trained, all_items = (
        collections.Counter(items)
        for items in ([item for item, _ in train], [item for user in users for item in user["item_id"]])
    )
    return {
        "user": [
            {
                "user_id": user["user_id"],
                "age": user["age"],
                "train_rows": user["train_end"],
                "validation_rows": user["validation_end"] - user["train_end"],
            }
            for user in users
        ],
        "item": [
            {
                **item,
                "train_rows": trained[item["item_id"]],
                "validation_rows": all_items[item["item_id"]] - trained[item["item_id"]],
            }
            for item in make_items()
        ],
        "context": [{"device": device} for _, device in train],
    }


def train_part(user):
    return user["item_id"][: user["train_end"]], user["device"][: user["train_end"]]


def make_items():
    return [{"item_id": f"i{item}", "genres": [f"g{item % 3}"]} for item in range(ITEMS)]


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory):
    """What the Transforms and the ingest leave for the Trainer, and a configuration."""
    directory = tmp_path_factory.mktemp("artifacts")
    spec = parse(FeatureSpec, yaml.safe_load(SCHEMA), "test")
    users = make_users()
    for tower, rows in make_tables(users).items():
        config = {"feature_spec": to_json(spec), "tower": tower, "counted_splits": ["train"]}
        function = functools.partial(preprocessing_fn, custom_config=config)
        with (
            beam.Pipeline(runner="FnApiRunner") as pipeline,
            tft_beam.Context(temp_dir=str(directory / "beam")),
        ):
            raw = (
                pipeline | beam.Create(rows, reshuffle=False),
                DatasetMetadata(build_schema(spec, tower)),
            )
            _ = raw | tft_beam.AnalyzeDataset(function) | tft_beam.WriteTransformFn(str(directory / tower))
    (directory / "sequences").mkdir()
    write_sequences(
        pa.Table.from_pylist(users, sequences_schema(spec, has_weights=False)),
        directory / "sequences" / "sequences-00000-of-00001.parquet",
    )
    (directory / "catalogue").mkdir()
    pq.write_table(pa.Table.from_pylist(make_items()), directory / "catalogue" / CATALOGUE_FILE)
    (directory / "schema.yaml").write_text(SCHEMA)
    (directory / "config.yaml").write_text(
        yaml.safe_dump(
            {
                "run": {"name": "test", "directory": str(directory / "runs")},
                "data": {"schema": str(directory / "schema.yaml"), "directory": "nowhere"},
                "serving": {"directory": "nowhere"},
                "ingest": {"validation": True},
                "model": {"dim": 4, "user_layers": [6], "item_layers": [], "dropout": 0.0},
                "training": {
                    "strategy": "multi_worker",
                    "per_replica_batch": 8,
                    "epochs": 3,
                    "learning_rate": 0.02,
                    "scale_learning_rate": "none",
                    "log_interval_steps": 4,
                },
            }
        )
    )
    return directory


class Processes:
    """Processes that have TensorFlow imported, and are ended when the test is over, however it ends."""

    def __init__(self, prepared, directory):
        self.prepared = prepared
        self.directory = directory
        self.started = []

    def start(self, name, program, arguments, tf_config=None):
        """Start a program, with a file for what it prints and a folder for its temporary files."""
        temporary = self.directory / f"{name}-tmp"
        temporary.mkdir(exist_ok=True)
        environment = {**os.environ, "TMPDIR": str(temporary)}
        environment.pop("TF_CONFIG", None)
        if tf_config is not None:
            environment["TF_CONFIG"] = json.dumps(tf_config)
        output = self.directory / f"{name}.txt"
        process = self.prepared.start(
            program, arguments, stdout=output, stderr=output, environment=environment
        )
        self.started.append(process)
        return process

    def train(self, name, artifacts, *options, tf_config=None):
        return self.start(
            name,
            self.prepared.dssm,
            [
                "train", "--config", artifacts / "config.yaml", "--sequences", artifacts / "sequences",
                "--catalogue", artifacts / "catalogue", "--user-transform", artifacts / "user",
                "--item-transform", artifacts / "item", "--context-transform", artifacts / "context",
                "--output", self.directory / "model", "--checkpoints", self.directory / "checkpoints",
                "--timeout", PROCESS_SECONDS / 2, *options,
            ],
            tf_config,
        )  # fmt: skip

    def output(self, name):
        return (self.directory / f"{name}.txt").read_text()

    def wait_for(self, condition, what):
        deadline = time.monotonic() + PROCESS_SECONDS
        while not condition():
            assert time.monotonic() < deadline, f"waited in vain for {what}"
            assert all(process.poll() is None for process in self.started), f"ended before {what}"
            time.sleep(0.05)


@pytest.fixture
def processes(prepared, tmp_path):
    processes = Processes(prepared, tmp_path)
    yield processes
    for process in processes.started:
        process.kill()
        process.wait()


def two_workers(*, with_chief=False):
    """TF_CONFIG of both, on two free ports, as the Training Operator writes it."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(2)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        addresses = [f"127.0.0.1:{each.getsockname()[1]}" for each in sockets]
    cluster = {"chief": addresses[:1], "worker": addresses[1:]} if with_chief else {"worker": addresses}
    tasks = [("chief", 0), ("worker", 0)] if with_chief else [("worker", 0), ("worker", 1)]
    return [
        {"cluster": cluster, "task": {"type": job, "index": index}, "environment": "cloud"}
        for job, index in tasks
    ]


def options(**settings):
    return [
        part for key, value in settings.items() for part in ("--set", f"{key.replace('__', '.')}={value}")
    ]


def read_weights(model, part):
    reader = tf.train.load_checkpoint(str(model / "Format-Serving" / part / "variables" / "variables"))
    names = [name for name in reader.get_variable_to_shape_map() if name.startswith("weights/")]
    return {name: reader.get_tensor(name) for name in names}


def test_two_workers_train_as_one_process_does_and_the_chief_alone_writes(artifacts, processes, tmp_path):
    same = options(
        loss__negatives_scope="global",
        training__early_stopping="{k: 3}",
        training__checkpoint="{interval_steps: 2}",
    )
    workers = [
        processes.train(name, artifacts, *same, tf_config=config)
        for name, config in zip(("chief", "other"), two_workers(), strict=True)
    ]
    for process, name in zip(workers, ("chief", "other"), strict=True):
        assert process.wait(PROCESS_SECONDS) == 0, processes.output(name)
    alone = processes.train(
        "alone", artifacts, *same, "--output", tmp_path / "alone",
        *options(training__strategy="mirrored", training__per_replica_batch=16),
    )  # fmt: skip
    assert alone.wait(PROCESS_SECONDS) == 0, processes.output("alone")

    together, expected = (
        json.loads((folder / "Format-Serving/model.json").read_text())
        for folder in (tmp_path / "model", tmp_path / "alone")
    )
    assert (together["train_rows"], together["global_batch"], together["epochs_run"]) == (TRAIN_ROWS, 16, 3)
    assert together["recall_by_epoch"] == expected["recall_by_epoch"]
    for part in ("user_tower", "item_tower"):
        weights = read_weights(tmp_path / "model", part)
        assert len(weights) >= 3
        for name, weight in read_weights(tmp_path / "alone", part).items():
            np.testing.assert_allclose(weights[name], weight, 1e-4, 1e-6, err_msg=f"{part} {name}")

    written = {path.name for path in (tmp_path / "model").iterdir()}
    assert written == {"Format-Serving", "logs"}
    assert {path.name for path in (tmp_path / "model/Format-Serving").iterdir()} >= {
        "user_tower", "item_tower", "state", "model.json"
    }  # fmt: skip
    assert "Model written to" in processes.output("chief")
    assert "Model written to" not in processes.output("other")
    # Nothing stays: no worker's temporary folder, and no checkpoint of a training that has ended.
    for name in ("chief", "other", "alone"):
        assert not list((tmp_path / f"{name}-tmp").glob("dssm-worker-*"))
    assert not [path for path in (tmp_path / "checkpoints").rglob("*") if path.is_file()]


def test_every_row_goes_to_one_worker_once_an_epoch(processes, tmp_path):
    program = textwrap.dedent(
        """
        import os, sys
        import numpy as np
        from trainer.cluster import read_task
        from trainer.data.stream import distribute_dataset
        from trainer.strategy import create_multi_worker_strategy, worker_position
        strategy = create_multi_worker_strategy(read_task(os.environ), None, start_timeout_seconds=100)
        batches = iter(distribute_dataset(strategy, lambda rows: {"row": rows}, 48, 12, seed=5))
        worker, _ = worker_position(strategy)
        of_replica = strategy.experimental_local_results
        rows = [[of_replica(next(batches)["row"])[0].numpy() for step in range(4)] for epoch in range(2)]
        np.save(f"{sys.argv[1]}/{worker}.npy", rows)
        """
    )
    file = tmp_path / "program.py"
    file.write_text(program)
    started = [
        processes.start(str(worker), file, [tmp_path], tf_config=config)
        for worker, config in enumerate(two_workers())
    ]
    for worker, process in enumerate(started):
        assert process.wait(PROCESS_SECONDS) == 0, processes.output(str(worker))
    of_workers = [np.load(tmp_path / f"{worker}.npy") for worker in range(2)]
    # [epochs, steps, rows of the worker]: as many steps for both.
    assert [rows.shape for rows in of_workers] == [(2, 4, 6), (2, 4, 6)]
    for epoch in range(2):
        seen = np.concatenate([rows[epoch].ravel() for rows in of_workers])
        assert sorted(seen) == list(range(48))
    assert of_workers[0][0].ravel().tolist() != of_workers[0][1].ravel().tolist()


def test_a_killed_worker_ends_the_chief_and_both_go_on_from_the_checkpoint(artifacts, processes, tmp_path):
    # Long enough for the kill to come in the middle.
    settings = options(training__epochs=100, training__checkpoint="{interval_steps: 10}")
    names = ("chief", "other")
    workers = [
        processes.train(name, artifacts, *settings, tf_config=config)
        for name, config in zip(names, two_workers(with_chief=True), strict=True)
    ]
    processes.wait_for(lambda: list((tmp_path / "checkpoints").rglob("complete.json")), "a checkpoint")
    workers[1].send_signal(signal.SIGKILL)
    killed = time.monotonic()
    assert workers[0].wait(PROCESS_SECONDS) == 138, processes.output("chief")
    assert time.monotonic() - killed < 90
    assert "Another worker is lost" in processes.output("chief")
    assert not (tmp_path / "model").exists()

    again = [
        processes.train(f"{name}-again", artifacts, *settings, tf_config=config)
        for name, config in zip(names, two_workers(with_chief=True), strict=True)
    ]
    for process, name in zip(again, names, strict=True):
        output = processes.output
        assert process.wait(PROCESS_SECONDS) == 0, output(f"{name}-again")
        assert "Training resumed from step" in output(f"{name}-again")
    info = json.loads((tmp_path / "model/Format-Serving/model.json").read_text())
    assert info["resumed_from_step"] % 10 == 0
    assert info["steps"] == 100 * (TRAIN_ROWS // 16)


def test_a_worker_without_the_other_gives_up(artifacts, processes, tmp_path):
    started = [
        # Another cluster for each, so that neither finds the other.
        processes.train(name, artifacts, "--timeout", 2, tf_config=two_workers()[index])
        for index, name in enumerate(("chief", "other"))
    ]
    for process, name, message in zip(
        started,
        ("chief", "other"),
        (
            "Error: Expected all 2 workers within 2 s. Nothing listens at 127.0.0.1:",
            "Error: Expected the chief, 127.0.0.1:",
        ),
        strict=True,
    ):
        assert process.wait(PROCESS_SECONDS) == 1, processes.output(name)
        assert message in processes.output(name)
    assert not (tmp_path / "model").exists()
