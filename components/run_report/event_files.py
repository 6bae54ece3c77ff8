"""Scalars out of TensorBoard's event files, without TensorFlow."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Final

import numpy as np
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError

from components.tfrecords import walk_records
from schemas.errors import DataError

_FLOAT: Final = 1

_Type = descriptor_pb2.FieldDescriptorProto
# What is read of tensorflow/core/util/event.proto, summary.proto and tensor.proto: name, number, kind.
_MESSAGES: Final[Mapping[str, tuple[tuple[str, int, Any], ...]]] = {
    "Tensor": (
        ("dtype", 1, _Type.TYPE_INT32),
        ("tensor_content", 4, _Type.TYPE_BYTES),
        ("float_val", 5, "repeated float"),
    ),
    "Value": (
        ("tag", 1, _Type.TYPE_STRING),
        ("simple_value", 2, _Type.TYPE_FLOAT),
        ("tensor", 8, "Tensor"),
    ),
    "Summary": (("value", 1, "repeated Value"),),
    "Event": (("step", 2, _Type.TYPE_INT64), ("summary", 5, "Summary")),
}


@dataclass
class ScalarSeries:
    """One scalar by step."""

    steps: list[int] = field(default_factory=list)
    """The steps in the order of the file."""
    values: list[float] = field(default_factory=list)
    """The value after each."""


def read_scalars(folder: Path) -> dict[str, ScalarSeries]:
    """Read every scalar of the event files directly in a folder.

    Args:
        folder: TensorBoard's folder of one training; it need not exist.

    Returns:
        The scalars by their tags. Of a step that was written twice, as by a training that was killed and went
        on from a checkpoint, the later value counts.

    Raises:
        DataError: A file holds something else.
    """
    newest: dict[str, dict[int, float]] = {}
    for file in sorted(folder.glob("events.out.tfevents.*")):
        for record in _read_records(file):
            try:
                event = _event_class().FromString(record)
            except DecodeError as error:
                raise DataError(f"Expected TensorBoard's events in {file}. Received: {error}.") from error
            for value in event.summary.value:
                number = _to_scalar(value)
                if number is not None:
                    newest.setdefault(value.tag, {})[event.step] = number
    return {
        tag: ScalarSeries(sorted(by_step), [by_step[step] for step in sorted(by_step)])
        for tag, by_step in newest.items()
    }


def _read_records(file: Path) -> Iterator[bytes]:
    # A training that was killed can leave half a record, which is no record.
    for number, record in enumerate(walk_records(file.read_bytes()), start=1):
        if record.content is None or not record.is_good:
            raise DataError(f"Expected TFRecords in {file}. Received: record {number} is damaged.")
        yield record.content


def _to_scalar(value: Any) -> float | None:
    if value.HasField("tensor"):
        tensor = value.tensor
        if tensor.dtype != _FLOAT:
            return None
        numbers = tensor.float_val or np.frombuffer(tensor.tensor_content, "<f4")
        return float(numbers[0]) if len(numbers) == 1 else None
    return float(value.simple_value) if value.HasField("simple_value") else None


@cache
def _event_class() -> Any:
    package = "dssm.events"
    file = descriptor_pb2.FileDescriptorProto(name="dssm_events.proto", package=package, syntax="proto2")
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for field_name, number, kind in fields:
            added = message.field.add(name=field_name, number=number, label=_Type.LABEL_OPTIONAL)
            if isinstance(kind, str):
                repeats, _, of = kind.rpartition(" ")
                added.label = _Type.LABEL_REPEATED if repeats else _Type.LABEL_OPTIONAL
                added.type = _Type.TYPE_FLOAT if of == "float" else _Type.TYPE_MESSAGE
                if of == "float":
                    added.options.packed = True
                else:
                    added.type_name = f".{package}.{of}"
            else:
                added.type = kind
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{package}.Event"))
