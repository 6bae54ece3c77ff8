"""TensorFlow as a server of SavedModels needs it, in some two thirds of the time that its import takes."""

import importlib
import sys
from types import ModuleType
from typing import Final

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


def import_tensorflow_alone() -> None:
    """Import TensorFlow without what it does without.

    What it has not imported can be imported afterwards, by whoever needs it. Where TensorFlow is imported
    already, nothing happens.
    """
    if "tensorflow" in sys.modules:
        return
    # So Python is told that there is no such module.
    hidden: dict[str, ModuleType | None] = {name: None for name in _DISPENSABLE if name not in sys.modules}
    sys.modules.update(hidden)  # type: ignore[arg-type]
    try:
        importlib.import_module("tensorflow")
    finally:
        for name in hidden:
            del sys.modules[name]
