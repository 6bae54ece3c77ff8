"""Files on this machine and in object stores, by path or URI.

A location is a local path, `file:///folder`, `s3://bucket/folder` or `gs://bucket/folder`. Only source data
and serving locations go through here; TFX moves its own artifacts.

S3 takes its endpoint from AWS_ENDPOINT_URL_S3 or AWS_ENDPOINT_URL (none: AWS itself), its region from
AWS_REGION or AWS_DEFAULT_REGION, and its credentials from where the AWS SDK looks: AWS_ACCESS_KEY_ID and
AWS_SECRET_ACCESS_KEY, ~/.aws, or the machine's or pod's role. Google Cloud Storage takes Application Default
Credentials. None of them is ever read from a URI, where it would end up in logs and pipeline documents.
"""

import contextlib
import datetime
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

import pyarrow as pa
import pyarrow.fs as pafs

from schemas.errors import StorageError

_URI = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://(?P<rest>.*)", re.DOTALL)
_OBJECT_STORES: Final = ("s3", "gs")

# A store that does not answer is given up after at most three attempts of this length.
_CONNECT_TIMEOUT_SECONDS: Final = 5.0
_SILENCE_TIMEOUT_SECONDS: Final = 15.0
_COPIES_AT_ONCE: Final = 8
_STREAM_BUFFER_BYTES: Final = 8 * 2**20
_TEMPORARY_PREFIX: Final = ".tmp-"
_RETRY_LIMIT: Final = datetime.timedelta(seconds=30)

# What pyarrow's messages of S3 and of Google Cloud Storage say, since its exceptions have no other mark.
_NO_BUCKET = re.compile(r"NO_SUCH_BUCKET|NoSuchBucket|Bucket '[^']*' not found")
_REFUSED = re.compile(
    r"ACCESS_DENIED|INVALID_ACCESS_KEY_ID|SIGNATURE_DOES_NOT_MATCH|INVALID_SIGNATURE|EXPIRED_TOKEN|INVALID_TOKEN"
    r"|InvalidToken|ExpiredToken|MISSING_AUTHENTICATION_TOKEN|UNRECOGNIZED_CLIENT|INVALID_CLIENT_TOKEN_ID"
    r"|HTTP status 40[13]|UNAUTHENTICATED|PERMISSION_DENIED|OAuth2 access token"
)
_UNREACHABLE = re.compile(
    r"NETWORK_CONNECTION|REQUEST_TIMEOUT|SERVICE_UNAVAILABLE|UNAVAILABLE|DEADLINE_EXCEEDED"
)


class NotFoundError(StorageError):
    """There is no such file."""


@dataclass(frozen=True)
class FileStatus:
    """What a listing says about a file."""

    size_bytes: int
    """Its size."""
    modified: datetime.datetime
    """When it was last written, by the store's clock; UTC."""


def is_remote(location: str | Path) -> bool:
    """Tell an object store from this machine.

    Args:
        location: A path or URI.

    Returns:
        Whether it is a URI of an object store.

    Raises:
        StorageError: The URI's scheme is unknown, or its bucket is missing.
    """
    return _parse(location)[0] != "file"


def join(location: str | Path, *names: str) -> str:
    """Append names to a location.

    Args:
        location: A path or URI.
        names: Relative paths with forward slashes.

    Returns:
        A URI of an object store, or a local path (also for `file://`).

    Raises:
        StorageError: The URI's scheme is unknown, or its bucket is missing.
    """
    scheme, path = _parse(location)
    if scheme == "file":
        return str(Path(path, *names))
    return f"{scheme}://{'/'.join([path, *names])}"


def find_parent(location: str | Path) -> str:
    """Take the last name off a location.

    Args:
        location: A path or URI.

    Returns:
        The folder it is in; of a bucket, the bucket.

    Raises:
        StorageError: The URI's scheme is unknown, or its bucket is missing.
    """
    scheme, path = _parse(location)
    if scheme == "file":
        return str(Path(path).parent)
    folder, _, name = path.rpartition("/")
    return f"{scheme}://{folder or name}"


def resolve(location: str | Path) -> tuple[pafs.FileSystem, str]:
    """Find the file system of a location.

    Args:
        location: A path or URI.

    Returns:
        The file system, and the path as it takes it (`bucket/key` in an object store). Neither is fit
        for pickling: hand the location on, and resolve it where it is used.

    Raises:
        StorageError: The URI's scheme is unknown, or its bucket is missing or cannot be found.
    """
    scheme, path = _parse(location)
    if scheme == "file":
        return pafs.LocalFileSystem(), path
    with _explaining("open", location):
        if scheme == "gs":
            return pafs.GcsFileSystem(retry_time_limit=_RETRY_LIMIT), path
        endpoint = _s3_endpoint()
        region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
        if not region:
            region = "us-east-1" if endpoint else pafs.resolve_s3_region(path.split("/", maxsplit=1)[0])
        return (
            pafs.S3FileSystem(
                endpoint_override=endpoint,
                region=region,
                connect_timeout=_CONNECT_TIMEOUT_SECONDS,
                request_timeout=_SILENCE_TIMEOUT_SECONDS,
            ),
            path,
        )


def open_input(location: str | Path) -> pa.NativeFile:
    """Open a file for reading at any position.

    Args:
        location: A path or URI.

    Returns:
        The open file; what goes wrong while reading it is an OSError.

    Raises:
        NotFoundError: There is no such file.
        StorageError: It cannot be opened.
    """
    filesystem, path = resolve(location)
    with _explaining("read", location):
        return filesystem.open_input_file(path)


def open_stream(location: str | Path) -> pa.NativeFile:
    """Open a file for reading from its start to its end, in few requests.

    Args:
        location: A path or URI.

    Returns:
        The open file; what goes wrong while reading it is an OSError.

    Raises:
        NotFoundError: There is no such file.
        StorageError: It cannot be opened.
    """
    filesystem, path = resolve(location)
    with _explaining("read", location):
        buffer_size = _STREAM_BUFFER_BYTES if is_remote(location) else None
        return filesystem.open_input_stream(path, compression=None, buffer_size=buffer_size)


def read_bytes(location: str | Path) -> bytes:
    """Read a whole file.

    Args:
        location: A path or URI.

    Returns:
        Its content.

    Raises:
        NotFoundError: There is no such file.
        StorageError: It cannot be read.
    """
    with _explaining("read", location), open_input(location) as stream:
        return stream.read()


def write_bytes(location: str | Path, content: bytes) -> None:
    """Write a whole file; an object store shows the old content or the new one, never a part.

    Args:
        location: A path or URI. A local file's folder must exist.
        content: What to write.

    Raises:
        StorageError: It cannot be written.
    """
    filesystem, path = resolve(location)
    with _explaining("write", location), filesystem.open_output_stream(path, compression=None) as stream:
        stream.write(content)


def replace_bytes(location: str | Path, content: bytes) -> None:
    """Write a whole file, of which a reader sees the old content or the new one, also after a power cut.

    Args:
        location: A path or URI. A local file's folder must exist, and one process may write it at a time:
            what a killed one left is written over.
        content: What to write.

    Raises:
        StorageError: It cannot be written.
    """
    if is_remote(location):
        write_bytes(location, content)
        return
    file = Path(join(location))
    temporary = file.with_name(f"{_TEMPORARY_PREFIX}{file.name}")
    with _explaining("write", location):
        with temporary.open("wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(file)
        descriptor = os.open(file.parent, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def find_file(location: str | Path) -> FileStatus | None:
    """Look for a file.

    Args:
        location: A path or URI.

    Returns:
        Its size and age; None if there is no such file (a folder is none).

    Raises:
        StorageError: The store cannot be asked.
    """
    filesystem, path = resolve(location)
    with _explaining("read", location):
        info = filesystem.get_file_info(path)
    return _to_status(info) if info.is_file else None


def list_files(folder: str | Path) -> dict[str, FileStatus]:
    """List every file below a folder.

    Args:
        folder: A path or URI; it need not exist.

    Returns:
        By relative path with forward slashes, sorted by path.

    Raises:
        StorageError: The store cannot be asked, or the bucket does not exist.
    """
    path, infos = _list(folder, recursive=True)
    prefix = len(path.rstrip("/")) + 1
    return dict(sorted((info.path[prefix:], _to_status(info)) for info in infos if info.is_file))


def list_names(folder: str | Path) -> list[str]:
    """List what is directly inside a folder.

    Args:
        folder: A path or URI; it need not exist.

    Returns:
        Names of files and folders, sorted.

    Raises:
        StorageError: The store cannot be asked, or the bucket does not exist.
    """
    _, infos = _list(folder, recursive=False)
    return sorted(info.base_name for info in infos)


def copy_tree(source: str | Path, target: str | Path) -> None:
    """Copy every file below a folder, into an object store or out of it; empty folders are left out.

    Args:
        source: The folder: a path or URI.
        target: Where its content goes: a path or URI; it is made where it does not exist.

    Raises:
        NotFoundError: There is no file in the source.
        StorageError: A file cannot be read or written; those that were copied whole until then stay.
    """
    filesystem, path = resolve(source)
    names = list(list_files(source))
    if not names:
        raise NotFoundError(f"Cannot copy {source} to {target}: expected files in it. Found: none.")
    with _explaining(f"copy {source} to", target, also=source):
        _copy_at_once(filesystem, {name: f"{path}/{name}" for name in names}, target)


def copy_files(files: Mapping[str, Path], target: str | Path) -> None:
    """Copy files of this machine, each to a name of its own.

    Args:
        files: The files by where they go: a path relative to the target, with forward slashes.
        target: A path or URI; it is made where it does not exist.

    Raises:
        NotFoundError: A file is not there.
        StorageError: A file cannot be read or written; those that were copied whole until then stay.
    """
    with _explaining("copy files to", target):
        _copy_at_once(pafs.LocalFileSystem(), {name: str(file) for name, file in files.items()}, target)


def delete_file(location: str | Path) -> None:
    """Delete a file; one that is not there is no error.

    Args:
        location: A path or URI. In an object store an empty entry for its folder can be left behind.

    Raises:
        StorageError: It cannot be deleted.
    """
    filesystem, path = resolve(location)
    with contextlib.suppress(NotFoundError), _explaining("delete", location):
        filesystem.delete_file(path)


def delete_tree(folder: str | Path) -> None:
    """Delete a folder with all that is in it; one that is not there is no error.

    Args:
        folder: A path or URI.

    Raises:
        StorageError: A file cannot be deleted.
    """
    filesystem, path = resolve(folder)
    with contextlib.suppress(NotFoundError), _explaining("delete", folder):
        filesystem.delete_dir(path)


def _copy_at_once(source: pafs.FileSystem, paths: Mapping[str, str], target: str | Path) -> None:
    target_filesystem, target_path = resolve(target)

    def copy(name: str) -> None:
        place = f"{target_path}/{name}"
        if not is_remote(target):
            Path(place).parent.mkdir(parents=True, exist_ok=True)
        # Not with pyarrow's copy_files: it waits in pyarrow's own threads for work that is queued behind
        # it there, and eight copies at once wait for each other for ever.
        with source.open_input_stream(paths[name], compression=None) as read:
            written = target_filesystem.open_output_stream(place, compression=None)
            try:
                with written:
                    shutil.copyfileobj(read, written, _STREAM_BUFFER_BYTES)
            except (OSError, pa.ArrowException):
                # Closing what was written so far made it look whole.
                with contextlib.suppress(OSError, pa.ArrowException):
                    target_filesystem.delete_file(place)
                raise

    with ThreadPoolExecutor(_COPIES_AT_ONCE) as pool:
        # The list makes the first failure surface here.
        list(pool.map(copy, paths))


def _parse(location: str | Path) -> tuple[str, str]:
    match = _URI.fullmatch(location) if isinstance(location, str) else None
    if match is None:
        return "file", str(location)
    scheme, rest = match["scheme"].lower(), match["rest"]
    if scheme == "file":
        uri = urlsplit(f"file://{rest}")
        if uri.netloc not in ("", "localhost") or not uri.path:
            raise StorageError(f"{location}: expected file:///folder, with three slashes, or a plain path.")
        return "file", unquote(uri.path)
    if scheme not in _OBJECT_STORES:
        raise StorageError(
            f"{location}: expected a local path, or a URI that starts with s3://, gs:// or file://. Received "
            f"the scheme {match['scheme']!r}. For MinIO and other stores that speak S3, write s3:// and set "
            "AWS_ENDPOINT_URL_S3."
        )
    parts = [part for part in rest.split("/") if part]
    if not parts:
        raise StorageError(
            f"{location}: expected a bucket, such as {scheme}://bucket/folder. Received: none."
        )
    if "@" in parts[0]:
        raise StorageError(
            f"{scheme}://...@...: expected no credentials in a URI, which ends up in logs. "
            "Give them in the environment."
        )
    return scheme, "/".join(parts)


def _list(folder: str | Path, recursive: bool) -> tuple[str, list[pafs.FileInfo]]:
    filesystem, path = resolve(folder)
    with _explaining("list", folder):
        infos = filesystem.get_file_info(pafs.FileSelector(path, recursive=recursive, allow_not_found=True))
        if not infos and is_remote(folder):
            # To pyarrow a missing bucket is an empty folder; to a user it is a mistyped URI.
            bucket = path.split("/", maxsplit=1)[0]
            if filesystem.get_file_info(bucket).type == pafs.FileType.NotFound:
                raise OSError(f"Bucket {bucket!r} not found")
    return path, infos


def _s3_endpoint() -> str | None:
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    return endpoint.rstrip("/") if endpoint else None


def _to_status(info: pafs.FileInfo) -> FileStatus:
    return FileStatus(size_bytes=info.size, modified=info.mtime)


@contextlib.contextmanager
def _explaining(action: str, location: str | Path, also: str | Path | None = None) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise NotFoundError(f"Cannot {action} {location}: {error}") from error
    except (OSError, pa.ArrowException) as error:
        remote = next((str(place) for place in (location, also) if place and is_remote(place)), None)
        raise StorageError(_explain(action, location, remote, error)) from error


def _explain(action: str, location: str | Path, remote: str | None, error: Exception) -> str:
    reason = str(error).split(" error_info=")[0]
    message = f"Cannot {action} {location}: {reason.rstrip('. ')}."
    if remote is None:
        return message
    scheme, path = _parse(remote)
    server = (_s3_endpoint() or "AWS") if scheme == "s3" else "Google Cloud Storage"
    if _NO_BUCKET.search(reason):
        bucket = path.split("/", maxsplit=1)[0]
        return f"{message} There is no bucket {bucket!r} at {server}: create it, or correct the URI."
    if _REFUSED.search(reason):
        return f"{message} {server} refused it: {_ask_for_credentials(scheme)}"
    if _UNREACHABLE.search(reason):
        which = "AWS_ENDPOINT_URL_S3 says which server to ask; " if scheme == "s3" else ""
        return f"{message} {server} cannot be reached: {which}check the address and the network."
    return message


def _ask_for_credentials(scheme: str) -> str:
    if scheme == "gs":
        return (
            "set GOOGLE_APPLICATION_CREDENTIALS to a key file, or give the machine's service account the "
            "right to read and write objects there."
        )
    if os.environ.get("AWS_ACCESS_KEY_ID"):
        return "check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, and what they may do in this bucket."
    return (
        "AWS_ACCESS_KEY_ID is not set; set it with AWS_SECRET_ACCESS_KEY, or give the machine's role the "
        "right to list, read and write there."
    )
