import datetime
import os

import pytest

from pipeline.config import load_config
from pipeline.retraining.lock import hold_run_lock
from pipeline.retraining.retention import apply_retention, plan_retention
from pipeline.runs import RunError, read_runs
from schemas import storage
from schemas.errors import ReleaseError, StorageError
from schemas.release import roll_back, take_lease

pytestmark = pytest.mark.unit

NOW = datetime.datetime(2026, 11, 28, 12, tzinfo=datetime.UTC)
# What ML Metadata's proto says.
DELETED = 4


class History:
    """A run directory and a serving directory to which a test adds what `dssm prune` finds."""

    def __init__(self, run_directory, releases):
        self.runs = run_directory
        self.path = run_directory.path
        self.releases = releases

    def configure(self, *overrides):
        return load_config(
            "pipeline/configs/movielens_100k.yaml",
            (
                "run.name=shop",
                f"run.directory={self.path}",
                f"serving.directory={self.releases.serving}",
                *overrides,
            ),
        )

    def plan(self, *overrides):
        return plan_retention(self.configure(*overrides), NOW)

    def add_run(self, number, days, pipeline="shop"):
        """Add a run that started so many days ago, and has no artifact yet."""
        start = (NOW - datetime.timedelta(days=days)).timestamp()
        self.runs.add(f"tfx{number}", start, run_id=f"run{number}", pipeline=pipeline)
        self.add_step("AnomalyGate")

    def add_step(self, step, state="COMPLETE"):
        self.runs.add_step(step, state, 1)
        self.step = step

    def write(self, key, size_bytes=1000):
        """Write what the last step puts out."""
        folder = self.path / "artifacts" / self.step / key / str(self.runs.execution)
        folder.mkdir(parents=True)
        (folder / "data.bin").write_bytes(bytes(size_bytes))
        return folder

    def add_output(self, key, size_bytes=1000):
        """Write what the last step puts out, and publish it."""
        folder = self.write(key, size_bytes)
        self.runs.add_output(key, uri=folder)
        return folder

    def reuse(self, folder):
        """Make the last step one that is reused for what an earlier one put out."""
        [artifact] = self.runs.store.get_artifacts_by_uri(str(folder))
        from ml_metadata.proto import metadata_store_pb2

        event = metadata_store_pb2.Event(
            artifact_id=artifact.id,
            execution_id=self.runs.execution,
            type=metadata_store_pb2.Event.OUTPUT,
        )
        event.path.steps.add().key = folder.parent.name
        event.path.steps.add().index = 0
        self.runs.store.put_events([event])

    def add_simple_runs(self, *days):
        """Add runs that put out one artifact each, numbered from 0, and return their folders."""
        folders = []
        for number, age in enumerate(days):
            self.add_run(number, age)
            folders.append(self.add_output("report"))
        return folders

    def deleted(self):
        """List the folders of the artifacts that are deleted to ML Metadata."""
        return {artifact.uri for artifact in self.runs.store.get_artifacts() if artifact.state == DELETED}


@pytest.fixture
def history(run_directory, releases):
    return History(run_directory, releases)


def names(entries, kind):
    return {entry.name for entry in entries if entry.kind == kind}


def reasons(plan, kind):
    return {entry.name: entry.reason for entry in plan.staying if entry.kind == kind}


def touch(path, days):
    seconds = (NOW - datetime.timedelta(days=days)).timestamp()
    for file in [*path.rglob("*"), path]:
        os.utime(file, (seconds, seconds))


def test_a_run_goes_beyond_the_count_and_the_age_alone(history):
    folders = history.add_simple_runs(40, 30, 20, 6, 1)
    plan = history.plan("retraining.retention.runs={keep: 3, days: 7}")
    assert [(going.name, going.age_days, going.size_bytes) for going in plan.going] == [
        ("run0", 40.0, 1000), ("run1", 30.0, 1000),
    ]  # fmt: skip
    assert plan.size_bytes == 2000
    assert reasons(plan, "run") == dict.fromkeys(("run2", "run3", "run4"), "among the newest 3")
    # A plan deletes nothing.
    assert all(folder.is_dir() for folder in folders)
    assert history.deleted() == set()

    result = apply_retention(plan)
    assert (result.removed, result.skipped, result.failed) == (plan.going, (), ())
    assert [folder.is_dir() for folder in folders] == [False, False, True, True, True]
    assert history.deleted() == {str(folders[0]), str(folders[1])}
    assert [run.run_id for run in read_runs(history.path)] == ["run4", "run3", "run2", "run1", "run0"]
    # There is nothing left of them, so that they are spoken of no more.
    again = history.plan("retraining.retention.runs={keep: 3, days: 7}")
    assert again.going == ()
    assert set(reasons(again, "run")) == {"run2", "run3", "run4"}


def test_a_run_stays_while_it_is_young(history):
    history.add_simple_runs(8, 7.1, 6.9, 1)
    plan = history.plan("retraining.retention.runs={keep: 1, days: 7}")
    assert names(plan.going, "run") == {"run0", "run1"}
    assert reasons(plan, "run") == {"run2": "younger than 7 days", "run3": "among the newest 1"}


@pytest.mark.parametrize("runs", ["{keep: null, days: 0}", "{keep: 1, days: null}"])
def test_null_keeps_all(history, runs):
    history.add_simple_runs(800, 1)
    plan = history.plan(f"retraining.retention.runs={runs}")
    assert plan.going == ()
    assert reasons(plan, "run") == dict.fromkeys(("run0", "run1"), "runs are kept for ever")


def test_what_a_run_that_stays_was_reused_for_stays(history):
    history.add_run(0, 30)
    history.add_step("InteractionIngest")
    sequences = history.add_output("sequences")
    history.add_step("Trainer")
    model = history.add_output("model")
    history.add_run(1, 1)
    history.add_step("InteractionIngest", "CACHED")
    history.reuse(sequences)
    plan = history.plan("retraining.retention.runs={keep: 1, days: 0}")
    apply_retention(plan)
    assert (sequences.is_dir(), model.is_dir()) == (True, False)
    assert history.deleted() == {str(model)}
    assert reasons(history.plan("retraining.retention.runs={keep: 1, days: 0}"), "run") == {
        "run1": "among the newest 1",
    }

    # Once no run that stays uses it, it goes, too.
    history.add_run(2, 0)
    apply_retention(history.plan("retraining.retention.runs={keep: 1, days: 0}"))
    assert not sequences.is_dir()
    assert history.deleted() == {str(model), str(sequences)}


def test_what_several_runs_that_go_use_is_counted_once(history):
    [first] = history.add_simple_runs(30)
    history.add_run(1, 20)
    history.add_step("AnomalyGate", "CACHED")
    history.reuse(first)
    history.add_run(2, 1)
    plan = history.plan("retraining.retention.runs={keep: 1, days: 0}")
    assert {going.name: going.size_bytes for going in plan.going} == {"run0": 1000}
    assert reasons(plan, "run") == {"run2": "among the newest 1"}


def test_the_runs_of_the_releases_that_are_needed_stay(history):
    folders = history.add_simple_runs(60, 50, 40, 30, 20, 1)
    for version, number in ((1, 0), (2, 1), (3, 2), (4, 3)):
        base = {"release": 1, "model_id": "m1", "tables": {}} if version == 4 else None
        history.releases.add(version, run_id=f"run{number}", warm_start=base)
    plan = history.plan("retraining.retention.runs={keep: 1, days: 0}")
    assert reasons(plan, "run") == {
        "run0": "made release 1, the base of the warm start of release 4",
        "run2": "made release 3, the one before the current release 4",
        "run3": "made release 4, the current release",
        "run5": "among the newest 1",
    }
    apply_retention(plan)
    assert [folder.is_dir() for folder in folders] == [True, False, True, True, False, True]


def test_without_knowing_what_is_needed_nothing_is_planned(history):
    history.add_simple_runs(30, 20)
    history.releases.add(1)
    (history.releases.serving / "releases" / "1" / "manifest.json").write_text("{")
    with pytest.raises(ReleaseError, match=r"Cannot read .*releases/1/manifest\.json"):
        history.plan("retraining.retention.runs={keep: 1, days: 0}")


def test_runs_of_another_pipeline_stay_and_count_for_themselves(history):
    history.add_run(0, 30)
    first = history.add_output("report")
    history.add_run(1, 20, pipeline="books")
    history.add_run(2, 10, pipeline="books")
    plan = history.plan("retraining.retention.runs={keep: 1, days: 0}")
    assert plan.going == ()
    assert reasons(plan, "run") == {
        "run0": "among the newest 1", "run1": "of the pipeline books", "run2": "of the pipeline books",
    }  # fmt: skip
    assert first.is_dir()


def test_a_moved_run_directory_is_pruned_where_it_is(history, tmp_path, make_run_directory):
    old, new = history.add_simple_runs(30, 1)
    moved = history.path.rename(tmp_path / "moved")
    history.path = moved
    apply_retention(history.plan("retraining.retention.runs={keep: 1, days: 0}"))
    assert not (moved / old.relative_to(history.runs.path)).exists()
    assert (moved / new.relative_to(history.runs.path) / "data.bin").is_file()


def test_nothing_that_a_run_can_be_at_goes_while_it_goes_on(history):
    folders = history.add_simple_runs(30, 20)
    history.add_step("Trainer", "RUNNING")
    unfinished = history.write("model")
    checkpoint = history.path / "checkpoints" / ("a" * 32) / "fit-000000000010"
    checkpoint.mkdir(parents=True)
    (checkpoint / "complete.json").write_text("{}")
    logs = history.path / "logs"
    logs.mkdir()
    (logs / "old.log").write_text("x")
    for path in (unfinished, checkpoint.parent, logs):
        touch(path, 200)
    for version in (1, 2, 3):
        history.releases.add(version)
    retention = "retraining.retention={runs: {keep: 1, days: 0}, releases: {keep: 1, days: 0}}"

    before = history.plan(retention)
    kinds = {"release", "run", "checkpoint", "log", "work files"}
    assert {going.kind for going in before.going} == kinds
    with hold_run_lock(history.path, history.path / "elsewhere"):
        during = history.plan(retention)
        # The first plan was made before the run began.
        result = apply_retention(before)
    assert {going.kind for going in during.going} == {"release", "log"}
    assert {entry.kind for entry in during.staying if entry.reason == "a run goes on"} == kinds - {
        "release", "log",
    }  # fmt: skip
    assert {going.kind for going in result.removed} == {"release", "log"}
    assert {entry.reason for entry in result.skipped} == {"a run goes on"}
    assert all(folder.is_dir() for folder in (*folders, unfinished, checkpoint))
    assert history.deleted() == set()

    result = apply_retention(before)
    assert {going.kind for going in result.removed} == kinds - {"release", "log"} | {"log"}
    assert [folder.is_dir() for folder in (*folders, unfinished, checkpoint)] == [False, True, False, False]


def test_a_plan_is_void_once_another_run_began(history):
    [old, _] = history.add_simple_runs(30, 20)
    plan = history.plan("retraining.retention.runs={keep: 1, days: 0}")
    history.add_run(2, 0)
    history.add_step("AnomalyGate", "CACHED")
    history.reuse(old)
    result = apply_retention(plan)
    assert [entry.reason for entry in result.skipped] == ["a run began after this was planned"]
    assert (result.removed, old.is_dir(), history.deleted()) == ((), True, set())


def test_a_prune_that_is_killed_says_deleted_first_and_the_next_one_takes_the_files(history, monkeypatch):
    [old, _] = history.add_simple_runs(30, 1)
    retention = "retraining.retention.runs={keep: 1, days: 0}"

    def killed(location):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(storage, "delete_tree", killed)
        with pytest.raises(KeyboardInterrupt):
            apply_retention(history.plan(retention))
    assert history.deleted() == {str(old)}
    assert (old / "data.bin").is_file()
    assert apply_retention(history.plan(retention)).size_bytes == 1000
    assert not old.exists()


def test_what_cannot_be_deleted_does_not_keep_the_rest(history, monkeypatch):
    first, second, _ = history.add_simple_runs(40, 30, 1)
    delete_tree = storage.delete_tree

    def refuse_first(location):
        if location == str(first):
            raise StorageError(f"Cannot delete {location}: Permission denied.")
        delete_tree(location)

    with monkeypatch.context() as patch:
        patch.setattr(storage, "delete_tree", refuse_first)
        result = apply_retention(history.plan("retraining.retention.runs={keep: 1, days: 0}"))
    assert names(result.removed, "run") == {"run1"}
    [failed] = result.failed
    assert (failed.name, failed.reason) == ("run0", f"Cannot delete {first}: Permission denied.")
    assert (first.is_dir(), second.is_dir()) == (True, False)
    # No step is reused for it, and the next prune takes it.
    assert history.deleted() == {str(first), str(second)}
    apply_retention(history.plan("retraining.retention.runs={keep: 1, days: 0}"))
    assert not first.is_dir()


def test_metadata_that_cannot_be_read_is_an_error(history):
    history.add_simple_runs(30, 20)
    (history.path / "metadata.sqlite").write_bytes(b"not a database" * 100)
    with pytest.raises(RunError, match=r"Cannot read ML Metadata's file"):
        history.plan()


def test_what_killed_steps_left_goes_after_a_day(history):
    history.add_run(0, 2)
    history.add_step("InteractionIngest", "RUNNING")
    half = history.write("sequences", 300)
    (half / "ingest-work").mkdir()
    (half / "ingest-work" / "ab.arrow").write_bytes(bytes(50))
    scratch = history.path / "artifacts" / "Trainer" / ".system" / "stateful_working_dir" / "0a1b"
    scratch.mkdir(parents=True)
    temporary = history.path / "artifacts" / "Trainer" / ".system" / "executor_execution" / "9" / ".temp"
    temporary.mkdir(parents=True)
    history.add_step("Trainer")
    whole = history.add_output("model")
    # Of a step that ended, and not known to ML Metadata: somebody put it there.
    foreign = history.write("notes")
    for path in (half, scratch, temporary, whole, foreign):
        touch(path, 1.5)
    # One file of it is younger.
    history.add_step("RetrievalEvaluator", "RUNNING")
    young = history.write("report")
    touch(young, 1.5)
    touch(young / "data.bin", 0.5)

    plan = history.plan()
    assert {(going.name, going.size_bytes) for going in plan.going} == {
        (str(half.relative_to(history.path)), 350),
        (str(scratch.relative_to(history.path)), 0),
        (str(temporary.relative_to(history.path)), 0),
    }
    assert reasons(plan, "work files") == {str(young.relative_to(history.path)): "younger than 1 days"}
    apply_retention(plan)
    assert not any(path.exists() for path in (half, scratch, temporary))
    assert all(path.exists() for path in (whole, foreign, young))
    assert history.plan("retraining.retention.work_file_days=null").going == ()


def test_what_executors_say_goes_with_their_run(history):
    [old, _] = history.add_simple_runs(30, 1)
    said = history.path / "artifacts" / "AnomalyGate" / ".system" / "executor_execution"
    (said / old.name / ".temp").mkdir(parents=True)
    (said / old.name / "executor_output.pb").write_bytes(bytes(20))
    plan = history.plan("retraining.retention={runs: {keep: 1, days: 0}, work_file_days: 0}")
    # Its temporary folder is counted once.
    assert [(going.kind, going.size_bytes) for going in plan.going] == [("run", 1020)]
    apply_retention(plan)
    assert list(said.iterdir()) == []


def test_checkpoints_go_by_the_age_of_the_newest(history, tmp_path):
    folder = tmp_path / "checkpoints"
    for name, *ages in (("a" * 32, 20, 15), ("b" * 32, 20, 13), ("models", 90)):
        for number, days in enumerate(ages):
            checkpoint = folder / name / f"fit-{number:012d}"
            checkpoint.mkdir(parents=True)
            (checkpoint / "variables").write_bytes(bytes(100))
            touch(checkpoint, days)
    plan = history.plan(f"training.checkpoint.directory={folder}")
    [going] = plan.going
    assert (going.kind, going.name, going.age_days, going.size_bytes) == ("checkpoint", "a" * 32, 15.0, 200)
    assert reasons(plan, "checkpoint") == {"b" * 32: "younger than 14 days"}
    apply_retention(plan)
    assert sorted(path.name for path in folder.iterdir()) == ["b" * 32, "models"]


def test_logs_go_by_their_last_line(history):
    logs = history.path / "logs"
    logs.mkdir()
    for name, days in (("a.log", 91), ("b.log", 89), ("notes.txt", 200)):
        (logs / name).write_bytes(bytes(10))
        touch(logs / name, days)
    result = apply_retention(history.plan())
    assert names(result.removed, "log") == {"a.log"}
    assert sorted(path.name for path in logs.iterdir()) == ["b.log", "notes.txt"]


def test_releases_go_beyond_the_count_and_the_age_alone(history):
    # Release N was published on the Nth of November at 10.
    for version in range(15, 29):
        history.releases.add(version)
    plan = history.plan("retraining.retention.releases={keep: 3, days: 10}")
    assert names(plan.going, "release") == {"15", "16", "17", "18"}
    # Four parts of 4,000 bytes and what says which they are.
    assert all(4 * 4000 < going.size_bytes < 4 * 4300 for going in plan.going)
    assert plan.going[0].age_days == pytest.approx(13 + 2 / 24)
    assert reasons(plan, "release")["19"] == "created since 2026-11-18 12:00"
    apply_retention(plan)
    assert history.releases.versions() == list(range(19, 29))
    assert history.plan("retraining.retention.releases={keep: null}").going == ()


def test_a_release_that_became_needed_after_the_plan_stays(history):
    for version in range(1, 6):
        history.releases.add(version)
    plan = history.plan("retraining.retention.releases={keep: 1, days: 0}")
    assert names(plan.going, "release") == {"1", "2", "3"}
    roll_back(history.releases.serving, 2)
    with take_lease(history.releases.serving, 3):
        result = apply_retention(plan)
    assert {entry.name: entry.reason for entry in result.skipped} == {
        "1": "the one before the current release 2", "2": "the current release", "3": "being read",
    }  # fmt: skip
    assert history.releases.versions() == [1, 2, 3, 4, 5]


def test_without_any_run_there_is_nothing_to_do(tmp_path):
    config = load_config(
        "pipeline/configs/movielens_100k.yaml",
        (f"run.directory={tmp_path / 'runs'}", f"serving.directory={tmp_path / 'serving'}"),
    )
    plan = plan_retention(config, NOW)
    assert (plan.going, plan.staying, apply_retention(plan).removed) == ((), (), ())
    assert list(tmp_path.iterdir()) == []
