"""The Trainer's run_fn: what TFX's Trainer step calls by its dotted path."""

from collections.abc import Mapping

from schemas.errors import ConfigError
from schemas.features import FeatureSpec
from schemas.strict_config import from_json
from trainer.config import TrainerConfig
from trainer.data.load import InputFolders
from trainer.data.transform_graphs import TransformGraphs
from trainer.job import TrainingJob, train_and_export
from trainer.strategy import configure_devices, create_strategy


def run_fn(given: Mapping[str, str]) -> None:
    """Train both towers and export them.

    Args:
        given: What TowerTrainer puts there: `feature_spec` and `trainer_config` as JSON; folders of artifacts
            `sequences`, `catalogue`, `user_transform_graph`, `item_transform_graph` and
            `context_transform_graph`, '' without context features; as paths or URIs `checkpoint_directory`
            and `serving_directory`, '' for none; and `model` and `logs`, the folders to write to.

    Raises:
        DssmError: As `trainer.job.train_and_export` says, and a ConfigError for a strategy of several
            workers.
    """
    spec = from_json(FeatureSpec, given["feature_spec"])
    config = from_json(TrainerConfig, given["trainer_config"])
    if config.training.strategy == "multi_worker":
        raise ConfigError(
            "training.strategy: expected mirrored, since a pipeline's Trainer is one process. Received: "
            "multi_worker. docs/multi_worker.md says how the workers of `dssm train` take its place."
        )
    # First, before anything runs on TensorFlow.
    configure_devices(config.training)
    strategy = create_strategy(config.training.replicas)
    graphs = TransformGraphs(
        given["user_transform_graph"], given["item_transform_graph"], given["context_transform_graph"] or None
    )
    job = TrainingJob(
        inputs=InputFolders(given["sequences"], given["catalogue"], graphs),
        serving_directory=given["serving_directory"],
        checkpoint_directory=given["checkpoint_directory"],
        model=given["model"],
        logs=given["logs"],
    )
    # Its checkpoints stay: the model is safe once a later step has read it as an artifact.
    train_and_export(job, spec, config, strategy)
