import datetime
import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from pipeline.cli import main
from schemas import storage
from schemas.errors import StorageError

pytestmark = pytest.mark.unit

ROOT = Path(__file__).resolve().parents[4]
DAY_SECONDS = 86_400


@pytest.fixture
def options(run_directory, releases):
    """Options of `dssm prune` under which the older of two runs goes, and the first of three releases."""
    now = datetime.datetime.now(datetime.UTC).timestamp()
    for number, days in enumerate((30, 1)):
        run_directory.add(f"run{number}", now - days * DAY_SECONDS, ("Trainer", "COMPLETE", 1))
        folder = run_directory.path / "artifacts" / "Trainer" / "model" / str(run_directory.execution)
        folder.mkdir(parents=True)
        (folder / "data.bin").write_bytes(bytes(3 * 2**20))
        run_directory.add_output("model", uri=folder)
    for version in (1, 2, 3):
        releases.add(version)
    values = (
        "run.name=shop",
        f"run.directory={run_directory.path}",
        f"serving.directory={releases.serving}",
        "retraining.retention={runs: {keep: 1}, releases: {keep: 1, days: 0}}",
    )
    return [text for value in values for text in ("--set", value)]


def prune(*options):
    return CliRunner().invoke(main, ["prune", *options], catch_exceptions=False)


def squeeze(text):
    return [" ".join(line.split()) for line in text.splitlines()]


def models(run_directory):
    return len(list(run_directory.path.glob("artifacts/Trainer/model/*/data.bin")))


def test_a_dry_run_says_what_would_go_and_deletes_nothing(options, run_directory, releases):
    result = prune("--dry-run", *options)
    assert result.exit_code == 0
    lines = squeeze(result.output)
    assert lines[0] == "name days MiB"
    assert [line.split()[:2] for line in lines[2:4]] == [["release", "1"], ["run", "run0"]]
    assert lines[3] == "run run0 30.0 3.0"
    assert lines[4:] == [
        "",
        "Would remove: 2, 3.0 MiB.",
        "Kept release 2: the one before the current release 3.",
        "Kept release 3: the current release.",
        "Kept run run1: among the newest 1.",
    ]
    assert (models(run_directory), releases.versions()) == (2, [1, 2, 3])


def test_it_deletes(options, run_directory, releases):
    result = prune(*options)
    assert result.exit_code == 0
    assert "Removed: 2, 3.0 MiB." in result.output
    assert (models(run_directory), releases.versions()) == (1, [2, 3])
    assert squeeze(prune(*options).output)[0] == "Removed: nothing."


def test_json(options, run_directory):
    dry = json.loads(prune("--dry-run", "--json", *options).output)
    done = json.loads(prune("--json", *options).output)
    assert (dry.pop("dry_run"), done.pop("dry_run")) == (True, False)
    assert dry["removed"][1]["locations"] == [str(run_directory.path / "artifacts/Trainer/model/1")]
    assert [(one["kind"], one["name"]) for one in done["removed"]] == [("release", "1"), ("run", "run0")]
    assert done["removed"][1]["bytes"] == 3 * 2**20
    assert dry["bytes"] == done["bytes"] > 3 * 2**20
    assert dry["kept"] == done["kept"]
    assert {"kind": "release", "name": "3", "reason": "the current release"} in done["kept"]
    assert done["failed"] == []


def test_what_cannot_be_deleted_is_an_error_and_the_rest_goes(options, releases, monkeypatch):
    def refuse(location):
        raise StorageError(f"Cannot delete {location}: Permission denied.")

    monkeypatch.setattr(storage, "delete_tree", refuse)
    result = prune(*options)
    assert result.exit_code == 1
    assert result.stderr.startswith("Cannot remove run run0: Cannot delete ")
    assert "Removed: 1, 0.0 MiB." in result.stdout
    assert releases.versions() == [2, 3]


def test_it_imports_neither_tfx_nor_tensorflow(options):
    code = (
        "import sys\n"
        "from pipeline.cli import main\n"
        "main(['prune', *sys.argv[1:]], standalone_mode=False)\n"
        "print([m for m in ('tensorflow', 'tfx', 'apache_beam') if m in sys.modules])"
    )
    result = subprocess.run(
        [sys.executable, "-c", code, *options], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert result.stdout.splitlines()[-1] == "[]"
