import contextlib

import pytest
from click.testing import CliRunner

from pipeline import progress_screen, waiting
from pipeline.cli import main
from schemas.errors import DataError
from schemas.progress import StepProgress, report_progress
from trainer import worker
from trainer.cluster import WorkerLostError

pytestmark = pytest.mark.unit

LOCATIONS = [
    "--sequences", "s3://bucket/sequences", "--catalogue", "s3://bucket/catalogue", "--user-transform", "s3://bucket/user",
    "--item-transform", "s3://bucket/item", "--output", "s3://bucket/model",
]  # fmt: skip


@pytest.fixture
def train(monkeypatch):
    """`dssm train` with a training that only notes what it is given, or fails."""
    calls = []

    def run(*options, error=None):
        def train_worker(locations, spec, config, *, start_timeout_seconds):
            calls.append((locations, spec, config, start_timeout_seconds))
            report_progress(StepProgress(640, "examples trained", 1_280, "epoch 1/2"))
            if error is not None:
                raise error

        monkeypatch.setattr(worker, "train_worker", train_worker)
        # It forks, and this process has imported TensorFlow, with its threads, already.
        monkeypatch.setattr(waiting, "waiting", lambda *_: contextlib.nullcontext())
        return CliRunner().invoke(main, ["train", *LOCATIONS, *options]), calls

    return run


def test_it_hands_on_what_it_is_given(train):
    result, [(locations, spec, config, timeout)] = train(
        "--context-transform", "s3://bucket/context", "--checkpoints", "s3://bucket/checkpoints",
        "--serving", "gs://b/s", "--timeout", "30",
        "--set", "training.strategy=multi_worker", "--set", "training.epochs=4",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert (locations.sequences, locations.catalogue) == ("s3://bucket/sequences", "s3://bucket/catalogue")
    assert (locations.user_transform_graph, locations.item_transform_graph) == (
        "s3://bucket/user",
        "s3://bucket/item",
    )
    assert (locations.output, locations.context_transform_graph) == (
        "s3://bucket/model",
        "s3://bucket/context",
    )
    assert (locations.checkpoint_directory, locations.serving_directory) == (
        "s3://bucket/checkpoints",
        "gs://b/s",
    )
    assert spec.name == "movielens_100k"
    assert (config.training.strategy, config.training.epochs) == ("multi_worker", 4)
    assert timeout == 30.0


def test_directories_come_from_the_configuration(train):
    _, [(locations, *_)] = train("--set", "serving.directory=/srv/releases")
    assert locations.serving_directory == "/srv/releases"
    assert locations.checkpoint_directory is None
    assert locations.context_transform_graph is None
    _, [_, (locations, *_)] = train("--set", "training.checkpoint.directory=gs://bucket/checkpoints")
    assert locations.checkpoint_directory == "gs://bucket/checkpoints"


def test_exit_status_tells_a_lost_worker_from_an_error(train):
    result, _ = train(error=WorkerLostError("Another worker is lost"))
    # The Training Operator starts a pod again from 128 on.
    assert result.exit_code == 138
    assert "Error: Another worker is lost" in result.output
    result, _ = train(error=DataError("no rows"))
    assert result.exit_code == 1
    assert "Error: no rows" in result.output


def test_a_wrong_configuration_is_found_first(train):
    result, calls = train("--set", "training.strategy=ps")
    assert result.exit_code == 1
    assert "training.strategy" in result.output
    assert calls == []


def test_it_says_how_far_it_is_where_there_is_no_terminal(train, monkeypatch):
    monkeypatch.setattr(progress_screen, "SECONDS_BETWEEN_LINES", 0.0)
    result, _ = train()
    assert "Training: 0 s, 640 of 1,280 examples trained, epoch 1/2\n" in result.output
