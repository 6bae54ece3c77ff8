"""The workers of a training, as TF_CONFIG names them."""

import json
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from schemas.errors import ConfigError, TrainingError

TF_CONFIG: Final = "TF_CONFIG"
"""The environment variable in which each worker finds all workers' addresses, and which of them it is."""

_JOBS: Final = ("chief", "worker")
_EXPECTED: Final = (
    'expected such as {"cluster": {"worker": ["host-0:2222", "host-1:2222"]}, "task": {"type": "worker", '
    '"index": 0}}, as the Training Operator sets it in the container called tensorflow of a TFJob'
)
_SECONDS_BETWEEN_TRIES: Final = 0.2
_TRY_SECONDS: Final = 5.0


class WorkerLostError(TrainingError):
    """Another worker is gone; all have to be started again."""


@dataclass(frozen=True)
class WorkerTask:
    """One worker among all workers."""

    cluster: Mapping[str, tuple[str, ...]]
    """`host:port` of each worker, by job: `worker`, and `chief` where there is one."""
    job: Literal["chief", "worker"]
    """The job of this worker."""
    job_index: int
    """Its place in the job."""

    @property
    def addresses(self) -> tuple[str, ...]:
        """All workers, the chief first: the order of their replicas."""
        return tuple(address for job in _JOBS for address in self.cluster.get(job, ()))

    @property
    def index(self) -> int:
        """This worker's place among all; 0 is the chief, which without a job `chief` is the first worker."""
        return self.job_index + (len(self.cluster.get("chief", ())) if self.job == "worker" else 0)

    @property
    def is_chief(self) -> bool:
        """Whether this worker writes what is kept."""
        return self.index == 0


def read_task(environment: Mapping[str, str]) -> WorkerTask:
    """Find out which worker this process is.

    Args:
        environment: The process's environment.

    Returns:
        The worker.

    Raises:
        ConfigError: TF_CONFIG is missing or wrong, or has tasks that this training has no use for.
    """
    text = environment.get(TF_CONFIG)
    if not text:
        raise ConfigError(
            f"training.strategy: multi_worker reads the workers from the environment variable {TF_CONFIG}, "
            f"which is not set: {_EXPECTED}. A TFJob with one replica in all has none: set training.strategy "
            "to mirrored there, and on a single machine."
        )
    try:
        found = json.loads(text)
        cluster = {job: tuple(map(str, addresses)) for job, addresses in found["cluster"].items()}
        job, job_index = str(found["task"]["type"]), int(found["task"]["index"])
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ConfigError(f"{TF_CONFIG}: {_EXPECTED}. Received: {text}.{_hint(text)}") from error
    useless = sorted({job, *(name for name, addresses in cluster.items() if addresses)} - {*_JOBS})
    if useless:
        raise ConfigError(
            f"{TF_CONFIG}: expected no tasks but those of the jobs chief and worker. Received: {useless}. "
            "Take these replicas out of the TFJob: weights are on every worker, so there is no parameter "
            "server, and the pipeline evaluates in a step of its own."
        )
    if len(cluster.get("chief", ())) > 1 or not 0 <= job_index < len(cluster.get(job, ())):
        raise ConfigError(
            f"{TF_CONFIG}: expected at most one chief, and a task that is in the cluster. Received: {text}."
        )
    for address in (address for addresses in cluster.values() for address in addresses):
        _divide(address)
    return WorkerTask({name: cluster[name] for name in _JOBS if cluster.get(name)}, _as_job(job), job_index)


def wait_for_workers(task: WorkerTask, timeout_seconds: float) -> None:
    """Wait, on the chief, until every other worker listens.

    TensorFlow's own wait for them has no limit on the chief. The others begin to listen without the chief,
    and then wait for it.

    Args:
        task: The chief.
        timeout_seconds: How long to wait.

    Raises:
        TrainingError: A worker does not listen in time.
    """
    deadline = time.monotonic() + timeout_seconds
    missing = list(task.addresses[1:])
    while missing:
        missing = [address for address in missing if not _listens(address)]
        if missing and time.monotonic() > deadline:
            raise TrainingError(
                f"Expected all {len(task.addresses)} workers within {timeout_seconds:g} s. Nothing listens "
                f"at {', '.join(missing)}. Look at the logs of those workers; if they only start late, raise "
                "--timeout."
            )
        time.sleep(_SECONDS_BETWEEN_TRIES if missing else 0.0)


def _listens(address: str) -> bool:
    try:
        socket.create_connection(_divide(address), _TRY_SECONDS).close()
    except OSError:
        return False
    return True


def _divide(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal():
        raise ConfigError(f"{TF_CONFIG}: expected addresses of the form host:port. Received: {address!r}.")
    return host, int(port)


def _as_job(name: str) -> Literal["chief", "worker"]:
    return "chief" if name == "chief" else "worker"


def _hint(text: str) -> str:
    if "sparseCluster" in text:
        return " Leave enableDynamicWorker out of the TFJob: the number of workers is fixed."
    return ""
