"""Files read from start to end, decompressed, up to where they are damaged."""

import io
import re
import zlib
from collections.abc import Callable, Iterator
from typing import Final

import pyarrow as pa

from schemas import storage
from schemas.errors import StorageError

CHUNK_BYTES: Final = 1 << 20
"""Size of a piece of a file, stored and decompressed."""

# A frame of zstd that is damaged takes with it what was asked for at once.
_ZSTD_BYTES = 1 << 16
_GZIP_MAGIC = b"\x1f\x8b"
_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
_NETWORK = re.compile(r"AWS Error|HTTP|NETWORK|UNAVAILABLE|curl|google|[Tt]imeout|timed out")


class SourceStream(io.RawIOBase):
    """The decompressed content of a file, whole lines only where asked for.

    What cannot be read ends the stream, and `failure` then says why.
    """

    def __init__(self, location: str, whole_lines: bool) -> None:
        """Open a file; whether it is gzip, zstd or plain is seen from its first bytes.

        Args:
            location: A path or URI.
            whole_lines: Whether each chunk ends with a line break, but for the last one of a whole file.

        Raises:
            StorageError: It cannot be opened.
        """
        super().__init__()
        self.failure = ""
        """Why the file could not be read to its end; '' where it was."""
        self.partial = b""
        """The start of the line at which the reading stopped."""
        self.is_compressed = False
        """Whether it is gzip or zstd; known after the first chunk."""
        self._location = location
        self._stored = storage.open_stream(location)
        self._position = 0
        self._whole_lines = whole_lines
        self._chunks = self.chunks()
        self._left = memoryview(b"")

    def chunks(self) -> Iterator[bytes]:
        """Read on to the end.

        Yields:
            The decompressed content.

        Raises:
            StorageError: The store cannot be reached any more.
        """
        parts: list[bytes] = []
        try:
            for chunk in self._decompressed():
                cut = chunk.rfind(b"\n") + 1 if self._whole_lines else len(chunk)
                if not cut:
                    parts.append(chunk)
                    continue
                yield b"".join([*parts, chunk[:cut]])
                parts = [chunk[cut:]] if cut < len(chunk) else []
        except (OSError, EOFError, zlib.error, pa.ArrowException) as error:
            if storage.is_remote(self._location) and _NETWORK.search(str(error)):
                raise StorageError(f"Cannot read {self._location}: {error}") from error
            self.failure = str(error) or type(error).__name__
            self.partial = b"".join(parts)
            return
        if parts:
            yield b"".join(parts)

    def stored_position(self) -> int:
        """Tell how far the reading has come.

        Returns:
            Bytes of the file as it is stored.
        """
        return self._position

    def readable(self) -> bool:
        """Tell that this is a stream to read from.

        Returns:
            True.
        """
        return True

    def readinto(self, buffer: "memoryview[int] | bytearray") -> int:  # type: ignore[override]
        """Read on.

        Args:
            buffer: What to fill, [bytes].

        Returns:
            Number of bytes read; 0 at the end.
        """
        if not self._left:
            self._left = memoryview(next(self._chunks, b""))
        count = min(len(buffer), len(self._left))
        buffer[:count] = self._left[:count]
        self._left = self._left[count:]
        return count

    def close(self) -> None:
        """Close the file."""
        if not self.closed:
            self._stored.close()
        super().close()

    def _read_stored(self, size: int) -> bytes:
        content = bytes(self._stored.read(size))
        self._position += len(content)
        return content

    def _decompressed(self) -> Iterator[bytes]:
        first = self._read_stored(CHUNK_BYTES)
        self.is_compressed = first[:2] == _GZIP_MAGIC or first[:4] == _ZSTD_MAGIC
        if first[:2] == _GZIP_MAGIC:
            yield from self._gunzip(first)
        elif first[:4] == _ZSTD_MAGIC:
            joined = pa.PythonFile(_Rejoined(first, self._read_stored), mode="r")
            with pa.CompressedInputStream(joined, "zstd") as stream:
                while chunk := stream.read(_ZSTD_BYTES):
                    yield chunk
        else:
            while first:
                yield first
                first = self._read_stored(CHUNK_BYTES)

    def _gunzip(self, stored: bytes) -> Iterator[bytes]:
        member = zlib.decompressobj(wbits=31)
        while stored:
            content = member.decompress(stored, CHUNK_BYTES)
            if content:
                yield content
            stored = member.unused_data if member.eof else member.unconsumed_tail
            if member.eof:
                # A file can be several such files one after the other, and end with zeros.
                stored = (stored or self._read_stored(CHUNK_BYTES)).lstrip(b"\0")
                if stored:
                    member = zlib.decompressobj(wbits=31)
            elif not stored:
                stored = self._read_stored(CHUNK_BYTES)
        if not member.eof:
            raise EOFError("the file ends in the middle of its compressed content")


class _Rejoined(io.RawIOBase):
    """What was read of a stream already, and the rest."""

    def __init__(self, first: bytes, rest: Callable[[int], bytes]) -> None:
        super().__init__()
        self._first = first
        self._rest = rest

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        if not self._first:
            return self._rest(size if size >= 0 else CHUNK_BYTES)
        taken = self._first[:size] if size >= 0 else self._first
        self._first = self._first[len(taken) :]
        return taken
