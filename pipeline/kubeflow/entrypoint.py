"""The command of every container on Kubeflow Pipelines: runs one TFX executor.

It takes the arguments of TFX's own entrypoint (tfx.orchestration.kubeflow.v2.container), which cannot
read what open-source Kubeflow Pipelines sends. Executors run unchanged, and nothing is imported but what they
need. Exit status: 0 done, 1 failed, 2 wrong arguments.
"""

import argparse
import importlib
import logging
import os
import sys
from collections.abc import Sequence
from typing import Final

from components.execution import PlainExecutor
from pipeline.kubeflow.container_io import (
    ContainerError,
    Invocation,
    container_root,
    has_content,
    parse_invocation,
    write_executor_output,
)
from pipeline.kubeflow.plain_executors import run_plain_executor
from schemas.contract import PROGRESS_LOGGER
from schemas.errors import DssmError

EXIT_FAILED: Final = 1

_log = logging.getLogger(__name__)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the executor that the command line names.

    Args:
        arguments: The command line; that of the process where None.

    Returns:
        The exit status.
    """
    parsed, beam_pipeline_args = _parse_arguments(arguments)
    _prepare_process()
    step = parsed.executor_class_path.rpartition(".")[2]
    try:
        invocation = parse_invocation(
            parsed.json_serialized_invocation_args, parsed.json_serialized_inputs_spec_args, container_root()
        )
        run_executor(parsed.executor_class_path, invocation, beam_pipeline_args)
    except DssmError as error:
        return _fail(f"Error: {step}: {error}")
    except Exception as error:
        _log.exception("%s failed", step)
        last_line = (str(error).strip().splitlines() or [""])[-1]
        return _fail(f"Unexpected error: {step}: {type(error).__name__}: {last_line}")
    return 0


def run_executor(class_path: str, invocation: Invocation, beam_pipeline_args: list[str]) -> None:
    """Run an executor on the task's artifacts and hand back what it made.

    Args:
        class_path: Import path of the executor's class.
        invocation: The task.
        beam_pipeline_args: Options of Beam's pipeline.

    Raises:
        ContainerError: An artifact type is unknown, an output was not written, or a property cannot be kept.
        DssmError: The executor refused its input.
    """
    executor_class = _import_executor(class_path)
    if issubclass(executor_class, PlainExecutor):
        made = run_plain_executor(executor_class, invocation, beam_pipeline_args)
    else:
        # TFX is ten seconds of imports, which no other executor is to wait for.
        from pipeline.kubeflow.tfx_executors import run_tfx_executor

        made = run_tfx_executor(executor_class, invocation, beam_pipeline_args)
    missing = [
        key
        for key, artifacts in invocation.outputs.items()
        for artifact in artifacts
        if key not in made.may_be_empty and not has_content(artifact.path)
    ]
    if missing:
        raise ContainerError(
            f"Expected a file in every declared output. Received: none in {', '.join(missing)}. "
            "The next step would find nothing; write the output, or do not declare it."
        )
    write_executor_output(invocation, made.metadata, made.values)


def _parse_arguments(arguments: Sequence[str] | None) -> tuple[argparse.Namespace, list[str]]:
    parser = argparse.ArgumentParser(
        description="Runs one TFX executor; other arguments are Beam pipeline options.", allow_abbrev=False
    )
    parser.add_argument("--executor_class_path", required=True, help="Import path of the executor's class.")
    parser.add_argument(
        "--json_serialized_invocation_args", required=True, help="KFP's executor input, in a spec {{$}}."
    )
    parser.add_argument(
        "--json_serialized_inputs_spec_args", help="JSON of the component's inputDefinitions."
    )
    return parser.parse_known_args(arguments)


def _prepare_process() -> None:
    # TensorFlow's start-up messages are of no use, and the towers are built on Keras 2.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
    logging.basicConfig(
        stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    logging.getLogger(PROGRESS_LOGGER).setLevel(logging.INFO)
    # A hundred lines a task on types that Beam does not check.
    logging.getLogger("apache_beam.typehints").setLevel(logging.WARNING)


def _import_executor(class_path: str) -> type:
    module, _, name = class_path.rpartition(".")
    try:
        executor_class: type = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ContainerError(
            f"--executor_class_path {class_path}: expected a class in this image. Received: {error}. "
            "Compile the pipeline and build the image from the same version."
        ) from error
    return executor_class


def _fail(message: str) -> int:
    sys.stderr.flush()
    print(message, file=sys.stderr, flush=True)
    return EXIT_FAILED


if __name__ == "__main__":
    sys.exit(main())
