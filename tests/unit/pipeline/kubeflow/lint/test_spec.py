"""Each rule of the lint has a file that breaks it: the good one with one thing changed."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from pipeline.commands.lint import lint_command
from pipeline.kubeflow.lint.finding import Finding
from pipeline.kubeflow.lint.spec import check_spec, lint_spec, render_findings
from schemas.errors import ConfigError

pytestmark = pytest.mark.unit

GOOD = (Path(__file__).parent / "good.yaml").read_text()
PIPELINE, PLATFORM = yaml.safe_load_all(GOOD)
CONTAINER = "deploymentSpec/executors/Trainer_executor/container"
SETTINGS = "platforms/kubernetes/deploymentSpec/executors/Trainer_executor"
DEFAULT = "root/inputDefinitions/parameters/data_directory/defaultValue"
CATALOGUE = "components/Ingest/outputDefinitions/artifacts/catalogue/artifactType"
TOO_LONG = 131_072


def change(path: str, value: Any) -> str:
    """Return the good file with a value set at a path, which begins in either document."""
    pipeline, platform = copy.deepcopy([PIPELINE, PLATFORM])
    *parents, last = path.split("/")
    place: Any = platform if path.startswith("platforms") else pipeline
    for key in parents:
        place = place[int(key)] if isinstance(place, list) else place.setdefault(key, {})
    place[int(last) if isinstance(place, list) else last] = value
    return write(pipeline, platform)


def write(*documents: Any) -> str:
    """Write documents as JSON, which is YAML, and in which a long text is written at once."""
    return "\n---\n".join(json.dumps(document, ensure_ascii=False) for document in documents)


def test_good_file_has_no_findings() -> None:
    assert lint_spec(GOOD) == []
    # The settings for Kubernetes are not required.
    assert lint_spec(write(PIPELINE)) == []


@pytest.mark.parametrize(
    ("path", "value", "problem"),
    [
        ("schemaVersion", "2.0.0", "expected 2.1.0. Received: '2.0.0'"),
        ("pipelineInfo/name", "Movie_Lens", "lower-case letters"),
        ("pipelineInfo/name", "a" * 129, "at most 128"),
        ("pipelineInfo/name", "", "Received: nothing"),
        ("defaultPipelineRoot", "/var/root", "expected gs://, s3:// or minio://"),
        ("defaultPipelineRoot", "s3://", "with a bucket"),
        ("root/dag/tasks/Train_er", {}, "expected at most 121 letters, digits and '-'"),
        ("root/dag/tasks/1Trainer", {}, "a letter first"),
        (f"root/dag/tasks/{'T' * 122}", {}, "expected at most 121"),
        (CATALOGUE, {"instanceSchema": "title: Catalogue\n"}, "expected a title that matches"),
        (
            CATALOGUE,
            {"instanceSchema": "title: components.Catalogue\nproperties:\n  rows:\n    type: integer\n"},
            "not expected in artifact type schema",
        ),
        ("deploymentSpec/executors/Resolver_executor", {}, "non-container and non-importer executor"),
        (SETTINGS.replace("Trainer", "Trainr"), {}, "there is no executor 'Trainr_executor'"),
        (f"{CONTAINER}/env", [{"name": "STORE", "value": "s3://me:hunter2@host/"}], "a password in a URL"),
        (f"{CONTAINER}/env", [{"name": "A", "value": "AKIAABCDEFGHIJKLMNOP"}], "an access key"),
        (DEFAULT, "-----BEGIN RSA PRIVATE KEY-----", "a private key"),
        (DEFAULT, "s3://bucket/a$$b", "Kubernetes makes one $ of $$"),
        (DEFAULT, "{{workflow.name}}", "does not resolve {{workflow.name}}"),
        (DEFAULT, "{{$}}", "does not resolve {{$}}"),
        (DEFAULT, "an open {{", "does not resolve {{"),
        (f"{CONTAINER}/image", "dssm:{{$.inputs.parameters['epochs']}}", "does not resolve"),
        (f"{CONTAINER}/args/1", "{{$.inputs.artifacts['example'].uri}}", "does not resolve"),
        (f"{CONTAINER}/args/1", "{{$.inputs.artifacts['examples'].name}}", "does not resolve"),
        (f"{CONTAINER}/args/1", "{{$.outputs.parameters['epochs'].output_file}}", "does not resolve"),
        (f"{CONTAINER}/args/1", "{{workflow.uid}}", "does not resolve"),
        (f"{SETTINGS}/nodeSelector/labels/accelerator", "{{$}}", "does not resolve"),
    ],
)
def test_rule_finds_what_breaks_it(path: str, value: Any, problem: str) -> None:
    (found,) = lint_spec(change(path, value))
    dotted = path.replace("/", ".").replace(".artifactType", "").replace("args.1", "args[1]")
    assert found.path.startswith(dotted)
    assert problem in found.problem
    assert found.remedy


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (
            f"{CONTAINER}/args/1",
            "{{$.inputs.artifacts['examples'].uri}}{{$.outputs.artifacts['model'].path}}",
        ),
        (f"{CONTAINER}/command", ["sh", "-c", "echo {{$.inputs.parameters['epochs']}}"]),
        ("pipelineInfo/description", "costs $$, {{braces}}"),
    ],
)
def test_what_kfp_runs_has_no_findings(path: str, value: Any) -> None:
    assert lint_spec(change(path, value)) == []


# KFP refuses an unknown key, or drops what stands beside it; its messages have the types.
@pytest.mark.parametrize(
    ("path", "value", "problem"),
    [
        ("components/Trainer/inputDefinition", {}, 'no field named "inputDefinition"'),
        ("root/dag/tasks/Trainer/retryPolicy/backoffDuration", "30", "backoffDuration"),
        ("root/dag/tasks/Trainer/retryPolicy/backoffMaxDuration", "315576000001s", "backoffMaxDuration"),
        ("root/dag/tasks/Trainer/dependentTasks", [5], "dependentTasks"),
        (f"{CONTAINER}/imagePull", "x", '"imagePull"'),
        (f"{CONTAINER}/resources/cpuLimit", "many", "cpuLimit"),
        (f"{SETTINGS}/activeDeadlineSecond", 60, "activeDeadlineSecond"),
        ("platforms/kubernetes/deployment", {}, '"deployment"'),
    ],
)
def test_what_the_messages_do_not_know_is_found(path: str, value: Any, problem: str) -> None:
    (found,) = lint_spec(change(path, value))
    assert problem in found.problem
    assert "\n" not in found.problem


def test_file_of_the_wrong_shape_everywhere_is_reported_without_a_crash() -> None:
    for path in (*PIPELINE.keys() - {"sdkVersion"}, "platforms", "root/dag", "deploymentSpec/executors"):
        for value in ("text", [1], {"a": None}):
            assert lint_spec(change(path, value)), (path, value)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (json.dumps({"pipelineSpec": PIPELINE, "runtimeConfig": {}}), "JSON of Vertex AI"),
        (write(PIPELINE, PIPELINE), "expected the pipeline (pipelineInfo), and after it"),
        (write(PLATFORM, PIPELINE), "expected the pipeline"),
        (write(PIPELINE, PLATFORM, PLATFORM), "Received: 3 documents"),
        (write(PIPELINE, ["a"]), "expected the pipeline"),
        (write(PLATFORM), "expected the pipeline"),
        ("", "Received: 0 documents"),
        ("a: [", "not valid YAML"),
        (GOOD.replace("schemaVersion", "pipelineInfo"), "the key 'pipelineInfo' stands here twice"),
    ],
)
def test_what_is_no_compiled_file_is_found(text: str, problem: str) -> None:
    (found,) = lint_spec(text)
    assert found.path == "(file)"
    assert problem in found.problem


@pytest.mark.parametrize(
    ("path", "part"),
    [
        (DEFAULT, "root"),
        ("root/dag/tasks/Trainer/taskInfo/name", "root.dag.tasks.Trainer"),
        ("components/Trainer/inputDefinitions/parameters/epochs/description", "components.Trainer"),
        (f"{CONTAINER}/command/0", "deploymentSpec.executors.Trainer_executor.container"),
        (f"{SETTINGS}/fieldPathAsEnv/0/name", SETTINGS.replace("/", ".")),
    ],
)
def test_part_that_is_no_argument_is_found(path: str, part: str) -> None:
    found = {finding.path: finding.problem for finding in lint_spec(change(path, "x" * TOO_LONG))}
    assert f"Its largest texts: {path.replace('/0', '[0]').replace('/', '.')} ({TOO_LONG + 2})" in found[part]
    assert {"root", part} >= found.keys()


# Go's JSON writes \u003c for <, and ü as two bytes.
@pytest.mark.parametrize(("character", "size"), [("<", 6), ("ü", 2)])
def test_bytes_are_counted_as_go_writes_them(character: str, size: int) -> None:
    # Everything else in that part is below 3,000 bytes.
    assert lint_spec(change(DEFAULT, character * ((TOO_LONG - 3_000) // size))) == []
    assert "root" in {found.path for found in lint_spec(change(DEFAULT, character * (TOO_LONG // size)))}


def test_check_spec_lists_every_finding() -> None:
    check_spec(GOOD)
    with pytest.raises(ConfigError, match=r"(?s)2 problems.*pipelineInfo\.name.*defaultPipelineRoot"):
        check_spec(GOOD.replace("movielens-100k", "Movie_Lens").replace("s3://bucket/pipelines", "/root"))


def test_rendering_gives_path_problem_and_remedy() -> None:
    text = render_findings([Finding("root.dag", "it is broken", "Mend it")])
    assert text.splitlines()[1:] == ["  root.dag", "    it is broken.", "    Mend it."]
    assert "1 problem " in text


def test_command_fails_with_findings(tmp_path: Path) -> None:
    good, bad = tmp_path / "good.yaml", tmp_path / "bad.yaml"
    good.write_text(GOOD)
    bad.write_text(GOOD.replace("schemaVersion: 2.1.0", "schemaVersion: 2.0.0"))

    passed = CliRunner().invoke(lint_command, [str(good)])
    assert passed.exit_code == 0, passed.output
    assert "Nothing found" in passed.output

    refused = CliRunner().invoke(lint_command, [str(bad)])
    assert refused.exit_code == 1
    assert "schemaVersion" in refused.output
