"""The framing of TFRecord files, without TensorFlow: https://www.tensorflow.org/tutorials/load_data/tfrecord."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import google_crc32c

_MASK_DELTA: Final = 0xA282EAD8
_LARGEST_RECORD_BYTES: Final = 1 << 30


@dataclass(frozen=True)
class FramedRecord:
    """One record, or the place at which there is none."""

    content: bytes | None
    """The record; None where its length is damaged, so that nothing tells where the next one begins."""
    is_good: bool
    """Whether the content has its checksum."""
    end: int
    """Byte behind the record; where there is none, the byte at which it should begin."""


def walk_records(content: bytes) -> Iterator[FramedRecord]:
    """Cut uncompressed bytes into records.

    Args:
        content: Bytes of a file from where a record begins; the last one may be cut off.

    Yields:
        The whole records in their order, and in the end the one whose length is damaged, if there is one.
    """
    position = 0
    while position + 12 <= len(content):
        length, checksum = struct.unpack_from("<QI", content, position)
        if length > _LARGEST_RECORD_BYTES or _mask(content[position : position + 8]) != checksum:
            yield FramedRecord(None, False, position)
            return
        end = position + 12 + length + 4
        if end > len(content):
            return
        record = content[position + 12 : end - 4]
        (checksum,) = struct.unpack_from("<I", content, end - 4)
        yield FramedRecord(record, _mask(record) == checksum, end)
        position = end


def _mask(data: bytes) -> int:
    crc = google_crc32c.value(data)
    return ((crc >> 15 | crc << 17) + _MASK_DELTA) & 0xFFFFFFFF
