"""What would stop a run, told before TFX and TensorFlow are imported, all of it at once."""

from pathlib import Path

from components.candidate_indexer.display import look_for_display
from components.interaction_ingest.heads import Problems, find_table_problems
from pipeline.config import PipelineConfig
from pipeline.forks import call_in_fork
from schemas import storage
from schemas.errors import ConfigError, DataError
from schemas.features import FeatureSpec
from trainer.config import TrainingConfig


def find_problems(config: PipelineConfig, features: FeatureSpec) -> list[str]:
    """Find everything that would stop a run, as far as configuration, schema file and the tables' heads tell.

    Args:
        config: The checked configuration.
        features: The features that `config.data.schema` names.

    Returns:
        Messages: what was expected, what came, what to do.
    """
    problems = Problems()
    found = find_table_problems(
        features, config.ingest, config.data.directory, minimum_train_rows(config.training)
    )
    if not found:
        problems.find(lambda: look_for_display(features, config.data.directory))
    return [*found, *problems.messages]


def find_problems_here(config: PipelineConfig, features: FeatureSpec) -> list[str]:
    """Find what would stop a run on the tables that are on this machine.

    Whoever compiles need not see what the pods see, and asks no object store.

    Args:
        config: The checked configuration.
        features: The features that `config.data.schema` names.

    Returns:
        As `find_problems`; nothing where the folder of the tables is not here.
    """
    if storage.is_remote(config.data.directory) or not Path(config.data.directory).is_dir():
        return []
    return find_problems(config, features)


def refuse_problems(config: PipelineConfig, features: FeatureSpec) -> None:
    """Refuse a run that would be stopped.

    Args:
        config: The checked configuration.
        features: The features that `config.data.schema` names.

    Raises:
        DataError: It would; every reason is listed.
    """
    # A client of an object store has threads, which the steps' forks would miss.
    found = call_in_fork(find_problems, config, features)
    if len(found) == 1:
        raise DataError(found[0])
    if found:
        listed = "".join(f"\n  - {problem}" for problem in found)
        raise DataError(f"{len(found)} problems would stop this run:{listed}")


def minimum_train_rows(training: TrainingConfig) -> int:
    """Tell how many train rows are needed, before it is known how many devices there are.

    Args:
        training: The batch and, if they are given, the replicas.

    Returns:
        Rows of the smallest global batch that there can be.
    """
    return training.per_replica_batch * (training.replicas or 1)


def check_strategy(training: TrainingConfig) -> None:
    """Refuse what `dssm run` cannot train with.

    Args:
        training: The strategy.

    Raises:
        ConfigError: It is that of several workers.
    """
    if training.strategy == "multi_worker":
        raise ConfigError(
            "training.strategy: expected mirrored, since `dssm run` trains in one process. Received: "
            "multi_worker. docs/multi_worker.md says how the workers of `dssm train` take its place."
        )
