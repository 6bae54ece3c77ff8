"""The manifests of deploy/: valid, and at one with the image, the command and each other."""

import re
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from pipeline.commands.serve import serve_command

pytestmark = pytest.mark.unit

ROOT = Path(__file__).parents[2]
KUBERNETES = list(yaml.safe_load_all((ROOT / "deploy/kubernetes.yaml").read_text(encoding="utf-8")))
COMPOSE = yaml.safe_load((ROOT / "deploy/tensorflow_serving.compose.yaml").read_text(encoding="utf-8"))
SERVER_OPTIONS = {
    "port", "rest_api_port", "model_config_file", "model_config_file_poll_wait_seconds",
}  # fmt: skip


def find(kind: str) -> dict[str, Any]:
    [document] = [one for one in KUBERNETES if one["kind"] == kind]
    return document


def find_container() -> dict[str, Any]:
    [container] = find("Deployment")["spec"]["template"]["spec"]["containers"]
    return container


@pytest.mark.parametrize("version", ["1.28", "1.32", "1.37"])
@pytest.mark.parametrize("document", KUBERNETES, ids=lambda document: document["kind"])
def test_kubernetes_schemas_accept_it(document, version):
    kubernetes_validate.validate(document, version, strict=True)


def test_a_misspelt_field_is_found():
    document = find("Service")
    wrong = {**document, "spec": {**document["spec"], "selectors": {}}}

    with pytest.raises(kubernetes_validate.ValidationError, match="selectors"):
        kubernetes_validate.validate(wrong, "1.37", strict=True)


def test_every_selector_finds_the_pods():
    deployment = find("Deployment")["spec"]
    labels = deployment["template"]["metadata"]["labels"]

    assert deployment["selector"]["matchLabels"] == labels
    assert find("Service")["spec"]["selector"] == labels
    assert find("PodDisruptionBudget")["spec"]["selector"]["matchLabels"] == labels
    assert find("PodDisruptionBudget")["spec"]["minAvailable"] < deployment["replicas"]


def test_the_container_runs_the_command_with_options_that_it_has():
    container = find_container()
    assert container["command"] == ["dssm", "serve"]
    context = serve_command.make_context("dssm serve", list(container["args"]))

    assert context.params["host"] == "0.0.0.0"
    assert context.params["config"] == "/etc/dssm/config.yaml"
    [port] = container["ports"]
    assert context.params["port"] == port["containerPort"]
    annotations = find("Deployment")["spec"]["template"]["metadata"]["annotations"]
    assert annotations["prometheus.io/port"] == str(port["containerPort"])
    [of_service] = find("Service")["spec"]["ports"]
    assert of_service["targetPort"] == port["name"]


def test_the_image_is_the_one_that_make_builds():
    [image] = re.findall(r"^IMAGE \?= (\S+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)

    assert find_container()["image"] == image


def test_the_pod_is_probed_for_life_and_for_a_release():
    container = find_container()

    paths = {
        name: container[f"{name}Probe"]["httpGet"]["path"] for name in ("startup", "liveness", "readiness")
    }
    # A server without a release lives: to start it again would not bring one.
    assert paths == {"startup": "/healthz", "liveness": "/healthz", "readiness": "/readyz"}


def test_the_pod_is_given_the_time_that_the_server_takes_to_stop():
    pod = find("Deployment")["spec"]["template"]["spec"]
    container = find_container()
    context = serve_command.make_context("dssm serve", list(container["args"]))

    waits = int(container["lifecycle"]["preStop"]["exec"]["command"][-1])
    # Ten seconds more are for a release that is being loaded.
    assert pod["terminationGracePeriodSeconds"] >= waits + context.params["stop_seconds"] + 10


def test_nothing_runs_as_root_or_writes_but_to_its_volumes():
    pod = find("Deployment")["spec"]["template"]["spec"]
    container = find_container()

    [user] = re.findall(r"^USER (\d+):(\d+)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    security = pod["securityContext"]
    assert security["runAsNonRoot"]
    assert (security["runAsUser"], security["runAsGroup"]) == tuple(map(int, user))
    assert container["securityContext"]["readOnlyRootFilesystem"]
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    writable = {mount["mountPath"] for mount in container["volumeMounts"] if not mount.get("readOnly")}
    assert writable == {"/var/cache/dssm", "/tmp"}
    environment = {variable["name"]: variable.get("value") for variable in container["env"]}
    assert environment["XDG_CACHE_HOME"] == environment["HOME"] == "/var/cache/dssm"
    assert "run.directory=/var/cache/dssm" in container["args"]


def test_compose_reads_the_models_config_where_it_was_pushed():
    [service] = COMPOSE["services"].values()

    options = dict(option.removeprefix("--").split("=", 1) for option in service["command"])
    assert options.keys() == SERVER_OPTIONS
    assert options["model_config_file"].endswith("}/models.config")
    # The paths in models.config are those of the machine that pushed, so the folder keeps its path.
    [volume] = service["volumes"]
    source, target, mode = re.fullmatch(r"(\$\{[^}]+\}):(\$\{[^}]+\}):(\w+)", volume).groups()
    assert source == target
    assert mode == "ro"
    # On loopback alone: the server asks nobody who they are.
    assert {port.split(":")[0] for port in service["ports"]} == {"127.0.0.1"}
    assert {port.split(":")[2] for port in service["ports"]} == {options["port"], options["rest_api_port"]}
