import asyncio

import pytest
from starlette.requests import Request

from pipeline.serving.bodies import BodyReader
from pipeline.serving.errors import RequestError
from pipeline.serving.limits import Limits

pytestmark = pytest.mark.unit


def read(*parts, limits=Limits(body_bytes=4, body_seconds=0.05), headers=(), delay=0.0):  # noqa: B008
    messages = [
        {"type": "http.request", "body": part, "more_body": number < len(parts)}
        for number, part in enumerate(parts, 1)
    ]

    async def receive():
        await asyncio.sleep(delay)
        return messages.pop(0) if messages else {"type": "http.disconnect"}

    request = Request({"type": "http", "method": "POST", "headers": list(headers)}, receive)
    reader = BodyReader(limits)
    try:
        return asyncio.run(reader.read(request))
    finally:
        assert reader.held == 0


def test_a_body_in_one_part_or_several():
    assert read(b"") == b""
    assert read(b"abcd", headers=[(b"content-length", b"4")]) == b"abcd"
    assert read(b"ab", b"c") == b"abc"


@pytest.mark.parametrize(
    ("parts", "headers", "delay", "status", "message"),
    [
        ([b"abcde"], [(b"content-length", b"5")], 0, 413, "at most 4 bytes. Received: 5"),
        ([b"abc", b"de"], [], 0, 413, "at most 4 bytes. Received: more"),
        ([b"abc", b"de"], [(b"content-length", b"2")], 0, 413, "Received: more"),
        ([b"a"], [], 1, 408, "within 0.05 seconds. Received: 0 bytes"),
    ],
)
def test_a_body_that_is_too_large_or_too_slow(parts, headers, delay, status, message):
    with pytest.raises(RequestError, match=message) as caught:
        read(*parts, headers=headers, delay=delay)
    assert caught.value.status == status
    assert caught.value.headers == {"Connection": "close"}
