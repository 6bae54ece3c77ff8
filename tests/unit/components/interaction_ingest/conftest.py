import pytest

from schemas.features import FeatureSpec
from schemas.strict_config import parse


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
