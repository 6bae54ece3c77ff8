"""One configuration to one TFX pipeline; nothing is read or written here."""

from pathlib import Path

from tfx.components import ExampleValidator, StatisticsGen, Transform
from tfx.dsl.components.base.base_node import BaseNode
from tfx.orchestration import metadata
from tfx.orchestration.pipeline import Pipeline
from tfx.proto import transform_pb2

from components.anomaly_gate.component import AnomalyGate
from components.candidate_indexer.component import CandidateIndexer
from components.feature_schema.component import FeatureSchema
from components.interaction_ingest.component import InteractionIngest
from components.retrieval_evaluator.component import RetrievalEvaluator
from components.tower_pusher.component import TowerPusher
from components.tower_trainer.component import TowerTrainer
from pipeline.config import PipelineConfig
from pipeline.parameters import RunParameters
from schemas.contract import EVAL_SPLIT, TRAIN_SPLIT, VALIDATION_SPLIT
from schemas.features import FeatureSpec
from schemas.strict_config import to_short_json
from trainer.preprocessing import preprocessing_fn
from trainer.run_fn import run_fn


def build_pipeline(
    config: PipelineConfig,
    features: FeatureSpec,
    parameters: RunParameters,
    *,
    enable_cache: bool = True,
) -> Pipeline:
    """Build the TFX pipeline from ingest to release.

    Args:
        config: The checked configuration.
        features: The features that `config.data.schema` names.
        parameters: What changes from run to run: values, or RuntimeParameters that an orchestrator fills in.
        enable_cache: Whether a step with the same inputs and settings as in an earlier run is reused.

    Returns:
        The pipeline, for any TFX runner.
    """
    directory = Path(config.run.directory).absolute()

    ingest = InteractionIngest(
        feature_spec=features,
        config=config.ingest,
        data_directory=parameters.data_directory,
        window_from=parameters.window_from,
        window_to=parameters.window_to,
        window_last_days=parameters.window_last_days,
        input_fingerprint=parameters.input_fingerprint,
        code_fingerprint=parameters.code_fingerprint,
    )
    schema = FeatureSchema(
        feature_spec=features,
        has_weights=config.ingest.weight is not None,
        code_fingerprint=parameters.code_fingerprint,
    )
    statistics = StatisticsGen(examples=ingest.outputs["examples"], schema=schema.outputs["schema"])
    validator = ExampleValidator(statistics=statistics.outputs["statistics"], schema=schema.outputs["schema"])
    gate = AnomalyGate(
        anomalies=validator.outputs["anomalies"],
        statistics=statistics.outputs["statistics"],
        feature_spec=features,
        config=config.gate,
        serving_directory=parameters.serving_directory,
        run_id=parameters.run_id,
    )
    transform = Transform(
        examples=ingest.outputs["examples"],
        schema=schema.outputs["schema"],
        preprocessing_fn=f"{preprocessing_fn.__module__}.{preprocessing_fn.__name__}",
        custom_config={"feature_spec": to_short_json(features)},
        splits_config=_splits_to_transform(config),
        # Each run analyses new data, and StatisticsGen has described them already.
        disable_analyzer_cache=True,
        disable_statistics=True,
    )
    transform.add_upstream_node(gate)
    trainer = TowerTrainer(
        examples=transform.outputs["transformed_examples"],
        transform_graph=transform.outputs["transform_graph"],
        schema=schema.outputs["schema"],
        catalogue=ingest.outputs["catalogue"],
        run_fn=f"{run_fn.__module__}.{run_fn.__name__}",
        feature_spec=features,
        trainer_config=config.trainer,
        epochs=parameters.epochs,
        checkpoint_directory=parameters.checkpoint_directory,
        # Where nothing is read there, another place must not train anew.
        serving_directory=parameters.serving_directory if config.training.warm_start else "",
    )
    indexer = CandidateIndexer(
        model=trainer.outputs["model"],
        catalogue=ingest.outputs["catalogue"],
        feature_spec=features,
    )
    evaluator = RetrievalEvaluator(
        examples=ingest.outputs["examples"],
        model=trainer.outputs["model"],
        index=indexer.outputs["index"],
        feature_spec=features,
        evaluation_config=config.evaluation,
    )
    pusher = TowerPusher(
        model=trainer.outputs["model"],
        index=indexer.outputs["index"],
        blessing=evaluator.outputs["blessing"],
        report=evaluator.outputs["report"],
        schema=schema.outputs["schema"],
        transform_graph=transform.outputs["transform_graph"],
        statistics=statistics.outputs["statistics"],
        serving_directory=parameters.serving_directory,
        run_id=parameters.run_id,
    )
    components: list[BaseNode] = [
        ingest, schema, statistics, validator, gate, transform, trainer, indexer, evaluator, pusher,
    ]  # fmt: skip
    return Pipeline(
        pipeline_name=config.run.name,
        pipeline_root=str(directory / "artifacts"),
        components=components,
        enable_cache=enable_cache,
        beam_pipeline_args=list(config.beam.options),
        metadata_connection_config=metadata.sqlite_metadata_connection_config(
            str(directory / "metadata.sqlite")
        ),
    )


def _splits_to_transform(config: PipelineConfig) -> transform_pb2.SplitsConfig | None:
    early_stopping = config.training.early_stopping
    if early_stopping is None or not early_stopping.refit:
        # TFX analyses the train split and transforms all.
        return None
    # The model that is exported is trained on both: their items belong in the vocabularies and the counts.
    fitted = [TRAIN_SPLIT, VALIDATION_SPLIT]
    return transform_pb2.SplitsConfig(analyze=fitted, transform=[*fitted, EVAL_SPLIT])
