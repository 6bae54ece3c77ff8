import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from pipeline.cli import main

pytestmark = pytest.mark.unit

ROOT = Path(__file__).resolve().parents[4]
USERS = [f"user {number}" for number in range(40)]


@pytest.fixture
def options(run_directory, write_evaluation, tmp_path):
    """Two runs on the same data, and an older one on other data."""
    runs = {"older": 0.5, "before": 0.25, "now": 0.75}
    for number, (name, value) in enumerate(runs.items()):
        changes = {"data_fingerprint": "other", "held_out": 41} if name == "older" else {}
        folder = write_evaluation(tmp_path / name, USERS, {"recall_at_10": [value] * 40}, **changes)
        run_directory.add(name, 1_000_000_000 + number, ("RetrievalEvaluator", "COMPLETE", 1))
        run_directory.add_output("report", uri=folder)
    return [
        "--set",
        f"run.directory={tmp_path / 'runs'}",
        "--set",
        f"serving.directory={tmp_path / 'serving'}",
    ]


def test_it_compares_and_says_what_is_better(options):
    result = CliRunner().invoke(main, ["compare", "bef", "last", *options])
    assert result.exit_code == 0, result.output
    lines = result.output.splitlines()
    assert lines[:2] == ["A: run before, model before", "B: run now, model now"]
    assert " ".join(lines[6].split()) == "recall@10 0.2500 0.7500 +0.5000 [+0.5000, +0.5000] B is better"
    assert lines[-1] == "B (run now) is better than A in recall@10."


def test_json(options):
    result = CliRunner().invoke(main, ["compare", "now", "before", "--json", *options])
    [metric] = json.loads(result.output)["metrics"]
    assert (metric["difference"]["value"], metric["verdict"]) == (-0.5, "worse")


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("older", "now"), "Error: run older and run now were evaluated on different data, .* 41 and 40"),
        (("nobody", "now"), "Error: No run 'nobody'"),
        (("1", "now"), "Error: No release 1 in "),
    ],
)
def test_what_cannot_be_compared_is_an_error(options, names, message):
    result = CliRunner().invoke(main, ["compare", *names, *options])
    assert result.exit_code == 1
    assert re.match(message, result.output)


def test_it_imports_neither_tfx_nor_tensorflow(options):
    code = (
        "import sys\n"
        "from pipeline.cli import main\n"
        f"main(['compare', 'before', 'now', *{options!r}], standalone_mode=False)\n"
        "print([m for m in ('tensorflow', 'tfx', 'apache_beam') if m in sys.modules])"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert result.stdout.splitlines()[-2:] == ["B (run now) is better than A in recall@10.", "[]"]
