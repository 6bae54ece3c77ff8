import gc
import json
import weakref
from types import SimpleNamespace

import pytest

from pipeline.serving.metrics import Metrics
from pipeline.serving.releases import ReleaseWatcher
from schemas.errors import ReleaseError

pytestmark = pytest.mark.unit


class Engine(SimpleNamespace):
    """Stands for a loaded release."""


@pytest.fixture
def serving(tmp_path):
    """A serving directory whose releases are a manifest each."""

    def publish(version):
        folder = tmp_path / "releases" / str(version)
        folder.mkdir(parents=True)
        (folder / "manifest.json").write_text(json.dumps({"version": version}))

    return SimpleNamespace(directory=str(tmp_path), publish=publish)


@pytest.fixture
def make_watcher(serving):
    loaded = []
    broken = set()

    def load(version):
        loaded.append(version)
        if version in broken:
            raise ReleaseError(f"{version} is broken")
        return Engine(version=version, catalogue=[1, 2], load_seconds=0.1)

    def make(retry_seconds=0.0):
        watcher = ReleaseWatcher(serving.directory, load, Metrics(), 0.01, retry_seconds)
        watcher.loaded, watcher.broken = loaded, broken
        return watcher

    return make


def test_a_release_is_loaded_once(serving, make_watcher):
    watcher = make_watcher()
    watcher.look()
    assert watcher.engine is None
    assert "`dssm run` writes one" in watcher.refusal.reason
    serving.publish(1)
    watcher.look()
    watcher.look()
    assert (watcher.engine.version, watcher.refusal, watcher.loaded) == (1, None, [1])
    serving.publish(2)
    watcher.look()
    assert (watcher.engine.version, watcher.loaded) == (2, [1, 2])


def test_a_release_that_cannot_be_loaded_is_tried_again_after_a_while_alone(serving, make_watcher):
    watcher = make_watcher(retry_seconds=1000)
    serving.publish(1)
    watcher.look()
    serving.publish(2)
    watcher.broken.add(2)
    watcher.look()
    watcher.look()
    assert (watcher.engine.version, watcher.refusal.version, watcher.loaded) == (1, 2, [1, 2])
    # Another one is tried at once.
    serving.publish(3)
    watcher.look()
    assert (watcher.engine.version, watcher.refusal) == (3, None)
    again = make_watcher(retry_seconds=0)
    again.broken.add(3)
    again.look()
    again.broken.clear()
    again.look()
    assert (again.engine.version, again.refusal) == (3, None)


def test_a_version_that_cannot_be_told_leaves_the_release_answering(serving, make_watcher, tmp_path):
    watcher = make_watcher()
    serving.publish(1)
    watcher.look()
    (tmp_path / "releases" / "current.json").write_text("{")
    watcher.look()
    assert watcher.engine.version == 1
    assert watcher.refusal.version is None
    (tmp_path / "releases" / "current.json").unlink()
    watcher.look()
    assert watcher.refusal is None


def test_what_nobody_uses_any_longer_is_freed(serving, make_watcher):
    watcher = make_watcher()
    serving.publish(1)
    watcher.look()
    in_use = watcher.engine
    in_use.itself = in_use
    freed = weakref.ref(in_use)
    serving.publish(2)
    watcher.look()
    assert freed() is in_use
    del in_use
    gc.collect()
    assert freed() is None


def test_the_thread_looks_until_it_is_stopped(serving, make_watcher):
    watcher = make_watcher()
    serving.publish(1)
    watcher.start()
    assert watcher.stop(10)
    assert watcher.engine.version == 1
