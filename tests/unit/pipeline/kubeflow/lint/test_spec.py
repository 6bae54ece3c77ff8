"""Each rule of the lint has a spec that breaks it: the good one with one thing changed."""

import copy
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from pipeline.commands.lint import lint_command
from pipeline.kubeflow.lint.spec import Finding, check_spec, lint_spec, render_findings
from schemas.errors import ConfigError

pytestmark = pytest.mark.unit

SPECS = Path(__file__).parent / "specs"
GOOD = (SPECS / "good.yaml").read_text()
PIPELINE, PLATFORM = yaml.safe_load_all(GOOD)
TRAINER = "root.dag.tasks.Trainer"
CONTAINER = "deploymentSpec.executors.Trainer_executor.container"
SETTINGS = "platforms.kubernetes.deploymentSpec.executors.Trainer_executor"


class QuotingDumper(getattr(yaml, "CSafeDumper", yaml.SafeDumper)):
    """Puts every text in quotes, so that it is text to every parser."""


QuotingDumper.add_representer(
    str, lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", text, style='"')
)


def load_cases(folder: str) -> list[Any]:
    """Read the specs of a folder: what they set in the good one, what they remove, and what is found."""
    cases = []
    for file in sorted((SPECS / folder).glob("*.yaml")):
        for case in yaml.safe_load(file.read_text()):
            case["set"] = {expand(path, "/"): value for path, value in case.get("set", {}).items()}
            case["remove"] = [expand(path, "/") for path in case.get("remove", ())]
            case["path"] = expand(case.get("path", ""), ".")
            cases.append(pytest.param(case, id=f"{file.stem}: {case['name']}"))
    return cases


def expand(path: str, separator: str) -> str:
    """Write out the places that most of the specs change."""
    first = re.split(r"[/.[]", path)[0]
    places = {"TRAINER": TRAINER, "CONTAINER": CONTAINER, "SETTINGS": SETTINGS}
    return places.get(first, first).replace(".", separator) + path[len(first) :]


def mutate(values: dict[str, Any], removed: Sequence[str] = ()) -> str:
    """Return the good spec with values set and removed; their paths begin in either document."""
    pipeline, platform = copy.deepcopy([PIPELINE, PLATFORM])
    for path in [*values, *removed]:
        *parents, last = path.split("/")
        place: Any = platform if parents and parents[0] == "platforms" else pipeline
        for key in parents:
            place = place[int(key)] if isinstance(place, list) else place.setdefault(key, {})
        if path in removed:
            del place[last]
        else:
            place[int(last) if isinstance(place, list) else last] = copy.deepcopy(values[path])
    return yaml.dump_all([pipeline, platform], Dumper=QuotingDumper)


def change(path: str, value: Any) -> str:
    return mutate({path: value})


def at(dotted: str, *keys: str) -> str:
    return "/".join([*dotted.split("."), *keys])


def constant(value: Any) -> dict[str, Any]:
    return {"runtimeValue": {"constant": value}}


def test_good_spec_has_no_findings():
    assert lint_spec(GOOD) == []
    assert lint_spec(yaml.safe_dump_all([PIPELINE, PLATFORM])) == []
    # The platform document is not required; its timeout and secrets then are not there either.
    assert lint_spec(yaml.safe_dump(PIPELINE)) == []


@pytest.mark.parametrize("case", load_cases("broken"))
def test_rule_finds_what_breaks_it(case: dict[str, Any]):
    findings = lint_spec(mutate(case["set"], case["remove"]))
    found = [finding for finding in findings if finding.path == case["path"]]
    assert len(found) == 1, findings
    assert case["problem"] in found[0].problem
    assert found[0].remedy


@pytest.mark.parametrize("case", load_cases("accepted"))
def test_what_kfp_runs_has_no_findings(case: dict[str, Any]):
    assert lint_spec(mutate(case["set"], case["remove"])) == []


@pytest.mark.parametrize("task_id", ["Train_er", "Train.er", "-Trainer", "Trainer 2"])
def test_task_ids_are_what_argo_takes(task_id: str):
    pipeline = copy.deepcopy(PIPELINE)
    pipeline["root"]["dag"]["tasks"][task_id] = pipeline["root"]["dag"]["tasks"].pop("Trainer")
    (found,) = lint_spec(yaml.safe_dump(pipeline))
    assert found.path.startswith("root.dag.tasks")
    assert task_id in found.path
    assert "with_id" in found.remedy


def test_task_named_like_a_driver_is_found():
    pipeline = copy.deepcopy(PIPELINE)
    pipeline["root"]["dag"]["tasks"]["Ingest-driver"] = pipeline["root"]["dag"]["tasks"].pop("Trainer")
    (found,) = lint_spec(yaml.safe_dump(pipeline))
    assert found.path == "root.dag.tasks.Ingest-driver"


def test_cycle_names_its_tasks():
    spec = change("root/dag/tasks/schema-importer/dependentTasks", ["StatisticsGen"])
    (found,) = lint_spec(spec)
    assert "schema-importer" in found.problem
    assert "StatisticsGen" in found.problem
    assert "Ingest" not in found.problem


def test_tasks_inside_a_nested_dag_are_checked():
    pipeline = copy.deepcopy(PIPELINE)
    pipeline["components"]["inner"] = {"dag": {"tasks": {"a_b": {"componentRef": {"name": "nobody"}}}}}
    pipeline["components"]["inner"]["dag"]["tasks"]["a_b"]["taskInfo"] = {"name": "a_b"}
    pipeline["root"]["dag"]["tasks"]["inner"] = {"componentRef": {"name": "inner"}, "taskInfo": {"name": "i"}}
    paths = {finding.path for finding in lint_spec(yaml.safe_dump(pipeline))}
    assert paths == {"components.inner.dag.tasks.a_b", "components.inner.dag.tasks.a_b.componentRef.name"}


def test_container_without_command_and_args_is_found():
    pipeline = copy.deepcopy(PIPELINE)
    container = pipeline["deploymentSpec"]["executors"]["Trainer_executor"]["container"]
    del container["command"], container["args"]
    (found,) = lint_spec(yaml.safe_dump(pipeline))
    assert found.path == CONTAINER
    assert "command and arguments are empty" in found.problem


@pytest.mark.parametrize("value", ["{{$.pipeline_job_uuid}}", "{{$.pipeline_task_name}}"])
def test_placeholders_that_the_driver_resolves_are_allowed(value: str):
    assert lint_spec(change("root/dag/tasks/Ingest/inputs/parameters/data_directory", constant(value))) == []


def test_what_the_kfp_sdk_writes_is_allowed():
    pipeline = copy.deepcopy(PIPELINE)
    pipeline["root"]["dag"]["tasks"]["Trainer"]["inputs"]["parameters"]["pipelinechannel--a"] = constant(1.0)
    pipeline["root"]["dag"]["tasks"]["StatisticsGen"]["inputs"]["parameters"]["exclude_splits"] = constant(
        "[{{$.inputs.parameters['pipelinechannel--a']}}]"
    )
    pipeline["deploymentSpec"]["executors"]["Ingest_executor"] = {
        "container": {"image": "argostub/createpvc"}
    }
    assert lint_spec(yaml.safe_dump(pipeline)) == []


@pytest.mark.parametrize(
    ("name", "value"),
    [("GOOGLE_APPLICATION_CREDENTIALS", "/key.json"), ("TOKENIZERS_PARALLELISM", "false"), ("API_KEY", "")],
)
def test_names_that_only_look_like_secrets_are_allowed(name: str, value: str):
    assert lint_spec(change(at(CONTAINER, "env"), [{"name": name, "value": value}])) == []


def test_secret_is_not_repeated_in_the_message():
    findings = lint_spec(change(at(CONTAINER, "env"), [{"name": "HF_TOKEN", "value": "hf_very_secret"}]))
    assert "hf_very_secret" not in render_findings(findings)


@pytest.mark.parametrize("size", ["500m", "2", "1.5Gi", "16Gi", "17000M", "100k"])
def test_amounts_of_kubernetes_are_read(size: str):
    spec = change(at(CONTAINER, "resources"), {"resourceCpuLimit": size})
    assert lint_spec(spec) == []


@pytest.mark.parametrize(
    ("text", "path", "problem"),
    [
        (json.dumps({"pipelineSpec": PIPELINE, "runtimeConfig": {}}), "(document 1)", "JSON of Vertex AI"),
        (yaml.safe_dump_all([PIPELINE, PIPELINE]), "(document 2)", "a second pipeline document"),
        (yaml.safe_dump_all([PIPELINE, PLATFORM, PLATFORM]), "(document 3)", "a second platform document"),
        (yaml.safe_dump_all([PLATFORM, PIPELINE]), "(document 1)", "the platform document stands first"),
        (yaml.safe_dump_all([PIPELINE, {"platform": {}}]), "(document 2)", "ignores it without a word"),
        (yaml.safe_dump_all([PIPELINE, ["a"]]), "(document 2)", "neither a pipeline"),
        (yaml.safe_dump(PLATFORM), "(file)", "there is no pipeline"),
        ("", "(file)", "there is no pipeline"),
        ("a: [", "(file)", "not valid YAML"),
    ],
    ids=[
        "job",
        "two pipelines",
        "two platforms",
        "order",
        "unknown",
        "list",
        "no pipeline",
        "empty",
        "broken",
    ],
)
def test_documents_are_told_apart(text: str, path: str, problem: str):
    (found,) = lint_spec(text)
    assert found.path == path
    assert problem in found.problem


def test_spec_of_the_wrong_shape_everywhere_is_reported_without_a_crash():
    for key in PIPELINE.keys() - {"sdkVersion"}:
        for value in ("text", 1, [1], {"a": None}, None):
            assert lint_spec(change(key, value)), (key, value)


def test_nearest_name_is_suggested():
    (found,) = lint_spec(change("components/Trainer/inputDefinition", {}))
    assert found.remedy == "Write 'inputDefinitions'"


def test_check_spec_lists_every_finding():
    check_spec(GOOD)
    with pytest.raises(ConfigError, match=r"(?s)2 problems.*pipelineInfo\.name.*defaultPipelineRoot"):
        check_spec(
            GOOD.replace("name: movielens-100k", "name: Movie_Lens").replace("s3://bucket/pipelines", "/root")
        )


def test_rendering_gives_path_problem_and_remedy():
    text = render_findings([Finding("root.dag", "it is broken", "Mend it")])
    assert text.splitlines()[1:] == ["  root.dag", "    it is broken.", "    Mend it."]
    assert "1 problem " in text


def test_command_fails_with_findings(tmp_path: Path):
    good, bad = tmp_path / "good.yaml", tmp_path / "bad.yaml"
    good.write_text(GOOD)
    bad.write_text(GOOD.replace("schemaVersion: 2.1.0", "schemaVersion: 2.0.0"))

    passed = CliRunner().invoke(lint_command, [str(good)])
    assert passed.exit_code == 0, passed.output
    assert "Nothing found" in passed.output

    refused = CliRunner().invoke(lint_command, [str(bad)])
    assert refused.exit_code == 1
    assert "schemaVersion" in refused.output
