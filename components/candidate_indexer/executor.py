"""The executor of CandidateIndexer."""

from collections.abc import Mapping
from typing import Any

import pyarrow.parquet as pq

from components.candidate_indexer.display import read_display
from components.candidate_indexer.logic import build_index
from components.execution import MODEL_FOLDER, Artifacts, PlainExecutor, get_path
from schemas.contract import CATALOGUE_FILE, ITEM_TOWER
from schemas.features import ItemTable
from schemas.strict_config import from_json


class CandidateIndexerExecutor(PlainExecutor):
    """Unpacks the artifacts for `build_index`."""

    def Do(  # noqa: N802 (TFX's name)
        self, input_dict: Artifacts, output_dict: Artifacts, exec_properties: Mapping[str, Any]
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
        catalogue = get_path(input_dict, "catalogue")
        item_id = exec_properties["item_id"]
        build_index(
            item_tower=get_path(input_dict, "model") / MODEL_FOLDER / ITEM_TOWER,
            catalogue=catalogue,
            output=get_path(output_dict, "index"),
            item_id=item_id,
            display=read_display(
                item_id,
                from_json(ItemTable, exec_properties["items"]),
                exec_properties["data_directory"],
                pq.read_schema(catalogue / CATALOGUE_FILE).names,
            ),
        )
