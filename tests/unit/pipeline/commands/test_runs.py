import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from pipeline.cli import main

pytestmark = pytest.mark.unit

ROOT = Path(__file__).resolve().parents[4]


@pytest.fixture
def runs(run_directory):
    """`dssm runs` on a directory with three runs."""
    for number in range(3):
        run_directory.add(f"run{number}", 1_000_000_000 + number, ("Trainer", "FAILED", 1))

    def run(*options):
        return CliRunner().invoke(
            main, ["runs", "--set", f"run.directory={run_directory.path}", *options], catch_exceptions=False
        )

    return run


def test_it_lists_the_newest_first(runs):
    result = runs()
    assert result.exit_code == 0
    _, _, *lines = result.output.splitlines()
    assert [line.split()[0] for line in lines] == ["run2", "run1", "run0"]
    assert "2001-09-09 01:46:42  failed in Trainer" in lines[0]


@pytest.mark.parametrize(("most", "shown", "has_note"), [(2, 2, True), (3, 3, False), (0, 3, False)])
def test_how_many(runs, most, shown, has_note):
    lines = runs("--most", str(most)).output.splitlines()
    assert lines[-1].startswith("There are older runs") == has_note
    assert len(lines) == 2 + shown + has_note
    assert len(json.loads(runs("--json", "--most", str(most)).output)) == shown


def test_a_directory_without_runs_is_an_error(tmp_path):
    result = CliRunner().invoke(main, ["runs", "--set", f"run.directory={tmp_path}"])
    assert (result.exit_code, result.output.startswith("Error: No runs in ")) == (1, True)


def test_it_imports_neither_tfx_nor_tensorflow(run_directory):
    run_directory.add("run", 1_000_000_000)
    code = (
        "import sys\n"
        "from pipeline.cli import main\n"
        f"main(['runs', '--set', 'run.directory={run_directory.path}'], standalone_mode=False)\n"
        "print([m for m in ('tensorflow', 'tfx', 'apache_beam') if m in sys.modules])"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert result.stdout.splitlines()[2].startswith("run ")
    assert result.stdout.splitlines()[-1] == "[]"
