"""KFP passes parts of a pipeline as single arguments, of which Linux takes none of 128 KiB or more."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline.kubeflow.lint.spec import lint_spec

pytestmark = pytest.mark.unit

PIPELINE, PLATFORM = yaml.safe_load_all((Path(__file__).parent / "specs" / "good.yaml").read_text())
TOO_LONG = 131_072


def pad(path: str, size: int, filling: str = "x") -> str:
    """Return the good spec with a text at a path that makes its part of the document this large."""
    pipeline, platform = copy.deepcopy([PIPELINE, PLATFORM])
    part_path, _, text_path = path.partition("//")
    part: Any = platform if part_path.startswith("platforms") else pipeline
    for key in part_path.split("/"):
        part = part[key]
    *parents, last = text_path.split("/")
    place = part
    for key in parents:
        place = place[int(key)] if isinstance(place, list) else place.setdefault(key, {})
    place[last] = ""
    empty = len(json.dumps(part, separators=(",", ":")))
    place[last] = filling * (size - empty)
    return yaml.safe_dump_all([pipeline, platform])


@pytest.mark.parametrize(
    ("place", "path"),
    [
        ("root//inputDefinitions/parameters/data_directory/defaultValue", "root"),
        (
            "root/dag/tasks/StatisticsGen//inputs/parameters/exclude_splits/runtimeValue/constant",
            "root.dag.tasks.StatisticsGen",
        ),
        ("components/Trainer//inputDefinitions/parameters/epochs/description", "components.Trainer"),
        (
            "deploymentSpec/executors/Ingest_executor/container//env/0/value",
            "deploymentSpec.executors.Ingest_executor.container",
        ),
        (
            "platforms/kubernetes/deploymentSpec/executors/Trainer_executor//podMetadata/annotations/a",
            "platforms.kubernetes.deploymentSpec.executors.Trainer_executor",
        ),
    ],
    ids=["root", "task", "component", "container", "settings"],
)
def test_part_that_is_no_argument_is_found(place: str, path: str):
    found = [finding for finding in lint_spec(pad(place, TOO_LONG)) if finding.path == path]
    assert len(found) == 1
    assert f"{TOO_LONG} bytes as JSON" in found[0].problem
    largest = place.replace("//", "/").replace("/0/", "[0]/").replace("/", ".")
    assert f"Its largest texts: {largest} (" in found[0].problem
    assert path not in {finding.path for finding in lint_spec(pad(place, TOO_LONG - 1))}


def test_tasks_of_a_nested_component_are_measured():
    pipeline = copy.deepcopy(PIPELINE)
    tasks = {"Again": copy.deepcopy(pipeline["root"]["dag"]["tasks"]["Ingest"])}
    tasks["Again"]["inputs"]["parameters"]["data_directory"] = {"runtimeValue": {"constant": "x" * TOO_LONG}}
    pipeline["components"]["inner"] = {"dag": {"tasks": tasks}}
    paths = {finding.path for finding in lint_spec(yaml.safe_dump(pipeline))}
    assert {"components.inner", "components.inner.dag.tasks.Again"} <= paths


# Go's JSON writes \u003c for <, and ü as two bytes.
@pytest.mark.parametrize(("character", "size"), [("<", 6), ("&", 6), ("ü", 2), ("\n", 2)])
def test_bytes_are_counted_as_go_writes_them(character: str, size: int):
    place = "root//inputDefinitions/parameters/data_directory/defaultValue"
    paths = {finding.path for finding in lint_spec(pad(place, TOO_LONG // size + 1500, character))}
    assert "root" in paths


def test_largest_texts_come_first():
    spec = copy.deepcopy(PIPELINE)
    parameters = spec["root"]["inputDefinitions"]["parameters"]
    for name, size in (("a", 1000), ("b", 200_000), ("c", 3000), ("d", 2000)):
        parameters[name] = {"parameterType": "STRING", "defaultValue": "x" * size}
    (found,) = lint_spec(yaml.safe_dump(spec))
    places = [found.problem.find(f"parameters.{name}.defaultValue") for name in "bcd"]
    assert -1 not in places
    assert places == sorted(places)
    assert "parameters.a." not in found.problem
