"""A stand-in for KFP's driver and launcher, after backend/src/v2 of kubeflow/pipelines 2.14 and 2.17.

Each task runs the container's own command in a process with a directory tree of its own, which stands for the
pod's file system. Results are read from the output file and the output URIs alone.
"""

import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml
from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2

from pipeline.kubeflow.upload import read_compiled

MOUNTS = {"s3": "s3", "gs": "gcs", "minio": "minio"}
TASK_TIMEOUT_SECONDS = 300
NAMESPACE_PIPELINE_ROOT = "minio://mlpipeline/v2/artifacts"


class TaskFailedError(Exception):
    """A task's last attempt ended with an exit status."""


@dataclass
class ObjectStore:
    """Buckets as folders: files and nothing else."""

    directory: Path

    def locate(self, uri: str) -> Path:
        scheme, rest = uri.split("://")
        return self.directory / scheme / rest

    def upload(self, local: Path, uri: str) -> None:
        files = [local] if local.is_file() else [path for path in local.rglob("*") if path.is_file()]
        for file in files:
            target = self.locate(uri) / file.relative_to(local) if file != local else self.locate(uri)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, target)

    def download(self, uri: str, local: Path, *, by_prefix: bool) -> None:
        """Copy one artifact's files; by prefix, as before 2.17, also those of `model_run` for `model`."""
        key = self.locate(uri)
        for found in sorted(key.parent.glob(f"{key.name}*") if by_prefix else [key]):
            for file in [found] if found.is_file() else [path for path in found.rglob("*") if path.is_file()]:
                target = local.parent / file.relative_to(key.parent)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(file, target)
                target.chmod(0o644)


@dataclass
class TaskRecord:
    """What one task was sent and what it made."""

    executor_input: Mapping[str, Any]
    attempts: int
    log: str
    seconds: float
    """Of the clock, from the download of its inputs on; of the last attempt."""
    cpu_seconds: float
    """Of its processes, imports among them; 0 where it was forked from one that had imported all."""


@dataclass
class Starter:
    """Starts the commands of containers, the first of each executor as a pod does: from nothing.

    What it imports has been seen then. The others of the same executor (of another table, another attempt or
    another run) are forked from a process with the imports.
    """

    prepared: Any
    """The fixture."""
    seen: set[str] = field(default_factory=set)
    """Executors that have been started from nothing."""

    def start(self, arguments: list[str], work: Path, environment: Mapping[str, str], log_file: Path) -> Any:
        """Start the entrypoint in a session of its own.

        Args:
            arguments: Those of Python: -m, the module, and the module's own.
            work: The working directory.
            environment: All variables.
            log_file: Gets what is printed.

        Returns:
            The process.
        """
        flag, module, *own = arguments
        assert flag == "-m"
        executor = own[own.index("--executor_class_path") + 1]
        if executor in self.seen:
            return self.prepared.start(
                module, own, stdout=log_file, stderr=log_file, cwd=work, environment=environment
            )
        self.seen.add(executor)
        with log_file.open("wb") as log:
            return subprocess.Popen(
                [sys.executable, *arguments],
                cwd=work,
                env=environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )


@dataclass
class KfpRun:
    """One run of a compiled pipeline."""

    text: str
    directory: Path
    store: ObjectStore
    run_id: str
    parameters: Mapping[str, Any]
    """Those given when the run is created."""
    secrets: Mapping[str, Mapping[str, str]]
    """Kubernetes secrets, by name and key."""
    starter: Starter
    pipeline_root: str | None = None
    """That of the run's runtime config; the driver does not read the pipeline's own."""
    tasks_in_2_14_form: Collection[str] = ()
    killed_in_first_attempt: Collection[str] = ()
    artifacts: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)
    """By task and output, the newest artifact as ML Metadata keeps it; tasks with artifacts at the beginning
    are not run."""
    outputs: dict[tuple[str, str], Any] = field(default_factory=dict)
    """By task and output, the values that tasks gave."""
    records: dict[str, TaskRecord] = field(default_factory=dict)
    """By task; behind the name of their graph, such as `run-2/Trainer`, those of a graph that runs again."""

    graphs: set[str] = field(default_factory=set)
    """Nested graphs that have begun, by their task."""

    def __post_init__(self) -> None:
        self.spec, self.platform = yaml.safe_load_all(self.text)
        root = self.spec["root"]["inputDefinitions"]["parameters"]
        unknown = set(self.parameters) - set(root)
        assert not unknown, f"unknown parameters {unknown}"
        self.taken_over = {task for task, _ in self.artifacts}
        self.values = {name: self.parameters.get(name, p["defaultValue"]) for name, p in root.items()}

    def execute(self) -> "KfpRun":
        self._execute_graph(self.spec["root"]["dag"]["tasks"], self.values)
        return self

    def _execute_graph(self, tasks: Mapping[str, Any], values: Mapping[str, Any], prefix: str = "") -> None:
        at_exit = {name for name, task in tasks.items() if _is_exit_task(task)}
        finished = self.taken_over & set(tasks)
        try:
            while len(finished) < len(tasks) - len(at_exit):
                ready = [
                    name
                    for name, task in sorted(tasks.items())
                    if name not in finished | at_exit and set(task.get("dependentTasks", ())) <= finished
                ]
                assert ready, f"a cycle, or a missing task, among {set(tasks) - finished}"
                self._execute_any(ready[0], tasks[ready[0]], values, prefix)
                finished.add(ready[0])
        finally:
            # An exit hook of Argo's runs whatever became of the task that it waits for.
            for name in sorted(at_exit):
                self._execute_any(name, tasks[name], values, prefix)

    def _execute_any(
        self, name: str, task: Mapping[str, Any], values: Mapping[str, Any], prefix: str
    ) -> None:
        inputs = self._resolve_parameters(task, values)
        graph = self.spec["components"][task["componentRef"]["name"]].get("dag")
        if graph is None:
            self._execute_task(name, task, inputs, prefix)
        elif _is_met(task.get("triggerPolicy", {}).get("condition"), inputs):
            # KFP's compiler gives the second task of a component a number.
            runs_again = name.removesuffix("-2") in self.graphs
            self.graphs.add(name)
            self._execute_graph(graph["tasks"], inputs, f"{name}/" if runs_again else prefix)

    def _resolve_parameters(self, task: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
        inputs = {}
        for key, source in task.get("inputs", {}).get("parameters", {}).items():
            match source:
                case {"componentInputParameter": name}:
                    inputs[key] = values[name]
                case {"taskOutputParameter": origin}:
                    inputs[key] = self.outputs[origin["producerTask"], origin["outputParameterKey"]]
                case _:
                    inputs[key] = source["runtimeValue"]["constant"]
        return inputs

    def _execute_task(
        self, name: str, task: Mapping[str, Any], parameters: Mapping[str, Any], prefix: str
    ) -> None:
        for attempt in range(1 + task["retryPolicy"]["maxRetryCount"]):
            tree = self.directory / f"{prefix}{name}-{attempt}"
            start, cpu_start = time.monotonic(), _children_seconds()
            executor_input = self._drive(name, task, parameters, attempt, prefix)
            is_killed = attempt == 0 and name in self.killed_in_first_attempt
            label = self.spec["components"][task["componentRef"]["name"]]["executorLabel"]
            status, log = self._launch(name, label, executor_input, tree, is_killed)
            seconds, cpu_seconds = time.monotonic() - start, _children_seconds() - cpu_start
            self.records[prefix + name] = TaskRecord(executor_input, attempt + 1, log, seconds, cpu_seconds)
            if status == 0:
                self._publish(name, executor_input, tree)
                shutil.rmtree(tree)
                return
            if not is_killed:
                break
        raise TaskFailedError(f"{name} ended with exit status {status}:\n{log[-6000:]}")

    def _drive(
        self, name: str, task: Mapping[str, Any], parameters: Mapping[str, Any], attempt: int, prefix: str
    ) -> dict[str, Any]:
        component = self.spec["components"][task["componentRef"]["name"]]
        inputs: dict[str, Any] = {"parameterValues": dict(parameters)} if parameters else {}
        for key, source in task.get("inputs", {}).get("artifacts", {}).items():
            origin = source["taskOutputArtifact"]
            artifact = self.artifacts[origin["producerTask"], origin["outputArtifactKey"]]
            inputs.setdefault("artifacts", {})[key] = {"artifacts": [artifact]}
        is_2_14 = name in self.tasks_in_2_14_form
        pipeline_name = self.spec["pipelineInfo"]["name"]
        # The salt is drawn once for a task, so an attempt has the URIs of the one before.
        parent = self.pipeline_root or NAMESPACE_PIPELINE_ROOT
        salt = f"salt-{prefix}{name}".replace("/", "-").lower()
        root = f"{parent}/{pipeline_name}/{self.run_id}/{name}/{salt}"
        declared = component.get("outputDefinitions", {})
        outputs = {
            key: {
                **({} if is_2_14 else {"name": key}),
                "type": definition["artifactType"],
                "uri": f"{root}/{key}",
                **({"metadata": definition["metadata"]} if "metadata" in definition else {}),
            }
            for key, definition in declared.get("artifacts", {}).items()
        }
        outputs["executor-logs"] = {
            **({} if is_2_14 else {"name": "executor-logs"}),
            "type": {"schemaTitle": "system.Artifact"},
            "uri": f"{root}/executor-logs" + ("" if is_2_14 else f"-{attempt}"),
        }
        mounted = _mount_path(root)
        return {
            "inputs": inputs,
            "outputs": {
                "artifacts": {key: {"artifacts": [value]} for key, value in outputs.items()},
                "parameters": {
                    key: {"outputFile": f"/tmp/kfp/outputs/{key}"} for key in declared.get("parameters", {})
                },
                "outputFile": "/tmp/kfp_outputs/output_metadata.json"
                if is_2_14
                else f"{mounted}/output_metadata.json",
            },
        }

    def _launch(
        self, name: str, label: str, executor_input: Mapping[str, Any], tree: Path, is_killed: bool
    ) -> tuple[int, str]:
        for artifact in _all_artifacts(executor_input["inputs"]):
            local = tree / _mount_path(artifact["uri"]).lstrip("/")
            self.store.download(artifact["uri"], local, by_prefix=name in self.tasks_in_2_14_form)
        outputs = [
            tree / _mount_path(artifact["uri"]).lstrip("/")
            for artifact in _all_artifacts(executor_input["outputs"])
            if "executor-logs" not in artifact["uri"]
        ]
        [logs] = executor_input["outputs"]["artifacts"]["executor-logs"]["artifacts"]
        log_file = tree / _mount_path(logs["uri"]).lstrip("/")
        for path in (*outputs, log_file):
            path.parent.mkdir(parents=True, exist_ok=True)
        work = tree / "work"
        for folder in (work, tree / "tmp", tree / "home"):
            folder.mkdir(parents=True)
        container = self.spec["deploymentSpec"]["executors"][label]["container"]
        message = json.dumps(executor_input, ensure_ascii=False)
        environment = self._environment(container, label, tree)
        command = [
            _expand(argument, environment).replace("{{$}}", _expand(message, environment))
            for argument in container["command"] + container["args"]
        ]
        assert command[0] == "python"
        before = _list_files(tree)
        process = self.starter.start(command[1:], work, environment, log_file)
        try:
            if is_killed:
                _wait_for_a_file(outputs, process)
                os.killpg(process.pid, signal.SIGKILL)
            status = process.wait(timeout=TASK_TIMEOUT_SECONDS)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
        if status == 0:
            self._check_tree(tree, before, outputs)
        return status, log_file.read_text(errors="replace")

    def _environment(self, container: Mapping[str, Any], label: str, tree: Path) -> dict[str, str]:
        environment = {"PATH": os.environ["PATH"], "HOME": str(tree / "home"), "TMPDIR": str(tree / "tmp")}
        # The one thing that tells this subprocess from a container.
        environment["DSSM_CONTAINER_ROOT"] = str(tree)
        if "PYTHONPATH" in os.environ:
            environment["PYTHONPATH"] = os.environ["PYTHONPATH"]
        environment |= {entry["name"]: entry["value"] for entry in container.get("env", ())}
        executors = self.platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
        for entry in executors[label].get("fieldPathAsEnv", ()):
            assert entry["fieldPath"] == "metadata.labels['pipeline/runid']"
            environment[entry["name"]] = self.run_id
        for secret in executors[label].get("secretAsEnv", ()):
            content = self.secrets[secret["secretNameParameter"]["runtimeValue"]["constant"]]
            environment |= {key["envVar"]: content[key["secretKey"]] for key in secret["keyToEnv"]}
        return environment

    def _check_tree(self, tree: Path, before: Mapping[Path, bytes], outputs: list[Path]) -> None:
        after = _list_files(tree)
        for path, content in before.items():
            assert after.get(path) == content, f"{path} was an input, and was changed"
        allowed = [*outputs, tree / "tmp", tree / "home"]
        for path in set(after) - set(before):
            is_framework = path.name == "output_metadata.json" or ".temp" in path.parts
            is_log = path.name.startswith("executor-logs")
            assert is_framework or is_log or any(path.is_relative_to(folder) for folder in allowed), (
                f"{path} is no declared output"
            )

    def _publish(self, name: str, executor_input: Mapping[str, Any], tree: Path) -> None:
        file = tree / executor_input["outputs"]["outputFile"].lstrip("/")
        output = json.loads(file.read_text())
        # The launcher refuses unknown fields.
        json_format.ParseDict(output, pipeline_spec_pb2.ExecutorOutput())
        made_values = output.get("parameterValues", {})
        assert set(made_values) == set(executor_input["outputs"]["parameters"])
        # Numbers are doubles there.
        self.outputs |= {
            (name, key): float(value) if isinstance(value, int) else value
            for key, value in made_values.items()
        }
        for key, value in executor_input["outputs"]["artifacts"].items():
            [artifact] = value["artifacts"]
            made = {} if key == "executor-logs" else output["artifacts"][key]["artifacts"][0]
            uri = made.get("uri") or artifact["uri"]
            self.store.upload(tree / _mount_path(uri).lstrip("/"), uri)
            metadata = {**artifact.get("metadata", {}), **made.get("metadata", {})}
            self.artifacts[name, key] = {
                "name": str(1 + len(self.artifacts)),
                "type": {"instanceSchema": ""},
                "uri": uri,
                "metadata": {
                    "display_name": key,
                    "store_session_info": '{"Provider":"s3","Params":{"fromEnv":"true"}}',
                    **{property_: _through_metadata(value) for property_, value in metadata.items()},
                },
            }


def _is_exit_task(task: Mapping[str, Any]) -> bool:
    return bool(task.get("triggerPolicy", {}).get("strategy") == "ALL_UPSTREAM_TASKS_COMPLETED")


def _is_met(condition: str | None, inputs: Mapping[str, Any]) -> bool:
    """Evaluate the one form of condition that we compile, as CEL does."""
    if condition is None:
        return True
    found = re.fullmatch(r"inputs\.parameter_values\['([^']+)'\] == '([^']*)'", condition)
    assert found, condition
    return bool(inputs[found[1]] == found[2])


def _expand(text: str, environment: Mapping[str, str]) -> str:
    """What the kubelet makes of a container's arguments."""

    def replace(match: re.Match[str]) -> str:
        return "$" if match[0] == "$$" else environment.get(match[1], match[0])

    return re.sub(r"\$\$|\$\(([^)]*)\)", replace, text)


def _mount_path(uri: str) -> str:
    scheme, rest = uri.split("://")
    return f"/{MOUNTS[scheme]}/{rest}"


def _all_artifacts(part: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [artifact for value in part.get("artifacts", {}).values() for artifact in value["artifacts"]]


def _through_metadata(value: Any) -> Any:
    """What becomes of a property on its way through ML Metadata (backend/src/v2/metadata/converter.go)."""
    match value:
        case bool():
            return int(value)
        case int() | float():
            return int(float(value)) if float(value).is_integer() else value
        case str():
            return value
        case list():
            return {"list": value}
        case dict():
            return {"struct": value}
    raise AssertionError(f"unknown/unsupported value type {value!r}")


def _list_files(tree: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in tree.rglob("*") if path.is_file()}


def _children_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _wait_for_a_file(folders: list[Path], process: Any) -> None:
    deadline = time.monotonic() + TASK_TIMEOUT_SECONDS
    while not any(path.is_file() for folder in folders for path in folder.rglob("*")):
        assert process.poll() is None, "the task ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.01)


@dataclass(frozen=True)
class Kfp:
    """Starts runs that share an object store."""

    directory: Path
    secrets: Mapping[str, Mapping[str, str]]
    starter: Starter
    runs: list[KfpRun] = field(default_factory=list)

    @property
    def store(self) -> ObjectStore:
        return ObjectStore(self.directory / "object-store")

    def run(self, text: str, run_id: str, parameters: Mapping[str, Any], **options: Any) -> KfpRun:
        """Run it with the root that `dssm submit` takes from the compiled file."""
        root = read_compiled(text, run_id).pipeline_root
        folder, given = self.directory / run_id, (parameters, self.secrets, self.starter, root)
        run = KfpRun(text, folder, self.store, run_id, *given, **options)
        self.runs.append(run)
        return run.execute()

    def describe_seconds(self) -> str:
        """A line for each task that ran: what its last attempt took of the clock and of the processor."""
        lines = ["run       task                     seconds  CPU seconds"]
        lines += [
            f"{run.run_id:<9} {name:<24} {record.seconds:>7.1f}  {record.cpu_seconds:>11.1f}"
            for run in self.runs
            for name, record in run.records.items()
        ]
        return "\n".join(lines)


@pytest.fixture(scope="module")
def kfp(
    tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config, prepared: Any
) -> Iterator[Kfp]:
    """Return an empty installation of the stand-in; at the end, print what each task took."""
    secrets = {"s3": {"key": "somebody", "secret": "something"}}
    kfp = Kfp(tmp_path_factory.mktemp("kfp"), secrets, Starter(prepared))
    yield kfp
    capture = pytestconfig.pluginmanager.getplugin("capturemanager")
    with capture.global_and_fixture_disabled():
        print(f"\n{kfp.describe_seconds()}")
