"""Whether the parts of a release, loaded as in a server, give what training and evaluation computed."""

import json
import logging
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from schemas.contract import INDEX, ITEM_TOWER, MODEL_INFO_FILE, PROGRESS_LOGGER, RETRIEVER, USER_TOWER
from schemas.errors import ReleaseError
from schemas.skew import SCORES_SAMPLE_FILE, SKEW_SAMPLE, TOLERANCE

# Behind what is installed: before it, names in a folder of packages would hide those of Python itself.
_PROGRAM: Final = (
    "import sys; sys.path.append(sys.argv.pop(1)); "
    "from schemas.tensorflow_alone import import_tensorflow_alone; import_tensorflow_alone(); "
    "from components.tower_pusher.check_towers import main; main()"
)
_TIMEOUT_SECONDS: Final = 900.0
_ROOT: Final = Path(__file__).resolve().parents[2]
_SHOWN_LINES: Final = 5
_REMEDIES: Final = {
    "training": "What would be served is not what was trained: train again, and if it comes back, look for "
    "what the transform graph, your own user tower or a library does otherwise once it is exported.",
    "item_tower": "Build the index again with this model's item tower.",
    "evaluation": "Build the index and evaluate again with the parts of one training.",
}

_progress = logging.getLogger(PROGRESS_LOGGER)


@dataclass(frozen=True)
class Samples:
    """Where the samples are that a release is held against."""

    model: Path
    """The Trainer's serving model, with model.json and the Trainer's samples."""
    report: Path
    """The evaluation report's folder."""


def check_parts(
    parts: Mapping[str, Path], samples: Samples, timeout_seconds: float = _TIMEOUT_SECONDS
) -> None:
    """Compare what the parts give with what training and evaluation computed, as `compare_parts` does.

    A model of a program that wrote no sample is passed by, and that is told.

    Args:
        parts: As `compare_parts` takes them.
        samples: The samples.
        timeout_seconds: After so long the process is ended.

    Raises:
        ReleaseError: Something differs, a part cannot be loaded, or it takes too long.
    """
    sampled = compare_parts(parts, samples, timeout_seconds)
    if sampled is None:
        _progress.info(
            "The towers are not compared with training: the program that trained this model wrote no samples."
        )
        return
    wider = "" if sampled["tolerance"] <= TOLERANCE else ", since the towers compute in bfloat16"
    _progress.info(
        "The towers give training's embeddings of %d users and %d items, and the evaluated scores, within "
        "%g%s",
        sampled["users"],
        sampled["items"],
        sampled["tolerance"],
        wider,
    )


def compare_parts(
    parts: Mapping[str, Path], samples: Samples, timeout_seconds: float = _TIMEOUT_SECONDS
) -> dict[str, Any] | None:
    """Load the parts in a fresh process with TensorFlow alone, and compare what they give with samples.

    The embeddings of sampled users and items have to be those of the towers in the Trainer's memory, the
    index's those of the item tower, and users times index the scores that were evaluated.

    Args:
        parts: The folders of the user tower, the item tower and the index, and of the retriever where there
            is one, by the names of the parts.
        samples: The samples.
        timeout_seconds: After so long the process is ended.

    Returns:
        Numbers of `users` and `items`, and the `tolerance`; None where there is no sample.

    Raises:
        ReleaseError: Something differs, a part cannot be loaded, or it takes too long.
    """
    sampled = _read_sampled(samples.model / MODEL_INFO_FILE)
    if sampled is None:
        return None
    differences = _run(_compose_command(parts, samples, sampled["tolerance"]), timeout_seconds)
    if differences:
        remedies = dict.fromkeys(_REMEDIES[difference["against"]] for difference in differences)
        raise ReleaseError(
            f"Nothing was released: {'; '.join(difference['text'] for difference in differences)}. "
            f"{' '.join(remedies)}"
        )
    return sampled


def _read_sampled(model_info: Path) -> dict[str, Any] | None:
    try:
        sampled = json.loads(model_info.read_text(encoding="utf-8")).get(SKEW_SAMPLE)
        return None if sampled is None else {key: sampled[key] for key in ("users", "items", "tolerance")}
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise ReleaseError(f"{model_info}: expected JSON of the Trainer. Received: {error!r}.") from error


def _compose_command(parts: Mapping[str, Path], samples: Samples, tolerance: float) -> list[str]:
    scores = samples.report / SCORES_SAMPLE_FILE
    if not scores.is_file():
        raise ReleaseError(
            f"Expected the scores of some users in {scores}. Received: no file. Evaluate this model again "
            "with the version of the program that trained it."
        )
    folders = {
        "user-tower": parts[USER_TOWER],
        "item-tower": parts[ITEM_TOWER],
        "index": parts[INDEX],
        "sample": samples.model / SKEW_SAMPLE,
        "scores": scores,
    }
    if RETRIEVER in parts:
        folders["retriever"] = parts[RETRIEVER]
    # The process works in another folder.
    options = [text for name, path in folders.items() for text in (f"--{name}", str(path.absolute()))]
    return [sys.executable, "-c", _PROGRAM, str(_ROOT), *options, "--tolerance", str(tolerance)]


def _run(command: list[str], timeout_seconds: float) -> list[dict[str, str]]:
    with tempfile.TemporaryDirectory() as folder:
        try:
            # Elsewhere, so that no file of the working directory is taken for a module.
            done = subprocess.run(
                command,
                cwd=folder,
                env=_environment(),
                capture_output=True,
                text=True,
                timeout=timeout_seconds,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise ReleaseError(
                "Nothing was released: comparing the towers with training did not end in "
                f"{timeout_seconds:.0f} s. Push again, on a machine with more memory or less to do."
            ) from None
    if done.returncode:
        last = "\n".join(done.stderr.strip().splitlines()[-_SHOWN_LINES:])
        raise ReleaseError(
            "Nothing was released: the towers and the index could not be loaded and asked as a server would "
            f"(exit status {done.returncode}):\n{last}\nRun again, and where it was killed, with more memory."
        )
    return json.loads(done.stdout.strip().splitlines()[-1])


def _environment() -> dict[str, str]:
    # A GPU rounds otherwise, and may be in use.
    return dict(os.environ) | {"CUDA_VISIBLE_DEVICES": "-1", "TF_CPP_MIN_LOG_LEVEL": "2"}
