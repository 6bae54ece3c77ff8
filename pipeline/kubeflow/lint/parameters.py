"""Checks the parameters of a compiled pipeline: their types, their values and where values come from."""

import math
from dataclasses import dataclass
from typing import Any, Final

from pipeline.kubeflow.lint.expressions import ExpressionLinter
from pipeline.kubeflow.lint.finding import Finding, show, suggest
from pipeline.kubeflow.lint.messages import MessageLinter, Messages, Scope
from pipeline.kubeflow.lint.producers import ProducerLinter

LARGEST_EXACT_INTEGER: Final = 2**53
_NUMBERS: Final = frozenset({"NUMBER_DOUBLE", "NUMBER_INTEGER"})
_STRUCTS: Final = frozenset({"STRUCT", "TASK_FINAL_STATUS", "TASK_CONFIG"})
# Types that take a value of any type: the driver makes text of it, or does not read it.
_ANYTHING: Final = frozenset({"", "STRING", "TASK_CONFIG"})
# The field of google.protobuf.Value that holds a value of each type.
_FIELDS: Final = {
    "NUMBER_DOUBLE": "number_value", "NUMBER_INTEGER": "number_value", "STRING": "string_value",
    "BOOLEAN": "bool_value", "LIST": "list_value", "STRUCT": "struct_value",
}  # fmt: skip

# The other way round; a number is of one type as good as of the other.
_TYPES: Final = {field: name for name, field in _FIELDS.items()}


@dataclass(frozen=True)
class Target:
    """What takes a value."""

    types: frozenset[str]
    """The types that it takes; none for one that takes all."""
    type_name: str = ""
    """The type of the parameter that it is; nothing if it is none, or of no known type."""
    description: str = ""
    is_optional: bool = False
    must_have_text: bool = False


def make_target(parameter_type: int, *, is_optional: bool) -> Target:
    """Say what an input of a component takes.

    Args:
        parameter_type: The number of its type, 0 if that is not known.
        is_optional: Whether it may be null.
    """
    name = name_type(parameter_type)
    if name in _ANYTHING:
        return Target(frozenset(), name, is_optional=is_optional)
    same = next((types for types in (_NUMBERS, _STRUCTS) if name in types), frozenset({name}))
    return Target(same, name, f"a value of type {name}", is_optional)


def name_type(parameter_type: int) -> str:
    """Name a type by its number; nothing for none."""
    from kfp.pipeline_spec import pipeline_spec_pb2

    names = pipeline_spec_pb2.ParameterType.ParameterTypeEnum
    return names.Name(parameter_type) if parameter_type else ""


class ParameterLinter(MessageLinter):
    """Checks definitions of parameters, and the values that they are given."""

    def __init__(self, findings: list[Finding], messages: Messages) -> None:
        super().__init__(findings, messages)
        self._producers = ProducerLinter(findings, messages)
        self._expressions = ExpressionLinter(findings)

    def check_input_definition(self, path: str, parameter: Any) -> None:
        """Check an input of a component."""
        if not parameter.parameter_type:
            self.add(
                path,
                "no parameterType ('has unspecified type'); the run is refused, or the task fails",
                "Write its parameterType, such as STRING (`type` is schema 2.0)",
            )
        elif parameter.HasField("default_value"):
            self.check_value(f"{path}.defaultValue", parameter.default_value, parameter.parameter_type)

    def check_output_definition(self, path: str, parameter: Any) -> None:
        """Check an output of a component."""
        if not parameter.parameter_type:
            self.add(
                path,
                "no parameterType; the task fails after its work is done ('unknown type')",
                "Write its parameterType, such as STRING (`type` is schema 2.0)",
            )

    def check_run_parameter(self, path: str, parameter: Any) -> None:
        """Check a parameter of the run."""
        if not parameter.HasField("default_value") and not parameter.is_optional:
            self.add(
                path,
                "no defaultValue; a run that does not set it is refused ('is not optional, yet has neither"
                " default value nor user provided value')",
                "Write its default",
            )

    def check_value(self, path: str, value: Any, parameter_type: int) -> None:
        """Check a value that stands in the pipeline against its type."""
        kind, name = value.WhichOneof("kind"), name_type(parameter_type)
        expected = _FIELDS.get(name)
        if kind is None or kind == "null_value":
            self.add(
                path, "the value is null; the task fails ('got null for input parameter')", "Write a value"
            )
        elif expected is not None and kind != expected:
            self.add(
                path,
                f"expected a value of type {name}. Received: {show(_plain(value))}; KFP turns it into text,"
                " or the task fails ('type mismatch')",
                "Correct the value or the parameterType",
            )
        elif name == "NUMBER_INTEGER":
            self._check_integer(path, value.number_value)

    def _check_integer(self, path: str, number: float) -> None:
        if number != math.floor(number):
            self.add(path, f"expected a whole number. Received: {number}", "Correct the value")
        elif abs(number) >= LARGEST_EXACT_INTEGER:
            self.add(
                path,
                "KFP passes every number as a double, which does not hold an integer of this size exactly",
                "Make it a text",
            )

    def check_source(self, path: str, value: Any, target: Target, scope: Scope) -> None:
        """Check what an input is given.

        Args:
            path: Where that stands.
            value: The InputParameterSpec.
            target: What takes the value.
            scope: The component in which the value is looked up.
        """
        kind = value.WhichOneof("kind")
        if kind is None:
            self.add(path, "no value is given; the task fails when it starts", "Write runtimeValue.constant")
        elif kind == "component_input_parameter":
            self.check_component_input(
                f"{path}.componentInputParameter",
                value.component_input_parameter,
                _select(value, target),
                scope,
            )
        elif kind == "task_output_parameter":
            self.check_task_output(
                f"{path}.taskOutputParameter", value.task_output_parameter, _select(value, target), scope
            )
        elif kind == "runtime_value":
            self._check_runtime_value(f"{path}.runtimeValue", value.runtime_value, _select(value, target))
        if value.parameter_expression_selector:
            self._expressions.check_syntax(
                f"{path}.parameterExpressionSelector", value.parameter_expression_selector
            )

    def find_type(self, value: Any, scope: Scope) -> str:
        """Name the type of what an input is given; nothing if it is not known."""
        kind = value.WhichOneof("kind")
        definition: Any = None
        if value.parameter_expression_selector:
            return ""
        if kind == "runtime_value":
            return _TYPES.get(value.runtime_value.constant.WhichOneof("kind"), "")
        if kind == "component_input_parameter":
            definition = scope.component.input_definitions.parameters.get(value.component_input_parameter)
        return name_type(definition.parameter_type) if definition is not None else ""

    def check_component_input(self, path: str, source: str, target: Target, scope: Scope) -> None:
        """Check a value that comes from an input of the component around."""
        parameters = scope.component.input_definitions.parameters
        if source not in parameters:
            self.add(
                path,
                f"there is no run parameter {source!r}; the task fails when it starts",
                suggest(source, parameters, "the parameters are"),
            )
            return
        definition = parameters[source]
        self._compare(path, source, definition.parameter_type, target)
        if scope.is_root:
            self._check_unset(path, source, definition, target)

    def _check_unset(self, path: str, source: str, definition: Any, target: Target) -> None:
        """Check what a run gives that does not set a parameter."""
        if not definition.HasField("default_value"):
            if definition.is_optional and not target.is_optional:
                self.add(
                    path,
                    f"{source!r} is null in a run that does not set it, and what it is given to is not"
                    " optional; the task fails when it starts ('resolved input parameter is null')",
                    f"Write a defaultValue for {source!r}",
                )
        elif (
            target.must_have_text
            and definition.default_value.HasField("string_value")
            and not definition.default_value.string_value
        ):
            self.add(
                path,
                f"{source!r} is empty in a run that does not set it; the task fails when it starts"
                " ('Expected a non-empty string')",
                f"Write a defaultValue for {source!r}",
            )

    def check_task_output(self, path: str, source: Any, target: Target, scope: Scope) -> None:
        """Check a value that comes from another task."""
        key = source.output_parameter_key
        definition = self._producers.check(path, source.producer_task, "parameters", key, scope)
        # A loop gathers the outputs of its iterations in a list.
        if (
            definition is not None
            and scope.component.dag.tasks[source.producer_task].WhichOneof("iterator") is None
        ):
            self._compare(path, key, definition.parameter_type, target)

    def _compare(self, path: str, source: str, parameter_type: int, target: Target) -> None:
        name = name_type(parameter_type)
        if name and target.types and name not in target.types:
            self.add(
                path,
                f"expected {target.description}. Received: {source!r}, which is of type"
                f" {name}; the task fails when it starts ('type mismatch')",
                "Make the two types the same",
            )

    def _check_runtime_value(self, path: str, value: Any, target: Target) -> None:
        if value.WhichOneof("value") != "constant":
            self.add(
                path,
                "expected `constant`; the driver has no other kind ('param runtime value spec ... not"
                " implemented') and the task fails",
                "Compile with use_pipeline_spec_2_1=True",
            )
        elif target.must_have_text:
            self._check_kind(f"{path}.constant", value.constant, target, bool(value.constant.string_value))
        elif target.type_name in _FIELDS:
            self._check_constant(f"{path}.constant", value.constant, target.type_name)
        elif target.types:
            kinds = {_FIELDS[name] for name in target.types if name in _FIELDS}
            self._check_kind(
                f"{path}.constant", value.constant, target, value.constant.WhichOneof("kind") in kinds
            )

    def _check_constant(self, path: str, value: Any, type_name: str) -> None:
        from kfp.pipeline_spec import pipeline_spec_pb2

        self.check_value(path, value, pipeline_spec_pb2.ParameterType.ParameterTypeEnum.Value(type_name))

    def _check_kind(self, path: str, value: Any, target: Target, fits: bool) -> None:
        if not fits:
            self.add(
                path,
                f"expected {target.description}. Received: {show(_plain(value))}; the task fails when it"
                " starts, or KFP ignores it",
                "Correct the value",
            )


def _select(value: Any, target: Target) -> Target:
    """Let a target take everything where an expression makes another value of what comes."""
    if value.parameter_expression_selector:
        return Target(frozenset(), is_optional=target.is_optional)
    return target


def _plain(value: Any) -> Any:
    from google.protobuf import json_format

    return json_format.MessageToDict(value)
