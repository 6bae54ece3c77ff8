import pyarrow as pa
import pytest

from components.candidate_indexer.labels import read_labels

pytestmark = pytest.mark.unit


def to_texts(labels):
    """The values of each item, as the sets say."""
    return [sorted(labels.values[value] for value in labels.sets[number]) for number in labels.set_of_item]


def test_items_with_the_same_values_share_a_set():
    column = pa.chunked_array([[["b", "a"], ["a"]], [["a", "b", "b"], [], None, ["", "c"]]])
    labels = read_labels(column)
    assert to_texts(labels) == [["a", "b"], ["a"], ["a", "b"], [], [], ["c"]]
    assert len(labels.sets) == 4
    assert sorted(labels.values) == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("values", "expected"),
    [(["x", None, "", "x"], [["x"], [], [], ["x"]]), ([1999, None, -5], [["1999"], [], ["-5"]])],
)
def test_single_values_and_integers_are_texts(values, expected):
    assert to_texts(read_labels(pa.chunked_array([values]))) == expected


def test_no_item_has_a_value():
    labels = read_labels(pa.chunked_array([pa.array([None, None], pa.list_(pa.string()))]))
    assert (list(labels.values), list(labels.sets), labels.set_of_item.tolist()) == ([], [()], [0, 0])
