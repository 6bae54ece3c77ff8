"""Runs the steps of a pipeline on this machine: each in a process of its own, independent ones side by side.

A step's process is forked from this one, which has imported everything and started nothing, so it begins at
once; its memory is given back when it ends, and how much that was is told. What a step says while it runs
comes through a pipe, so that one process alone draws on the screen.
"""

import contextlib
import ctypes
import datetime
import fcntl
import logging
import multiprocessing
import multiprocessing.connection
import os
import pickle
import resource
import signal
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tensorflow.python.eager import context as tensorflow_context
from tfx.dsl.compiler.constants import PIPELINE_RUN_ID_PARAMETER_NAME
from tfx.orchestration import metadata
from tfx.orchestration.local import runner_utils
from tfx.orchestration.portable import launcher, runtime_parameter_utils
from tfx.orchestration.portable.tfx_runner import IrBasedRunner
from tfx.proto.orchestration import pipeline_pb2

from pipeline.beam_progress import watch_beam
from pipeline.metadata_lock import METADATA_LOCK_FILE
from pipeline.step_reports import ReportSender, pass_on
from pipeline.ticking import SECONDS_BETWEEN_TICKS, ticking
from schemas.contract import PROGRESS_LOGGER
from schemas.errors import DssmError
from schemas.progress import StepEnd, StepProgress, Tick, report_progress, showing_step

_PR_SET_PDEATHSIG: Final = 1

_progress = logging.getLogger(PROGRESS_LOGGER)


class StepError(DssmError):
    """A step failed with an error that is not the user's."""


@dataclass(frozen=True)
class _Outcome:
    """How a step's process ended."""

    peak_bytes: int
    """The most memory that it held, what it shares with the process that forked it included, but not what
    processes held that it started itself."""
    error: tuple[type[DssmError], str] | None = None
    """Class and message of what is to be raised; None where the step succeeded."""
    is_reused: bool = False
    """Whether nothing was executed, since an earlier run did the same."""


@dataclass
class _Running:
    """A step whose process has not ended."""

    process: multiprocessing.process.BaseProcess
    receiver: multiprocessing.connection.Connection
    start: float
    outcome: _Outcome | None = None
    """What its process has sent last; None until then."""


class StepRunner(IrBasedRunner):
    """A TFX runner that tells when each step starts and ends, and raises a failed step's own error."""

    def __init__(self, directory: Path, side_by_side: int) -> None:
        """Make one.

        Args:
            directory: A folder for the file by which the steps take turns at ML Metadata.
            side_by_side: The most steps that run at the same time.
        """
        self._directory = directory
        self._side_by_side = side_by_side

    def run_with_ir(self, pipeline: pipeline_pb2.Pipeline, run_options: object = None) -> None:
        """Run every step after those that it waits for.

        Args:
            pipeline: The pipeline as TFX compiles it, its steps in topological order.
            run_options: Not used.

        Raises:
            DssmError: A step refused its input, or failed (StepError). Steps beside it end first.
        """
        run_id = datetime.datetime.now(datetime.UTC).strftime("%Y%m%dT%H%M%S.%fZ")
        values = {PIPELINE_RUN_ID_PARAMETER_NAME: run_id}
        runtime_parameter_utils.substitute_runtime_parameter(pipeline, values)
        steps = {node.pipeline_node.node_info.id: node.pipeline_node for node in pipeline.nodes}
        if tensorflow_context.context()._initialized:
            # Its threads would be missing in a fork.
            for number, step in enumerate(steps, 1):
                _progress.info("[%d/%d] %s", number, len(steps), step)
                start = time.monotonic()
                with showing_step(f"[{number}/{len(steps)}] {step}"), ticking():
                    outcome = _try(self._launcher(pipeline, steps[step]))
                _raise_error(step, outcome)
                end = _describe_end(outcome, time.monotonic() - start)
                _progress.info("[%d/%d] %s %s", number, len(steps), step, end)
            return
        self._run_processes(pipeline, steps)

    def _run_processes(
        self, pipeline: pipeline_pb2.Pipeline, steps: Mapping[str, pipeline_pb2.PipelineNode]
    ) -> None:
        labels = {step: f"[{number}/{len(steps)}] {step}" for number, step in enumerate(steps, 1)}
        waiting = {step: set(node.upstream_nodes) for step, node in steps.items()}
        running: dict[str, _Running] = {}
        failed: tuple[str, _Outcome] | None = None
        try:
            while running or (waiting and failed is None):
                ready = [step for step, upstream in waiting.items() if not upstream] if failed is None else []
                for step in ready[: self._side_by_side - len(running)]:
                    del waiting[step]
                    _progress.info("%s", labels[step])
                    report_progress(StepProgress(step=labels[step]))
                    running[step] = _start(self._launcher(pipeline, steps[step]))
                for step, ended in _wait_for_any(running, labels):
                    del running[step]
                    report_progress(StepEnd(labels[step]))
                    outcome = _read_outcome(ended)
                    if outcome.error is not None:
                        failed = failed or (step, outcome)
                        continue
                    end = _describe_end(outcome, time.monotonic() - ended.start)
                    _progress.info("%s %s", labels[step], end)
                    for upstream in waiting.values():
                        upstream.discard(step)
        finally:
            for step, one in running.items():
                report_progress(StepEnd(labels[step]))
                one.process.kill()
                one.process.join()
        if failed is not None:
            _raise_error(*failed)

    def _launcher(self, pipeline: pipeline_pb2.Pipeline, node: pipeline_pb2.PipelineNode) -> "_Launcher":
        deployment = runner_utils.extract_local_deployment_config(pipeline)
        kind = deployment.metadata_connection_config.WhichOneof("connection_config")
        step = node.node_info.id
        return _Launcher(
            self._directory / METADATA_LOCK_FILE,
            pipeline_node=node,
            mlmd_connection=metadata.Metadata(getattr(deployment.metadata_connection_config, kind)),
            pipeline_info=pipeline.pipeline_info,
            pipeline_runtime_spec=pipeline.runtime_spec,
            executor_spec=runner_utils.extract_executor_spec(deployment, step),
            custom_driver_spec=runner_utils.extract_custom_driver_spec(deployment, step),
        )


class _Launcher(launcher.Launcher):
    """TFX's launcher, which lets other steps at ML Metadata only while its executor runs."""

    def __init__(self, lock_file: Path, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._lock_file = lock_file
        self._lock = -1
        self.has_executed = False

    def launch(self) -> Any:
        # The kernel takes it back from a process that is killed.
        self._lock = os.open(self._lock_file, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX)
            return super().launch()
        finally:
            os.close(self._lock)

    def _run_executor(self, execution_info: Any) -> Any:
        self.has_executed = True
        fcntl.flock(self._lock, fcntl.LOCK_UN)
        try:
            return super()._run_executor(execution_info)
        finally:
            fcntl.flock(self._lock, fcntl.LOCK_EX)


def _start(step_launcher: _Launcher) -> _Running:
    fork = multiprocessing.get_context("fork")
    receiver, sender = fork.Pipe(duplex=False)
    process = fork.Process(target=_launch_and_send, args=(step_launcher, sender, os.getpid()))
    process.start()
    sender.close()
    return _Running(process, receiver, time.monotonic())


def _launch_and_send(
    step_launcher: _Launcher, sender: multiprocessing.connection.Connection, parent: int
) -> None:
    if sys.platform == "linux":
        # Nothing of a run goes on once it is killed.
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        return
    reports = ReportSender(sender)
    reports.replace_handlers()
    watch_beam()
    reports.send_last(_try(step_launcher))


def _try(step_launcher: _Launcher) -> _Outcome:
    error: tuple[type[DssmError], str] | None = None
    try:
        step_launcher.launch()
    except DssmError as refused:
        error = type(refused), str(refused)
    except Exception as unexpected:
        logging.getLogger(__name__).exception("A step failed")
        lines = str(unexpected).strip().splitlines() or [""]
        error = StepError, f"{type(unexpected).__name__}: {lines[-1]}"
    peak_bytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return _Outcome(peak_bytes, error, is_reused=error is None and not step_launcher.has_executed)


def _wait_for_any(running: Mapping[str, _Running], labels: Mapping[str, str]) -> list[tuple[str, _Running]]:
    """Pass on what the steps say until some have ended, and give these."""
    while True:
        multiprocessing.connection.wait(
            [waited for one in running.values() for waited in (one.receiver, one.process.sentinel)],
            timeout=SECONDS_BETWEEN_TICKS,
        )
        # Asked before its pipe is emptied, so that nothing comes afterwards.
        gone = {step for step, one in running.items() if not one.process.is_alive()}
        for step, one in running.items():
            _receive(one, labels[step])
        report_progress(Tick())
        ended = [(step, one) for step, one in running.items() if one.outcome is not None or step in gone]
        if ended:
            return ended


def _receive(one: _Running, label: str) -> None:
    # A process that was killed may have left half a message.
    with contextlib.suppress(EOFError, OSError, pickle.UnpicklingError):
        while one.outcome is None and one.receiver.poll():
            message = one.receiver.recv()
            if isinstance(message, _Outcome):
                one.outcome = message
            else:
                pass_on(message, label)


def _read_outcome(ended: _Running) -> _Outcome:
    ended.receiver.close()
    ended.process.join()
    if ended.outcome is not None:
        return ended.outcome
    code = ended.process.exitcode or 0
    how = f"was killed by signal {-code}" if code < 0 else f"ended with exit status {code}"
    hint = " The machine may have run out of memory." if code == -signal.SIGKILL else ""
    return _Outcome(0, (StepError, f"its process {how}.{hint}"))


def _raise_error(step: str, outcome: _Outcome) -> None:
    if outcome.error is not None:
        kind, message = outcome.error
        raise kind(f"{step} failed: {message}" if kind is StepError else f"{step}: {message}")


def _describe_end(outcome: _Outcome, seconds: float) -> str:
    if outcome.is_reused:
        return f"is reused: an earlier run did the same ({seconds:.1f} s)"
    return f"took {seconds:.1f} s, peak memory {outcome.peak_bytes / 1e9:.2f} GB"
