"""TensorFlow as whoever calls SavedModels needs it, in some half of the time that its import takes."""

import contextlib
import gc
import importlib
import importlib.machinery
import importlib.util
import sys
from collections.abc import Iterator, Sequence
from types import ModuleType
from typing import Any, Final

_DISPENSABLE: Final = (
    # Keras registers optimisers, which no released SavedModel holds.
    "keras.src.optimizers",
    "tf_keras.src.optimizers",
    # What the Keras that is part of TensorFlow trains on and saves to.
    "h5py",
    "scipy.sparse",
    # For clusters on Google Compute Engine.
    "googleapiclient",
)
"""What TensorFlow imports where it is installed, and does without where it is not."""

_NAMESPACES: Final = "tensorflow._api.v2"
"""Where TensorFlow keeps `tf.compat`, `tf.lite` and so on, which import half of it, and nothing else uses."""

_NEEDED: Final = ("errors", "saved_model")
"""The namespaces that whoever serves uses, maybe on several threads at once."""

_NOT_POSTPONED: Final = ("distribute",)
"""The namespaces that TensorFlow's own modules and themselves import in a circle."""


def import_tensorflow_alone() -> None:
    """Import TensorFlow without what it does without, and its namespaces when they are first used.

    What it has not imported can be imported afterwards, by whoever needs it: `tensorflow` is complete, but
    the first use of `tf.lite`, say, takes its time. Where TensorFlow is imported already, nothing happens.
    """
    if "tensorflow" in sys.modules:
        return
    with _hide_dispensable(), _postpone_namespaces(), _pause_collection():
        tensorflow: Any = importlib.import_module("tensorflow")
    # It lives as long as the process. To look for garbage in it at the process's end takes half a second.
    gc.freeze()
    # TensorFlow's folder of that name takes the attribute when it is first imported: now, and not later.
    namespace = tensorflow.lite
    importlib.import_module("tensorflow.lite")
    tensorflow.lite = namespace
    for name in _NEEDED:
        # The first look at its content executes it.
        dir(getattr(tensorflow, name))


@contextlib.contextmanager
def _hide_dispensable() -> Iterator[None]:
    # So Python is told that there is no such module.
    hidden: dict[str, ModuleType | None] = {name: None for name in _DISPENSABLE if name not in sys.modules}
    sys.modules.update(hidden)  # type: ignore[arg-type]
    try:
        yield
    finally:
        for name in hidden:
            del sys.modules[name]


@contextlib.contextmanager
def _pause_collection() -> Iterator[None]:
    # Next to nothing of what an import makes is garbage, and looking for it takes a tenth of the time.
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


@contextlib.contextmanager
def _postpone_namespaces() -> Iterator[None]:
    # No longer than that: some parts of the namespaces cannot be postponed.
    sys.meta_path.insert(0, _NamespaceFinder)
    try:
        yield
    finally:
        sys.meta_path.remove(_NamespaceFinder)


class _NamespaceFinder:
    """Finds TensorFlow's namespaces as Python does, and has them executed at their first use."""

    @classmethod
    def find_spec(
        cls, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """Find a namespace; None of any other module."""
        parent, _, last = name.rpartition(".")
        if parent != _NAMESPACES or last in _NOT_POSTPONED:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = importlib.util.LazyLoader(spec.loader)
        return spec
