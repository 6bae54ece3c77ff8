"""Each rule of the lint has a spec that breaks it: the good one with one thing changed."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from pipeline.commands.lint import lint_command
from pipeline.kubeflow.lint import Finding, check_spec, lint_spec, render_findings
from schemas.errors import ConfigError

pytestmark = pytest.mark.unit

GOOD = (Path(__file__).parent / "lint_specs" / "good.yaml").read_text()
PIPELINE, PLATFORM = yaml.safe_load_all(GOOD)
REMOVED = object()
TRAINER = "root.dag.tasks.Trainer"
CONTAINER = "deploymentSpec.executors.Trainer_executor.container"
SETTINGS = "platforms.kubernetes.deploymentSpec.executors.Trainer_executor"


def change(path: str, value: Any) -> str:
    """Return the good spec with one value set or removed; the path begins in either document."""
    pipeline, platform = copy.deepcopy([PIPELINE, PLATFORM])
    *parents, last = path.split("/")
    place: Any = platform if parents and parents[0] == "platforms" else pipeline
    for key in parents:
        place = place[int(key)] if isinstance(place, list) else place.setdefault(key, {})
    if value is REMOVED:
        del place[last]
    elif isinstance(place, list):
        place[int(last)] = value
    else:
        place[last] = value
    return yaml.safe_dump_all([pipeline, platform])


def at(dotted: str, *keys: str) -> str:
    return "/".join([*dotted.split("."), *keys])


def constant(value: Any) -> dict[str, Any]:
    return {"runtimeValue": {"constant": value}}


def test_good_spec_has_no_findings():
    assert lint_spec(GOOD) == []
    assert lint_spec(yaml.safe_dump_all([PIPELINE, PLATFORM])) == []
    # The platform document is not required; its timeout and secrets then are not there either.
    assert lint_spec(yaml.safe_dump(PIPELINE)) == []


@pytest.mark.parametrize(
    ("changed", "value", "path", "problem"),
    [
        pytest.param(*case[1:], id=case[0])
        for case in [
            # Executors
            (
                "resolver",
                "deploymentSpec/executors/schema-importer_executor",
                {"resolver": {"outputArtifactQueries": {"model": {"filter": "x"}}}},
                "deploymentSpec.executors.schema-importer_executor.resolver",
                "non-container and non-importer executor not implemented",
            ),
            (
                "custom job",
                at(CONTAINER.removesuffix(".container")),
                {"customJob": {"customJob": {"a": 1}}},
                "deploymentSpec.executors.Trainer_executor.customJob",
                "non-container and non-importer executor not implemented",
            ),
            (
                "empty executor",
                at(CONTAINER.removesuffix(".container")),
                {},
                "deploymentSpec.executors.Trainer_executor",
                "not implemented",
            ),
            (
                "two kinds of executor",
                "deploymentSpec/executors/Trainer_executor/importer",
                {"reimport": True},
                "deploymentSpec.executors.Trainer_executor.importer",
                "'importer' beside 'container'",
            ),
            # Containers
            ("no image", at(CONTAINER, "image"), "", f"{CONTAINER}.image", "no image"),
            ("missing image", at(CONTAINER, "image"), REMOVED, f"{CONTAINER}.image", "no image"),
            ("blank in image", at(CONTAINER, "image"), "dssm: 1", f"{CONTAINER}.image", "InvalidImageName"),
            (
                "unknown key in container",
                at(CONTAINER, "imagePull"),
                "x",
                f"{CONTAINER}.imagePull",
                "discards it",
            ),
            (
                "pre-cache hook",
                at(CONTAINER, "lifecycle"),
                {"preCacheCheck": {"command": ["python", "-m", "driver"]}},
                f"{CONTAINER}.lifecycle",
                "never runs a pre-cache hook",
            ),
            (
                "literal secret",
                at(CONTAINER, "env"),
                [{"name": "AWS_SECRET_ACCESS_KEY", "value": "abc"}],
                f"{CONTAINER}.env[0].value",
                "AWS_SECRET_ACCESS_KEY looks like a secret",
            ),
            (
                "literal token",
                at(CONTAINER, "env"),
                [{"name": "A", "value": "1"}, {"name": "HF_TOKEN", "value": "abc"}],
                f"{CONTAINER}.env[1].value",
                "HF_TOKEN looks like a secret",
            ),
            (
                "literal password",
                at(CONTAINER, "env"),
                [{"name": "DB_PASSWORD", "value": "abc"}],
                f"{CONTAINER}.env[0].value",
                "DB_PASSWORD looks like a secret",
            ),
            (
                "variable twice",
                at(CONTAINER, "env"),
                [{"name": "A", "value": "1"}, {"name": "A", "value": "2"}],
                f"{CONTAINER}.env[1].name",
                "A stands here twice",
            ),
            (
                "variable without name",
                at(CONTAINER, "env"),
                [{"name": "1 A", "value": "1"}],
                f"{CONTAINER}.env[0].name",
                "not a name of a variable: '1 A'",
            ),
            (
                "variable also from the platform",
                at(CONTAINER, "env"),
                [{"name": "DSSM_RUN_ID", "value": "1"}],
                f"{CONTAINER}.env[0].name",
                "another source in the platform document",
            ),
            (
                "password in URL",
                at(CONTAINER, "command"),
                ["run", "postgres://me:hunter2@db/x"],
                f"{CONTAINER}.command[1]",
                "a password in a URL",
            ),
            (
                "placeholder of no input",
                at(CONTAINER, "args"),
                ["--e={{$.inputs.parameters['epoch']}}"],
                f"{CONTAINER}.args[0]",
                "asks for the input 'epoch'",
            ),
            (
                "Argo template in args",
                at(CONTAINER, "args"),
                ["{{workflow.uid}}"],
                f"{CONTAINER}.args[0]",
                "does not resolve this {{...}}",
            ),
            # Resources
            (
                "Vertex accelerator",
                at(CONTAINER, "resources", "accelerator", "type"),
                "NVIDIA_TESLA_T4",
                f"{CONTAINER}.resources.accelerator.type",
                "expected the name of a Kubernetes resource such as nvidia.com/gpu",
            ),
            (
                "accelerator without count",
                at(CONTAINER, "resources", "accelerator", "count"),
                REMOVED,
                f"{CONTAINER}.resources.accelerator.count",
                "expected a whole number above 0. Received: '0'",
            ),
            (
                "memory that Kubernetes cannot read",
                at(CONTAINER, "resources", "resourceMemoryLimit"),
                "16 GB",
                f"{CONTAINER}.resources.resourceMemoryLimit",
                "not an amount that Kubernetes reads: '16 GB'",
            ),
            (
                "negative cpu",
                at(CONTAINER, "resources", "cpuLimit"),
                -1.0,
                f"{CONTAINER}.resources.cpuLimit",
                "not an amount that Kubernetes reads: -1.0",
            ),
            (
                "cpu that is no number",
                at(CONTAINER, "resources", "cpuLimit"),
                "4 cores",
                f"{CONTAINER}.resources.cpuLimit",
                "expected a number. Received: '4 cores'",
            ),
            # 17179869184 bytes against 18e9.
            (
                "request above limit",
                at(CONTAINER, "resources", "resourceMemoryRequest"),
                "18G",
                f"{CONTAINER}.resources.memoryRequest",
                "more than the limit",
            ),
            # Tasks
            (
                "negative retries",
                at(TRAINER, "retryPolicy", "maxRetryCount"),
                -1,
                f"{TRAINER}.retryPolicy.maxRetryCount",
                "a negative count",
            ),
            (
                "text for a mapping",
                at(TRAINER, "cachingOptions"),
                "yes",
                f"{TRAINER}.cachingOptions",
                "expected a mapping. Received: 'yes'",
            ),
            (
                "input without value",
                at(TRAINER, "inputs", "parameters", "epochs"),
                {},
                f"{TRAINER}.inputs.parameters.epochs",
                "no value is given",
            ),
            (
                "retry without longest time",
                at(TRAINER, "retryPolicy", "backoffMaxDuration"),
                REMOVED,
                f"{TRAINER}.retryPolicy",
                "never retries",
            ),
            (
                "retries end before the timeout",
                at(TRAINER, "retryPolicy", "backoffMaxDuration"),
                "3600s",
                f"{TRAINER}.retryPolicy.backoffMaxDuration",
                "may itself take 3600 s",
            ),
            (
                "broken factor",
                at(TRAINER, "retryPolicy", "backoffFactor"),
                1.5,
                f"{TRAINER}.retryPolicy.backoffFactor",
                "expected a whole number, which is all that Argo reads. Received: 1.5",
            ),
            (
                "part of a second",
                at(TRAINER, "retryPolicy", "backoffDuration"),
                "0.5s",
                f"{TRAINER}.retryPolicy.backoffDuration",
                "whole seconds only",
            ),
            (
                "duration without unit",
                at(TRAINER, "retryPolicy", "backoffDuration"),
                "30",
                f"{TRAINER}.retryPolicy.backoffDuration",
                "expected a duration with its unit, such as 30s. Received: '30'",
            ),
            (
                "duration as number",
                at(TRAINER, "retryPolicy", "backoffDuration"),
                30,
                f"{TRAINER}.retryPolicy.backoffDuration",
                "Received: 30",
            ),
            (
                "empty duration",
                at(TRAINER, "retryPolicy", "backoffDuration"),
                "",
                f"{TRAINER}.retryPolicy.backoffDuration",
                "expected a duration with its unit, such as 30s. Received: nothing",
            ),
            (
                "null duration",
                at(TRAINER, "retryPolicy", "backoffDuration"),
                None,
                f"{TRAINER}.retryPolicy.backoffDuration",
                "nothing is written here",
            ),
            (
                "caching as text",
                at(TRAINER, "cachingOptions", "enableCache"),
                "true",
                f"{TRAINER}.cachingOptions.enableCache",
                "expected true or false. Received: 'true'",
            ),
            (
                "unknown producer",
                at(TRAINER, "inputs", "artifacts", "examples", "taskOutputArtifact", "producerTask"),
                "Ingst",
                f"{TRAINER}.inputs.artifacts.examples.taskOutputArtifact.producerTask",
                "there is no task 'Ingst' ('unknown producer task')",
            ),
            (
                "unknown output",
                at(TRAINER, "inputs", "artifacts", "examples", "taskOutputArtifact", "outputArtifactKey"),
                "example",
                f"{TRAINER}.inputs.artifacts.examples.taskOutputArtifact",
                "'Ingest' has no output 'example'",
            ),
            (
                "unknown dependency",
                at(TRAINER, "dependentTasks"),
                ["Ingest", "Nobody"],
                f"{TRAINER}.dependentTasks[1]",
                "there is no task 'Nobody'",
            ),
            (
                "cycle",
                "root/dag/tasks/Ingest/dependentTasks",
                ["Trainer"],
                "root.dag.tasks",
                "the tasks wait for each other",
            ),
            (
                "unknown component",
                at(TRAINER, "componentRef", "name"),
                "Tariner",
                f"{TRAINER}.componentRef.name",
                "there is no component 'Tariner'",
            ),
            (
                "input that nobody gives",
                at(TRAINER, "inputs", "parameters"),
                {},
                f"{TRAINER}.inputs.parameters",
                "needs 'epochs'",
            ),
            (
                "input that nobody takes",
                at(TRAINER, "inputs", "parameters", "epoch"),
                constant(1.0),
                f"{TRAINER}.inputs.parameters.epoch",
                "declares no such input",
            ),
            (
                "unknown run parameter",
                at(TRAINER, "inputs", "parameters", "epochs", "componentInputParameter"),
                "epoch",
                f"{TRAINER}.inputs.parameters.epochs.componentInputParameter",
                "there is no run parameter 'epoch'",
            ),
            (
                "artifact from nowhere",
                at(TRAINER, "inputs", "artifacts", "examples"),
                {"componentInputArtifact": "examples"},
                f"{TRAINER}.inputs.artifacts.examples",
                "'examples' comes from nowhere",
            ),
            (
                "constant of schema 2.0",
                at(TRAINER, "inputs", "parameters", "epochs"),
                {"runtimeValue": {"constantValue": {"intValue": "20"}}},
                f"{TRAINER}.inputs.parameters.epochs.runtimeValue",
                "expected `constant`",
            ),
            (
                "constant of another type",
                at(TRAINER, "inputs", "parameters", "epochs"),
                constant("twenty"),
                f"{TRAINER}.inputs.parameters.epochs.runtimeValue.constant",
                "expected a value of type NUMBER_INTEGER. Received: 'twenty'",
            ),
            (
                "null constant",
                at(TRAINER, "inputs", "parameters", "epochs"),
                constant(None),
                f"{TRAINER}.inputs.parameters.epochs.runtimeValue.constant",
                "got null for input parameter",
            ),
            (
                "integer beyond a double",
                at(TRAINER, "inputs", "parameters", "epochs"),
                constant(9007199254740993),
                f"{TRAINER}.inputs.parameters.epochs.runtimeValue.constant",
                "every number as a double",
            ),
            (
                "placeholder in an exec property",
                "root/dag/tasks/Ingest/inputs/parameters/data_directory",
                constant("s3://b/{{$.pipeline_job_uuid}}"),
                "root.dag.tasks.Ingest.inputs.parameters.data_directory.runtimeValue.constant",
                "does not resolve this {{...}}",
            ),
            (
                "artifact iterator",
                at(TRAINER, "artifactIterator"),
                {"itemInput": "examples", "items": {"inputArtifact": "examples"}},
                f"{TRAINER}.artifactIterator",
                "artifact iterator not implemented yet",
            ),
            (
                "condition on importer",
                "root/dag/tasks/schema-importer/triggerPolicy",
                {"condition": "true"},
                "root.dag.tasks.schema-importer.triggerPolicy.condition",
                "a condition on an importer",
            ),
            (
                "task key of Go",
                at(TRAINER, "caching_options"),
                {"enableCache": True},
                f"{TRAINER}.caching_options",
                "unknown key 'caching_options'; KFP refuses the upload",
            ),
            # Components
            (
                "unknown executor",
                "components/Trainer/executorLabel",
                "Trainer_exec",
                "components.Trainer.executorLabel",
                "there is no executor 'Trainer_exec'",
            ),
            (
                "component without executor",
                "components/Trainer/executorLabel",
                REMOVED,
                "components.Trainer",
                "neither executorLabel nor dag",
            ),
            (
                "component name",
                "components/a.b",
                PIPELINE["components"]["Trainer"],
                'components["a.b"]',
                "not 'root'",
            ),
            (
                "parameter of schema 2.0",
                "components/Trainer/inputDefinitions/parameters/epochs",
                {"type": "INT"},
                "components.Trainer.inputDefinitions.parameters.epochs",
                "has unspecified type",
            ),
            (
                "properties of a custom artifact",
                "components/Ingest/outputDefinitions/artifacts/catalogue/artifactType/instanceSchema",
                "title: components.Catalogue\ntype: object\nproperties:\n  items:\n    type: integer\n",
                "components.Ingest.outputDefinitions.artifacts.catalogue.artifactType.instanceSchema",
                "not expected in artifact type schema",
            ),
            (
                "title of a custom artifact",
                "components/Ingest/outputDefinitions/artifacts/catalogue/artifactType/instanceSchema",
                "title: Catalogue\ntype: object\n",
                "components.Ingest.outputDefinitions.artifacts.catalogue.artifactType.instanceSchema",
                "expected a title that matches",
            ),
            (
                "artifact without title",
                "components/Ingest/outputDefinitions/artifacts/catalogue/artifactType/instanceSchema",
                "type: object\n",
                "components.Ingest.outputDefinitions.artifacts.catalogue.artifactType.instanceSchema",
                "No title specified",
            ),
            (
                "artifact without schema",
                "components/Ingest/outputDefinitions/artifacts/catalogue/artifactType",
                {"schemaUri": "s3://b/x"},
                "components.Ingest.outputDefinitions.artifacts.catalogue.artifactType",
                "no instanceSchema",
            ),
            (
                "one container, two interfaces",
                "components/Copy",
                {"executorLabel": "Trainer_executor"},
                "components.Trainer",
                "its container is the same as that of 'Copy'",
            ),
            # Importer
            *(
                (
                    f"importer of {uri}",
                    "deploymentSpec/executors/schema-importer_executor/importer/artifactUri/constant",
                    uri,
                    "deploymentSpec.executors.schema-importer_executor.importer.artifactUri.constant",
                    "which no other pod sees",
                )
                for uri in ("file:///schema", "/schema", "schema", "s3:/b/x")
            ),
            (
                "importer without URI",
                "deploymentSpec/executors/schema-importer_executor/importer/artifactUri",
                REMOVED,
                "deploymentSpec.executors.schema-importer_executor.importer.artifactUri",
                "no `constant` with a URI",
            ),
            # The head
            ("schema 2.0", "schemaVersion", "2.0.0", "schemaVersion", "expected 2.1.0. Received: '2.0.0'"),
            ("no schema version", "schemaVersion", REMOVED, "schemaVersion", "Received: nothing"),
            (
                "pipeline name",
                "pipelineInfo/name",
                "My_Pipeline",
                "pipelineInfo.name",
                "Received: 'My_Pipeline'",
            ),
            ("no pipeline name", "pipelineInfo/name", "", "pipelineInfo.name", "Received: nothing"),
            ("no tasks", "root/dag/tasks", {}, "root.dag.tasks", "there are no tasks"),
            (
                "local root",
                "defaultPipelineRoot",
                "/tmp/root",
                "defaultPipelineRoot",
                "Received: '/tmp/root'",
            ),
            ("unknown key", "runtime", {"a": 1}, "runtime", "unknown key 'runtime'; KFP refuses the upload"),
            (
                "unknown key deep inside",
                "root/dag/tasks/Ingest/taskInfo/label",
                "x",
                "root.dag.tasks.Ingest.taskInfo.label",
                "unknown key 'label'; KFP refuses the upload",
            ),
            (
                "key that KFP 2.14 does not know",
                "root/inputDefinitions/parameters/epochs/literals",
                [20.0],
                "root.inputDefinitions.parameters.epochs.literals",
                "only KFP 2.16 and newer know 'literals'; an older server: KFP refuses the upload",
            ),
            (
                "run parameter without default",
                "root/inputDefinitions/parameters/epochs/defaultValue",
                REMOVED,
                "root.inputDefinitions.parameters.epochs",
                "no defaultValue",
            ),
            (
                "default of another type",
                "root/inputDefinitions/parameters/epochs/defaultValue",
                "20",
                "root.inputDefinitions.parameters.epochs.defaultValue",
                "expected a value of type NUMBER_INTEGER. Received: '20'",
            ),
            (
                "default that is not whole",
                "root/inputDefinitions/parameters/epochs/defaultValue",
                2.5,
                "root.inputDefinitions.parameters.epochs.defaultValue",
                "expected a whole number. Received: 2.5",
            ),
            ("list for a mapping", "components", [1], "components", "expected a mapping. Received: [1]"),
            ("mapping for a list", at(CONTAINER, "args"), {"a": 1}, f"{CONTAINER}.args", "expected a list"),
            (
                "number for text",
                at(CONTAINER, "command", "0"),
                1.0,
                f"{CONTAINER}.command[0]",
                "expected text. Received: 1.0",
            ),
            (
                "unknown value of an enum",
                "root/inputDefinitions/parameters/epochs/parameterType",
                "INT",
                "root.inputDefinitions.parameters.epochs.parameterType",
                "NUMBER_INTEGER or",
            ),
            # The platform document
            (
                "key beside deploymentSpec",
                "platforms/kubernetes/nodeSelector",
                {"a": "b"},
                "platforms.kubernetes.nodeSelector",
                "unknown key 'nodeSelector'; KFP drops the whole platform document without a word",
            ),
            (
                "key beside platforms",
                "platforms/kubernetes/pipelineConfig",
                {"resourceTtlOnSuccess": 60},
                "platforms.kubernetes.pipelineConfig.resourceTtlOnSuccess",
                "only KFP 2.17 and newer",
            ),
            (
                "another platform",
                "platforms/google",
                {"deploymentSpec": {"executors": {}}},
                "platforms.google",
                "the platform kubernetes only",
            ),
            ("empty platform", "platforms/kubernetes", {}, "platforms.kubernetes", "sets nothing"),
            (
                "unknown executor label",
                "platforms/kubernetes/deploymentSpec/executors/Trainer",
                {"imagePullPolicy": "Always"},
                "platforms.kubernetes.deploymentSpec.executors.Trainer",
                "there is no executor 'Trainer'; KFP ignores its settings",
            ),
            (
                "settings of an importer",
                "platforms/kubernetes/deploymentSpec/executors/schema-importer_executor",
                {"imagePullPolicy": "Always"},
                "platforms.kubernetes.deploymentSpec.executors.schema-importer_executor",
                "an importer takes no settings",
            ),
            (
                "unknown key in an executor",
                at(SETTINGS, "activeDeadline"),
                1,
                f"{SETTINGS}.activeDeadline",
                "unknown key 'activeDeadline'; KFP refuses the run when it is created",
            ),
            (
                "unknown key in a toleration",
                at(SETTINGS, "tolerations", "0", "keys"),
                "a",
                f"{SETTINGS}.tolerations[0].keys",
                "unknown key 'keys'",
            ),
            (
                "pull policy",
                at(SETTINGS, "imagePullPolicy"),
                "always",
                f"{SETTINGS}.imagePullPolicy",
                "expected Always, Never or IfNotPresent. Received: 'always'",
            ),
            (
                "timeout that is no number",
                at(SETTINGS, "activeDeadlineSeconds"),
                "1h",
                f"{SETTINGS}.activeDeadlineSeconds",
                "expected a whole number. Received: '1h'",
            ),
            (
                "negative timeout",
                at(SETTINGS, "activeDeadlineSeconds"),
                -1,
                f"{SETTINGS}.activeDeadlineSeconds",
                "below 0",
            ),
            (
                "root user",
                at(SETTINGS, "securityContext"),
                {"runAsUser": 0},
                f"{SETTINGS}.securityContext.runAsUser",
                "runAsNonRoot",
            ),
            (
                "label of a pod",
                at(SETTINGS, "podMetadata", "labels"),
                {"team": "search & rank"},
                f"{SETTINGS}.podMetadata.labels.team",
                "not a value of a Kubernetes label",
            ),
            (
                "secret without name",
                at(SETTINGS, "secretAsEnv"),
                [{"keyToEnv": [{"secretKey": "a", "envVar": "A"}]}],
                f"{SETTINGS}.secretAsEnv[0]",
                "no secretName",
            ),
            (
                "secret without keys",
                at(SETTINGS, "secretAsEnv"),
                [{"secretName": "a"}],
                f"{SETTINGS}.secretAsEnv[0].keyToEnv",
                "no variable is set",
            ),
            (
                "secret without variable",
                at(SETTINGS, "secretAsEnv"),
                [{"secretName": "a", "keyToEnv": [{"secretKey": "a"}]}],
                f"{SETTINGS}.secretAsEnv[0].keyToEnv[0]",
                "no valid envVar",
            ),
            (
                "two sources of a variable",
                at(SETTINGS, "configMapAsEnv"),
                [{"configMapName": "a", "keyToEnv": [{"configMapKey": "k", "envVar": "DSSM_RUN_ID"}]}],
                f"{SETTINGS}.fieldPathAsEnv[0]",
                "DSSM_RUN_ID has two sources",
            ),
            (
                "field of a pod",
                at(SETTINGS, "fieldPathAsEnv", "0", "fieldPath"),
                "labels.pipeline/runid",
                f"{SETTINGS}.fieldPathAsEnv[0]",
                "expected a name and a field of a pod",
            ),
            (
                "pull secret without name",
                at(SETTINGS, "imagePullSecret"),
                [{}],
                f"{SETTINGS}.imagePullSecret[0]",
                "no secretName",
            ),
            (
                "volume without name",
                at(SETTINGS, "pvcMount", "0", "pvcNameParameter"),
                REMOVED,
                f"{SETTINGS}.pvcMount[0]",
                "the volume has no name",
            ),
            (
                "relative mount",
                at(SETTINGS, "pvcMount", "0", "mountPath"),
                "checkpoints",
                f"{SETTINGS}.pvcMount[0].mountPath",
                "expected an absolute path",
            ),
            (
                "mounted twice",
                at(SETTINGS, "emptyDirMounts"),
                [{"volumeName": "a", "mountPath": "/checkpoints"}],
                f"{SETTINGS}.emptyDirMounts[0].mountPath",
                "/checkpoints is mounted twice",
            ),
            (
                "size of a volume",
                at(SETTINGS, "emptyDirMounts"),
                [{"volumeName": "a", "mountPath": "/a", "sizeLimit": "10GB"}],
                f"{SETTINGS}.emptyDirMounts[0].sizeLimit",
                "not an amount that Kubernetes reads: '10GB'",
            ),
            *(
                (name, at(SETTINGS, "tolerations", "0"), value, f"{SETTINGS}.tolerations[0]", problem)
                for name, value, problem in (
                    ("operator", {"key": "a", "operator": "In"}, "neither Equal nor Exists"),
                    ("effect", {"key": "a", "operator": "Exists", "effect": "No"}, "none of NoSchedule"),
                    ("value", {"key": "a", "operator": "Exists", "value": "b"}, "Exists takes no value"),
                    ("key", {"operator": "Equal", "value": "b"}, "the operator must be Exists"),
                    ("seconds", {"key": "a", "tolerationSeconds": 5}, "NoExecute only"),
                )
            ),
        ]
    ],
)
def test_rule_finds_what_breaks_it(changed: str, value: Any, path: str, problem: str):
    found = [finding for finding in lint_spec(change(changed, value)) if finding.path == path]
    assert len(found) == 1, lint_spec(change(changed, value))
    assert problem in found[0].problem
    assert found[0].remedy


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
    pipeline["root"]["dag"]["tasks"]["inner"] = {"componentRef": {"name": "inner"}}
    paths = {finding.path for finding in lint_spec(yaml.safe_dump(pipeline))}
    assert paths == {"components.inner.dag.tasks.a_b", "components.inner.dag.tasks.a_b.componentRef.name"}


def test_container_without_command_and_args_is_found():
    pipeline = copy.deepcopy(PIPELINE)
    container = pipeline["deploymentSpec"]["executors"]["Trainer_executor"]["container"]
    del container["command"], container["args"]
    (found,) = lint_spec(yaml.safe_dump(pipeline))
    assert found.path == CONTAINER
    assert "command and arguments are empty" in found.problem


@pytest.mark.parametrize("value", ["{{$.pipeline_job_uuid}}", "{{$.workspace_path}}/data"])
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
    ("written", "what"),
    [
        ("12345e67", "a hash that is a number to KFP"),
        ("2026-11-01", "a date"),
        ("0o17", "octal"),
        ("on", "truth"),
    ],
)
def test_texts_that_yaml_parsers_read_differently_are_found(written: str, what: str):
    spec = GOOD.replace("defaultValue: s3://bucket/data", f"defaultValue: {written}")
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
