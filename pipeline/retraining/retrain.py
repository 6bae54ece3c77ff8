"""One retraining from beginning to end: plan, train, evaluate, release, clean up, tell."""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Literal

from pipeline.comparison import Comparison, compare_evaluations
from pipeline.config import PipelineConfig
from pipeline.evaluations import read_evaluation
from pipeline.retraining.clean_up import clean_up
from pipeline.retraining.drift import describe_comparison
from pipeline.retraining.lock import hold_run_lock
from pipeline.retraining.notify import Event, find_event_kind, notify
from pipeline.retraining.plan import Plan, Training, make_plan
from pipeline.retraining.plan_text import render_plan
from pipeline.retraining.record import read_pipeline_runs
from pipeline.runs import Status
from schemas.errors import DssmError
from schemas.features import FeatureSpec
from schemas.start import WARM

if TYPE_CHECKING:
    from pipeline.local import RunResult

Outcome = Literal["released", "refused", "nothing new"]
"""How a retraining ended that did not fail."""


def retrain(
    config: PipelineConfig,
    features: FeatureSpec,
    *,
    resume: bool,
    run: Callable[[PipelineConfig], "RunResult"],
    say: Callable[[str], None],
) -> Outcome:
    """Do what the plan says, delete what is no longer kept, and tell who wants to know.

    Args:
        config: The checked configuration.
        features: The features that `config.data.schema` names.
        resume: Whether the last run, which failed, is taken up again with its own days.
        run: Runs the pipeline once.
        say: Shows a person a text.

    Returns:
        How it ended.

    Raises:
        BusyError: Another process is at work in the run directory or the serving directory. Nobody is told:
            that one goes on.
        DssmError: As `make_plan` and `run` say. It is told before it is raised.
    """
    with hold_run_lock(config.run.directory, config.serving.directory):
        try:
            runs = read_pipeline_runs(Path(config.run.directory), config.run.name)
            # None goes on under this lock: what seems to was killed.
            earlier: list[Status] = ["interrupted" if one.status == "running" else one.status for one in runs]
            plan = make_plan(config, features, runs, resume=resume)
            say(render_plan(plan))
            if not plan.trainings:
                return "nothing new"
            results = [run(apply_training(config, plan, training)) for training in plan.trainings]
        except Exception as error:
            _tell_failure(config, error)
            raise
    comparison = _compare(config, results, say)
    releases = [result.release for result in results if result.release is not None]
    notify(
        config.retraining.notify,
        describe_end(config.run.name, results, comparison, earlier),
    )
    # Without the lock, which would count as a run that goes on.
    clean_up(config, say)
    return "released" if releases else "refused"


def apply_training(config: PipelineConfig, plan: Plan, training: Training) -> PipelineConfig:
    """Give the configuration of one training of a plan.

    Args:
        config: The configuration.
        plan: The plan.
        training: One of its trainings.

    Returns:
        The configuration with the plan's window and the training's start.
    """
    return dataclasses.replace(
        config,
        ingest=dataclasses.replace(config.ingest, window=plan.window),
        # The plan has counted already.
        training=dataclasses.replace(config.training, warm_start=training.start == WARM, cold_every=None),
    )


def describe_end(
    pipeline: str,
    results: "Sequence[RunResult]",
    comparison: Comparison | None,
    earlier: Sequence[Status],
) -> Event:
    """Say what is to be told of runs that came to their end.

    Args:
        pipeline: The name of the pipeline.
        results: The runs of one retraining, in their order.
        comparison: A warm and a cold model of the same day; None where one was trained alone.
        earlier: How the runs before these ended, the newest first.

    Returns:
        The event: `released`, `recovery` after trouble, or `refused` where nothing was released.
    """
    released = [result for result in results if result.release is not None]
    last = (released or results)[-1]
    kind = find_event_kind("released" if released else "not blessed", earlier)
    assert kind is not None
    body = str(last.evaluation_report["gate"]["sentence"])
    if comparison is not None:
        body = f"{body}\n{describe_comparison(comparison)}"
    return Event(
        kind=kind,
        pipeline=pipeline,
        body=body,
        run_id=last.run_id,
        release=None if last.release is None else int(PurePosixPath(last.release).name),
    )


def _compare(
    config: PipelineConfig, results: "list[RunResult]", say: Callable[[str], None]
) -> Comparison | None:
    if len(results) < 2:
        return None
    try:
        warm, cold = (
            read_evaluation(result.run_id, Path(config.run.directory), config.serving.directory)
            for result in results
        )
        comparison = compare_evaluations(warm, cold)
    except DssmError as error:
        # What the two have released stands.
        say(f"Warning: the warm and the cold model are not compared: {error}")
        return None
    say(describe_comparison(comparison))
    return comparison


def _tell_failure(config: PipelineConfig, error: Exception) -> None:
    reason = str(error) if isinstance(error, DssmError) else f"{type(error).__name__}: {error}"
    notify(config.retraining.notify, Event(kind="failure", pipeline=config.run.name, body=reason))
