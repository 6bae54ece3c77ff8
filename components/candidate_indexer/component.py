"""The TFX component that embeds the catalogue."""

from pathlib import Path
from typing import Any, ClassVar

import pyarrow.parquet as pq
from tfx.dsl.components.base.base_component import BaseComponent
from tfx.dsl.components.base.base_executor import BaseExecutor
from tfx.dsl.components.base.executor_spec import ExecutorClassSpec
from tfx.orchestration.data_types import RuntimeParameter
from tfx.types import artifact_utils, standard_artifacts
from tfx.types.artifact import Artifact
from tfx.types.channel import BaseChannel, Channel
from tfx.types.component_spec import ChannelParameter, ComponentSpec, ExecutionParameter
from tfx.utils import path_utils

from components.artifacts import CandidateIndex, Catalogue
from components.candidate_indexer.display import read_display
from components.candidate_indexer.logic import build_index
from schemas.contract import CATALOGUE_FILE, ITEM_TOWER
from schemas.features import ItemTable
from schemas.strict_config import from_json, to_short_json


class CandidateIndexerSpec(ComponentSpec):
    """Inputs, outputs and parameters of CandidateIndexer."""

    PARAMETERS: ClassVar = {
        "item_id": ExecutionParameter(type=str),
        "items": ExecutionParameter(type=str),
        "data_directory": ExecutionParameter(type=str),
        "input_fingerprint": ExecutionParameter(type=str),
    }
    INPUTS: ClassVar = {
        "model": ChannelParameter(type=standard_artifacts.Model),
        "catalogue": ChannelParameter(type=Catalogue),
    }
    OUTPUTS: ClassVar = {"index": ChannelParameter(type=CandidateIndex)}


class CandidateIndexerExecutor(BaseExecutor):
    """Unpacks the artifacts for `build_index`."""

    def Do(  # noqa: N802 - TFX names it
        self,
        input_dict: dict[str, list[Artifact]],
        output_dict: dict[str, list[Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Write the index.

        Args:
            input_dict: `model` and `catalogue`.
            output_dict: `index`.
            exec_properties: As CandidateIndexerSpec declares them, the item table as JSON.

        Raises:
            DataError: The catalogue is empty, or the item table cannot be used.
            ReleaseError: The model has no item tower.
            StorageError: The item table's store cannot be reached or refuses.
            TrainingError: An embedding is not finite.
        """
        model = artifact_utils.get_single_instance(input_dict["model"])
        catalogue = Path(artifact_utils.get_single_uri(input_dict["catalogue"]))
        item_id = exec_properties["item_id"]
        build_index(
            item_tower=Path(path_utils.serving_model_dir(model.uri)) / ITEM_TOWER,
            catalogue=catalogue,
            output=Path(artifact_utils.get_single_uri(output_dict["index"])),
            item_id=item_id,
            display=read_display(
                item_id,
                from_json(ItemTable, exec_properties["items"]),
                exec_properties["data_directory"],
                pq.read_schema(catalogue / CATALOGUE_FILE).names,
            ),
        )


class CandidateIndexer(BaseComponent):
    """Runs the item tower over the whole catalogue, and adds the columns that are shown to it.

    Output: `index`, with the embeddings, and the catalogue with the display columns.
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
        """
        super().__init__(
            spec=CandidateIndexerSpec(
                model=model,
                catalogue=catalogue,
                item_id=item_id,
                items=to_short_json(items),
                data_directory=data_directory,
                input_fingerprint=input_fingerprint,
                index=Channel(type=CandidateIndex),
            )
        )
