import struct

import pytest
from fixtures.tfrecords import frame

from components.run_report.event_files import read_scalars
from schemas.errors import DataError

pytestmark = pytest.mark.unit


def varint(number: int) -> bytes:
    parts = []
    while number > 127:
        parts.append(number & 127 | 128)
        number >>= 7
    return bytes([*parts, number])


def nested(number: int, content: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(content)) + content


def event(step: int, tag: str, value: float, kind: str = "content") -> bytes:
    packed = struct.pack("<f", value)
    # Fields: event 1 wall_time, 2 step, 5 summary; summary 1 value; value 1 tag, 2 simple_value, 8 tensor;
    # tensor 1 dtype (1 is float), 4 tensor_content, 5 float_val.
    content = {
        "content": nested(8, b"\x08\x01" + nested(4, packed)),
        "float_val": nested(8, b"\x08\x01" + nested(5, packed)),
        "simple": b"\x15" + packed,
        "text": nested(8, b"\x08\x07" + nested(8, b"words")),
    }[kind]
    value_message = nested(1, tag.encode()) + content
    return b"\x09" + struct.pack("<d", 1.5) + b"\x10" + varint(step) + nested(5, nested(1, value_message))


def test_every_way_of_writing_a_scalar(tmp_path) -> None:
    records = [
        frame(b"\x09" + struct.pack("<d", 1.0) + nested(3, b"brain.Event:2")),
        frame(event(300, "loss", 4.5)),
        frame(event(600, "loss", 4.25, "float_val")),
        frame(event(600, "recall", 0.5, "simple")),
        frame(event(600, "note", 0.0, "text")),
    ]
    (tmp_path / "events.out.tfevents.1.host.v2").write_bytes(b"".join(records))
    scalars = read_scalars(tmp_path)
    assert set(scalars) == {"loss", "recall"}
    assert (scalars["loss"].steps, scalars["loss"].values) == ([300, 600], [4.5, 4.25])


def test_a_resumed_training_overwrites_its_steps_and_half_a_record_is_none(tmp_path) -> None:
    first = b"".join(frame(event(step, "loss", value)) for step, value in ((10, 3.0), (20, 2.0)))
    (tmp_path / "events.out.tfevents.1.host.v2").write_bytes(first + frame(event(30, "loss", 1.0))[:-6])
    (tmp_path / "events.out.tfevents.2.host.v2").write_bytes(frame(event(20, "loss", 2.5)))
    loss = read_scalars(tmp_path)["loss"]
    assert (loss.steps, loss.values) == ([10, 20], [3.0, 2.5])


def test_no_folder_is_no_logs(tmp_path) -> None:
    assert read_scalars(tmp_path / "refit") == {}


@pytest.mark.parametrize(
    "content", [b"no records, but longer than a head", frame(b"\xff\xff\xff"), frame(b"\x10\x01")[:-1] + b"?"]
)
def test_another_file_is_refused(tmp_path, content: bytes) -> None:
    (tmp_path / "events.out.tfevents.1").write_bytes(content)
    with pytest.raises(DataError, match=r"Expected T\w+.* in .*tfevents\.1"):
        read_scalars(tmp_path)
