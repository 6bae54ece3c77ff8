"""Texts that YAML 1.1, YAML 1.2 or Go's yaml.v3 reads as something else where they stand without quotes."""

import pytest
import yaml

from pipeline.kubeflow.yaml_text import write_documents
from schemas.yaml_files import parse_yaml_documents

pytestmark = pytest.mark.unit

NUMBERS = ("12345e67", "1e3", "0o17", "-0o7", "0b11", "010", "09", "0x1F", "1_0", "1:30", ".5", "+5", "1.5.2")
OTHERS = ("2026-11-01", "yes", "off", "n", "null", "~", "true", "", "=", "<<", ".inf", "{{$}}", "a: b", "- a")


@pytest.mark.parametrize("text", [*NUMBERS, *OTHERS])
def test_text_is_one_to_every_parser(text: str) -> None:
    written = write_documents([{"key": text}])
    assert next(yaml.safe_load_all(written)) == {"key": text}
    assert parse_yaml_documents(written) == [{"key": text}]
    if text != "n":
        assert written in (f"key: '{text}'\n", f'key: "{text}"\n')


def test_other_values_stay_what_they_are() -> None:
    values = {"a": [1.5, 1e30, 1e-7, 6.0, 5, -3, True, None], "b": "s3://bucket", "c": "line\nbreak"}
    written = write_documents([values, {}])
    assert parse_yaml_documents(written) == [values, {}]
    assert list(yaml.safe_load_all(written)) == [values, {}]


def test_equal_parts_are_written_out() -> None:
    part = {"a": 1}
    assert write_documents([{"x": part, "y": part}]) == "x:\n  a: 1\ny:\n  a: 1\n"
