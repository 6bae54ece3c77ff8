"""What stands in a history for each item, and what tables are refused."""

import numpy as np
import pyarrow as pa
import pytest

from schemas.errors import DataError
from schemas.features import (
    Feature,
    FeatureSpec,
    History,
    TextEncoding,
    VectorEncoding,
    VocabularyEncoding,
    ZScoreEncoding,
)
from trainer.data import entities
from trainer.data.entities import history_table

pytestmark = pytest.mark.unit

VOCABULARY = VocabularyEncoding(kind="vocabulary")
FEATURES = (
    Feature(name="user", dtype="string", tower="user", role="user_id"),
    Feature(name="item", dtype="string", tower="item", role="item_id", encoding=VOCABULARY),
    Feature(name="tags", dtype="string", tower="item", multi_valued=True, encoding=VOCABULARY),
    Feature(name="title", dtype="string", tower="item", encoding=TextEncoding(kind="text", buckets=9)),
    Feature(name="price", dtype="float", tower="item", encoding=ZScoreEncoding(kind="z_score")),
)
ITEMS = {
    "item": np.array([1, 0, 2]),
    "tags": np.array([[4, 5, 6], [7, -1, -1], [-1, -1, -1]]),
    "title": np.array([[8], [-1], [3]]),
    "price": np.array([0.5, 1.5, 2.5], np.float32),
}


def test_lists_are_cut_or_padded_to_the_places_of_an_item():
    history = History(name="past", item_features=("tags", "title", "price"), values_per_item=2)
    table = history_table(ITEMS, FeatureSpec(name="t", features=FEATURES, history=history))
    assert list(table) == ["past", "past_tags", "past_title", "past_price"]
    np.testing.assert_array_equal(table["past"], [1, 0, 2])
    np.testing.assert_array_equal(table["past_tags"], [[4, 5], [7, -1], [-1, -1]])
    np.testing.assert_array_equal(table["past_title"], [[8, -1], [-1, -1], [3, -1]])
    np.testing.assert_array_equal(table["past_price"], ITEMS["price"])


@pytest.mark.parametrize(
    ("feature", "column", "message"),
    [
        (
            {"dtype": "int"},
            [3, None],
            r"Column x of the context table: .* Received: 1\. Run the ingest again",
        ),
        (
            {"dtype": "float", "length": 2},
            [[1.0, 2.0], [3.0]],
            r"Column x of the context table: expected lists of 2 .*a list of 1\. Run the ingest again",
        ),
        ({"dtype": "int"}, None, r"the context table with the columns x\. Received: no x\. Run the ingest"),
    ],
)
def test_values_that_cannot_be_encoded_name_their_table(feature, column, message, monkeypatch):
    monkeypatch.setattr(entities, "load_transform", lambda graph: None)
    monkeypatch.setattr(entities, "TransformPart", lambda graph, inputs, outputs: lambda raw: raw)
    encoding = VectorEncoding(kind="vector") if "length" in feature else ZScoreEncoding(kind="z_score")
    features = [Feature(name="x", tower="context", encoding=encoding, **feature)]
    batch = pa.RecordBatch.from_pydict({"y": [1]} if column is None else {"x": column})
    with pytest.raises(DataError, match=message):
        entities.transform_table([batch], features, "graph")


def test_without_a_history_there_is_no_table():
    user = Feature(name="user", dtype="string", tower="user", role="user_id", encoding=VOCABULARY)
    assert history_table(ITEMS, FeatureSpec(name="t", features=(user, *FEATURES[1:]))) == {}
