"""Checkpoints of a training: each is written whole or not at all, and the newest whole one is found again."""

import contextlib
import dataclasses
import hashlib
import json
import logging
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import numpy as np
import tensorflow as tf

from schemas import storage
from schemas.contract import PROGRESS_LOGGER
from schemas.errors import StorageError
from schemas.feature_parts import model_part
from schemas.features import FeatureSpec
from schemas.strict_config import to_json
from schemas.user_code import hash_user_code
from trainer.config import CheckpointConfig, TrainerConfig
from trainer.vocabularies import EncodedSize

_PROGRESS = logging.getLogger(PROGRESS_LOGGER)

# Part of every training's key: raise it when a checkpoint of before no longer means the same.
_FORMAT_VERSION: Final = 4
# Written last; it lists the other files with their hashes.
_MARKER: Final = "complete.json"
_VARIABLES: Final = "variables"

Phase = Literal["fit", "refit"]


@dataclass(frozen=True)
class Progress:
    """Where a training stands, besides the values of its variables."""

    phase: Phase = "fit"
    """`refit`: the second training of early stopping, on train and validation."""
    step: int = 0
    """Steps taken in this phase, and so the position in the data, whose order the seed alone decides."""
    recall_by_epoch: tuple[float, ...] = ()
    """Recall on the validation split after each epoch of the first phase."""

    @property
    def best_epoch(self) -> int | None:
        """The epoch with the highest recall, from 1 on, the earliest of equal ones; None without any."""
        return int(np.argmax(self.recall_by_epoch)) + 1 if self.recall_by_epoch else None

    @property
    def epochs_since_best(self) -> int:
        """Epochs after the best one."""
        return len(self.recall_by_epoch) - (self.best_epoch or 0)


@dataclass(frozen=True)
class SavedState:
    """A checkpoint that was found whole."""

    location: str
    """Its folder, a path or URI."""
    progress: Progress
    """Where the training stood."""
    folder: "_LocalFolder"
    """Its files on this machine."""

    def restore(self, variables: Sequence[tf.Variable]) -> None:
        """Set variables to the values that were saved.

        Args:
            variables: As many as were saved, in the same order, with the same shapes.

        Raises:
            StorageError: It can no longer be read, or holds other variables.
        """
        with _explaining("read", self.location):
            try:
                _checkpoint(variables).read(str(self.folder.path / _VARIABLES)).assert_consumed()
            except (AssertionError, ValueError) as error:
                raise StorageError(
                    f"The checkpoint {self.location} holds other variables than this training has: other "
                    f"code wrote it. Delete the folder {self.location.rpartition('/')[0]} to start anew."
                ) from error


class Checkpoints:
    """The checkpoints of one training, in a folder of its own.

    Each is a folder `<phase>-<step>` with the variables, and `complete.json`, written last, with the progress
    and the SHA-256 of each file: what has no such file, or does not match it, was not written to its end.

    Attributes:
        folder: The folder, a path or URI.
        newest: Folder of the newest checkpoint that this process wrote or found; None without one.
    """

    def __init__(self, folder: str, config: CheckpointConfig) -> None:
        """Open the folder; it need not exist.

        Args:
            folder: A path or URI.
            config: The intervals, and how many to keep.
        """
        self.newest: str | None = None
        self.folder = folder
        self._config = config
        self._damaged: set[str] = set()
        self._written_at = time.monotonic()

    def find_newest(self) -> SavedState | None:
        """Look for the newest checkpoint that is whole; one that is not is left out, and the log says so.

        Returns:
            The checkpoint; None if there is none.

        Raises:
            StorageError: The folder cannot be read.
        """
        for name in reversed(self._names()):
            location = storage.join(self.folder, name)
            try:
                saved = _read_whole(location)
            except _DamagedError as damage:
                self._damaged.add(name)
                _PROGRESS.warning("Checkpoint %s is damaged (%s): the one before it counts", location, damage)
            else:
                self.newest = location
                return saved
        return None

    def next_due(self, step: int) -> int | None:
        """Tell where training has to pause for the next checkpoint.

        Args:
            step: Steps taken.

        Returns:
            The next multiple of `interval_steps`; None where only seconds count.
        """
        interval = self._config.interval_steps
        return None if interval is None else (step // interval + 1) * interval

    def is_due(self, step: int) -> bool:
        """Tell whether a checkpoint belongs after this step.

        Args:
            step: Steps taken.

        Returns:
            Whether the step is a multiple of `interval_steps`, or `interval_seconds` have passed since the
            last checkpoint, or since the start.
        """
        steps, seconds = self._config.interval_steps, self._config.interval_seconds
        return (steps is not None and step % steps == 0) or (
            seconds is not None and time.monotonic() - self._written_at >= seconds
        )

    def write(self, progress: Progress, variables: Sequence[tf.Variable]) -> None:
        """Write a checkpoint, and delete those that are no longer kept.

        Args:
            progress: Where the training stands.
            variables: Everything that the next step depends on.

        Raises:
            StorageError: It cannot be written.
        """
        name = f"{progress.phase}-{progress.step:012d}"
        location = storage.join(self.folder, name)
        # Until it is whole it takes no whole one's place, and a store that refuses is asked no sooner again.
        self._damaged.add(name)
        self._written_at = time.monotonic()
        storage.delete_tree(location)
        folder = _LocalFolder(location)
        with _explaining("write", location):
            folder.path.mkdir(parents=True, exist_ok=True)
            _checkpoint(variables).write(str(folder.path / _VARIABLES))
            marker = {"progress": dataclasses.asdict(progress), "files": _hash_files(folder.path)}
        if storage.is_remote(location):
            storage.copy_tree(folder.path, location)
        storage.write_bytes(storage.join(location, _MARKER), json.dumps(marker, indent=2).encode())
        self.newest = location
        self._damaged.discard(name)
        self._written_at = time.monotonic()
        names = self._names()
        kept = [whole for whole in names if whole not in self._damaged][-self._config.keep :]
        for other in names:
            if other not in kept:
                storage.delete_tree(storage.join(self.folder, other))

    def _names(self) -> list[str]:
        # "fit" sorts before "refit", and steps have as many digits.
        return sorted(name for name in storage.list_names(self.folder) if name.startswith(("fit-", "refit-")))


def training_key(
    arrays: Mapping[str, np.ndarray],
    spec: FeatureSpec,
    config: TrainerConfig,
    sizes: Mapping[str, EncodedSize],
    *,
    replicas: int,
    base_id: str | None,
) -> str:
    """Name a training by everything that its result depends on, except this project's code.

    Args:
        arrays: What the training is made of, by name.
        spec: The features; where their columns are, what is displayed, allowed values and thresholds do not
            count.
        config: All settings; where checkpoints go, how often something is logged and the threads do not
            count.
        sizes: Rows of each feature with a vocabulary or buckets, by name.
        replicas: Replicas in sync.
        base_id: What a warm start begins from; None for a cold start.

    Returns:
        32 hexadecimal digits.
    """
    settings = dataclasses.replace(
        config.training,
        checkpoint=CheckpointConfig(),
        log_interval_steps=1,
        intra_op_threads=None,
        inter_op_threads=None,
        # What they decide is in the epochs and in what the training begins from.
        warm_epochs=None,
        cold_every=None,
    )
    digest = hashlib.sha256()

    def add(name: str, text: str) -> None:
        digest.update(f"{name} {len(text)} {text}\n".encode())

    def add_array(name: str, array: np.ndarray) -> None:
        add(name, f"{array.dtype.str} {array.shape}")
        digest.update(np.ascontiguousarray(array).data)

    add("format", str(_FORMAT_VERSION))
    add("spec", to_json(model_part(spec)))
    add("config", to_json(dataclasses.replace(config, training=settings)))
    if config.model.user_tower is not None:
        add("user_tower", hash_user_code("model.user_tower", config.model.user_tower))
    add("tensorflow", tf.__version__)
    add("replicas", str(replicas))
    add("base", base_id or "")
    add("sizes", json.dumps({name: dataclasses.astuple(size) for name, size in sorted(sizes.items())}))
    for name, array in sorted(arrays.items()):
        add_array(name, array)
    return digest.hexdigest()[:32]


class _DamagedError(Exception):
    """A checkpoint was not written to its end, or its files changed."""


def _checkpoint(variables: Sequence[tf.Variable]) -> tf.train.Checkpoint:
    return tf.train.Checkpoint(variables=list(variables))


class _LocalFolder:
    """The folder itself where it is local, and else a temporary one."""

    def __init__(self, location: str) -> None:
        self._copy = tempfile.TemporaryDirectory() if storage.is_remote(location) else None
        self.path = Path(location if self._copy is None else self._copy.name)


def _read_whole(location: str) -> SavedState:
    try:
        marker = json.loads(storage.read_bytes(storage.join(location, _MARKER)))
        fields = marker["progress"]
        progress = Progress(**{**fields, "recall_by_epoch": tuple(fields["recall_by_epoch"])})
        files = dict(marker["files"])
    except storage.NotFoundError:
        raise _DamagedError(f"no {_MARKER}") from None
    except (ValueError, TypeError, KeyError) as error:
        raise _DamagedError(f"{_MARKER}: {error}") from error
    folder = _LocalFolder(location)
    if storage.is_remote(location):
        storage.copy_tree(location, folder.path)
    found = _hash_files(folder.path)
    changed = sorted(name for name in files if found.get(name) != files[name])
    if changed:
        raise _DamagedError(f"missing or changed: {', '.join(changed)}")
    return SavedState(location, progress, folder)


def _hash_files(folder: Path) -> dict[str, str]:
    hashes = {}
    for path in sorted(folder.iterdir()):
        if path.name != _MARKER:
            with path.open("rb") as stream:
                hashes[path.name] = hashlib.file_digest(stream, "sha256").hexdigest()
    return hashes


@contextlib.contextmanager
def _explaining(action: str, location: str) -> Iterator[None]:
    try:
        yield
    except (OSError, tf.errors.OpError) as error:
        raise StorageError(f"Cannot {action} the checkpoint {location}: {error}") from error
