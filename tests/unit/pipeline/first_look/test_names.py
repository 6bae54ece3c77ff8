import pytest

from pipeline.first_look.names import make_name, split_name

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("CustomerID", ("customer", "id")),
        ("product_id", ("product", "id")),
        ("userid", ("user", "id")),
        ("Event Time", ("event", "time")),
        ("StockCode", ("stock", "code")),
        ("userland", ("userland",)),
    ],
)
def test_names_are_cut_into_words(name, words):
    assert split_name(name) == words


@pytest.mark.parametrize(
    ("name", "made"),
    [
        ("Product-ID", "product_id"),
        ("CustomerID", "customer_id"),
        ("2nd", "column_2nd"),
        ("année", "ann_e"),
        ("weight", "item_weight"),
    ],
)
def test_a_feature_gets_a_name_that_it_can_have(name, made):
    assert make_name(name, {"weight"}, "item") == made
