"""The replicas of a training: every GPU, or logical devices of the CPU."""

import os

import tensorflow as tf

from schemas.contract import REQUIRED_GPUS_VARIABLE
from schemas.errors import TrainingError


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
    gpus = tf.config.list_logical_devices("GPU")
    required = int(os.environ.get(REQUIRED_GPUS_VARIABLE, "0"))
    if len(gpus) < required:
        raise TrainingError(
            f"The container was given {required} GPUs. TensorFlow sees {len(gpus)}. Use the image built with"
            " GPU=1, and check the node's driver and device plugin."
        )
    devices = gpus or tf.config.list_logical_devices("CPU")
    count = replicas or (len(gpus) or 1)
    if count > len(devices) and gpus:
        raise TrainingError(
            f"training.replicas: expected at most the machine's {len(gpus)} GPUs. Received: {count}. "
            f"Lower it, or leave it out to use every GPU."
        )
    if count > len(devices):
        raise TrainingError(
            f"training.replicas: {count} replicas need as many logical devices, and TensorFlow was started "
            f"with {len(devices)}. Call configure_logical_devices({count}) when the process starts, or set "
            f"training.replicas to 1."
        )
    return tf.distribute.MirroredStrategy([device.name for device in devices[:count]])
