import pytest

from components.candidate_indexer.config import RetrieverConfig, check_retriever
from schemas.errors import ConfigError
from schemas.features import FeatureSpec
from schemas.strict_config import parse

pytestmark = pytest.mark.unit


def make_spec(user_feature="age", history="history"):
    coded = {"encoding": {"kind": "vocabulary"}}
    return parse(
        FeatureSpec,
        {
            "name": "toy",
            "history": {"name": history, "length": 2},
            "features": [
                {"name": "user", "dtype": "string", "tower": "user", "role": "user_id"},
                {"name": user_feature, "dtype": "int", "tower": "user", **coded},
                {"name": "item", "dtype": "string", "tower": "item", "role": "item_id", **coded},
                {"name": "year", "dtype": "int", "tower": "item"},
                {"name": "genres", "dtype": "string", "tower": "item", "multi_valued": True},
                {"name": "price", "dtype": "float", "tower": "item"},
            ],
        },
        source="test",
    )


@pytest.mark.parametrize("name", [None, "year", "genres"])
def test_labels_of_items_can_be_filtered_by(name):
    check_retriever(RetrieverConfig(filter=name), make_spec())


@pytest.mark.parametrize("name", ["price", "item", "age", "genre"])
def test_others_cannot(name):
    with pytest.raises(ConfigError, match=rf"retriever\.filter: .*one of year, genres. Received: '{name}'"):
        check_retriever(RetrieverConfig(filter=name), make_spec())


def test_names_that_the_retriever_needs_are_refused():
    with pytest.raises(ConfigError, match="no input of the user tower named k:"):
        check_retriever(RetrieverConfig(), make_spec(user_feature="k"))
    with pytest.raises(ConfigError, match="named exclude:"):
        check_retriever(RetrieverConfig(), make_spec(history="exclude"))
    check_retriever(RetrieverConfig(), make_spec(user_feature="filter"))
    with pytest.raises(ConfigError, match="named filter:"):
        check_retriever(RetrieverConfig(filter="year"), make_spec(user_feature="filter"))
