"""The lint reads YAML as KFP's server does: with Go's yaml.v3, which is 1.2, and through JSON."""

import time
from pathlib import Path

import pytest

from pipeline.kubeflow.lint.spec import lint_spec
from pipeline.kubeflow.lint.yaml_documents import resolve

pytestmark = pytest.mark.unit

GOOD = (Path(__file__).parent / "specs" / "good.yaml").read_text()
SETTINGS = "platforms.kubernetes.deploymentSpec.executors.Trainer_executor"
DEFAULT = "root.inputDefinitions.parameters.data_directory.defaultValue"


def write_default(written: str) -> str:
    return GOOD.replace("defaultValue: s3://bucket/data", f"defaultValue: {written}")


def write_key(written: str) -> str:
    return GOOD.replace("accelerator: h100", f"{written}: h100")


def make_bomb(first: str, join: str) -> str:
    """Nine aliases of nine aliases, eight times."""
    lines = [f"a0: &a0 {first}"]
    lines += [f"a{level}: &a{level} {join % ', '.join([f'*a{level - 1}'] * 9)}" for level in range(1, 9)]
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize(
    ("written", "what"),
    [
        ("12345e67", "a hash that is a number to KFP"),
        ("2026-11-01", "a date"),
        ("2026-11-01 21:59:43.1", "a date and a time"),
        ("2026-11-01T21:59:43.1+05:00", "a date and a time in a zone"),
        ("0o17", "octal"),
        ("on", "truth"),
    ],
)
def test_texts_that_yaml_parsers_read_differently_are_found(written: str, what: str):
    spec = write_default(written)
    found = [finding for finding in lint_spec(spec) if "Python's YAML" in finding.problem]
    assert [finding.path for finding in found] == [
        "root.inputDefinitions.parameters.data_directory.defaultValue"
    ]
    quoted = GOOD.replace("defaultValue: s3://bucket/data", f"defaultValue: '{written}'")
    assert lint_spec(quoted) == [], what


def test_key_that_stands_twice_is_found():
    (found,) = lint_spec(GOOD.replace("schemaVersion: 2.1.0", "schemaVersion: 2.1.0\nschemaVersion: 2.1.0"))
    assert found.path == "schemaVersion"
    assert "twice" in found.problem


def test_key_that_is_no_text_is_found():
    (found,) = lint_spec(GOOD.replace("accelerator: h100", "on: h100"))
    assert found.path == f"{SETTINGS}.nodeSelector.labels.on"


@pytest.mark.parametrize(
    "written",
    [
        "2026-13-45",
        "2001-12-14t21:59:43.10-25:00",
        "2001-12-14 21:59:43.10 -5",
        "2001-12-14T21:59:43",
        "0x",
        "1.2.3",
        "s3://a",
    ],
)
def test_text_that_is_no_date_and_no_number_to_kfp_is_text(written: str):
    assert lint_spec(write_default(written)) == []
    assert lint_spec(write_key(written)) == []


# What yaml.v3 makes of each of them.
@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("10", 10),
        ("1_0", 10),
        ("+5", 5),
        ("0x1F", 31),
        ("0777", 511),
        ("0o17", 15),
        ("-0b11", -3),
        ("09", 9.0),
        ("1e3", 1000.0),
        (".5", 0.5),
        ("18446744073709551615", 2**64 - 1),
        ("18446744073709551616", 2.0**64),
        ("1e400", "1e400"),
        ("9" * 400, "9" * 400),
        ("+9223372036854775808", 2.0**63),
        ("_1", "_1"),
        (".1_0", ".1_0"),
        ("1:30", "1:30"),
        ("yes", "yes"),
        ("True", True),
        ("~", None),
        ("", None),
    ],
)
def test_plain_text_is_read_as_go_reads_it(text: str, value: object):
    read = resolve(text)[1]
    assert read == value
    assert type(read) is type(value)


@pytest.mark.parametrize("written", [".inf", "-.Inf", ".nan"])
def test_numbers_that_json_lacks_are_found(written: str):
    (found,) = lint_spec(write_default(written))
    assert found.path == DEFAULT
    assert "no number that JSON has" in found.problem
    assert f"{DEFAULT}[0]" in {finding.path for finding in lint_spec(write_default(f"[{written}]"))}


@pytest.mark.parametrize("digits", [400, 5000])
def test_number_of_many_digits_is_found(digits: int):
    for change in (write_default("9" * digits), GOOD.replace("cpuLimit: 4.0", f"cpuLimit: {'9' * digits}")):
        assert any("Python's YAML" in finding.problem for finding in lint_spec(change))


@pytest.mark.parametrize(
    "written", ["!!int foo", '!!float ""', "!!bool maybe", "!!timestamp x", "!!null x", "!own x", "!!int 1.5"]
)
def test_tag_that_does_not_fit_is_found(written: str):
    (found,) = lint_spec(write_default(written))
    assert found.path == DEFAULT
    assert "does not go with" in found.problem


def test_tag_that_fits_is_read():
    assert lint_spec(write_default("!!str 5")) == []
    assert lint_spec(GOOD.replace("backoffFactor: 2.0", "backoffFactor: !!float 2")) == []
    assert lint_spec(GOOD.replace("backoffFactor: 2.0", "backoffFactor: ! 2")) == []


@pytest.mark.parametrize(
    ("written", "problem"),
    [
        ("&x [*x]", "the anchor 'x' contains itself"),
        ("*nobody", "there is no anchor 'nobody'"),
        ("[" * 3000 + "]" * 3000, "nested more than"),
        ("{a: " * 3000 + "}" * 3000, "nested more than"),
        ("[" * 100_000, "nested more than"),
        ("{[a]: b}", "a key that is not text"),
        ("{<<: 5}", "merges 5, which is no mapping"),
    ],
    ids=["own alias", "no anchor", "lists", "mappings", "open lists", "list as key", "merge"],
)
def test_structure_that_kfp_cannot_read_is_found(written: str, problem: str):
    (found,) = lint_spec(write_default(written))
    assert problem in found.problem
    assert found.path.startswith(DEFAULT)


@pytest.mark.parametrize("first", ["[x]", "{a: 1}", f'"{"x" * 10_000}"'], ids=["list", "mapping", "text"])
@pytest.mark.parametrize("join", ["[%s]", "{<<: [%s]}"], ids=["values", "merged"])
def test_aliases_of_aliases_are_found_at_once(first: str, join: str):
    start = time.monotonic()
    (found,) = lint_spec(make_bomb(first, join) + GOOD)
    assert "aliases" in found.problem or "no mapping" in found.problem
    assert time.monotonic() - start < 5


def test_aliases_and_merged_keys_are_read():
    text = GOOD.replace("accelerator: h100", "&key accelerator: &value h100")
    assert lint_spec(text.replace("team: search", "*key : *value")) == []
    # A key beside the merged ones wins, so that the number is not there.
    assert (
        lint_spec(text.replace("team: search", "<<: [{team: 5}, {other: a}]\n              team: *value"))
        == []
    )


def test_merged_keys_are_found_where_they_are_wrong():
    (found,) = lint_spec(GOOD.replace("accelerator: h100", "<<: {accelerator: 5}"))
    assert found.path == f"{SETTINGS}.nodeSelector.labels.accelerator"
    assert "expected text. Received: 5" in found.problem


@pytest.mark.parametrize(
    "text", [GOOD + "# \ud800", "\x00", "\t", "%YAML 9.9\n---\na: 1", '"\\ud800"', "[" * 50]
)
def test_text_that_is_no_yaml_is_found(text: str):
    (found,) = lint_spec(text)
    assert found.path == "(file)"
    assert "not valid" in found.problem


@pytest.mark.parametrize("text", ["a" * 300_000, "-----BEGIN " * 20_000, "'" + "{{" * 50_000 + "'"])
def test_long_text_is_read_at_once(text: str):
    start = time.monotonic()
    assert lint_spec(write_default(text))
    assert time.monotonic() - start < 5
