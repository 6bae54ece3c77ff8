import types

import pytest
import tensorflow as tf

from schemas.errors import TrainingError
from trainer.strategy import configure_logical_devices, create_strategy

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
