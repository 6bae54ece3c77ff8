"""Run a compiled pipeline with kfp.local: each step is a container of the pipeline's image.

kfp.local's DockerRunner takes the container components of the compiled file as they are, with artifacts
in a local folder. It reads neither the platform document nor resources, environment, caching and
retries: those need a cluster, or the contract test.
"""

import argparse
import os
import sys
import time
import uuid
from pathlib import Path
from typing import Any

import docker.types
import yaml
from kfp import components, local
from kfp.local.executor_input_utils import get_local_task_resource_name

# As root the containers get an id that the image does not know, as some clusters assign them.
ARBITRARY_USER_ID = 23456
DATA_DIRECTORY = "/data"
SERVING_DIRECTORY = "/serving"
# The exit status of `dssm run` in the same case.
NOT_BLESSED = 3


def main() -> int:
    """Run the pipeline to its end.

    Returns:
        The exit status.
    """
    arguments = _parse_arguments()
    spec = next(yaml.safe_load_all(arguments.pipeline.read_text(encoding="utf-8")))
    work = arguments.directory.resolve()
    run_id = uuid.uuid4().hex[:12]
    serving, artifacts = work / "serving", work / "artifacts" / run_id
    user = _prepare_folders([serving, artifacts])
    runner = local.DockerRunner(
        user=user,
        # A step that looked for anything outside its container would fail.
        network_mode="none",
        environment={"DSSM_RUN_ID": run_id},
        mounts=[
            docker.types.Mount(DATA_DIRECTORY, str(arguments.data.resolve()), type="bind", read_only=True),
            docker.types.Mount(SERVING_DIRECTORY, str(serving), type="bind"),
        ],
    )
    local.init(runner, pipeline_root=str(artifacts))
    pipeline = components.load_component_from_file(str(arguments.pipeline))
    parameters = dict(value.split("=", 1) for value in arguments.parameter)
    started = time.monotonic()
    problem = ""
    try:
        pipeline(
            data_directory=DATA_DIRECTORY,
            serving_directory=SERVING_DIRECTORY,
            **{name: yaml.safe_load(value) for name, value in parameters.items()},
        )
    except (RuntimeError, ValueError) as error:
        problem = str(error)
    seconds = time.monotonic() - started
    unfinished = _list_unfinished(spec, artifacts)
    if problem or unfinished:
        print(
            f"Run {run_id} failed after {seconds:.0f} s. Steps without a result: "
            f"{', '.join(unfinished) or 'none'}; the log above says why. {problem}",
            file=sys.stderr,
        )
        return 1
    print(f"Run {run_id} of {arguments.pipeline} took {seconds:.0f} s")
    manifests = serving.glob("releases/*/manifest.json")
    released = [path.parent for path in manifests if run_id in path.read_text(encoding="utf-8")]
    if not released:
        print("It ended without a release: the model was not blessed.", file=sys.stderr)
        return NOT_BLESSED
    print(f"Release: {released[0]}")
    return 0


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Run a compiled pipeline with kfp.local and containers.")
    parser.add_argument("pipeline", type=Path, help="What `dssm compile` wrote.")
    parser.add_argument("--data", type=Path, required=True, help="Folder of the tables; mounted read-only.")
    parser.add_argument("--directory", type=Path, required=True, help="Where artifacts and releases go.")
    parser.add_argument("--parameter", action="append", default=[], metavar="NAME=VALUE", help="Repeatable.")
    return parser.parse_args()


def _list_unfinished(spec: dict[str, Any], artifacts: Path) -> list[str]:
    """Name the steps that handed nothing back, in no order.

    A container that is gone before kfp.local asks for its exit status passes for a success there. The
    container's command writes the executor output as its last act.
    """
    done = {path.parent.name for path in artifacts.glob("*/*/executor_output.json")}
    return [name for name in spec["components"] if get_local_task_resource_name(name) not in done]


def _prepare_folders(folders: list[Path]) -> str:
    """Make folders that the containers' user may write to, and return that user as uid:gid."""
    for folder in folders:
        folder.mkdir(parents=True, exist_ok=True)
    if os.getuid() != 0:
        return f"{os.getuid()}:{os.getgid()}"
    for folder in folders:
        os.chown(folder, ARBITRARY_USER_ID, 0)
    return f"{ARBITRARY_USER_ID}:0"


if __name__ == "__main__":
    sys.exit(main())
