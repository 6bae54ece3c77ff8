"""The executor of CandidateIndexer."""

from collections.abc import Mapping
from typing import Any

import pyarrow.parquet as pq

from components.candidate_indexer.config import RetrieverConfig
from components.candidate_indexer.display import read_display
from components.candidate_indexer.logic import build_index
from components.candidate_indexer.retriever import build_retriever
from components.execution import MODEL_FOLDER, Artifacts, PlainExecutor, get_path
from schemas.contract import CATALOGUE_FILE, ITEM_TOWER, USER_TOWER
from schemas.features import ItemTable
from schemas.strict_config import from_json


class CandidateIndexerExecutor(PlainExecutor):
    """Unpacks the artifacts for `build_index` and `build_retriever`."""

    def Do(  # noqa: N802 (TFX's name)
        self, input_dict: Artifacts, output_dict: Artifacts, exec_properties: Mapping[str, Any]
    ) -> None:
        """Write the index and the retriever.

        Args:
            input_dict: `model` and `catalogue`.
            output_dict: `index` and `retriever`.
            exec_properties: As CandidateIndexerSpec declares them, the item table and the retriever's
                settings as JSON.

        Raises:
            DataError: The catalogue is empty, or the item table cannot be used.
            ReleaseError: The model lacks a tower.
            StorageError: The item table's store cannot be reached or refuses.
            TrainingError: An embedding is not finite.
        """
        catalogue, index = get_path(input_dict, "catalogue"), get_path(output_dict, "index")
        towers = get_path(input_dict, "model") / MODEL_FOLDER
        item_id = exec_properties["item_id"]
        build_index(
            item_tower=towers / ITEM_TOWER,
            catalogue=catalogue,
            output=index,
            item_id=item_id,
            display=read_display(
                item_id,
                from_json(ItemTable, exec_properties["items"]),
                exec_properties["data_directory"],
                pq.read_schema(catalogue / CATALOGUE_FILE).names,
            ),
        )
        build_retriever(
            user_tower=towers / USER_TOWER,
            index=index,
            output=get_path(output_dict, "retriever"),
            item_id=item_id,
            filter_by=from_json(RetrieverConfig, exec_properties["retriever_config"]).filter,
            # An empty text can be missing: an orchestrator hands it on as None.
            history=exec_properties.get("left_out_history") or None,
        )
