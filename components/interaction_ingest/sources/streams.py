"""Files read from start to end, decompressed and in UTF-8, up to where they are damaged."""

import codecs
import io
import itertools
import re
import zlib
from collections.abc import Callable, Iterable, Iterator
from types import TracebackType
from typing import Final, Self

import pyarrow as pa

from schemas import storage
from schemas.errors import StorageError

CHUNK_BYTES: Final = 1 << 20
"""Size of a piece of a file, decompressed."""

SLICE_BYTES: Final = 1 << 14
"""Size of what a decompressor is given at once: damage in it costs the whole of it."""

# A frame of zstd that is damaged takes with it what was asked for at once.
_ZSTD_BYTES = 1 << 16
_GZIP_MAGIC = b"\x1f\x8b"
_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
_NETWORK = re.compile(r"AWS Error|HTTP|NETWORK|UNAVAILABLE|curl|google|[Tt]imeout|timed out")
# What tells that something is wrong, but not where: a checksum, or an end that comes too soon.
_NOWHERE = re.compile(r"incorrect (data|length) check|checksum|[Tt]runcated|ends in the middle")


class SourceStream:
    """The decompressed content of a file, whole lines only where asked for.

    What cannot be read ends the stream, and `failure` then says why.
    """

    def __init__(self, location: str, whole_lines: bool, encoding: str | None = None) -> None:
        """Open a file; whether it is gzip, zstd or plain is seen from its first bytes.

        Args:
            location: A path or URI.
            whole_lines: Whether each chunk ends with a line break, but for the last one of a whole file.
            encoding: That of a text file, unless a byte-order mark says UTF-16: its content is given in
                UTF-8, what is none of the encoding as bytes that are none of UTF-8. None: as it is.

        Raises:
            StorageError: It cannot be opened.
        """
        self.failure = ""
        """Why the file could not be read to its end; '' where it was."""
        self.trusted_bytes = 0
        """Bytes of the file, as it is stored, before the damage; 0 where nothing tells how much is damaged or
        missing, as in a file that is cut off. Set with `failure`."""
        self.partial = b""
        """The start of the line at which the reading stopped."""
        self._location = location
        self._stored = storage.open_stream(location)
        self._slice_start = 0
        self._position = 0
        self._whole_lines = whole_lines
        self._encoding = encoding

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stored.close()

    def chunks(self) -> Iterator[bytes]:
        """Read on to the end.

        Yields:
            The decompressed content.

        Raises:
            StorageError: The store cannot be reached any more.
        """
        parts: list[bytes] = []
        waiting_bytes = 0
        try:
            for content in self._recoded():
                parts.append(content)
                waiting_bytes += len(content)
                if waiting_bytes < CHUNK_BYTES:
                    continue
                chunk = b"".join(parts)
                cut = chunk.rfind(b"\n") + 1 if self._whole_lines else len(chunk)
                if cut:
                    yield chunk[:cut]
                # Counted anew also without a cut, or a long line would be looked through at every slice.
                parts, waiting_bytes = [chunk[cut:]], 0
        except (OSError, EOFError, zlib.error, pa.ArrowException) as error:
            if storage.is_remote(self._location) and _NETWORK.search(str(error)):
                raise StorageError(f"Cannot read {self._location}: {error}") from error
            self.failure = str(error) or type(error).__name__
            self.trusted_bytes = 0 if _NOWHERE.search(self.failure) else self._slice_start
        rest = b"".join(parts)
        cut = rest.rfind(b"\n") + 1 if self.failure and self._whole_lines else len(rest)
        self.partial = rest[cut:]
        if cut:
            yield rest[:cut]

    def stored_position(self) -> int:
        """Tell how far the reading has come.

        Returns:
            Bytes of the file as it is stored.
        """
        return self._position

    def _read_stored(self, size: int) -> bytes:
        self._slice_start = self._position
        content = bytes(self._stored.read(size))
        self._position += len(content)
        return content

    def _recoded(self) -> Iterator[bytes]:
        contents = self._decompressed()
        first = next(contents, b"")
        whole = itertools.chain([first], contents)
        if self._encoding is None:
            return whole
        has_mark = first[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
        name = codecs.lookup("utf-16" if has_mark else self._encoding).name
        return whole if name == "utf-8" else _to_utf8(whole, name)

    def _decompressed(self) -> Iterator[bytes]:
        first = self._read_stored(SLICE_BYTES)
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
                stored = (stored or self._read_stored(SLICE_BYTES)).lstrip(b"\0")
                if stored:
                    member = zlib.decompressobj(wbits=31)
            elif not stored:
                stored = self._read_stored(SLICE_BYTES)
        if not member.eof:
            raise EOFError("the file ends in the middle of its compressed content")


def _to_utf8(contents: Iterable[bytes], encoding: str) -> Iterator[bytes]:
    # What is no character becomes a surrogate, and that no character of UTF-8 either.
    errors = "surrogatepass" if encoding.startswith("utf") else "surrogateescape"
    decoder = codecs.getincrementaldecoder(encoding)(errors)
    for content in contents:
        yield decoder.decode(content).encode("utf-8", errors)
    try:
        yield decoder.decode(b"", final=True).encode("utf-8", errors)
    except UnicodeDecodeError as error:
        yield error.object


class _Rejoined(io.RawIOBase):
    """What was read of a stream already, and the rest, a slice at a time."""

    def __init__(self, first: bytes, rest: Callable[[int], bytes]) -> None:
        super().__init__()
        self._first = first
        self._rest = rest

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        if not self._first:
            return self._rest(min(size, SLICE_BYTES) if size >= 0 else SLICE_BYTES)
        taken = self._first[:size] if size >= 0 else self._first
        self._first = self._first[len(taken) :]
        return taken
