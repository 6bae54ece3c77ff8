import pytest
from starlette.datastructures import QueryParams

from pipeline.serving.errors import RequestError
from pipeline.serving.parameters import Parameter, read_parameters

pytestmark = pytest.mark.unit

PARAMETERS = (
    Parameter("user", "A user.", required=True),
    Parameter("k", "How many.", "number"),
    Parameter("exclude", "An item.", "texts"),
    Parameter("name", "Of the path.", within="path"),
)


def test_each_kind():
    values = read_parameters(QueryParams("user=a%20b&k=7&exclude=1&exclude=2"), PARAMETERS)
    assert values == {"user": "a b", "k": 7, "exclude": ["1", "2"]}
    assert read_parameters(QueryParams("user="), PARAMETERS) == {"user": ""}


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("k=1", "Expected the parameter 'user': A user. Received: none"),
        ("usr=1", "user, k, exclude. Received: 'usr'; did you mean 'user'"),
        ("user=1&name=2", "Received: 'name'"),
        ("user=1&user=2", "user: expected it once. Received: 2 times"),
        ("user=1&k=0", "k: expected a whole number from 1 to 1,000. Received: '0'"),
        ("user=1&k=1001", "Received: '1001'"),
        ("user=1&k=-1", "Received: '-1'"),
        ("user=1&k=%D9%A3", "k: expected a whole number"),
        ("user=1&k=" + "9" * 5000, "k: expected a whole number"),
    ],
)
def test_what_is_wrong_is_named(query, message):
    with pytest.raises(RequestError, match=message):
        read_parameters(QueryParams(query), PARAMETERS)


def test_the_description_says_the_same():
    assert PARAMETERS[1].describe()["schema"] == {"type": "integer", "minimum": 1, "maximum": 1000}
    assert PARAMETERS[2].describe()["schema"] == {"type": "array", "items": {"type": "string"}}
    assert [parameter.describe()["required"] for parameter in PARAMETERS] == [True, False, False, True]


def test_a_number_may_have_no_largest_one():
    without = Parameter("k", "How many.", "number", maximum=None)
    assert read_parameters(QueryParams("k=5000"), [without]) == {"k": 5000}
    assert without.describe()["schema"] == {"type": "integer", "minimum": 1}
    with pytest.raises(RequestError, match=r"k: expected a whole number from 1 on\. Received: '0'"):
        read_parameters(QueryParams("k=0"), [without])
