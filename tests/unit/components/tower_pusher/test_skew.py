"""The process that compares, seen from the push; what it compares is in test_check_towers."""

import json
import logging
from pathlib import Path

import pytest

from components.tower_pusher import skew
from components.tower_pusher.skew import Samples, check_parts
from schemas.errors import ReleaseError

pytestmark = pytest.mark.unit

PARTS = {part: Path("/release", part) for part in ("user_tower", "item_tower", "index")}


@pytest.fixture
def samples(tmp_path):
    samples = Samples(tmp_path / "model", tmp_path / "report")
    samples.model.mkdir()
    samples.report.mkdir()
    (samples.report / "scores_sample.parquet").write_bytes(b"")
    write_info(samples, {"skew_sample": {"users": 64, "items": 256, "tolerance": 1e-5}})
    return samples


def write_info(samples, content):
    (samples.model / "model.json").write_text(json.dumps(content))


@pytest.fixture
def answer(monkeypatch):
    """Replaces the program."""
    return lambda program: monkeypatch.setattr(skew, "_PROGRAM", program)


def messages_of(caplog):
    return [record.getMessage() for record in caplog.records if record.name == "dssm.progress"]


@pytest.fixture(autouse=True)
def progress(caplog):
    caplog.set_level(logging.INFO, logger="dssm.progress")


def test_the_program_is_asked_for_each_part_elsewhere_and_alone(samples, answer, tmp_path):
    told = tmp_path / "told.json"
    answer(
        "import json, os, sys; print('a line of a library'); print('[]');"
        f"json.dump([sys.argv[2:], os.listdir(), dict(os.environ)], open({str(told)!r}, 'w'))"
    )
    check_parts(PARTS, samples)
    arguments, files, environment = json.loads(told.read_text())
    expected = [
        "--user-tower", "/release/user_tower", "--item-tower", "/release/item_tower", "--index",
        "/release/index", "--sample", str(samples.model / "skew_sample"), "--scores",
        str(samples.report / "scores_sample.parquet"), "--tolerance", "1e-05",
    ]  # fmt: skip
    assert arguments == expected
    assert files == []
    assert environment["CUDA_VISIBLE_DEVICES"] == "-1"

    more = {part: Path("/release", part) for part in ("retriever", "state")}
    check_parts({**PARTS, **more}, samples)
    expected[-2:-2] = ["--retriever", "/release/retriever"]
    assert json.loads(told.read_text())[0] == expected


def test_that_all_is_well_is_told(samples, answer, caplog):
    answer("print('[]')")
    check_parts(PARTS, samples)
    write_info(samples, {"skew_sample": {"users": 3, "items": 4, "tolerance": 3e-2}})
    check_parts(PARTS, samples)
    told = "The towers give training's embeddings of {} and the evaluated scores, within {}"
    assert messages_of(caplog) == [
        told.format("64 users and 256 items,", "1e-05"),
        told.format("3 users and 4 items,", "0.03, since the towers compute in bfloat16"),
    ]


def test_what_differs_is_an_error_with_each_remedy_once(samples, answer):
    found = [
        {"text": "the user_tower is off", "against": "training"},
        {"text": "the item_tower is off", "against": "training"},
        {"text": "the index is off", "against": "item_tower"},
    ]
    answer(f"print({json.dumps(found)!r})")
    with pytest.raises(ReleaseError) as caught:
        check_parts(PARTS, samples)
    message = str(caught.value)
    assert message.startswith(
        "Nothing was released: the user_tower is off; the item_tower is off; the index is off. What would"
    )
    assert message.count("train again") == 1
    assert message.endswith("Build the index again with this model's item tower.")


def test_a_program_that_fails_is_an_error_with_its_last_lines(samples, answer):
    answer("import sys; [print('line', n, file=sys.stderr) for n in range(30)]; sys.exit(3)")
    with pytest.raises(ReleaseError, match=r"exit status 3\):\nline 25\n(.*\n){3}line 29\nRun again"):
        check_parts(PARTS, samples)
    answer("import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
    with pytest.raises(
        ReleaseError, match=r"exit status -9\):\n\nRun again, and where it was killed, with more memory"
    ):
        check_parts(PARTS, samples)


def test_a_program_that_does_not_end_is_ended(samples, answer):
    answer("import time; time.sleep(600)")
    with pytest.raises(ReleaseError, match="did not end in 1 s"):
        check_parts(PARTS, samples, timeout_seconds=1)


def test_a_model_of_an_earlier_program_is_passed_by_and_told(samples, answer, caplog):
    answer("raise SystemExit(1)")
    write_info(samples, {"model_id": "m"})
    check_parts(PARTS, samples)
    assert messages_of(caplog) == [
        "The towers are not compared with training: the program that trained this model wrote no samples."
    ]


def test_samples_that_should_be_there_are_wanted(samples):
    (samples.report / "scores_sample.parquet").unlink()
    with pytest.raises(ReleaseError, match=r"scores_sample\.parquet\. Received: no file\. Evaluate"):
        check_parts(PARTS, samples)
    write_info(samples, {"skew_sample": {"users": 3}})
    with pytest.raises(ReleaseError, match=r"model\.json: expected JSON of the Trainer\. .*'items'"):
        check_parts(PARTS, samples)
