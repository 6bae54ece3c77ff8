"""One configuration to one TFX pipeline; nothing is read or written here."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import tensorflow_data_validation as tfdv
from apache_beam.options.pipeline_options import PipelineOptions, StandardOptions
from tfx.components.example_validator.component import ExampleValidator
from tfx.components.statistics_gen.component import StatisticsGen
from tfx.components.transform.component import Transform
from tfx.dsl.components.base.base_node import BaseNode
from tfx.orchestration import metadata
from tfx.orchestration.pipeline import Pipeline
from tfx.proto import transform_pb2
from tfx.types.channel import BaseChannel

from components.ann_index.component import AnnIndexer
from components.anomaly_gate.component import AnomalyGate
from components.candidate_indexer.component import CandidateIndexer
from components.feature_schema.component import FeatureSchema
from components.interaction_ingest.component import InteractionIngest
from components.retrieval_evaluator.component import RetrievalEvaluator
from components.run_report.component import RunReport
from components.tower_pusher.component import TowerPusher
from components.tower_trainer.component import TowerTrainer
from pipeline.config import PipelineConfig
from pipeline.parameters import RunParameters, list_settings
from pipeline.preflight import minimum_train_rows
from schemas.contract import ENTITY_SPLIT, TRAIN_ROWS, TRAIN_SPLIT, VALIDATION_SPLIT
from schemas.feature_parts import gate_part, ingest_part, model_part
from schemas.features import FeatureSpec, ItemTable, Tower
from schemas.strict_config import to_short_json
from trainer.preprocessing import preprocessing_fn
from trainer.run_fn import run_fn

_RUNNERS_IN_PROCESS: Final = ("FnApiRunner", "DirectRunner")
_TABLES: Final[tuple[Tower, ...]] = ("user", "item", "context")


def build_pipeline(
    config: PipelineConfig,
    features: FeatureSpec,
    parameters: RunParameters,
    *,
    enable_cache: bool = True,
) -> Pipeline:
    """Build the TFX pipeline from ingest to release.

    Users, items and, where the schema file has context features, contexts have a StatisticsGen, an
    ExampleValidator and a Transform each, named UserTransform and so on. Every step is given only the part of
    the features that it reads, so that a change of the rest does not make it run again.

    Args:
        config: The checked configuration.
        features: The features that `config.data.schema` names.
        parameters: What changes from run to run: values, or RuntimeParameters that an orchestrator fills in.
        enable_cache: Whether a step with the same inputs and settings as in an earlier run is reused.

    Returns:
        The pipeline, for any TFX runner.
    """
    directory = Path(config.run.directory).absolute()
    tables = [table for table in _TABLES if features.table_features(table)]
    for_model = model_part(features)
    # Without a table, nothing is shown with an item.
    item_table = features.tables.items or ItemTable()

    ingest = InteractionIngest(
        feature_spec=ingest_part(features),
        config=config.ingest,
        data_directory=parameters.data_directory,
        window_from=parameters.window_from,
        window_to=parameters.window_to,
        window_last_days=parameters.window_last_days,
        input_fingerprint=parameters.input_fingerprint,
        code_fingerprint=parameters.code_fingerprint,
    )
    schema = FeatureSchema(feature_spec=features, code_fingerprint=parameters.code_fingerprint)
    examples = {table: ingest.outputs[f"{table}s"] for table in tables}
    schemas = {table: schema.outputs[f"{table}_schema"] for table in tables}

    statistics = {table: _build_statistics(table, examples[table], schemas[table]) for table in tables}
    validators = {
        table: ExampleValidator(
            statistics=statistics[table].outputs["statistics"], schema=schemas[table]
        ).with_id(f"{table.title()}ExampleValidator")
        for table in tables
    }
    statistics_by_table = _by_table(statistics, "statistics")
    gate = AnomalyGate(
        **_by_table(validators, "anomalies"),
        **statistics_by_table,
        ingest_report=ingest.outputs["report"],
        feature_spec=gate_part(features),
        items=item_table,
        config=config.gate,
        evaluation_config=config.evaluation,
        minimum_train_rows=minimum_train_rows(config.training),
        serving_directory=parameters.serving_directory,
        run_id=parameters.run_id,
    )
    transforms = {
        table: _build_transform(table, examples[table], schemas[table], for_model, _counted_splits(config))
        for table in tables
    }
    for transform in transforms.values():
        transform.add_upstream_node(gate)
    graphs = _by_table(transforms, "transform_graph")
    trainer = TowerTrainer(
        sequences=ingest.outputs["sequences"],
        catalogue=ingest.outputs["catalogue"],
        **graphs,
        run_fn=f"{run_fn.__module__}.{run_fn.__name__}",
        feature_spec=for_model,
        trainer_config=config.trainer,
        epochs=parameters.epochs,
        start=parameters.start,
        checkpoint_directory=parameters.checkpoint_directory,
        # Where nothing is read there, another place must not train anew.
        serving_directory=parameters.serving_directory if config.training.warm_start else "",
        code_fingerprint=parameters.training_fingerprint,
    )
    indexer = CandidateIndexer(
        model=trainer.outputs["model"],
        catalogue=ingest.outputs["catalogue"],
        item_id=features.item_id.name,
        items=item_table,
        data_directory=parameters.data_directory,
        input_fingerprint=parameters.input_fingerprint,
        retriever_config=config.retriever,
        left_out_history=config.find_left_out_history(features),
    )
    ann = AnnIndexer(
        model=trainer.outputs["model"],
        index=indexer.outputs["index"],
        sequences=ingest.outputs["sequences"],
        feature_spec=for_model,
        ann_config=config.ann,
    )
    evaluator = RetrievalEvaluator(
        sequences=ingest.outputs["sequences"],
        model=trainer.outputs["model"],
        index=indexer.outputs["index"],
        ann=ann.outputs["ann"],
        feature_spec=for_model,
        evaluation_config=config.evaluation,
        split=config.ingest.split,
        display=features.tables.display,
        serving_directory=parameters.serving_directory,
        run_id=parameters.run_id,
    )
    pusher = TowerPusher(
        model=trainer.outputs["model"],
        index=indexer.outputs["index"],
        blessing=evaluator.outputs["blessing"],
        report=evaluator.outputs["report"],
        **{f"{table}_schema": channel for table, channel in schemas.items()},
        **graphs,
        **statistics_by_table,
        ingest_report=ingest.outputs["report"],
        ann=ann.outputs["ann"],
        retriever=indexer.outputs["retriever"],
        sequences=ingest.outputs["sequences"] if config.serving.users == "snapshot" else None,
        serving_directory=parameters.serving_directory,
        run_id=parameters.run_id,
    )
    report = RunReport(
        evaluation_report=evaluator.outputs["report"],
        ingest_report=ingest.outputs["report"],
        anomaly_report=gate.outputs["report"],
        model=trainer.outputs["model"],
        model_run=trainer.outputs["model_run"],
        index=indexer.outputs["index"],
        config=config.report,
        settings=list_settings(config),
        item_id=features.item_id.name,
        items=item_table,
        run_id=parameters.run_id,
        data_directory=parameters.data_directory,
        window_from=parameters.window_from,
        window_to=parameters.window_to,
        window_last_days=parameters.window_last_days,
        epochs=parameters.epochs,
        start=parameters.start,
        serving_directory=parameters.serving_directory,
        checkpoint_directory=parameters.checkpoint_directory,
    )
    components: list[BaseNode] = [
        ingest, schema, *statistics.values(), *validators.values(), gate, *transforms.values(),
        # The report last, so that nothing waits for it.
        trainer, indexer, ann, evaluator, pusher, report,
    ]  # fmt: skip
    return Pipeline(
        pipeline_name=config.run.name,
        pipeline_root=str(directory / "artifacts"),
        components=components,
        enable_cache=enable_cache,
        beam_pipeline_args=_beam_options(config.beam.options),
        metadata_connection_config=metadata.sqlite_metadata_connection_config(
            str(directory / "metadata.sqlite")
        ),
    )


def _beam_options(options: Sequence[str]) -> list[str]:
    """Keep TFX from building a Python package of itself in every Beam step, where no worker installs one."""
    runner = PipelineOptions(list(options)).view_as(StandardOptions).runner
    if runner not in _RUNNERS_IN_PROCESS or any("sdk_container_image" in option for option in options):
        return list(options)
    # TFX asks only whether workers bring their packages along; this runner starts no container.
    return [*options, "--sdk_container_image=none"]


def _build_statistics(table: Tower, examples: BaseChannel, schema: BaseChannel) -> StatisticsGen:
    # What is trained on counts: an entity as often as train holds it. A context is a row itself.
    options = None if table == "context" else tfdv.StatsOptions(weight_feature=TRAIN_ROWS)
    node = StatisticsGen(examples=examples, schema=schema, stats_options=options)
    return node.with_id(f"{table.title()}StatisticsGen")


def _build_transform(
    table: Tower, examples: BaseChannel, schema: BaseChannel, features: FeatureSpec, counted: Sequence[str]
) -> Transform:
    node = Transform(
        examples=examples,
        schema=schema,
        preprocessing_fn=f"{preprocessing_fn.__module__}.{preprocessing_fn.__name__}",
        custom_config={
            "feature_spec": to_short_json(features), "tower": table, "counted_splits": list(counted),
        },
        # Entities of all splits are in one, and say in which their rows are.
        splits_config=transform_pb2.SplitsConfig(analyze=counted if table == "context" else [ENTITY_SPLIT]),
        # The Trainer applies the graph itself, to tables.
        materialize=False,
        # Each run analyses new data, and StatisticsGen has described them already.
        disable_analyzer_cache=True,
        disable_statistics=True,
    )  # fmt: skip
    return node.with_id(f"{table.title()}Transform")


def _counted_splits(config: PipelineConfig) -> list[str]:
    early_stopping = config.training.early_stopping
    if early_stopping is not None and early_stopping.refit:
        # The model that is exported is trained on both: their items belong in the vocabularies, too.
        return [TRAIN_SPLIT, VALIDATION_SPLIT]
    return [TRAIN_SPLIT]


def _by_table(nodes: Mapping[Tower, BaseNode], output: str) -> dict[str, BaseChannel]:
    """Name an output of each table's node as the steps that read all of them do, such as user_statistics."""
    return {f"{table}_{output}": node.outputs[output] for table, node in nodes.items()}
