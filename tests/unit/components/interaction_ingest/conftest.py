from collections.abc import Callable

import pytest

from components.interaction_ingest.reading.table_files import look_into_files
from components.interaction_ingest.sources.files import find_files
from components.interaction_ingest.sources.parts import Column
from components.interaction_ingest.sources.reading import read_piece
from schemas.features import Feature, FeatureSpec, InteractionTable
from schemas.strict_config import parse

COLUMNS = (
    Column("user", "user", "feature", Feature(name="user", dtype="string", tower="user", role="user_id")),
    Column("item", "item", "feature", Feature(name="item", dtype="string", tower="item", role="item_id")),
    Column("timestamp", "timestamp", "timestamp"),
    Column(
        "device", "device", "feature", Feature(name="device", dtype="string", tower="context", default="web")
    ),
    Column("visits", "visits", "feature", Feature(name="visits", dtype="int", tower="context", default=0)),
    Column(
        "tags",
        "tags",
        "feature",
        Feature(name="tags", dtype="string", tower="context", multi_valued=True, default="none"),
    ),
    Column("stars", "stars", "number", is_compared=True),
)


@pytest.fixture
def read_log(tmp_path) -> Callable[[str, bytes], tuple[list, list, list, int]]:
    """Read a file of interactions: its rows, the reasons of its dead letters, these, and its unread bytes."""

    def read(name: str, content: bytes) -> tuple[list, list, list, int]:
        (tmp_path / name).write_bytes(content)
        table = InteractionTable(file=name)
        looked = look_into_files(table, "interactions", find_files(table, str(tmp_path)), COLUMNS)
        rows, letters, unread = [], [], 0
        for piece in looked.pieces:
            for batch, rejections in read_piece(piece, table, "interactions", COLUMNS, ["user", "item"]):
                rows += batch.to_pylist()
                letters += rejections.letters.to_pylist()
                unread += rejections.unread_bytes
        reasons = [(letter["reason"], letter["row"], letter["rows"]) for letter in letters]
        return rows, reasons, letters, unread

    return read


@pytest.fixture
def spec() -> FeatureSpec:
    vocabulary = {"kind": "vocabulary"}
    return parse(
        FeatureSpec,
        {
            "name": "shop",
            "tables": {
                "interactions": {"file": "log.parquet", "timestamp": "at"},
                "users": {"file": "people.parquet"},
                "items": {"file": "things.parquet", "display": ["title", "price"]},
            },
            "history": {"name": "recent", "length": 3},
            "features": [
                {
                    "name": "uid",
                    "dtype": "string",
                    "tower": "user",
                    "role": "user_id",
                    "encoding": vocabulary,
                },
                {"name": "age", "dtype": "int", "tower": "user", "default": 30},
                {
                    "name": "iid",
                    "dtype": "string",
                    "tower": "item",
                    "role": "item_id",
                    "encoding": vocabulary,
                },
                {"name": "price", "dtype": "float", "tower": "item"},
                {"name": "tags", "dtype": "string", "tower": "item", "multi_valued": True, "default": "none"},
                {"name": "device", "dtype": "string", "tower": "context", "default": "web"},
            ],
        },
        source="test",
    )
