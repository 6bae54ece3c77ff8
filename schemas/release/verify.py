"""Checks that what is read of a release is what was pushed, byte for byte.

A hash needs every byte, so hashes of local files are remembered under the files' identity: a file that
nobody has touched since is not read again. Whoever changes a file changes its ctime, which no program can
set back.
"""

import hashlib
import json
import os
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, Literal

from schemas import storage
from schemas.errors import ReleaseError
from schemas.release.find import ReleasedState, check_part
from schemas.release.hashing import combine_hashes
from schemas.release.manifest import ALL_PARTS, Manifest, ReleasedPart

Check = Literal["hashes", "folder hash", "sizes"]
"""What a part was compared by: the hash of every file, or as earlier versions of this program wrote it, that
of the whole folder, or nothing but names and sizes."""

_READ_BYTES: Final = 8 * 2**20
_CACHE_FORMAT: Final = 1
_CACHE_ENTRIES: Final = 10_000
# Within one tick of a file system's clock, a second change leaves the times as they are. A file is remembered
# only once its last change is older than the coarsest tick, that of some network file systems.
_SETTLED_NS: Final = 2_000_000_000


class HashCache:
    """Hashes of local files, remembered from process to process."""

    def __init__(self, file: Path | None) -> None:
        """Read what was remembered; a file that cannot be read counts as empty.

        Args:
            file: Where hashes are kept; None: nowhere.
        """
        self._file = file
        self._known = {} if file is None else _read_known(file)
        self._is_changed = False

    @classmethod
    def of_user(cls) -> "HashCache":
        """Open the user's own: dssm/verified.json in $XDG_CACHE_HOME or ~/.cache."""
        try:
            base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        except RuntimeError:
            return cls(None)
        return cls(base / "dssm" / "verified.json")

    def hash_file(self, path: Path) -> str:
        """Hash a file, reading it only if it is another one than the last time.

        Args:
            path: The file.

        Returns:
            SHA-256 in hexadecimal.

        Raises:
            OSError: It cannot be read.
        """
        key, now = str(path.absolute()), time.time_ns()
        identity = _identify(path)
        known = self._known.get(key)
        if known is not None and known[:-1] == identity:
            return str(known[-1])
        digest = hash_stream(path)
        is_settled = max(identity[-2:]) + _SETTLED_NS < now
        if self._file is not None and is_settled and _identify(path) == identity:
            # At the end, so that the entries that go first are those that were not asked for.
            self._known.pop(key, None)
            self._known[key] = [*identity, digest]
            self._is_changed = True
        return digest

    def save(self) -> None:
        """Keep what was learnt; where the file cannot be written, the next process reads again."""
        if self._file is None or not self._is_changed:
            return
        # Of two processes at once the later one wins, and the other's files are read once more.
        files = dict(list(self._known.items())[-_CACHE_ENTRIES:])
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            descriptor, temporary = tempfile.mkstemp(dir=self._file.parent, prefix=".tmp-")
            with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
                json.dump({"format": _CACHE_FORMAT, "files": files}, stream)
            Path(temporary).replace(self._file)
        except OSError:
            return
        self._is_changed = False


def verify_release(
    serving_directory: str | Path,
    manifest: Manifest,
    parts: Sequence[str] = ALL_PARTS,
    cache: HashCache | None = None,
) -> dict[str, Check]:
    """Compare the files of a release with what its manifest says.

    Args:
        serving_directory: The folder that releases are pushed to, or a copy of it: a path or URI.
        manifest: The release's.
        parts: What to look at; parts that the release does not have are left out.
        cache: Spares reading local files that were read before; None: every byte is read.

    Returns:
        What each part was compared by.

    Raises:
        ReleaseError: A file is missing or is another one than was pushed, or a part belongs to another
            training.
        StorageError: The folder's store cannot be reached or refuses.
    """
    checks = {}
    for part in parts:
        if part in manifest.parts:
            check_part(serving_directory, manifest, part)
            folder = storage.join(serving_directory, manifest.parts[part].path)
            checks[part] = verify_files(folder, manifest, part, cache)
    return checks


def verify_files(
    folder: str | Path,
    manifest: Manifest,
    part: str,
    cache: HashCache | None = None,
    named: str | None = None,
) -> Check:
    """Compare the content of a part's files with what its manifest says.

    Args:
        folder: Where the part is, or a copy of it: a path or URI. Every file of the manifest is in it.
        manifest: The release's.
        part: A part that it has.
        cache: As `verify_release` takes it.
        named: What messages call the folder; None: by its own name.

    Returns:
        What it was compared by.

    Raises:
        ReleaseError: A file is another one than was pushed.
        StorageError: The folder's store cannot be reached or refuses.
    """
    released, named = manifest.parts[part], named or str(folder)
    check = _choose_check(released)
    if check == "sizes":
        return check
    digests = {name: _hash(storage.join(folder, name), cache) for name in released.files}
    if cache is not None:
        cache.save()
    if check == "hashes":
        wrong = [storage.join(named, name) for name in digests if digests[name] != released.hashes.get(name)]
    else:
        wrong = [] if combine_hashes(digests) == released.sha256 else [f"a file in {named}"]
    if wrong:
        more = f", nor have {len(wrong) - 1} more" if len(wrong) > 1 else ""
        raise ReleaseError(
            f"Release {manifest.version} is damaged: expected the content that was pushed. Received: "
            f"{wrong[0]} has another SHA-256 than the manifest says{more}. Restore the file, "
            "`dssm releases rollback` to another release, or push a new one."
        )
    return check


def read_state_file(state: ReleasedState, name: str) -> bytes:
    """Read a file of a release's state and compare it with what the manifest says.

    Args:
        state: A state that is somewhere.
        name: The file, relative to the state's folder.

    Returns:
        Its content.

    Raises:
        NotFoundError: There is no such file.
        ReleaseError: It is another file than was pushed.
        StorageError: The folder's store cannot be reached or refuses.
    """
    assert state.location is not None
    file = storage.join(state.location, name)
    content = storage.read_bytes(file)
    expected = state.hashes.get(name)
    if expected is not None and hashlib.sha256(content).hexdigest() != expected:
        raise ReleaseError(
            f"Release {state.version} is damaged: expected the content that was pushed. Received: {file} has "
            "another SHA-256 than the manifest says. Restore the file, or push a new release."
        )
    return content


def hash_stream(location: str | Path) -> str:
    """Hash a file, here or in an object store, without holding it in memory.

    Args:
        location: A path or URI.

    Returns:
        SHA-256 in hexadecimal.

    Raises:
        StorageError: It cannot be read.
    """
    total = hashlib.sha256()
    with storage.open_stream(location) as stream:
        while block := stream.read(_READ_BYTES):
            total.update(block)
    return total.hexdigest()


def _choose_check(released: ReleasedPart) -> Check:
    if released.hashes:
        return "hashes"
    return "folder hash" if released.sha256 else "sizes"


def _hash(location: str, cache: HashCache | None) -> str:
    try:
        if cache is None or storage.is_remote(location):
            return hash_stream(location)
        return cache.hash_file(Path(location))
    except OSError as error:
        raise ReleaseError(f"Cannot read {location}: {error}. Restore the file or push again.") from error


def _identify(path: Path) -> list[Any]:
    status = path.stat()
    return [status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns]


def _read_known(file: Path) -> dict[str, list[Any]]:
    try:
        content = json.loads(file.read_bytes())
        if content["format"] == _CACHE_FORMAT:
            return dict(content["files"])
    except (OSError, ValueError, TypeError, KeyError):
        pass
    return {}
