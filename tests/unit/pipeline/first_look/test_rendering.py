import pytest

from pipeline.first_look.rendering import flow
from schemas.yaml_files import parse_yaml

pytestmark = pytest.mark.unit


TEXTS = ("plain text", "1e3", "010", "no", "a: b", "# c", "tab\t", "|", "", "été", "1:30", "...", "x'y\"z")


@pytest.mark.parametrize("value", [*TEXTS, None, True, 0.5, 5, ["1", 1], {"at_least": 4.0, "of": ["1e3"]}])
def test_what_is_written_is_read_back(value):
    assert parse_yaml(flow(value)) == value
    assert "\n" not in flow(value)


def test_a_plain_text_has_no_marks():
    assert flow({"name": "user_id", "tower": "user"}) == "{name: user_id, tower: user}"
