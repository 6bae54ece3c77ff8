import types

import pytest
import tensorflow as tf

from schemas.errors import TrainingError
from trainer import strategy as module
from trainer.cluster import WorkerLostError, WorkerTask
from trainer.config import TrainingConfig
from trainer.strategy import (
    configure_devices,
    configure_logical_devices,
    configure_threads,
    create_multi_worker_strategy,
    create_strategy,
    gather_from_workers,
    is_chief,
    reporting_lost_workers,
    worker_position,
)

pytestmark = pytest.mark.unit


def test_one_replica_without_a_setting():
    assert create_strategy(None).num_replicas_in_sync == max(1, len(tf.config.list_logical_devices("GPU")))


@pytest.mark.skipif(bool(tf.config.list_physical_devices("GPU")), reason="about logical CPU devices")
def test_logical_devices_must_be_set_before_tensorflow_starts():
    tf.config.list_logical_devices()
    with pytest.raises(TrainingError, match=r"64 replicas on the CPU must be set up before TensorFlow"):
        configure_logical_devices(64)
    with pytest.raises(TrainingError, match=r"64 replicas need as many logical devices"):
        create_strategy(64)
    configure_logical_devices(1)
    configure_logical_devices(None)


@pytest.mark.parametrize(
    ("cores", "settings", "expected"),
    [
        (2, {}, {"intra": 1}),
        (1, {}, {"intra": 1}),
        (3, {}, {}),
        (3, {"inter_op_threads": 5}, {"inter": 5}),
        (2, {"intra_op_threads": 2}, {"intra": 2}),
        (64, {"intra_op_threads": 4, "inter_op_threads": 3}, {"intra": 4, "inter": 3}),
    ],
)
def test_threads(cores, settings, expected, monkeypatch):
    threads = {}
    monkeypatch.setattr(module, "usable_cores", lambda: cores)
    for name in ("intra", "inter"):
        monkeypatch.setattr(
            tf.config.threading,
            f"set_{name}_op_parallelism_threads",
            lambda number, name=name: threads.update({name: number}),
        )
    configure_threads(TrainingConfig(**settings))
    assert threads == expected


def test_threads_must_be_set_before_tensorflow_starts(monkeypatch):
    tf.config.list_logical_devices()
    for name in ("intra_op_threads", "inter_op_threads"):
        with pytest.raises(TrainingError, match=rf"training\.{name}: 63 threads must be set before"):
            configure_threads(TrainingConfig(**{name: 63}))
    refused = []

    def refuse(threads):
        refused.append(threads)
        raise RuntimeError

    monkeypatch.setattr(module, "usable_cores", lambda: 2)
    monkeypatch.setattr(tf.config.threading, "set_intra_op_parallelism_threads", refuse)
    configure_threads(TrainingConfig())
    assert refused == [1]


def test_devices_are_threads_and_logical_devices(monkeypatch):
    calls = []
    monkeypatch.setattr(module, "configure_threads", lambda settings: calls.append(settings))
    monkeypatch.setattr(module, "configure_logical_devices", lambda replicas: calls.append(replicas))
    settings = TrainingConfig(replicas=3)
    configure_devices(settings)
    assert calls == [settings, 3]


def test_more_replicas_than_gpus(monkeypatch):
    gpus = [types.SimpleNamespace(name=f"/device:GPU:{n}") for n in range(2)]
    monkeypatch.setattr(tf.config, "list_logical_devices", lambda kind=None: gpus)
    with pytest.raises(TrainingError, match=r"at most the machine's 2 GPUs. Received: 3"):
        create_strategy(3)


def test_a_container_with_gpus_does_not_train_on_the_cpu(monkeypatch):
    monkeypatch.setenv("DSSM_REQUIRED_GPUS", "2")
    monkeypatch.setattr(tf.config, "list_logical_devices", lambda kind=None: [])
    with pytest.raises(TrainingError, match=r"was given 2 GPUs\. TensorFlow sees 0"):
        create_strategy(2)


TASK = WorkerTask({"chief": ("127.0.0.1:1",), "worker": ("127.0.0.1:2", "127.0.0.1:3")}, "worker", 1)


def test_a_worker_without_gpus_has_one_replica():
    with pytest.raises(TrainingError, match=r"expected 1 on each worker without a GPU\. Received: 2"):
        create_multi_worker_strategy(TASK, 2)


def test_a_worker_with_too_few_gpus(monkeypatch):
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind=None: ["GPU"] * 2)
    with pytest.raises(TrainingError, match=r"at most the machine's 2 GPUs\. Received: 3"):
        create_multi_worker_strategy(TASK, 3)
    monkeypatch.setenv("DSSM_REQUIRED_GPUS", "4")
    with pytest.raises(TrainingError, match=r"was given 4 GPUs\. TensorFlow sees 2"):
        create_multi_worker_strategy(TASK, None)


def test_the_chief_first_waits_for_the_workers(monkeypatch):
    waited = []

    def wait(task, seconds):
        waited.append((task, seconds))
        raise TrainingError("nobody")

    monkeypatch.setattr(module, "wait_for_workers", wait)
    chief = WorkerTask(TASK.cluster, "chief", 0)
    with pytest.raises(TrainingError, match="nobody"):
        create_multi_worker_strategy(chief, 1, start_timeout_seconds=7.0)
    assert waited == [(chief, 7.0)]


@pytest.mark.parametrize(("job", "index", "position"), [("chief", 0, 0), ("worker", 0, 1), ("worker", 1, 2)])
def test_positions_of_a_chief_and_two_workers(job, index, position):
    resolver = tf.distribute.cluster_resolver.SimpleClusterResolver(
        tf.train.ClusterSpec({name: list(addresses) for name, addresses in TASK.cluster.items()}),
        task_type=job,
        task_id=index,
    )
    strategy = types.SimpleNamespace(cluster_resolver=resolver)
    assert worker_position(strategy) == (position, 3)
    assert is_chief(strategy) == (position == 0)


def test_one_process_is_the_chief_of_itself():
    strategy = create_strategy(1)
    assert worker_position(strategy) == (0, 1)
    assert is_chief(strategy)
    assert gather_from_workers(strategy, 2.5) == [2.5]


@pytest.mark.parametrize(
    "error", [tf.errors.UnavailableError, tf.errors.DeadlineExceededError, tf.errors.AbortedError]
)
def test_a_lost_worker_is_told_from_other_errors(error):
    with (
        pytest.raises(WorkerLostError, match=r"Another worker is lost.*socket closed"),
        reporting_lost_workers(),
    ):
        raise error(None, None, "socket closed")
    with pytest.raises(tf.errors.InvalidArgumentError), reporting_lost_workers():
        raise tf.errors.InvalidArgumentError(None, None, "a bad index")
