import os
import re
import subprocess
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest
import yaml

pytestmark = pytest.mark.unit

ROOT = Path(__file__).parents[2]
ENVIRONMENT = ROOT / "environment"
DEVELOPERS_TOOLS = {"pytest", "pytest-timeout", "ruff", "mypy", "moto", "implicit", "pandas-stubs"}
IMAGE_FILES = ["Dockerfile", ".dockerignore", "environment/containers.conf"] + [
    f"environment/{name}"
    for name in (
        "base_image.sh",
        "build_image.sh",
        "container_engine.sh",
        "kubeflow_local.sh",
        "kubeflow_local.py",
    )
]


def read_dockerfile() -> list[str]:
    text = "\n".join(
        line for line in (ROOT / "Dockerfile").read_text().splitlines() if not line.startswith("#")
    )
    return [line for line in re.sub(r"\\\n\s*", " ", text).splitlines() if line.strip()]


def split_stages() -> list[list[str]]:
    stages: list[list[str]] = []
    for line in read_dockerfile():
        if line.startswith("FROM "):
            stages.append([])
        if stages:
            stages[-1].append(line)
    return stages


def read_lock(name: str) -> dict[str, str]:
    text = (ENVIRONMENT / name).read_text().replace("\\\n", "")
    entries = [line for line in text.splitlines() if line and not line.lstrip().startswith("#")]
    assert all("--hash=sha256:" in line for line in entries)
    return dict(line.split(" --hash")[0].strip().split("==", 1) for line in entries)


def run_script(name: str, *arguments: str, engines: dict[str, str], tmp_path: Path, **variables: str):
    programs = tmp_path / "programs"
    programs.mkdir()
    for engine, body in engines.items():
        (programs / engine).write_text(f"#!/bin/bash\n{body}\n")
        (programs / engine).chmod(0o755)
    for program in ("bash", "env", "dirname", "mktemp", "rm", "cat", "python3"):
        found = next(path for path in (Path("/usr/bin") / program, Path("/bin") / program) if path.exists())
        (programs / program).symlink_to(found)
    return subprocess.run(
        [ENVIRONMENT / name, *arguments],
        env={"PATH": str(programs), "HOME": str(tmp_path), **variables},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_base_image_is_an_argument_and_every_stage_starts_from_it():
    lines = read_dockerfile()

    assert lines[0] == "ARG BASE_IMAGE=python:3.11-slim-trixie"
    starts = [line.split()[1] for line in lines if line.startswith("FROM ")]
    assert starts == ["${BASE_IMAGE}"] * 3


def test_the_image_runs_as_a_user_with_a_number_that_is_not_root():
    final = split_stages()[-1]

    user, group = final[-1].removeprefix("USER ").split(":")
    assert final[-1].startswith("USER ")
    # Kubernetes' runAsNonRoot accepts a number only.
    assert int(user) >= 1000
    # Group 0 is what clusters give an arbitrary user id.
    assert group == "0"


def test_any_user_can_write_to_the_home_folder_and_the_mount_points():
    final = "\n".join(split_stages()[-1])

    home = re.search(r"HOME=(\S+)", final)[1]
    opened = re.search(r"chmod 1777 ([^&]+)", final)[1].split()
    assert {home, "/gcs", "/s3", "/minio"} <= set(opened)


def test_the_environment_is_the_lock_with_its_hashes():
    first, _, final = split_stages()

    assert "ARG LOCK=environment/requirements.lock" in first
    installs = re.findall(r"\S+/bin/pip install [^;]*|uv pip sync [^;]*", "\n".join(first))
    assert len(installs) == 2
    assert all("--require-hashes" in command for command in installs)
    assert "tools.lock" in installs[0]
    [own] = re.findall(r"uv pip install [^&]*", "\n".join(final))
    assert "--no-deps" in own
    assert "--offline" in own


def test_dependencies_come_before_the_code_and_no_cache_is_kept():
    final = split_stages()[-1]

    dependencies = next(i for i, line in enumerate(final) if line.startswith("COPY --from=environment"))
    code = next(i for i, line in enumerate(final) if line.startswith("COPY --from=wheel"))
    assert dependencies < code
    assert not any(line.startswith("COPY") and "--from" not in line for line in final)
    text = "\n".join(read_dockerfile())
    assert len(re.findall(r"/bin/pip install", text)) == len(re.findall(r"--no-cache-dir", text)) == 1
    commands = re.findall(r"/bin/uv (?:pip sync|pip install|build)\b[^;&\n]*", text)
    assert len(commands) == 3
    assert all("--no-cache" in command for command in commands)


def test_the_container_command_is_the_pipelines_own():
    assert not any(line.startswith(("ENTRYPOINT", "CMD")) for line in read_dockerfile())


def test_what_is_copied_passes_the_ignore_file():
    patterns = [
        line for line in (ROOT / ".dockerignore").read_text().splitlines() if line[:1] not in ("", "#")
    ]
    assert patterns[0] == "*"
    allowed = {line[1:] for line in patterns if line.startswith("!")}
    copied = set()
    for line in read_dockerfile():
        if line.startswith("COPY") and "--from" not in line:
            copied |= set(line.split()[1:-1])
    copied.remove("${LOCK}")
    assert copied | {"environment/requirements.lock", "environment/requirements-gpu.lock"} == allowed
    assert all((ROOT / name).exists() for name in allowed)


def test_the_runtime_lock_has_no_developers_tools():
    runtime, developers = read_lock("requirements.lock"), read_lock("requirements-dev.lock")

    assert developers.keys() >= DEVELOPERS_TOOLS
    assert not DEVELOPERS_TOOLS & runtime.keys()


def test_the_gpu_lock_is_the_runtime_lock_and_cudas_libraries_on_linux():
    runtime, gpu = read_lock("requirements.lock"), read_lock("requirements-gpu.lock")

    added = {name: pin for name, pin in gpu.items() if name not in runtime}
    assert {name: gpu[name] for name in runtime} == runtime
    assert {"nvidia-cudnn-cu12", "nvidia-nccl-cu12", "nvidia-cublas-cu12"} <= added.keys()
    assert all(name.startswith("nvidia-") and "sys_platform == 'linux'" in pin for name, pin in added.items())


@pytest.mark.parametrize("name", IMAGE_FILES)
def test_no_registry_is_written_down(name):
    text = (ROOT / name).read_text()

    assert re.findall(r"https?://\S+|\b[a-z0-9.-]+\.(?:io|com|org|net|dev|cloud)\b", text) == []


def test_make_builds_the_image_that_the_configuration_names():
    config = yaml.safe_load((ROOT / "pipeline/configs/movielens_100k.yaml").read_text())
    [image] = re.findall(r"^IMAGE \?= (\S+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)

    assert image == config["kubeflow"]["image"]


def test_podman_is_used_where_docker_does_not_answer(tmp_path):
    result = run_script(
        "container_engine.sh", engines={"docker": "exit 1", "podman": "exit 0"}, tmp_path=tmp_path
    )

    assert result.stdout == "podman\n"


def test_no_engine_is_one_line_that_says_what_to_do(tmp_path):
    result = run_script("container_engine.sh", engines={"docker": "exit 1"}, tmp_path=tmp_path)

    assert result.returncode == 1
    assert "of: docker podman" in result.stderr
    assert "make ENGINE=podman" in result.stderr
    assert result.stderr.count("\n") == 1


def test_a_build_names_its_base_and_lock_and_shows_no_credentials(tmp_path):
    seen = tmp_path / "seen"
    engine = f"""[ "$1" = info ] && exit 0
printf '%s\\n' "$@" >{seen}
for argument in "$@"; do
    case "$argument" in id=package_settings,src=*) cat "${{argument#*src=}}" >{seen}.settings ;; esac
done"""
    result = run_script(
        "build_image.sh",
        "registry/dssm:1",
        engines={"podman": engine},
        tmp_path=tmp_path,
        BASE_IMAGE="base:2",
        GPU="1",
        PIP_INDEX_URL="https://user:password@index/simple",
    )

    assert result.returncode == 0, result.stderr
    arguments = seen.read_text().splitlines()
    assert arguments[arguments.index("--tag") + 1] == "registry/dssm:1"
    assert "BASE_IMAGE=base:2" in arguments
    assert "LOCK=environment/requirements-gpu.lock" in arguments
    assert "password" not in seen.read_text() + result.stdout
    assert "PIP_INDEX_URL=https://user:password@index/simple" in Path(f"{seen}.settings").read_text()


@pytest.mark.parametrize("script", sorted(ENVIRONMENT.glob("*.sh")), ids=lambda path: path.name)
def test_scripts_are_executable_and_parse(script):
    assert os.access(script, os.X_OK)
    subprocess.run(["bash", "-n", script], check=True)


def test_a_step_without_executor_output_has_not_finished(tmp_path):
    specification = spec_from_file_location("kubeflow_local", ENVIRONMENT / "kubeflow_local.py")
    kubeflow_local = module_from_spec(specification)
    specification.loader.exec_module(kubeflow_local)
    # kfp.local names the folder of a step by its component without the first five letters.
    for folder, name in [("er", "executor_output.json"), ("Pusher", "pushed")]:
        (tmp_path / "run" / folder).mkdir(parents=True)
        (tmp_path / "run" / folder / name).touch()

    unfinished = kubeflow_local._list_unfinished({"components": {"Trainer": {}, "TowerPusher": {}}}, tmp_path)

    assert unfinished == ["TowerPusher"]
