"""Records cut out of bytes as they are, cut off and damaged."""

import pytest
from fixtures.tfrecords import frame

from components.tfrecords import FramedRecord, walk_records

pytestmark = pytest.mark.unit

# A frame is 16 bytes longer than its record: the length, 4 bytes of its checksum, and 4 of the record's.
CONTENT = frame(b"ab") + frame(b"") + frame(b"cde")
WHOLE = [FramedRecord(b"ab", True, 18), FramedRecord(b"", True, 34), FramedRecord(b"cde", True, 53)]


def test_whole_records_are_found_in_their_order() -> None:
    assert list(walk_records(CONTENT)) == WHOLE
    assert list(walk_records(b"")) == []


@pytest.mark.parametrize("length", [52, 47, 35])
def test_record_that_is_cut_off_is_none(length: int) -> None:
    assert list(walk_records(CONTENT[:length])) == WHOLE[:2]


def test_damaged_content_is_told() -> None:
    damaged = CONTENT.replace(b"ab", b"xb")
    assert list(walk_records(damaged)) == [FramedRecord(b"xb", False, 18), *WHOLE[1:]]


@pytest.mark.parametrize("place", [18, 26])
def test_nothing_follows_a_damaged_length(place: int) -> None:
    damaged = bytearray(CONTENT)
    damaged[place] ^= 1
    assert list(walk_records(bytes(damaged))) == [WHOLE[0], FramedRecord(None, False, 18)]
