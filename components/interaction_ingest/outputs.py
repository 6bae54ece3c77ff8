"""The folders that the ingest writes to."""

import dataclasses
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from components.interaction_ingest.config import IngestConfig
from schemas.contract import ENTITY_SPLIT, EVAL_SPLIT, TRAIN_SPLIT, VALIDATION_SPLIT
from schemas.folders import remove_folder

WORK_FOLDER: Final = "ingest-work"
"""Folder beside the sequences for unfinished files; removed at the end."""


@dataclasses.dataclass(frozen=True)
class IngestOutputs:
    """The folders that the ingest writes to, on one file system that all Beam workers mount."""

    sequences: Path
    """Gets the sequences, as `schemas.sequences` says."""
    users: Path
    """Gets Split-all/ with the users of the sequences as gzip TFRecord files of tf.Example."""
    items: Path
    """Gets Split-all/ with the items of the catalogue, likewise."""
    catalogue: Path
    """Gets the catalogue."""
    report: Path
    """Gets the report."""
    contexts: Path | None = None
    """Gets a folder for each split with the context features of its rows, likewise; None: there are none."""
    dead_letters: Path | None = None
    """Gets the malformed rows; None to only count them."""

    @property
    def work(self) -> Path:
        """Where unfinished files lie."""
        return self.sequences / WORK_FOLDER

    def prepare(self, config: IngestConfig) -> None:
        """Remove what an earlier run left, and make the folders.

        Args:
            config: Whether there is a validation split.
        """
        for folder in (self.sequences, self.users, self.items, self.contexts, self.dead_letters):
            if folder is not None:
                remove_folder(folder, ignore_errors=True)
                folder.mkdir(parents=True)
        self.work.mkdir()
        split_folder(self.users, ENTITY_SPLIT).mkdir()
        split_folder(self.items, ENTITY_SPLIT).mkdir()
        if self.contexts is not None:
            for split in split_names(config):
                split_folder(self.contexts, split).mkdir()


def split_names(config: IngestConfig) -> list[str]:
    """List the splits that the rows have.

    Args:
        config: Whether there is a validation split.

    Returns:
        Their names.
    """
    return [TRAIN_SPLIT, *([VALIDATION_SPLIT] if config.validation else []), EVAL_SPLIT]


def split_folder(examples: Path, split: str) -> Path:
    """Name the folder of a split, as TFX does.

    Args:
        examples: The artifact's folder.
        split: The split.

    Returns:
        The folder.
    """
    return examples / f"Split-{split}"


def write_whole(path: Path, write: Callable[[Path], Any], work: Path | None = None) -> None:
    """Write a file so that a reader sees all of it or none, also if it is written twice.

    Args:
        path: The file.
        write: Writes a file at the path that it is given.
        work: Folder for the unfinished file, on the same file system; None: that of the file.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = (work or path.parent) / f"{path.name}.{uuid.uuid4().hex}.tmp"
    write(unfinished)
    unfinished.replace(path)
