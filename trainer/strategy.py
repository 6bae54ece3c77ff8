"""The replicas of a training: every GPU, or logical devices of the CPU; of one machine or of several."""

import contextlib
import faulthandler
import functools
import os
from collections.abc import Callable, Iterator
from typing import Final

import numpy as np
import tensorflow as tf

# Public names of TensorFlow exist neither for the limits below nor for the message that holds them.
from tensorflow.compiler.xla.tsl.protobuf import coordination_config_pb2
from tensorflow.python.eager import context

from schemas.contract import REQUIRED_GPUS_VARIABLE
from schemas.cores import usable_cores
from schemas.errors import TrainingError
from trainer.cluster import WorkerLostError, WorkerTask, wait_for_workers
from trainer.config import TrainingConfig

START_TIMEOUT_SECONDS: Final = 600.0
"""How long a worker waits at its start for the others, unless it is told otherwise."""

# Measured on two; more were not to be had.
_CORES_FILLED_BY_OPERATIONS: Final = 2

_HEARTBEAT_TIMEOUT_SECONDS: Final = 60.0
"""Silence after which a worker counts as lost."""

# What TensorFlow raises where another worker is gone: its connection is closed, its heartbeat is missing, it
# was started again meanwhile, or the collective was given up for one of these.
_LOST: Final = (
    tf.errors.UnavailableError,
    tf.errors.DeadlineExceededError,
    tf.errors.AbortedError,
    tf.errors.CancelledError,
)


def configure_devices(settings: TrainingConfig) -> None:
    """Make TensorFlow's devices and threads what a training on one machine asks for.

    TensorFlow fixes both at first use, so this belongs at the start of the process. Calling it again with
    the same settings changes nothing.

    Args:
        settings: `replicas`, `intra_op_threads` and `inter_op_threads`.

    Raises:
        TrainingError: TensorFlow is in use already, with fewer devices or other threads than asked for.
    """
    configure_threads(settings)
    configure_logical_devices(settings.replicas)


def configure_threads(settings: TrainingConfig) -> None:
    """Set how many operations run at once on the CPU, and on how many threads each.

    On two cores, the operations of the two towers side by side fill them: threads of a second kind only get
    in their way (docs/training.md, "Threads").

    Args:
        settings: `intra_op_threads` and `inter_op_threads`.

    Raises:
        TrainingError: TensorFlow is in use already, with other threads than asked for.
    """
    setters = {
        "intra_op_threads": tf.config.threading.set_intra_op_parallelism_threads,
        "inter_op_threads": tf.config.threading.set_inter_op_parallelism_threads,
    }
    for name, set_threads in setters.items():
        threads = getattr(settings, name)
        if threads is None:
            continue
        try:
            set_threads(threads)
        except RuntimeError as error:
            raise TrainingError(
                f"training.{name}: {threads} threads must be set before TensorFlow is first used in the "
                f"process, which has happened with another number. Call configure_threads when the process "
                f"starts, or set it to null."
            ) from error
    if settings.intra_op_threads is None and usable_cores() <= _CORES_FILLED_BY_OPERATIONS:
        # Whoever has used TensorFlow before has chosen.
        with contextlib.suppress(RuntimeError):
            tf.config.threading.set_intra_op_parallelism_threads(1)


def configure_logical_devices(replicas: int | None) -> None:
    """Divide the CPU into one logical device per replica, where there is no GPU.

    TensorFlow fixes its devices at first use, so this belongs at the start of the process. Calling it
    again with the same number changes nothing.

    Args:
        replicas: `training.replicas`; None for every GPU, or one CPU.

    Raises:
        TrainingError: TensorFlow is in use already with fewer devices.
    """
    if replicas is None or replicas == 1 or tf.config.list_physical_devices("GPU"):
        return
    cpu = tf.config.list_physical_devices("CPU")[0]
    if len(tf.config.get_logical_device_configuration(cpu) or ()) >= replicas:
        return
    try:
        tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * replicas)
    except RuntimeError as error:
        raise TrainingError(
            f"training.replicas: {replicas} replicas on the CPU must be set up before TensorFlow is first "
            f"used in the process, which has happened. Call configure_logical_devices({replicas}) when the "
            f"process starts, or set training.replicas to 1."
        ) from error


def create_strategy(replicas: int | None) -> tf.distribute.MirroredStrategy:
    """Create the strategy that trains on the machine's devices.

    Args:
        replicas: `training.replicas`; None for every GPU, or one CPU.

    Returns:
        A strategy of `replicas` replicas, over GPUs if there are any.

    Raises:
        TrainingError: There are fewer devices than replicas, or fewer GPUs than the container was given.
    """
    _keep_float32()
    gpus = tf.config.list_logical_devices("GPU")
    _check_gpus(len(gpus))
    devices = gpus or tf.config.list_logical_devices("CPU")
    count = replicas or (len(gpus) or 1)
    if gpus:
        _check_enough(count, len(gpus))
    if count > len(devices):
        raise TrainingError(
            f"training.replicas: {count} replicas need as many logical devices, and TensorFlow was started "
            f"with {len(devices)}. Call configure_logical_devices({count}) when the process starts, or set "
            f"training.replicas to 1."
        )
    return tf.distribute.MirroredStrategy([device.name for device in devices[:count]])


def create_multi_worker_strategy(
    task: WorkerTask, replicas: int | None, *, start_timeout_seconds: float = START_TIMEOUT_SECONDS
) -> tf.distribute.MultiWorkerMirroredStrategy:
    """Create the strategy that trains on the devices of all workers, once all are there.

    It must come before anything else runs on TensorFlow. A worker that is lost later ends the others' next
    collective operation with an error: at once where its connection closes, and else when it has been silent
    for a minute.

    Args:
        task: This process among the workers.
        replicas: `training.replicas`; None for every GPU of each worker, or one CPU.
        start_timeout_seconds: How long to wait for the other workers.

    Returns:
        A strategy of `replicas` replicas on each worker.

    Raises:
        TrainingError: The devices are too few, or a worker did not start in time.
        WorkerLostError: A worker was lost, or is of an earlier start and about to end.
    """
    _keep_float32()
    gpus = len(tf.config.list_physical_devices("GPU"))
    _check_gpus(gpus)
    if replicas is not None and gpus:
        _check_enough(replicas, gpus)
    elif replicas not in (None, 1):
        raise TrainingError(
            f"training.replicas: expected 1 on each worker without a GPU. Received: {replicas}. Set it to 1, "
            "and start more workers."
        )
    if task.is_chief:
        wait_for_workers(task, start_timeout_seconds)
    context.context().configure_coordination_service(
        service_type="standalone",
        service_leader=f"/job:{'chief' if 'chief' in task.cluster else 'worker'}/replica:0/task:0",
        cluster_register_timeout_in_ms=round(start_timeout_seconds * 1000),
        heartbeat_timeout_in_ms=round(_HEARTBEAT_TIMEOUT_SECONDS * 1000),
        coordinated_jobs=[
            coordination_config_pb2.CoordinatedJob(name=job, num_tasks=len(addresses))
            for job, addresses in task.cluster.items()
        ],
    )
    resolver = tf.distribute.cluster_resolver.SimpleClusterResolver(
        tf.train.ClusterSpec({job: list(addresses) for job, addresses in task.cluster.items()}),
        task_type=task.job,
        task_id=task.job_index,
        # The number that MultiWorkerMirroredStrategy takes on each worker.
        num_accelerators={"GPU": (replicas or gpus) if gpus else 0},
        rpc_layer="grpc",
    )
    try:
        with _ending_process_after(start_timeout_seconds + _HEARTBEAT_TIMEOUT_SECONDS):
            return tf.distribute.MultiWorkerMirroredStrategy(resolver)
    except tf.errors.DeadlineExceededError as error:
        raise TrainingError(
            f"Expected the chief, {task.addresses[0]}, within {start_timeout_seconds:g} s. Look at its log; "
            "if it only starts late, raise --timeout."
        ) from error
    except _LOST as error:
        raise _explain_loss(error) from error


@contextlib.contextmanager
def reporting_lost_workers() -> Iterator[None]:
    """Tell the loss of a worker from other errors of TensorFlow.

    Yields:
        Nothing.

    Raises:
        WorkerLostError: A collective operation was given up, since a worker is gone.
    """
    try:
        yield
    except _LOST as error:
        raise _explain_loss(error) from error


def is_chief(strategy: tf.distribute.Strategy) -> bool:
    """Tell whether this process writes what is kept.

    Args:
        strategy: The replicas.

    Returns:
        Whether it is the chief of several workers, or the only process.
    """
    return worker_position(strategy)[0] == 0


def worker_position(strategy: tf.distribute.Strategy) -> tuple[int, int]:
    """Tell which worker this process is.

    Args:
        strategy: The replicas.

    Returns:
        Its index, which is also the place of its replicas among all, and the number of workers; 0 and 1 where
        there is one process.
    """
    resolver = strategy.cluster_resolver
    if resolver is None:
        return 0, 1
    cluster = resolver.cluster_spec().as_dict()
    task = WorkerTask(
        {job: tuple(addresses) for job, addresses in cluster.items()}, resolver.task_type, resolver.task_id
    )
    return task.index, len(task.addresses)


def gather_from_workers(strategy: tf.distribute.Strategy, value: float) -> list[float]:
    """Collect a number from every worker, each of which has to call this at the same point of the program.

    Args:
        strategy: The replicas.
        value: This worker's.

    Returns:
        One number per worker, the chief's first. All workers get the same list, and none before all have
        called, so that it is a barrier too.
    """
    workers = worker_position(strategy)[1]
    if workers == 1:
        return [value]

    numbers: np.ndarray = _make_gather(strategy)(tf.constant(value, tf.float64)).numpy()
    return numbers[:: strategy.num_replicas_in_sync // workers].tolist()


# Traced once: every collective of a trace has a key of its own.
@functools.cache
def _make_gather(strategy: tf.distribute.Strategy) -> Callable[[tf.Tensor], tf.Tensor]:
    @tf.function
    def gather(number: tf.Tensor) -> tf.Tensor:
        def gather_replicas() -> tf.Tensor:
            return tf.distribute.get_replica_context().all_gather(number[None], axis=0)

        return strategy.experimental_local_results(strategy.run(gather_replicas))[0]

    return gather


@contextlib.contextmanager
def _ending_process_after(seconds: float) -> Iterator[None]:
    # TensorFlow holds Python's lock while it waits for workers, and on the chief for ever: if one is lost
    # after it began to listen, no Python thread and no signal handler could end that wait.
    faulthandler.dump_traceback_later(seconds, exit=True)
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()


def _explain_loss(error: tf.errors.OpError) -> WorkerLostError:
    return WorkerLostError(
        "Another worker is lost, so this one ends too. Its own log says why; start all workers again, and "
        f"training goes on from its last checkpoint. TensorFlow says: {error.message}"
    )


def _keep_float32() -> None:
    # On GPUs TensorFlow computes float32 products in TF32 by default, whose 10 bits of mantissa are not
    # enough for the loss: log q alone would be off in the third digit.
    tf.config.experimental.enable_tensor_float_32_execution(False)


def _check_gpus(found: int) -> None:
    required = int(os.environ.get(REQUIRED_GPUS_VARIABLE, "0"))
    if found < required:
        raise TrainingError(
            f"The container was given {required} GPUs. TensorFlow sees {found}. Use the image built with"
            " GPU=1, and check the node's driver and device plugin."
        )


def _check_enough(replicas: int, gpus: int) -> None:
    if replicas > gpus:
        raise TrainingError(
            f"training.replicas: expected at most the machine's {gpus} GPUs. Received: {replicas}. "
            f"Lower it, or leave it out to use every GPU."
        )
