import datetime
import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal

import pytest
from pydantic import Field, model_validator
from pydantic.dataclasses import dataclass

from schemas.config_messages import known_keys
from schemas.errors import ConfigError
from schemas.strict_config import STRICT, from_json, parse, to_json, to_short_json
from schemas.yaml_files import load_yaml, locate, parse_yaml

pytestmark = pytest.mark.unit


@dataclass(frozen=True, config=STRICT)
class Circle:
    """A union member."""

    kind: Literal["circle"]
    radius: Annotated[float, Field(gt=0.0)] = 1.0


@dataclass(frozen=True, config=STRICT)
class Box:
    """Another."""

    kind: Literal["box"]
    width: int
    moment: datetime.datetime | None = None


@dataclass(frozen=True, config=STRICT)
class Part:
    """An element of a list."""

    name: str
    shape: Annotated[Circle | Box, Field(discriminator="kind")] | None = None
    size: int | float | str | None = None


@dataclass(frozen=True, config=STRICT)
class Engine:
    """A section."""

    cylinders: Annotated[int, Field(ge=1, le=12)] = 4
    turbo: bool = False
    fuel: Literal["petrol", "diesel"] = "petrol"
    ratios: tuple[float, ...] = (1.0,)


@dataclass(frozen=True, config=STRICT)
class Car:
    """The whole."""

    engine: Engine = Field(default_factory=Engine)
    shape: Annotated[Circle | Box, Field(discriminator="kind")] = Field(
        default_factory=lambda: Circle(kind="circle")
    )
    parts: tuple[Part, ...] = ()
    colour: str = "red"

    @model_validator(mode="after")
    def _check(self) -> "Car":
        if self.colour == "invisible":
            raise ValueError("colour 'invisible' is no colour")
        return self


def refusal(text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        parse(Car, parse_yaml(text), source="car.yaml")
    return str(caught.value)


def test_every_value_arrives() -> None:
    car = parse(
        Car,
        parse_yaml(
            "engine: {cylinders: 6, turbo: true, fuel: diesel, ratios: [1, 2.5]}\n"
            "shape: {kind: box, width: 3, moment: 2026-11-01T00:00:00Z}\n"
            "parts: [{name: door, size: 0}, {name: roof, shape: {kind: circle, radius: 5e-1}}]\n"
        ),
        source="car.yaml",
    )
    moment = datetime.datetime(2026, 11, 1, tzinfo=datetime.UTC)
    assert car == Car(
        engine=Engine(cylinders=6, turbo=True, fuel="diesel", ratios=(1.0, 2.5)),
        shape=Box(kind="box", width=3, moment=moment),
        parts=(Part(name="door", size=0), Part(name="roof", shape=Circle(kind="circle", radius=0.5))),
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("engin: {}", "unknown key 'engin'; did you mean 'engine'?"),
        ("engine: {cylindres: 4}", "unknown key 'engine.cylindres'; did you mean 'engine.cylinders'?"),
        ("shape: {kind: circle, radios: 2}", "unknown key 'shape.radios'; did you mean 'shape.radius'?"),
        ("shape: {kind: box, widht: 2}", "unknown key 'shape.widht'; did you mean 'shape.width'?"),
        (
            "parts: [{name: a}, {name: b, shap: 1}]",
            "unknown key 'parts.1.shap' (b); did you mean 'parts.1.shape'?",
        ),
        (
            "parts: [{name: a, shape: {kind: box, widt: 1}}]",
            "unknown key 'parts.0.shape.widt' (a); did you mean 'parts.0.shape.width'?",
        ),
        (
            "cylinders: 4",
            "unknown key 'cylinders'; did you mean 'engine.cylinders'? "
            "(known here: engine, shape, parts, colour)",
        ),
        ("xyz: 4", "unknown key 'xyz'; known here: engine, shape, parts, colour"),
        (
            "shape: {kind: circle, width: 2}",
            "unknown key 'shape.width' with kind 'circle'; known here: kind, radius",
        ),
        (
            "shape: {kind: circel}",
            "shape.kind: expected 'circle' or 'box' (did you mean 'circle'?). Received: 'circel'",
        ),
        ("shape: {radius: 1}", "missing key 'shape.kind': expected 'circle' or 'box'"),
        (
            "shape: circle",
            "shape: expected a mapping with a kind, such as {kind: circle}. Received: 'circle'",
        ),
        ("shape: {kind: box}", "missing key 'shape.width'"),
        ("parts: [{shape: null}]", "missing key 'parts.0.name'"),
        (
            "parts: [{name: a, shape: {}}]",
            "missing key 'parts.0.shape.kind' (a): expected 'circle' or 'box'",
        ),
        ("engine: {cylinders: four}", "engine.cylinders: expected a whole number. Received: 'four'"),
        ("engine: {cylinders: 4.5}", "engine.cylinders: expected a whole number. Received: 4.5"),
        ("engine: {cylinders: '4'}", "engine.cylinders: expected a whole number. Received: '4'"),
        ("engine: {cylinders: true}", "engine.cylinders: expected a whole number. Received: True"),
        ("engine: {cylinders: 0}", "engine.cylinders: expected at least 1. Received: 0"),
        ("engine: {cylinders: 13}", "engine.cylinders: expected at most 12. Received: 13"),
        ("shape: {kind: circle, radius: 0}", "shape.radius: expected more than 0. Received: 0"),
        ("shape: {kind: circle, radius: .nan}", "shape.radius: expected a finite number. Received: nan"),
        ("shape: {kind: circle, radius: big}", "shape.radius: expected a number. Received: 'big'"),
        (
            "shape: {kind: box, width: 1, moment: 2026-11-01}",
            "shape.moment: expected a moment, such as 2026-11-01T00:00:00Z. Received: '2026-11-01'",
        ),
        ("engine: {turbo: 1}", "engine.turbo: expected true or false. Received: 1"),
        (
            "engine: {fuel: petrl}",
            "engine.fuel: expected 'petrol' or 'diesel' (did you mean 'petrol'?). Received: 'petrl'",
        ),
        ("engine: {fuel: water}", "engine.fuel: expected 'petrol' or 'diesel'. Received: 'water'"),
        ("engine: {ratios: 1.5}", "engine.ratios: expected a list, such as [a, b]. Received: 1.5"),
        ("engine: {ratios: [1, x]}", "engine.ratios.1: expected a number. Received: 'x'"),
        (
            "engine: 4",
            "engine: expected a mapping with some of the keys cylinders, turbo, fuel, ratios. Received: 4",
        ),
        (
            "engine:",
            "engine: expected a mapping with some of the keys cylinders, turbo, fuel, ratios. "
            "Received: nothing; leave the key out for its default, or write what belongs below it",
        ),
        ("colour: true", "colour: expected text. Received: True; put it in quotes to make it text"),
        *(
            (f"engine: {{turbo: {word}}}", f"engine.turbo: expected true or false. Received: {word!r}")
            for word in ("yes", "no", "on", "off", "Yes", "y")
        ),
        ("engine: {cylinders: 1_0}", "engine.cylinders: expected a whole number. Received: '1_0'"),
        (
            "parts: [{name: a, size: [1]}]",
            "parts.0.size (a): expected a whole number or a number or text. Received: [1]",
        ),
        ("colour: invisible", "colour 'invisible' is no colour"),
    ],
)
def test_one_problem_is_one_line_in_the_words_of_the_file(text: str, expected: str) -> None:
    assert refusal(text) == f"car.yaml: {expected}"


def test_every_problem_is_listed() -> None:
    assert refusal(
        "engine: {cylinders: x, tubro: true}\nshape: {kind: box, widht: 1}\nparts: [{}]"
    ).splitlines() == [
        "car.yaml:",
        "  - unknown key 'engine.tubro'; did you mean 'engine.turbo'?",
        "  - unknown key 'shape.widht'; did you mean 'shape.width'?",
        "  - engine.cylinders: expected a whole number. Received: 'x'",
        "  - missing key 'parts.0.name'",
    ]


def test_a_long_value_is_cut() -> None:
    message = refusal(f"engine: {{cylinders: {'x' * 500}}}")
    assert len(message) < 200
    assert message.endswith("...")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 0.001),
        ("1.0e-3", 0.001),
        ("-2E+4", -20000.0),
        (".5", 0.5),
        ("1.", 1.0),
        ("1_000.5", "1_000.5"),
        ("-.inf", -float("inf")),
        ("12", 12),
        # Octal and sexagesimal in YAML 1.1.
        ("010", 10),
        ("-08", -8),
        ("0o17", 15),
        ("0x1F", 31),
        ("1:30", "1:30"),
        ("1:30.5", "1:30.5"),
        ("0b11", "0b11"),
        ("+12e03", 12000.0),
        ("1e", "1e"),
        ("e3", "e3"),
        ("1.2.3", "1.2.3"),
        ("2026-11-01", "2026-11-01"),
        ("2026-11-01T10:00:00Z", "2026-11-01T10:00:00Z"),
        ("yes", "yes"),
        ("off", "off"),
        ("=", "="),
        ("True", True),
        ("FALSE", False),
        ("Null", None),
        ("~", None),
        ("", None),
        ("{1: a, no: b}", {"1": "a", "no": "b"}),
        ("{a: &x {b: 1, c: 2}, d: {<<: *x, c: 3}}", {"a": {"b": 1, "c": 2}, "d": {"b": 1, "c": 3}}),
    ],
)
def test_yaml_scalars(text: str, value: object) -> None:
    parsed = parse_yaml(text)
    assert parsed == value
    assert type(parsed) is type(value)


@pytest.mark.parametrize("text", ["a: 1\nb: 2\na: 3", "x: {a: 1, a: 1}", "[{a: 1, a: 2}]"])
def test_a_repeated_key_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"the key 'a' stands here twice(.|\n)*line \d"):
        parse_yaml(text)


@pytest.mark.parametrize(
    "text",
    [
        "a: [1",
        "a: b: c",
        "\tx: 1",
        "{[1, 2]: 3}",
        "a: !!python/object:os.system {}",
        "a: !!int 1:30",
        "a: 1\n---\nb: 2",
        "[" * 3000,
    ],
)
def test_what_is_no_plain_yaml_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="not valid YAML"):
        parse_yaml(text)


def test_load_yaml_names_the_file(tmp_path: Path) -> None:
    for name, content, expected in (
        ("empty.yaml", b"", "is empty"),
        ("comment.yaml", b"# nothing\n", "is empty"),
        ("list.yaml", b"- a\n- b\n", r"expected a mapping of sections\. Received: \['a', 'b'\]"),
        ("text.yaml", b"hello", "expected a mapping of sections. Received: 'hello'"),
        ("broken.yaml", b"a: [1", "not valid YAML"),
        ("binary.yaml", b"\xff\xfe\x00", "Cannot read"),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ConfigError, match=f"(?s){name}.*{expected}|{expected}.*{name}"):
            load_yaml(tmp_path / name)


def test_load_yaml_reads_text_with_a_byte_order_mark(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_bytes(b"\xef\xbb\xbfa: \xc3\xa9\r\n")
    assert load_yaml(tmp_path / "x.yaml") == {"a": "é"}


def test_locate_prefers_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    shipped = locate("schemas/movielens_100k.yaml")
    assert "name: movielens_100k" in shipped.read_text()
    (tmp_path / "schemas").mkdir()
    (tmp_path / "schemas" / "movielens_100k.yaml").write_text("own")
    assert locate("schemas/movielens_100k.yaml").read_text() == "own"


def test_a_missing_file_suggests_files_that_exist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "weekly_run.yaml").write_text("a: 1")
    with pytest.raises(
        ConfigError, match=r"'configs/weekly-run\.yaml' does not exist.*there is 'configs/weekly_run\.yaml'"
    ):
        locate("configs/weekly-run.yaml")
    with pytest.raises(ConfigError, match=r"there is .*'pipeline/configs/movielens_100k\.yaml'"):
        locate("movielens_100k.yml")
    with pytest.raises(ConfigError, match=r"'configs' is a folder, not a file.*configs/weekly_run\.yaml"):
        locate("configs")


def test_json_round_trip_is_exact_and_equal_for_equal_values() -> None:
    car = Car(shape=Box(kind="box", width=3), parts=(Part(name="größe", size=2.5), Part(name="b", size="2")))
    text = to_json(car)
    assert from_json(Car, text) == car
    assert text.isascii()
    assert text == to_json(from_json(Car, text))
    assert list(json.loads(text)) == ["colour", "engine", "parts", "shape"]


def test_short_json_leaves_out_what_is_at_its_default() -> None:
    car = Car(engine=Engine(cylinders=6), shape=Circle(kind="circle"), parts=(Part(name="b", size=0),))
    text = to_short_json(car)
    assert from_json(Car, text) == car
    assert text == '{"engine":{"cylinders":6},"parts":[{"name":"b","size":0}]}'
    assert to_short_json(Car()) == "{}"


@pytest.mark.parametrize(
    "name",
    [
        "$$",
        "$(HOME)",
        "{{$}}",
        "{{$.inputs.parameters['x']}}",
        "{{workflow.name}}",
        "{{{{",
        "{$",
        "\\{{",
        "\\$",
    ],
)
@pytest.mark.parametrize("write", [to_json, to_short_json])
def test_what_reads_like_a_template_arrives(name: str, write: Callable[[Car], str]) -> None:
    """Kubernetes makes $ of $$ and a variable's value of $(HOME), Argo and KFP replace {{...}}."""
    car = Car(parts=(Part(name=name),))
    text = write(car)
    assert "$" not in text
    assert "{{" not in text
    assert from_json(Car, text) == car


@pytest.mark.parametrize("text", ["{", "", "{{placeholder}}"])
def test_text_that_is_no_json_is_a_config_error(text: str) -> None:
    with pytest.raises(ConfigError, match="serialised Car: expected JSON"):
        from_json(Car, text)


def test_known_keys_lists_each_key_once() -> None:
    assert known_keys(Car) == [
        "engine", "engine.cylinders", "engine.turbo", "engine.fuel", "engine.ratios",
        "shape", "shape.kind", "shape.radius", "shape.width", "shape.moment",
        "parts", "parts.name", "parts.shape", "parts.shape.kind", "parts.shape.radius", "parts.shape.width",
        "parts.shape.moment", "parts.size", "colour",
    ]  # fmt: skip
