"""The three tables that every data set here consists of, and how they come into their folder."""

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq

from schemas.errors import DataError

INTERACTIONS_FILE: Final = "interactions.parquet"
USERS_FILE: Final = "users.parquet"
ITEMS_FILE: Final = "items.parquet"

INTERACTIONS: Final = pa.schema(
    [("user_id", pa.string()), ("item_id", pa.string()), ("rating", pa.float32()), ("timestamp", pa.int64())]
)
USERS: Final = pa.schema(
    [
        ("user_id", pa.string()),
        ("age", pa.int64()),
        ("gender", pa.string()),
        ("occupation", pa.string()),
        ("zip_code", pa.string()),
    ]
)
ITEMS: Final = pa.schema(
    [
        ("item_id", pa.string()),
        ("title", pa.string()),
        ("year", pa.int64()),
        ("genres", pa.list_(pa.string())),
    ]
)

# The interactions come last: a folder that has them has the other two as well.
_FILES = (USERS_FILE, ITEMS_FILE, INTERACTIONS_FILE)


def present_tables(directory: Path) -> list[str]:
    """List the tables that a folder holds.

    Args:
        directory: A folder; it need not exist.

    Returns:
        File names, of at most three.
    """
    return [name for name in _FILES if (directory / name).exists()]


def has_all_tables(directory: Path) -> bool:
    """Tell whether a folder holds all three tables.

    Args:
        directory: A folder; it need not exist.

    Returns:
        True when none is missing.
    """
    return present_tables(directory) == list(_FILES)


@contextmanager
def staged_tables(directory: Path) -> Iterator[Path]:
    """Give a scratch folder for the three files, and move them into place once all are written.

    Args:
        directory: Where the tables shall be; made if it is missing.

    Yields:
        A folder on the same file system. It is removed at the end; a failure in between leaves
        `directory` with the files that it had.

    Raises:
        DataError: The folder cannot be written.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".partial-", dir=directory) as staging:
            yield Path(staging)
            for name in _FILES:
                (Path(staging) / name).replace(directory / name)
    except OSError as error:
        raise DataError(
            f"Cannot write the tables to {directory}: {error}. Name a folder that is writable and has room."
        ) from error


def write_tables(
    directory: Path,
    data_set: str,
    interactions: pa.Table,
    users: pa.Table,
    items: pa.Table,
    rows: Mapping[str, int],
) -> None:
    """Write the three tables of a data set that was downloaded, if they are as large as they should be.

    Args:
        directory: Where the tables shall be; made if it is missing.
        data_set: What messages call it.
        interactions: The interactions.
        users: The users.
        items: The items.
        rows: The rows that each has to have: `interactions`, `users` and `items`.

    Raises:
        DataError: A table has more or fewer, or the folder cannot be written.
    """
    found = {"interactions": interactions.num_rows, "users": users.num_rows, "items": items.num_rows}
    if found != rows:
        raise DataError(f"{data_set}: expected {rows} rows. Received: {found}. The wheel has changed.")
    with staged_tables(directory) as staging:
        pq.write_table(interactions, staging / INTERACTIONS_FILE)
        pq.write_table(users, staging / USERS_FILE)
        pq.write_table(items, staging / ITEMS_FILE)
