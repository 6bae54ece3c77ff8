import datetime
import json

import pytest

from pipeline.retraining.lock import hold_run_lock
from pipeline.runs import RunError, describe_status, find_run, read_runs

pytestmark = pytest.mark.unit

NOON = int(datetime.datetime(2026, 11, 28, 12, tzinfo=datetime.UTC).timestamp())
# TFX calls a run by the moment at which it was compiled; a manifest by the one at which it was asked for.
IDS = [(f"202611{day}T120000.900000Z", f"202611{day}T120000.100000Z") for day in range(25, 30)]


@pytest.fixture(scope="module")
def five_runs(make_run_directory, write_evaluation, tmp_path_factory):
    """Released, not blessed, failed, killed, and without a step."""
    folder = tmp_path_factory.mktemp("five")
    report = write_evaluation(folder / "report", ["a", "b"], {"recall_at_10": [0.0, 1.0]})
    directory = make_run_directory(folder / "runs")
    done = [("InteractionIngest", "COMPLETE", 5), ("AnomalyGate", "COMPLETE", 6), ("Trainer", "COMPLETE", 60)]
    for number, pushed in enumerate(({"pushed": 1, "version": 7}, {"pushed": 0})):
        tfx_id, run_id = IDS[number]
        start = NOON + number * 1000
        directory.add(tfx_id, start, *done, ("RetrievalEvaluator", "COMPLETE", 62.5), run_id=run_id)
        directory.add_output("blessing", uri=folder / "blessing")
        directory.add_output("report", uri=report)
        directory.add_step("TowerPusher", "COMPLETE", 63.5)
        directory.add_output("pushed_release", **pushed)
    failed = [("InteractionIngest", "CACHED", 1), ("AnomalyGate", "FAILED", 2)]
    directory.add(IDS[2][0], NOON + 2000, *failed, run_id=IDS[2][1])
    killed = [("InteractionIngest", "COMPLETE", 4), ("Trainer", "RUNNING", 5)]
    directory.add(IDS[3][0], NOON + 3000, *killed)
    directory.add(IDS[4][0], NOON + 4000)
    return directory


def test_every_way_to_end_is_told(five_runs):
    runs = read_runs(five_runs.path)
    assert [describe_status(run) for run in runs] == [
        "interrupted", "interrupted in Trainer", "failed in AnomalyGate", "not blessed", "released",
    ]  # fmt: skip
    assert [run.release for run in runs] == [None, None, None, None, 7]
    assert [run.seconds for run in runs] == [0.0, 5.0, 2.0, 63.5, 63.5]
    assert {run.pipeline for run in runs} == {"shop"}


def test_a_run_is_called_as_its_manifest_calls_it(five_runs):
    ids = [run.run_id for run in read_runs(five_runs.path)]
    # The last two ended before a step was told.
    assert ids == [IDS[4][0], IDS[3][0], IDS[2][1], IDS[1][1], IDS[0][1]]


def test_what_a_released_run_says(five_runs):
    run = read_runs(five_runs.path)[-1]
    assert run.started == datetime.datetime(2026, 11, 28, 12, tzinfo=datetime.UTC)
    assert run.report == five_runs.path.parent / "report"
    assert run.blessing_metric == "recall_at_10"
    assert run.metrics == {"recall_at_10": 0.5}


def test_the_metric_that_decides_is_what_the_evaluation_says(run_directory, write_evaluation, tmp_path):
    metrics = {"recall_at_10": [0.5], "ndcg_at_20": [0.25]}
    run_directory.add("a", NOON, ("RetrievalEvaluator", "COMPLETE", 1))
    run_directory.add_output(
        "report", write_evaluation(tmp_path / "new", ["a"], metrics, gate={"metric": "ndcg_at_20"})
    )
    older = write_evaluation(tmp_path / "old", ["a"], metrics)
    report = json.loads((older / "evaluation_report.json").read_text())
    del report["gate"]
    (older / "evaluation_report.json").write_text(json.dumps(report))
    run_directory.add("b", NOON + 9, ("RetrievalEvaluator", "COMPLETE", 1))
    run_directory.add_output("report", older)
    assert [run.blessing_metric for run in read_runs(run_directory.path)] == [None, "ndcg_at_20"]


@pytest.mark.parametrize("content", [None, "{"])
def test_a_deleted_or_broken_report_costs_the_metrics_alone(run_directory, tmp_path, content):
    run_directory.add("a", NOON, ("RetrievalEvaluator", "COMPLETE", 1))
    run_directory.add_output("report", uri=tmp_path)
    run_directory.add_step("TowerPusher", "COMPLETE", 2)
    run_directory.add_output("pushed_release", pushed=1, version=1)
    if content is not None:
        (tmp_path / "evaluation_report.json").write_text(content)
    [run] = read_runs(run_directory.path)
    assert (run.status, run.release, run.report, run.metrics) == ("released", 1, tmp_path, None)


def test_only_the_newest_are_read(five_runs):
    assert read_runs(five_runs.path, most=2) == read_runs(five_runs.path)[:2]


def test_the_newest_unfinished_run_is_running_while_one_goes_on(run_directory):
    run_directory.add("killed", NOON, ("Trainer", "RUNNING", 5))
    run_directory.add("now", NOON + 1, ("InteractionIngest", "COMPLETE", 4), ("Trainer", "RUNNING", 5))
    with hold_run_lock(run_directory.path, "s3://bucket/serving"):
        now, killed = read_runs(run_directory.path)
    assert describe_status(now) == "running: Trainer"
    assert describe_status(killed) == "interrupted in Trainer"
    since = (datetime.datetime.now(datetime.UTC) - now.started).total_seconds()
    assert since - 60 < now.seconds <= since
    assert read_runs(run_directory.path)[0].status == "interrupted"


def test_a_step_that_failed_after_the_release_is_named(run_directory):
    run_directory.add(
        "a", NOON, ("InteractionIngest", "FAILED", 1), ("TowerPusher", "COMPLETE", 2), run_id="a"
    )
    run_directory.add_output("pushed_release", pushed=1, version=3)
    [run] = read_runs(run_directory.path)
    assert run.release == 3
    assert describe_status(run) == "released, failed in InteractionIngest"


def test_reading_changes_nothing(five_runs, tmp_path):
    file = tmp_path / "metadata.sqlite"
    file.write_bytes(five_runs.path.joinpath("metadata.sqlite").read_bytes())
    file.chmod(0o444)
    before = file.read_bytes()
    assert len(read_runs(tmp_path)) == 5
    assert list(tmp_path.iterdir()) == [file]
    assert file.read_bytes() == before


def test_no_file_says_what_to_do(tmp_path):
    with pytest.raises(
        RunError, match=r"No runs in .*nowhere: expected metadata\.sqlite.*`dssm run`.*run\.dir"
    ):
        read_runs(tmp_path / "nowhere")


@pytest.mark.parametrize("content", [b"", b"not a database" * 100])
def test_a_file_that_is_no_metadata_is_named(tmp_path, content):
    (tmp_path / "metadata.sqlite").write_bytes(content)
    with pytest.raises(RunError, match=r"Cannot read ML Metadata's file .*metadata\.sqlite: "):
        read_runs(tmp_path)
    assert (tmp_path / "metadata.sqlite").read_bytes() == content


def test_a_run_is_found_by_what_is_unique(five_runs):
    runs = read_runs(five_runs.path)
    assert find_run(runs, "last") is runs[0]
    assert find_run(runs, "20261126") is runs[3]
    assert find_run(runs, IDS[0][1]) is runs[4]


def test_an_id_that_begins_another_is_itself(run_directory):
    run_directory.add("run", NOON)
    run_directory.add("run2", NOON + 1)
    assert find_run(read_runs(run_directory.path), "run").run_id == "run"


@pytest.mark.parametrize(
    ("name", "match"),
    [
        (
            "202611",
            r"5 runs begin with '202611': 20261129\S+, 20261128\S+, 20261127\S+ and 2 more\. Write more",
        ),
        ("2025", r"No run '2025'\. Expected a run id .* newest runs are: 20261129\S+, 20261128"),
        ("", r"No run ''"),
    ],
)
def test_a_name_of_no_or_several_runs_is_refused(five_runs, name, match):
    with pytest.raises(RunError, match=match):
        find_run(read_runs(five_runs.path), name)


def test_without_runs_there_is_no_last():
    with pytest.raises(RunError, match=r"newest runs are: none"):
        find_run([], "last")
