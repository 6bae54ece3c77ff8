"""Which release a training begins from: the newest that has seen nothing of what this run holds out."""

import logging
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from schemas.contract import PROGRESS_LOGGER
from schemas.errors import ConfigError, ReleaseError
from schemas.features import FeatureSpec
from schemas.leakage import find_leak
from schemas.release import (
    Manifest,
    copy_state,
    count_warm_starts,
    find_current_version,
    follow_current,
    list_published,
    read_manifest,
)
from schemas.split_times import SplitTimes
from trainer.config import TrainerConfig
from trainer.state import Row, TrainingState, read_state
from trainer.warm_start import WarmStart, list_tower_inputs

_PROGRESS = logging.getLogger(PROGRESS_LOGGER)


@dataclass(frozen=True)
class BaseChoice:
    """What a training begins from, and why."""

    base: WarmStart | None
    """The release; None: the training starts cold."""
    reason: str
    """Why it is this one, or none."""
    passed_over: Mapping[int, str] = field(default_factory=dict)
    """Why newer releases are no base, by version."""

    def log(self) -> None:
        """Say it to the user."""
        for version, reason in self.passed_over.items():
            _PROGRESS.warning("Warm start: release %d is no base for this training: %s", version, reason)
        if self.base is None:
            _PROGRESS.info("This training starts cold: %s", self.reason)
        else:
            _PROGRESS.info("Warm start from release %d: %s", self.base.release, self.reason)


def choose_base(
    serving_directory: str,
    spec: FeatureSpec,
    config: TrainerConfig,
    rows: Mapping[str, Sequence[Row]],
    times: SplitTimes,
) -> BaseChoice:
    """Choose the release that a training begins from, and load what it left for it.

    It is the current release, unless that one may have been trained on a row that this run holds out for
    evaluation or, with early stopping, for validation: then the newest of those before it that has not.

    Args:
        serving_directory: Where releases are: a path or URI. Only read.
        spec: The features of this training.
        config: Its settings.
        rows: What the rows of its embedding tables stand for, as `table_rows` gives them.
        times: When its splits lie.

    Returns:
        The choice.

    Raises:
        ConfigError: There is no serving directory, or the release's embeddings have another width.
        ReleaseError: The state of the release is incomplete, damaged or cannot be read.
        StorageError: The folder's store cannot be reached or refuses.
    """
    if not serving_directory:
        raise ConfigError(
            "training.warm_start: expected a serving directory with the releases to start from. Received: "
            "none. Set serving.directory, or training.warm_start: false."
        )
    if find_current_version(serving_directory) is None:
        return BaseChoice(None, f"there is no release in {serving_directory} yet")
    return follow_current(
        serving_directory, lambda current: _search(serving_directory, current, spec, config, rows, times)
    )


def _search(
    serving_directory: str,
    current: int,
    spec: FeatureSpec,
    config: TrainerConfig,
    rows: Mapping[str, Sequence[Row]],
    times: SplitTimes,
) -> BaseChoice:
    cold_every = config.training.cold_every
    begun = count_warm_starts(read_manifest(serving_directory, current)) + 1
    if cold_every is not None and begun >= cold_every:
        return BaseChoice(
            None,
            f"training.cold_every is {cold_every}, and release {current} ends a row of {begun - 1} warm "
            "starts",
        )
    passed_over: dict[int, str] = {}
    for version in reversed(list_published(serving_directory)):
        # What is newer than the current release was taken back.
        if version > current:
            continue
        found = _load(serving_directory, version, version == current, config, times)
        if isinstance(found, str):
            passed_over[version] = found
            continue
        manifest, state = found
        _check_width(state, version, serving_directory, config)
        base = WarmStart(
            release=version,
            in_a_row=count_warm_starts(manifest) + 1,
            state=state,
            rows=rows,
            tower_inputs=list_tower_inputs(spec, config.model),
        )
        reason = "it is the current release" if version == current else "it is the newest that can be a base"
        return BaseChoice(base, reason, passed_over)
    return BaseChoice(None, "no release can be its base", passed_over)


def _load(
    serving_directory: str, version: int, is_current: bool, config: TrainerConfig, times: SplitTimes
) -> tuple[Manifest, TrainingState] | str:
    """Load a release's state, or say why the release is no base."""
    try:
        manifest = read_manifest(serving_directory, version)
        leak = find_leak(
            manifest.trained_on,
            config.split,
            times,
            with_validation=config.training.early_stopping is not None,
        )
        if leak is not None:
            return f"it may have been trained on rows that are held out now: {leak}"
        with tempfile.TemporaryDirectory(prefix="dssm-state-") as scratch:
            folder = Path(scratch) / "state"
            released = copy_state(serving_directory, version, folder)
            state = None if released.location is None else read_state(folder)
    except ReleaseError as error:
        # A damaged current release is for a person to look at; of the older ones the next will do.
        if is_current:
            raise
        return str(error)
    if state is None:
        return "it was made by another version of this program and has no weights to start from"
    return manifest, state


def _check_width(state: TrainingState, version: int, serving_directory: str, config: TrainerConfig) -> None:
    if state.dim != config.model.dim:
        raise ConfigError(
            f"model.dim: a warm start needs that of release {version} in {serving_directory}, "
            f"{state.dim}. Received: {config.model.dim}. Set it back, or training.warm_start: false for one "
            "run, from whose release the next ones start."
        )
