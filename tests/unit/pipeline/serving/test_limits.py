import pytest

from pipeline.serving.errors import RequestError
from pipeline.serving.limits import Gate

pytestmark = pytest.mark.unit


def test_as_many_as_there_are_places_come_in():
    gate = Gate(2)
    with gate.enter():
        with pytest.raises(ZeroDivisionError), gate.enter():
            raise ZeroDivisionError
        with gate.enter(), pytest.raises(RequestError, match="at most 2 requests") as caught, gate.enter():
            pass
        assert gate.busy == 1
    assert gate.busy == 0
    assert (caught.value.status, caught.value.headers["Retry-After"]) == (503, "1")
