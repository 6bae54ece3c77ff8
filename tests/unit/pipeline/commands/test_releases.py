import datetime
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from pipeline.cli import main
from schemas.release import Refusal, RefusedModel, write_refusal

pytestmark = pytest.mark.unit

ROOT = Path(__file__).resolve().parents[4]
TRAINED_ON = {
    "until": 90,
    "log_until": 100,
    "splits": [{"kind": "last_days", "days": 7}],
    "fingerprints": {"sequences": "5e", "schema": "00", "transform": "11"},
}


@pytest.fixture
def dssm(releases):
    """`dssm releases` on three releases, the last of them warm started."""
    releases.add(1, ("user_tower", "item_tower", "index"), hashes="nothing")
    releases.add(2)
    base = {"release": 2, "model_id": "m2", "tables": {}}
    releases.add(3, warm_start=base, trained_on=TRAINED_ON)

    def run(command, *options):
        return CliRunner().invoke(
            main, ["releases", command, "--serving", str(releases.serving), *options], catch_exceptions=False
        )

    return run


def squeeze(text):
    return [" ".join(line.split()) for line in text.splitlines()]


def test_the_list(dssm):
    result = dssm("list")
    assert result.exit_code == 0
    assert squeeze(result.output) == [
        "release created (UTC) model recall@10 warm start from MiB",
        "----------- ------------------- ------- ----------- ----------------- -----",
        "3 * 2026-11-03 10:00:00 m3 0.1875 2 0.0",
        "2 2026-11-02 10:00:00 m2 0.1250 - 0.0",
        "1 2026-11-01 10:00:00 m1 0.0625 - 0.0",
        "* current",
    ]


def test_the_list_after_a_rollback(dssm):
    assert dssm("rollback", "2", "--reason", "umbrellas only").output == (
        "Release 2 is current. The next run compares with it and starts from it; a release above 3 takes "
        "over.\n"
    )
    lines = squeeze(dssm("list").output)
    assert [line.split()[:2] for line in lines[2:5]] == [["3", "2026-11-03"], ["2", "*"], ["1", "2026-11-01"]]
    assert re.fullmatch(
        r"\* current, since 2\d{3}-\S+ instead of 3: umbrellas only\. The next release above 3 takes over\.",
        lines[5],
    )
    dssm("rollback", "3")
    assert squeeze(dssm("list").output)[-1] == "* current"


def test_the_list_as_json(dssm, releases):
    dssm("rollback", "1", "--reason", "why")
    found = json.loads(dssm("list", "--json").output)
    assert [release["version"] for release in found["releases"]] == [3, 2, 1]
    assert [release["current"] for release in found["releases"]] == [False, False, True]
    newest = found["releases"][0]
    files = [file for part in releases.serving.iterdir() for file in part.glob("3/**/*") if file.is_file()]
    size = sum(file.stat().st_size for file in files if file.name != "manifest.json")
    assert (newest["bytes"], newest["warm_start"], newest["run_id"]) == (size, 2, "run-3")
    assert newest["metrics"] == {"ndcg_at_10": 0.5, "recall_at_10": 0.1875}
    assert (found["rollback"]["over"], found["rollback"]["reason"], found["metric"]) == (
        3,
        "why",
        "recall_at_10",
    )


def test_a_refresh_is_not_taken_for_a_training(dssm, releases):
    releases.add(4, model_id="m3", refreshed_from=3)
    assert "4 * 2026-11-04 10:00:00 m3, refreshed from 3" in squeeze(dssm("list").output)[2]
    assert json.loads(dssm("list", "--json").output)["releases"][0]["refreshed_from"] == 3
    line = "refreshed from release 3: its towers and evaluation, an index of a newer item table"
    assert line in squeeze(dssm("show", "4").output)
    assert not any(line.startswith("refreshed") for line in squeeze(dssm("show", "3").output))


def refuse(serving, run_id, when):
    refused = datetime.datetime.fromisoformat(when)
    write_refusal(serving, Refusal(run_id, refused, {}, {"m9": RefusedModel("warm", "Not blessed.")}))


def test_a_refresh_since_does_not_hide_a_refusal(dssm, releases):
    refuse(releases.serving, "run-4", "2026-11-03T12:00:00+00:00")
    releases.add(4, model_id="m3", refreshed_from=3, trained="2026-11-03T10:00:00+00:00")
    assert "of run run-4: Not blessed." in dssm("list").output


def test_a_refusal_that_cannot_be_read_does_not_hide_the_releases(dssm, releases):
    (releases.serving / "releases/refused.json").write_text("{")
    lines = squeeze(dssm("list").output)
    assert lines[2].startswith("3 * 2026-11-03")
    assert re.match(r"Unreadable: .*refused\.json.*Delete the file", lines[-1])
    assert "Delete the file" in json.loads(dssm("list", "--json").output)["problem"]


def test_the_last_model_is_listed_where_it_was_refused(dssm, releases):
    for when, is_listed in (("2026-11-03T09:59:59+00:00", False), ("2026-11-03T10:00:01+00:00", True)):
        refuse(releases.serving, "run-4", when)
        line = f"Refused at {when}, of run run-4: Not blessed."
        assert (squeeze(dssm("list").output)[-1] == line) == is_listed
        found = json.loads(dssm("list", "--json").output)["refusal"]
        assert (found is not None and found["run_id"] == "run-4") == is_listed


def test_a_refusal_is_listed_without_any_release(tmp_path):
    refuse(tmp_path, "run-1", "2026-11-03T10:00:01+00:00")
    listed = CliRunner().invoke(main, ["releases", "list", "--serving", str(tmp_path)])
    assert listed.output == "No releases.\nRefused at 2026-11-03T10:00:01+00:00, of run run-1: Not blessed.\n"


def test_an_unreadable_release_does_not_hide_the_others(dssm, releases):
    (releases.serving / "releases" / "2" / "manifest.json").write_text("{")
    result = dssm("list")
    assert result.exit_code == 0
    lines = squeeze(result.output)
    assert lines[3] == "2 unreadable - - - -"
    assert "Unreadable: Cannot read" in lines[6]


def test_no_releases(dssm, tmp_path):
    assert CliRunner().invoke(main, ["releases", "list", "--serving", str(tmp_path / "x")]).output == (
        "No releases.\n"
    )


def test_one_release(dssm):
    lines = squeeze(dssm("show", "3").output)
    assert lines[0] == "release 3, the current one"
    for line in (
        "run run-3",
        "warm start from release 2, model m2",
        "trained until 90, on a log until 100 (seconds since 1970)",
        'split {"kind": "last_days", "days": 7}',
        "sequences 5e",
        "recall@10 0.1875 (most popular items: 0.0312)",
        "ndcg@10 0.5000",
        "state 3 0.0 state/3",
    ):
        assert line in lines
    assert squeeze(dssm("show", "1").output)[0] == "release 1"
    manifest = json.loads(dssm("show", "3", "--json").output)
    assert (manifest["version"], manifest["current"]) == (3, True)
    assert manifest["trained_on"] == TRAINED_ON


def test_the_current_release_is_verified_where_none_is_named(dssm, releases):
    assert squeeze(dssm("verify").output)[0] == "Release 3 is whole:"
    assert squeeze(dssm("verify", "1").output)[1:] == [
        f"{part} names and sizes as pushed; an earlier version of this program kept no hashes"
        for part in ("index", "item_tower", "user_tower")
    ]
    data = releases.file("item_tower", 3)
    data.write_bytes(data.read_bytes()[::-1])
    result = dssm("verify")
    assert result.exit_code == 1
    assert re.fullmatch(r"Error: Release 3 is damaged: .*item_tower/3/data\.bin.*\n", result.stderr)
    assert dssm("verify", "2").exit_code == 0


def test_that_tensorflow_serving_is_told_of_another_release_is_an_error(dssm, releases):
    config = releases.serving / "models.config"
    config.write_text("  specific {\n    versions: 2\n  }\n")
    result = dssm("verify")
    assert result.exit_code == 1
    assert result.stderr == (
        "Error: Release 3 is whole, but TensorFlow Serving is not told of it: expected 3, the current one, "
        f"in {config}. Received: 2. `dssm releases rollback 3` writes it.\n"
    )
    # Of one that is not current, nothing is to be told.
    assert dssm("verify", "1").exit_code == 0
    assert dssm("rollback", "3").exit_code == 0
    assert dssm("verify").exit_code == 0


def test_prune(dssm, releases):
    releases.add(4)
    expected = [
        "Removed: 1.",
        "Kept 2: the base of the warm start of release 3.",
        "Kept 3: the one before the current release 4.",
        "Kept 4: the current release.",
    ]
    dry = squeeze(dssm("prune", "--keep", "1", "--dry-run").output)
    assert dry == ["Would remove: 1.", *expected[1:]]
    assert squeeze(dssm("prune", "--keep", "1").output) == expected
    assert squeeze(dssm("prune", "--keep", "1").output)[0] == "Removed: nothing."
    assert releases.versions("user_tower") == [2, 3, 4]


@pytest.mark.parametrize("command", [("show", "9"), ("rollback", "9"), ("verify", "9")])
def test_a_release_that_is_not_there_is_one_error(dssm, command):
    result = dssm(*command)
    assert result.exit_code == 1
    assert re.fullmatch(r"Error: No release 9 in .*: its releases are 1, 2, 3\.\n", result.stderr)


def test_the_configuration_names_the_folder(releases):
    releases.add(1)
    result = CliRunner().invoke(
        main, ["releases", "show", "1", "--set", f"serving.directory={releases.serving}", "--json"]
    )
    assert json.loads(result.output)["version"] == 1


def test_it_needs_neither_tensorflow_nor_tfx(releases):
    releases.add(1)
    code = (
        "import sys\n"
        "from click.testing import CliRunner\n"
        "from pipeline.cli import main\n"
        "for command in (['list'], ['show', '1'], ['rollback', '1'], ['verify'], ['prune', '--keep', '1']):\n"
        "    options = ['--set', f'serving.directory={sys.argv[1]}']\n"
        "    assert CliRunner().invoke(main, ['releases', *command, *options]).exit_code == 0, command\n"
        "print(sorted({'tensorflow', 'tfx', 'apache_beam', 'pandas'} & set(sys.modules)))"
    )
    result = subprocess.run(
        [sys.executable, "-c", code, releases.serving], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert result.stdout.strip() == "[]"
