import dataclasses

import pyarrow as pa
import pytest

from components.interaction_ingest.entity_rows import build_catalogue, entity_rows
from schemas.features import Feature

pytestmark = pytest.mark.unit


def test_catalogue_keeps_the_tables_order_and_appends_unknown_items_with_defaults(spec):
    price = dataclasses.replace(spec.features[3], default=1.0)
    spec = dataclasses.replace(spec, features=(*spec.features[:3], price, *spec.features[4:]))
    items = pa.table(
        {
            "iid": ["z", "b"],
            "price": pa.array([1, 2], pa.float32()),
            "tags": [["t"], []],
        }
    )
    assert build_catalogue(items, spec, ["q"], "drop") is items
    assert build_catalogue(items, spec, ["y", "c"], "default").to_pydict() == {
        "iid": ["z", "b", "c", "y"],
        "price": [1.0, 2.0, 1.0, 1.0],
        "tags": [["t"], [], ["none"], ["none"]],
    }


def test_rows_are_looked_up_and_unknown_ids_get_the_defaults(spec):
    users = pa.table({"uid": ["u", "v"], "age": pa.array([1, 2], pa.int64())})
    ids = pa.array(["v", "new", "u", "v"])
    found = entity_rows(users, ids, spec.table_features("user"))
    assert found.to_pydict() == {"uid": ["v", "new", "u", "v"], "age": [2, 30, 1, 2]}
    nobody = entity_rows(users.slice(0, 0), ids, spec.table_features("user"))
    assert nobody.column("age").to_pylist() == [30] * 4


def test_a_list_of_numbers_has_its_default_in_every_place():
    look = Feature(name="look", dtype="float", length=2, tower="item", default=0.5)
    item = Feature(name="item", dtype="string", tower="item", role="item_id")
    table = pa.table({"item": ["a"], "look": pa.array([[1, 2]], pa.list_(pa.float32()))})
    found = entity_rows(table, pa.array(["b", "a"]), [item, look])
    assert found.column("look").to_pylist() == [[0.5, 0.5], [1, 2]]
