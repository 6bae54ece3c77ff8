"""The TFX component that embeds the catalogue and makes it searchable."""

from typing import ClassVar

from tfx.dsl.components.base.base_component import BaseComponent
from tfx.dsl.components.base.executor_spec import ExecutorClassSpec
from tfx.orchestration.data_types import RuntimeParameter
from tfx.types import standard_artifacts
from tfx.types.channel import BaseChannel, Channel
from tfx.types.component_spec import ChannelParameter, ComponentSpec, ExecutionParameter

from components.artifacts import CandidateIndex, Catalogue
from components.candidate_indexer.config import RetrieverConfig
from components.candidate_indexer.executor import CandidateIndexerExecutor
from schemas.features import ItemTable
from schemas.strict_config import to_short_json


class CandidateIndexerSpec(ComponentSpec):
    """Inputs, outputs and parameters of CandidateIndexer."""

    PARAMETERS: ClassVar = {
        "item_id": ExecutionParameter(type=str),
        "items": ExecutionParameter(type=str),
        "data_directory": ExecutionParameter(type=str),
        "input_fingerprint": ExecutionParameter(type=str),
        "retriever_config": ExecutionParameter(type=str),
        "left_out_history": ExecutionParameter(type=str),
    }
    INPUTS: ClassVar = {
        "model": ChannelParameter(type=standard_artifacts.Model),
        "catalogue": ChannelParameter(type=Catalogue),
    }
    OUTPUTS: ClassVar = {
        "index": ChannelParameter(type=CandidateIndex),
        "retriever": ChannelParameter(type=standard_artifacts.Model),
    }


class CandidateIndexer(BaseComponent):
    """Runs the item tower over the whole catalogue, and adds the columns that are shown to it.

    Outputs: `index`, with the embeddings, and the catalogue with the display columns; `retriever`, a
    SavedModel of the user tower and the index in one.
    """

    SPEC_CLASS = CandidateIndexerSpec
    EXECUTOR_SPEC = ExecutorClassSpec(CandidateIndexerExecutor)

    def __init__(
        self,
        model: BaseChannel,
        catalogue: BaseChannel,
        item_id: str,
        items: ItemTable,
        data_directory: str | RuntimeParameter,
        input_fingerprint: str | RuntimeParameter = "",
        retriever_config: RetrieverConfig | None = None,
        left_out_history: str = "",
    ) -> None:
        """Declare the step.

        Args:
            model: The Trainer's `model`.
            catalogue: InteractionIngest's `catalogue`.
            item_id: Name of the item id.
            items: The item table, with the columns that are shown.
            data_directory: The folder that it is in: a path or URI.
            input_fingerprint: What `fingerprint_inputs` gives, so that TFX's cache sees a changed item table;
                '' where the step always executes, or nothing is read but the catalogue.
            retriever_config: What the retriever can do; None: the defaults.
            left_out_history: The user tower's input with the ids of the history, where the retriever is not
                to recommend these again; '' where there is none, or it may.
        """
        super().__init__(
            spec=CandidateIndexerSpec(
                model=model,
                catalogue=catalogue,
                item_id=item_id,
                items=to_short_json(items),
                data_directory=data_directory,
                input_fingerprint=input_fingerprint,
                retriever_config=to_short_json(retriever_config or RetrieverConfig()),
                left_out_history=left_out_history,
                index=Channel(type=CandidateIndex),
                retriever=Channel(type=standard_artifacts.Model),
            )
        )
