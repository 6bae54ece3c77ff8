import json
import socket
import threading
import time

import pytest

from schemas.errors import ConfigError, TrainingError
from trainer.cluster import WorkerTask, read_task, wait_for_workers

pytestmark = pytest.mark.unit

# As the Training Operator writes it for a TFJob "towers" in the namespace "team".
WORKERS = ["towers-worker-0.team.svc:2222", "towers-worker-1.team.svc:2222"]
CHIEF = ["towers-chief-0.team.svc:2222"]


def read(cluster, job, index, **more):
    config = {"cluster": cluster, "task": {"type": job, "index": index}, "environment": "cloud", **more}
    return read_task({"TF_CONFIG": json.dumps(config)})


def test_without_a_chief_the_first_worker_is_it():
    first, second = (read({"worker": WORKERS}, "worker", index) for index in range(2))
    assert (first.index, first.is_chief) == (0, True)
    assert (second.index, second.is_chief) == (1, False)
    assert first.addresses == second.addresses == tuple(WORKERS)


def test_a_chief_comes_before_all_workers():
    cluster = {"worker": WORKERS, "chief": CHIEF}
    tasks = [read(cluster, "chief", 0), read(cluster, "worker", 0), read(cluster, "worker", 1)]
    assert [task.index for task in tasks] == [0, 1, 2]
    assert [task.is_chief for task in tasks] == [True, False, False]
    assert tasks[1].addresses == (*CHIEF, *WORKERS)
    assert (tasks[2].job, tasks[2].job_index) == ("worker", 1)


def test_empty_jobs_do_not_count():
    assert read({"worker": WORKERS, "ps": []}, "worker", 0).cluster == {"worker": tuple(WORKERS)}


def test_without_tf_config_the_message_says_what_to_do():
    with pytest.raises(ConfigError, match=r"TF_CONFIG, which is not set.*set training.strategy to mirrored"):
        read_task({})


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        "{}",
        '{"cluster": {"worker": ["a:1"]}}',
        '{"cluster": [], "task": {"type": "worker", "index": 0}}',
    ],
)
def test_what_is_no_tf_config(text):
    with pytest.raises(ConfigError, match=r"TF_CONFIG: expected such as \{"):
        read_task({"TF_CONFIG": text})


def test_workers_that_come_and_go_are_refused():
    text = '{"sparseCluster": {"worker": {"0": "a:1"}}, "task": {"type": "worker", "index": 0}}'
    with pytest.raises(ConfigError, match="Leave enableDynamicWorker out"):
        read_task({"TF_CONFIG": text})


@pytest.mark.parametrize(
    ("cluster", "job", "received"),
    [
        ({"worker": WORKERS, "ps": ["p:1"]}, "worker", r"\['ps'\]"),
        ({"worker": WORKERS}, "evaluator", r"\['evaluator'\]"),
        ({"master": CHIEF, "worker": WORKERS}, "worker", r"\['master'\]"),
    ],
)
def test_replicas_that_this_training_has_no_use_for(cluster, job, received):
    with pytest.raises(ConfigError, match=rf"jobs chief and worker\. Received: {received}"):
        read(cluster, job, 0)


def test_a_task_outside_the_cluster():
    with pytest.raises(ConfigError, match="a task that is in the cluster"):
        read({"worker": WORKERS}, "worker", 2)
    with pytest.raises(ConfigError, match="at most one chief"):
        read({"chief": [*CHIEF, *CHIEF], "worker": WORKERS}, "chief", 0)


def test_an_address_without_a_port():
    with pytest.raises(ConfigError, match=r"host:port\. Received: 'towers-worker-1'"):
        read({"worker": [WORKERS[0], "towers-worker-1"]}, "worker", 0)


@pytest.fixture
def free_address():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        # Bound, not listening: nobody else gets it, and a connection is refused.
        yield taken, f"127.0.0.1:{taken.getsockname()[1]}"


def test_the_chief_gives_up_on_a_worker_that_does_not_come(free_address):
    task = WorkerTask({"worker": ("127.0.0.1:1", free_address[1])}, "worker", 0)
    started = time.monotonic()
    with pytest.raises(TrainingError, match=rf"all 2 workers within 0.3 s.*{free_address[1]}"):
        wait_for_workers(task, 0.3)
    assert 0.3 <= time.monotonic() - started < 3.0


def test_the_chief_waits_for_a_worker_that_comes_late(free_address):
    taken, address = free_address
    # The chief's own address is not asked.
    task = WorkerTask({"chief": ("127.0.0.1:1",), "worker": (address,)}, "chief", 0)
    late = threading.Timer(0.4, taken.listen)
    started = time.monotonic()
    late.start()
    try:
        wait_for_workers(task, 30.0)
    finally:
        late.join()
    assert time.monotonic() - started >= 0.3
