"""The columns of the item table that are shown with a recommendation and are no features."""

import logging
from collections.abc import Collection
from typing import Final

import pyarrow as pa

from components.interaction_ingest.config import IngestConfig
from components.interaction_ingest.reading.entities import load_entity_table
from schemas.contract import PROGRESS_LOGGER
from schemas.features import Feature, ItemTable

# The ingest of the same table has already counted the malformed rows and stopped where they are too many.
_ANY_NUMBER_OF_REJECTIONS: Final = IngestConfig(maximum_rejected_fraction=1.0)


def read_display(
    item_id: str, items: ItemTable, data_directory: str, catalogue_columns: Collection[str]
) -> pa.Table | None:
    """Read the display columns that the catalogue lacks.

    Args:
        item_id: Name of the item id.
        items: The item table, and which of its columns are shown.
        data_directory: The folder that it is in: a path or URI.
        catalogue_columns: What the catalogue has.

    Returns:
        [rows of the item table] the item id as string, and the columns; None, and nothing is read, where
        the catalogue has every one.

    Raises:
        ConfigError: The table's format cannot be told.
        DataError: The table cannot be used, or lacks a column.
        StorageError: The store cannot be reached or refuses.
    """
    further = [name for name in dict.fromkeys(items.display) if name not in catalogue_columns]
    if not further:
        return None
    feature = Feature(name=item_id, dtype="string", tower="item", role="item_id")
    table = load_entity_table(
        items, data_directory, "items", feature, [feature], _ANY_NUMBER_OF_REJECTIONS, further
    ).table
    logging.getLogger(PROGRESS_LOGGER).info(
        "Read %s of %s items, to be shown with them.", ", ".join(further), f"{table.num_rows:,}"
    )
    return table
