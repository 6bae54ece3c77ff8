"""Retention beside what reads what it deletes: TFX's own look for a step to reuse, and an object store."""

import datetime
import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.config import PipelineConfig, load_config
from pipeline.retraining.retention import apply_retention, plan_retention
from pipeline.runs import read_runs
from schemas import storage

pytestmark = pytest.mark.integration

TIMEOUT_SECONDS = 300

# Ingest, then Train on what it put out; a changed setting makes a step run again.
PROGRAM = """
import sys
from pathlib import Path
from tfx.dsl.components.base import base_component, executor_spec
from tfx.orchestration import metadata
from tfx.orchestration.pipeline import Pipeline
from tfx.types.channel import Channel
from tfx.types.component_spec import ChannelParameter, ComponentSpec, ExecutionParameter
from components.artifacts import Report
from components.execution import PlainExecutor, get_path
from pipeline.local_steps import StepRunner


class StepExecutor(PlainExecutor):
    def Do(self, inputs, outputs, properties):
        get_path(outputs, "report").joinpath("report.json").write_text(properties["setting"])
        with (directory / "executed.txt").open("a") as file:
            file.write(f"{properties['name']} {properties['setting']}\\n")


class StepSpec(ComponentSpec):
    PARAMETERS = {"name": ExecutionParameter(type=str), "setting": ExecutionParameter(type=str)}
    INPUTS = {"first": ChannelParameter(type=Report, optional=True)}
    OUTPUTS = {"report": ChannelParameter(type=Report)}


class Step(base_component.BaseComponent):
    SPEC_CLASS = StepSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(StepExecutor)

    def __init__(self, name, setting, **inputs):
        super().__init__(StepSpec(name=name, setting=setting, report=Channel(type=Report), **inputs))
        self.with_id(name)


directory = Path(sys.argv[1])
ingest = Step("Ingest", sys.argv[2])
train = Step("Train", sys.argv[3], first=ingest.outputs["report"])
StepRunner(directory, 1).run(Pipeline(
    pipeline_name="steps", pipeline_root=str(directory / "artifacts"),
    components=[ingest, train], enable_cache=True,
    metadata_connection_config=metadata.sqlite_metadata_connection_config(str(directory / "metadata.sqlite")),
))
"""


class Steps:
    """A run directory in which the pipeline of `PROGRAM` runs."""

    def __init__(self, prepared: Any, directory: Path) -> None:
        self.prepared = prepared
        self.directory = directory
        self.program = directory / "program.py"
        self.program.write_text(PROGRAM)

    def run(self, ingest: str, train: str) -> list[str]:
        """Run the pipeline, and return the steps that were executed, not reused, with their settings."""
        executed = self.directory / "executed.txt"
        executed.write_text("")
        arguments = (self.directory, ingest, train)
        done = self.prepared.run(self.program, arguments, self.directory, timeout=TIMEOUT_SECONDS)
        assert done.returncode == 0, done.stderr
        return executed.read_text().splitlines()

    def prune(self) -> int:
        """Prune all but the newest run, and return how many went."""
        config = configure(self.directory, self.directory / "serving")
        result = apply_retention(plan_retention(config, datetime.datetime.now(datetime.UTC)))
        assert result.failed == result.skipped == ()
        return len(result.removed)


def configure(directory: Path, serving: Path | str, *overrides: str) -> PipelineConfig:
    return load_config(
        "pipeline/configs/movielens_100k.yaml",
        (
            "run.name=steps",
            f"run.directory={directory}",
            f"serving.directory={serving}",
            "retraining.retention.runs={keep: 1, days: 0}",
            *overrides,
        ),
    )


@pytest.fixture
def steps(prepared: Any, tmp_path: Path) -> Steps:
    return Steps(prepared, tmp_path)


def killed(location: str) -> None:
    raise KeyboardInterrupt


def test_no_step_is_reused_for_what_is_deleted(
    steps: Steps, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert steps.run("a", "b") == ["Ingest a", "Train b"]
    assert steps.run("a", "b") == []
    assert steps.run("x", "y") == ["Ingest x", "Train y"]
    # The two runs before it are reused as long as they are there.
    assert steps.run("a", "b") == []
    assert steps.run("x", "y") == []
    # A prune that is killed after it told ML Metadata: TFX would still find the files.
    with monkeypatch.context() as patch:
        patch.setattr(storage, "delete_tree", killed)
        with pytest.raises(KeyboardInterrupt):
            steps.prune()
    assert len(list(tmp_path.glob("artifacts/*/report/*/report.json"))) == 4
    assert steps.run("a", "b") == ["Ingest a", "Train b"]
    assert steps.run("a", "b") == []
    assert len(read_runs(tmp_path)) == 7


def test_what_the_newest_run_was_reused_for_stays_and_is_reused(steps: Steps, tmp_path: Path) -> None:
    assert steps.run("a", "b") == ["Ingest a", "Train b"]
    assert steps.run("a", "c") == ["Train c"]
    assert steps.prune() == 1
    reports = [file.read_text() for file in sorted(tmp_path.glob("artifacts/*/report/*/report.json"))]
    assert reports == ["a", "c"]
    assert steps.run("a", "c") == []
    assert steps.run("a", "b") == ["Train b"]
    assert [run.status for run in read_runs(tmp_path)] == ["interrupted"] * 4


def test_checkpoints_and_releases_of_an_object_store(bucket: Any, releases: Any, tmp_path: Path) -> None:
    for version in (1, 2, 3):
        releases.add(version)
    storage.copy_tree(releases.serving, f"{bucket.uri}/serving")
    for key in ("a" * 32, "models"):
        storage.write_bytes(f"{bucket.uri}/checkpoints/{key}/fit-1/complete.json", json.dumps({}).encode())
    config = configure(
        tmp_path,
        f"{bucket.uri}/serving",
        f"training.checkpoint.directory={bucket.uri}/checkpoints",
        "retraining.retention={checkpoint_days: 0, releases: {keep: 1, days: 0}}",
    )
    plan = plan_retention(config, datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=60))
    result = apply_retention(plan)
    assert [(one.kind, one.name, one.size_bytes) for one in result.removed] == [("checkpoint", "a" * 32, 2)]
    # Readers copy what they use, so that what was current less than a day ago stays.
    assert [one.reason for one in plan.staying if one.name == "1"] == ["current less than a day ago"]
    assert bucket.keys("checkpoints") == ["checkpoints/models/fit-1/complete.json"]
