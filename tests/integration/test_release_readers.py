"""A reader gets a whole release, whatever is pushed, rolled back and pruned meanwhile."""

import subprocess
import sys
import time
from typing import Any

import pytest

from schemas.release import find_current_version, prune, roll_back

pytestmark = pytest.mark.integration

READ_FOREVER = """
import sys
from schemas.release import copy_state, follow_current, read_current_release
from pathlib import Path
serving, scratch = sys.argv[1], Path(sys.argv[2])
print("reads", flush=True)
count = 0
while not (scratch / "stop").exists():
    release = read_current_release(serving)
    for folder in (release.index, release.user_tower, release.item_tower):
        assert (folder / "data.bin").read_bytes() == f"{release.version:4}".encode() * 1_000
    state = follow_current(serving, lambda version: copy_state(serving, version, scratch / str(count)))
    assert (scratch / str(count) / "data.bin").read_bytes() == f"{state.version:4}".encode() * 1_000
    count += 1
print(count, flush=True)
"""


def test_readers_never_see_a_part_of_a_release(releases: Any, tmp_path: Any) -> None:
    for version in (1, 2):
        releases.add(version)
    readers = []
    for number in range(2):
        (tmp_path / f"reader{number}").mkdir()
        readers.append(
            subprocess.Popen(
                [sys.executable, "-c", READ_FOREVER, releases.serving, tmp_path / f"reader{number}"],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
    try:
        for reader in readers:
            assert reader.stdout is not None
            assert reader.stdout.readline() == "reads\n"
        removed, deadline, version = 0, time.monotonic() + 8, 2
        while time.monotonic() < deadline:
            version += 1
            releases.add(version, created=f"2026-11-28T10:00:00.{version:06}+00:00")
            if version % 3 == 0:
                roll_back(releases.serving, version - 1)
            removed += len(prune(releases.serving, keep=1).removed)
        for number in range(2):
            (tmp_path / f"reader{number}" / "stop").touch()
        for reader in readers:
            output, errors = reader.communicate(timeout=60)
            assert errors == ""
            assert int(output) > 3
    finally:
        for reader in readers:
            reader.kill()
            reader.wait()
    assert removed > 3
    assert find_current_version(releases.serving) in (version, version - 1)
    # The newest, the current one, the one before it, and what the readers held at the last prune.
    assert len(releases.versions()) <= 7
