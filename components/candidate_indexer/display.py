"""The columns of the item table that are shown with a recommendation and are no features."""

import contextlib
import difflib
import logging
from collections.abc import Collection
from typing import Final

import pyarrow as pa

from components.interaction_ingest.config import IngestConfig
from components.interaction_ingest.reading.entities import load_entity_table
from components.interaction_ingest.reading.table_files import look_into_files
from components.interaction_ingest.sources.files import find_files
from components.interaction_ingest.sources.reading import list_entity_columns
from schemas import storage
from schemas.contract import PROGRESS_LOGGER
from schemas.errors import ConfigError, DataError, StorageError
from schemas.features import Feature, FeatureSpec, ItemTable

# The ingest of the same table has already counted the malformed rows and stopped where they are too many.
_ANY_NUMBER_OF_REJECTIONS: Final = IngestConfig(maximum_rejected_fraction=1.0)


def look_for_display(spec: FeatureSpec, data_directory: str) -> None:
    """Look into the item table for the display columns, before anything runs.

    Args:
        spec: The features, and the item table.
        data_directory: The folder that it is in: a path or URI.

    Raises:
        ConfigError: The table lacks a column that is to be shown, or its format cannot be told.
        DataError: The table is missing or unreadable, or lacks the item id.
        StorageError: The store cannot be reached or refuses.
    """
    items, features = spec.tables.items, [feature.name for feature in spec.table_features("item")]
    if items is not None and _list_further(items, features):
        columns = list_entity_columns(items, [spec.item_id], ())
        looked = look_into_files(items, "items", find_files(items, data_directory), columns)
        check_display(items, features, looked.names)


def look_for_display_here(spec: FeatureSpec, data_directory: str) -> None:
    """Look into the item table for the display columns, where it is on this machine.

    Whoever compiles need not see what the pods see, and asks no object store.

    Args:
        spec: The features, and the item table.
        data_directory: The folder that it is in: a path or URI.

    Raises:
        ConfigError: The table lacks a column that is to be shown, or its format cannot be told.
    """
    items = spec.tables.items
    if items is None or any(map(storage.is_remote, (data_directory, items.file))):
        return
    with contextlib.suppress(DataError, StorageError):
        look_for_display(spec, data_directory)


def check_display(
    items: ItemTable, catalogue_columns: Collection[str], table_columns: Collection[str]
) -> None:
    """Refuse a display column that is nowhere.

    Args:
        items: Which columns are shown, and what the table's files call them.
        catalogue_columns: What the catalogue has, which is not looked for.
        table_columns: Every column of the item table, as its files call it.

    Raises:
        ConfigError: There is such a column.
    """
    for name in _list_further(items, catalogue_columns):
        source = items.columns.get(name, name)
        if source not in table_columns:
            shown = repr(name) if source == name else f"{name!r}, which tables.items.columns calls {source!r}"
            nearest = difflib.get_close_matches(source, sorted(table_columns), n=1, cutoff=0.0)
            hint = f" Did you mean {nearest[0]!r}?" if nearest else ""
            raise ConfigError(
                f"tables.items.display: expected columns of {items.file}: {', '.join(sorted(table_columns))}."
                f" Received: {shown}.{hint}"
            )


def _list_further(items: ItemTable, catalogue_columns: Collection[str]) -> list[str]:
    return [name for name in dict.fromkeys(items.display) if name not in catalogue_columns]


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
    further = _list_further(items, catalogue_columns)
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
