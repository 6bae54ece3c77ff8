import datetime

import numpy as np
import pyarrow as pa
import pytest

from pipeline.first_look.profiles import ListSyntax, profile_column

pytestmark = pytest.mark.unit


def profile(values, kind=None, is_text_format=False):
    return profile_column("column", pa.chunked_array([pa.array(values, kind)]), is_text_format)


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([1, 2], "int"),
        ([1.5, 2.0], "float"),
        ([True, False], "bool"),
        (["a", "b"], "text"),
        ([["a"], ["b", "c"]], "texts"),
        ([[0.1, 0.2]], "numbers"),
        ([datetime.datetime(2026, 1, 1)], "time"),
        ([datetime.date(2026, 1, 1)], "date"),
        ([{"a": 1}], "other"),
    ],
)
def test_types_of_a_file_say_what_a_column_is(values, kind):
    assert profile(values).kind == kind


@pytest.mark.parametrize(
    ("texts", "kind"),
    [
        (["1", " 2"], "int"),
        (["1.0", "2e3"], "float"),
        (["007", "123"], "text"),
        (["1700000000000000004"], "text"),
        (["1", "many"], "text"),
        (["2026-01-01T00:00:00Z", "2026-01-02 10:00:00"], "time"),
        (["2026-99-99"], "text"),
    ],
)
def test_texts_of_a_format_without_types_are_looked_at(texts, kind):
    assert profile(texts, is_text_format=True).kind == kind


def test_digits_of_a_typed_text_stay_text():
    assert profile(["1", "2"]).kind == "text"


def test_it_counts_values_and_missing_ones():
    column = profile(["b", None, "a", "b"])
    counts = dict(zip(column.values.to_pylist(), column.counts.tolist(), strict=True))
    assert (column.rows, column.missing, column.present, column.distinct) == (4, 1, 3, 2)
    assert counts == {"b": 2, "a": 1}


def test_numbers_written_differently_are_one_value():
    column = profile(["1", "1.0", "2", None], is_text_format=True)
    assert (column.kind, column.distinct) == ("float", 2)
    assert column.numbers[column.codes[:3]].tolist() == [1.0, 1.0, 2.0]
    assert column.codes[3] == -1


def test_a_float_that_is_not_finite_is_missing():
    assert profile([1.0, float("nan"), float("inf")]).missing == 2


def test_ids_of_nineteen_digits_keep_every_digit():
    column = profile([1700000000000000004, 1700000000000000005])
    assert column.texts.to_pylist() == ["1700000000000000004", "1700000000000000005"]


@pytest.mark.parametrize("separator", ["|", ";", ","])
def test_texts_with_the_same_few_parts_are_lists(separator):
    rng = np.random.default_rng(0)
    texts = [separator.join(rng.choice(["Action", "Drama", "War"], 2)) for _ in range(50)]
    texts += [separator.join(["Action", "Drama", "War"][:n]) for n in (1, 3)]
    column = profile(texts, is_text_format=True)
    assert (column.kind, column.list_syntax) == ("texts", ListSyntax("separated", separator))
    assert sorted(column.values.to_pylist()) == ["Action", "Drama", "War"]


def test_sentences_with_commas_are_no_lists():
    texts = [f"A long story of number {n}, told by number {n + 1}" for n in range(50)]
    assert profile(texts, is_text_format=True).kind == "text"


def test_vectors_of_one_length_have_it():
    assert profile([[1.0, 2.0], [3.0, 4.0]]).length == 2
    assert profile([[1.0, 2.0], [3.0]]).length is None


@pytest.mark.parametrize(
    ("texts", "kind", "syntax", "length"),
    [
        (['["a", "b"]', '["a"]'], "texts", "json", None),
        (["['a', 'b']", "('c',)"], "texts", "python", None),
        (["[0.5, 1]", "[2, 3]"], "numbers", "json", 2),
        # Brackets that hold no list.
        (["[sic]", "(live)"], "text", None, None),
    ],
)
def test_lists_in_brackets_are_read(texts, kind, syntax, length):
    column = profile_column("c", pa.chunked_array([texts]), is_text_format=True)
    assert (column.kind, column.length) == (kind, length)
    assert column.list_syntax == (syntax and ListSyntax(syntax))


def test_numbers_with_a_decimal_comma_are_numbers():
    column = profile_column("c", pa.chunked_array([["1,5", "2"]]), is_text_format=True, decimal=",")
    assert (column.kind, column.numbers.tolist()) == ("float", [1.5, 2.0])


def test_whole_floats_are_compared_as_whole_numbers():
    column = profile_column("c", pa.chunked_array([[123.0, None, 1e15]]))
    assert (column.is_whole, column.texts.to_pylist()) == (True, ["123", "1000000000000000"])
    assert not profile_column("c", pa.chunked_array([[1.5]])).is_whole
