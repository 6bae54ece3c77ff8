"""What goes to the screen, and what to the log; in a process of its own, whose outputs are redirected."""

import subprocess
import sys

import pytest

pytestmark = pytest.mark.unit

PROGRAM = """
import os, sys
from pathlib import Path
from pipeline.console import noise_to_file

with noise_to_file(Path(sys.argv[1])) as screen:
    print("a library's line")
    os.write(2, b"a line of C++\\n")
    print("for people", file=screen)
print("afterwards")
"""


def run(log):
    completed = subprocess.run(
        [sys.executable, "-c", PROGRAM, log], capture_output=True, text=True, check=True
    )
    return completed.stdout, completed.stderr


def test_only_what_is_for_people_reaches_the_screen(tmp_path):
    log = tmp_path / "logs/recommend.log"
    for _ in range(2):
        assert run(log) == ("for people\nafterwards\n", "")
    assert sorted(log.read_text().splitlines()) == ["a library's line"] * 2 + ["a line of C++"] * 2


def test_a_log_does_not_grow_for_ever(tmp_path):
    log = tmp_path / "recommend.log"
    for size, kept in ((10_000_000, None), (10_000_001, 10_000_001), (10_000_002, 10_000_002)):
        log.write_bytes(bytes(size))
        run(log)
        aside = tmp_path / "recommend.1.log"
        assert (aside.stat().st_size if aside.exists() else None) == kept
        assert log.stat().st_size < 100 or kept is None
