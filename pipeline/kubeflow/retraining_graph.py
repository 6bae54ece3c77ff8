"""The graph of a retraining: a run of the pipeline, with what `dssm retrain` does around one.

    RetrainingPlan ── if there is something new: the run
                                                  └─ if warm and cold are compared: the run once more, cold
    RetrainingEnd, after all of that, however it ended

KFP's own compiler puts it together, from the compiled run as one task.
"""

import inspect
from collections.abc import Mapping
from typing import Any, Final

from google.protobuf import json_format
from kfp import components, dsl

from pipeline.config import PipelineConfig
from pipeline.kubeflow.graph import list_tasks
from pipeline.kubeflow.retraining_steps import (
    PLANNED,
    YES,
    RetrainingEndExecutor,
    RetrainingPlanExecutor,
    retraining_part,
)
from pipeline.kubeflow.yaml_text import write_documents
from pipeline.parameters import configured_values
from schemas.feature_parts import ingest_part
from schemas.features import FeatureSpec
from schemas.start import COLD
from schemas.strict_config import dump_json, to_short_json

_RUN: Final = "run"
_RUN_COMPONENT: Final = f"comp-{_RUN}"
_INPUTS_SPEC: Final = "--json_serialized_inputs_spec_args"


def wrap_in_retraining(
    run: Mapping[str, Any], config: PipelineConfig, features: FeatureSpec, command: tuple[str, ...]
) -> dict[str, Any]:
    """Put the graph of a retraining around a compiled run.

    Args:
        run: The run's PipelineSpec as plain data.
        config: What `prepare_config` gave.
        features: The features that `config.data.schema` names.
        command: What runs an executor in a container.

    Returns:
        The PipelineSpec of the retraining as plain data, with the run parameters of the run.
    """
    # KFP names a task by it, which a pipeline's name need not be fit for.
    named = {**run, "pipelineInfo": {"name": _RUN}}
    run_task = components.load_component_from_text(write_documents([named]))
    plan_step, end_step = _make_plan_step(config, command), _make_end_step(config, command)
    parameters = configured_values(config)
    can_compare = config.retraining.compare_with_cold and config.training.cold_every is not None
    constants = {
        "settings": to_short_json(retraining_part(config)),
        "tables": to_short_json(ingest_part(features)),
    }

    def retraining(*values: Any) -> None:
        given = dict(zip(parameters, values, strict=True))

        def call(step: Any, name: str) -> dsl.PipelineTask:
            taken = step.component_spec.inputs
            inputs = {key: value for key, value in (constants | given).items() if key in taken}
            return step(**inputs).set_display_name(name)

        with dsl.ExitHandler(call(end_step, "RetrainingEnd"), name="retraining"):
            plan = call(plan_step, "RetrainingPlan")
            planned = given | {name: plan.outputs[output] for name, output in PLANNED.items()}
            with dsl.If(plan.outputs["is_due"] == YES, name="if there is something new"):
                first = run_task(**planned)
                if can_compare:
                    with dsl.If(plan.outputs["compares"] == YES, name="if warm and cold are compared"):
                        run_task(**planned | {"start": COLD}).after(first)

    # KFP reads the run parameters from a function's signature.
    retraining.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [
            inspect.Parameter(
                name, inspect.Parameter.POSITIONAL_OR_KEYWORD, default=value, annotation=type(value)
            )
            for name, value in parameters.items()
        ]
    )
    compiled = dsl.pipeline(name=config.run.name)(retraining)
    spec: dict[str, Any] = json_format.MessageToDict(compiled.pipeline_spec)
    _share_run(spec)
    _declare_inputs(spec)
    return spec


def _make_plan_step(config: PipelineConfig, command: tuple[str, ...]) -> Any:
    @dsl.container_component
    def RetrainingPlan(  # noqa: N802 (the step's name)
        settings: str,
        tables: str,
        data_directory: str,
        serving_directory: str,
        window_from: str,
        window_to: str,
        window_last_days: int,
        start: str,
        plan: dsl.Output[dsl.Markdown],
        is_due: dsl.OutputPath(str),  # type: ignore[valid-type]
        compares: dsl.OutputPath(str),  # type: ignore[valid-type]
        planned_from: dsl.OutputPath(str),  # type: ignore[valid-type]
        planned_to: dsl.OutputPath(str),  # type: ignore[valid-type]
        planned_last_days: dsl.OutputPath(int),  # type: ignore[valid-type]
        planned_start: dsl.OutputPath(str),  # type: ignore[valid-type]
    ) -> dsl.ContainerSpec:
        return _build_container(config, "RetrainingPlan", RetrainingPlanExecutor, command)

    return RetrainingPlan


def _make_end_step(config: PipelineConfig, command: tuple[str, ...]) -> Any:
    @dsl.container_component
    def RetrainingEnd(  # noqa: N802 (the step's name)
        settings: str,
        serving_directory: str,
        checkpoint_directory: str,
    ) -> dsl.ContainerSpec:
        return _build_container(config, "RetrainingEnd", RetrainingEndExecutor, command)

    return RetrainingEnd


def _build_container(
    config: PipelineConfig, step: str, executor: type, command: tuple[str, ...]
) -> dsl.ContainerSpec:
    path = f"{executor.__module__}.{executor.__qualname__}"
    return dsl.ContainerSpec(
        image=config.kubeflow.step(step).image,
        command=list(command),
        args=["--executor_class_path", path, "--json_serialized_invocation_args", "{{$}}"],
    )


def _share_run(spec: dict[str, Any]) -> None:
    """Let all tasks that run the run refer to one component: KFP copies a nested graph for each of them."""
    components = spec["components"]
    runs = [task for task in list_tasks(spec) if task.spec["componentRef"]["name"].startswith(_RUN_COMPONENT)]
    for task in runs:
        task.spec["componentRef"]["name"] = _RUN_COMPONENT
    used, seen = ["root"], set()
    while used:
        name = used.pop()
        seen.add(name)
        dag = (spec["root"] if name == "root" else components[name]).get("dag", {"tasks": {}})
        used += [task["componentRef"]["name"] for task in dag["tasks"].values()]
    spec["components"] = {name: body for name, body in components.items() if name in seen}
    labels = {body.get("executorLabel") for body in spec["components"].values()}
    executors = spec["deploymentSpec"]["executors"]
    spec["deploymentSpec"]["executors"] = {
        label: body for label, body in executors.items() if label in labels
    }


def _declare_inputs(spec: dict[str, Any]) -> None:
    """Tell the containers of a retraining the types of their inputs, as TFX tells those of a run."""
    for component in spec["components"].values():
        label = component.get("executorLabel")
        if label is not None:
            arguments = spec["deploymentSpec"]["executors"][label]["container"]["args"]
            if _INPUTS_SPEC not in arguments:
                arguments += [_INPUTS_SPEC, dump_json(component["inputDefinitions"])]
