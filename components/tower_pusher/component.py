"""The TFX adapter of TowerPusher."""

from typing import ClassVar

from tfx.dsl.components.base import base_component, executor_spec
from tfx.orchestration.data_types import RuntimeParameter
from tfx.types import standard_artifacts
from tfx.types.channel import BaseChannel, Channel
from tfx.types.component_spec import ChannelParameter, ComponentSpec, ExecutionParameter

from components.artifacts import AnnIndex, CandidateIndex, Report, Sequences
from components.tower_pusher.executor import TowerPusherExecutor


class TowerPusherSpec(ComponentSpec):
    """Parameters and artifacts of TowerPusher."""

    PARAMETERS: ClassVar[dict[str, ExecutionParameter]] = {
        "serving_directory": ExecutionParameter(type=str),
        "run_id": ExecutionParameter(type=str),
    }
    INPUTS: ClassVar[dict[str, ChannelParameter]] = {
        "model": ChannelParameter(type=standard_artifacts.Model),
        "index": ChannelParameter(type=CandidateIndex),
        "blessing": ChannelParameter(type=standard_artifacts.ModelBlessing),
        "report": ChannelParameter(type=Report),
        "ingest_report": ChannelParameter(type=Report),
        "user_schema": ChannelParameter(type=standard_artifacts.Schema),
        "user_transform_graph": ChannelParameter(type=standard_artifacts.TransformGraph),
        "user_statistics": ChannelParameter(type=standard_artifacts.ExampleStatistics),
        "item_schema": ChannelParameter(type=standard_artifacts.Schema),
        "item_transform_graph": ChannelParameter(type=standard_artifacts.TransformGraph),
        "item_statistics": ChannelParameter(type=standard_artifacts.ExampleStatistics),
        "ann": ChannelParameter(type=AnnIndex),
        "retriever": ChannelParameter(type=standard_artifacts.Model),
        "sequences": ChannelParameter(type=Sequences, optional=True),
        "context_schema": ChannelParameter(type=standard_artifacts.Schema, optional=True),
        "context_transform_graph": ChannelParameter(type=standard_artifacts.TransformGraph, optional=True),
        "context_statistics": ChannelParameter(type=standard_artifacts.ExampleStatistics, optional=True),
    }
    OUTPUTS: ClassVar[dict[str, ChannelParameter]] = {
        "pushed_release": ChannelParameter(type=standard_artifacts.PushedModel)
    }


class TowerPusher(base_component.BaseComponent):
    """Writes all parts and a manifest as one release, where the model was blessed."""

    SPEC_CLASS = TowerPusherSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(TowerPusherExecutor)

    def __init__(
        self,
        model: BaseChannel,
        index: BaseChannel,
        blessing: BaseChannel,
        report: BaseChannel,
        ingest_report: BaseChannel,
        user_schema: BaseChannel,
        user_transform_graph: BaseChannel,
        user_statistics: BaseChannel,
        item_schema: BaseChannel,
        item_transform_graph: BaseChannel,
        item_statistics: BaseChannel,
        ann: BaseChannel,
        retriever: BaseChannel,
        serving_directory: str | RuntimeParameter,
        run_id: str | RuntimeParameter,
        sequences: BaseChannel | None = None,
        context_schema: BaseChannel | None = None,
        context_transform_graph: BaseChannel | None = None,
        context_statistics: BaseChannel | None = None,
    ) -> None:
        """Build the node.

        Args:
            model: The trained towers, of type Model.
            index: The item embeddings, of type components.CandidateIndex.
            blessing: The evaluation's verdict, of type ModelBlessing.
            report: The evaluation's figures, of type components.Report.
            ingest_report: The ingest's figures, of type components.Report; those of the sequences are kept
                with the release, for the next run to compare with.
            user_schema: The schema of the users, of type Schema.
            user_transform_graph: UserTransform's graph, of type TransformGraph.
            user_statistics: The statistics of the users, of type ExampleStatistics, kept as those figures.
            item_schema: The same of the items.
            item_transform_graph: The same of the items.
            item_statistics: The same of the items.
            serving_directory: The folder that releases are pushed to: a path or URI.
            run_id: What the manifest calls the run; '' for what the environment variable DSSM_RUN_ID says
                where the step runs, or 'unknown' without one.
            ann: The approximate index, of type components.AnnIndex.
            retriever: The SavedModel that recommends by itself, of type Model.
            sequences: The users' sequences, of type components.Sequences, to find known users in;
                None: the release has none.
            context_schema: The same of the contexts, where there are context features.
            context_transform_graph: The same of the contexts.
            context_statistics: The same of the contexts; those of the train split are kept.
        """
        super().__init__(
            TowerPusherSpec(
                model=model,
                index=index,
                blessing=blessing,
                report=report,
                ingest_report=ingest_report,
                user_schema=user_schema,
                user_transform_graph=user_transform_graph,
                user_statistics=user_statistics,
                item_schema=item_schema,
                item_transform_graph=item_transform_graph,
                item_statistics=item_statistics,
                context_schema=context_schema,
                context_transform_graph=context_transform_graph,
                context_statistics=context_statistics,
                serving_directory=serving_directory,
                run_id=run_id,
                ann=ann,
                retriever=retriever,
                sequences=sequences,
                pushed_release=Channel(type=standard_artifacts.PushedModel),
            )
        )
