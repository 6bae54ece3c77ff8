"""Finds the evaluation of a release or of a run, and reads its figures by user."""

import functools
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.runs import LAST, Run, describe_status, find_run, read_runs
from schemas import storage
from schemas.contract import EVALUATION_REPORT_FILE, PER_USER_METRICS_FILE
from schemas.errors import DssmError
from schemas.release import find_state, read_state_file

_USER: Final = "user"
# A longer number is the date that a run id begins with.
_RELEASE: Final = re.compile(r"(?:release:)?(\d{1,7})|release:(.*)")
_OLDER: Final = "Evaluations of earlier versions of this program kept no figures by user. Run it again."


class EvaluationError(DssmError):
    """An evaluation is not there, cannot be read, or cannot be compared."""


@dataclass(frozen=True)
class Evaluation:
    """What an evaluation found."""

    name: str
    """Whose it is, such as `release 3` or `run 20261128T121259.176737Z`."""
    report: Mapping[str, Any]
    """The report: `data_fingerprint`, `users`, `held_out`, `protocol` and more."""
    users: pa.StringArray
    """[users] the evaluated users."""
    metrics: Mapping[str, npt.NDArray[np.float64]]
    """[users] values by metric."""


def read_evaluation(name: str, run_directory: Path, serving_directory: str) -> Evaluation:
    """Read the evaluation of what a user names.

    Args:
        name: A release as `3` or `release:3`, or a run as its id, the beginning of it, or `last`.
        run_directory: Where runs are looked for.
        serving_directory: Where releases are looked for: a path or URI.

    Returns:
        The evaluation.

    Raises:
        DssmError: There is no such release or run, or it has no evaluation that can be compared.
    """
    match = _RELEASE.fullmatch(name)
    if match is None:
        return _read_of_run(find_run(read_runs(run_directory, most=1 if name == LAST else None), name))
    if match[1] is None:
        raise EvaluationError(
            f"{name}: expected a number after release:, such as release:3. Received: {match[2]!r}."
        )
    return _read_of_release(serving_directory, int(match[1]))


def _read_of_release(serving_directory: str, version: int) -> Evaluation:
    state = find_state(serving_directory, version)
    name = f"release {version}"
    if state.location is None:
        raise EvaluationError(f"{name.capitalize()} has no evaluation: it has no state/. {_OLDER}")
    return _read(state.location, name, functools.partial(read_state_file, state))


def _read_of_run(run: Run) -> Evaluation:
    if run.report is None:
        raise EvaluationError(
            f"Run {run.run_id} has no evaluation: its status is {describe_status(run)!r}. Compare runs that"
            " came to the step RetrievalEvaluator; `dssm runs` says which."
        )
    folder = run.report
    return _read(str(folder), f"run {run.run_id}", lambda file: storage.read_bytes(folder / file))


def _read(folder: str, name: str, read_file: Callable[[str], bytes]) -> Evaluation:
    table_file = storage.join(folder, PER_USER_METRICS_FILE)
    try:
        report = json.loads(read_file(EVALUATION_REPORT_FILE))
        table = pq.read_table(pa.BufferReader(read_file(PER_USER_METRICS_FILE)))
    except storage.NotFoundError:
        raise EvaluationError(
            f"{name.capitalize()} has no evaluation by user: expected {EVALUATION_REPORT_FILE} and"
            f" {PER_USER_METRICS_FILE} in {folder}. {_OLDER}"
        ) from None
    except (ValueError, OSError, pa.ArrowException) as error:
        raise EvaluationError(f"Cannot read the evaluation of {name} in {folder}: {error}") from error
    _check(report, table, name, table_file)
    columns = [column for column in table.column_names if column != _USER]
    return Evaluation(
        name=name,
        report=report,
        users=table[_USER].combine_chunks(),
        metrics={column: table[column].to_numpy() for column in columns},
    )


def _check(report: Mapping[str, Any], table: pa.Table, name: str, table_file: str) -> None:
    if "data_fingerprint" not in report:
        raise EvaluationError(f"The evaluation of {name} does not say which data it was made on. {_OLDER}")
    if _USER not in table.column_names:
        raise EvaluationError(f"{table_file}: expected a column {_USER!r}. Received: {table.column_names}.")
    if pc.count_distinct(table[_USER], mode="all").as_py() != table.num_rows:
        raise EvaluationError(f"{table_file}: expected each user once. Received: users with several rows.")
    for column in table.column_names:
        values = table[column]
        is_wrong = values.null_count > 0
        if column != _USER:
            is_wrong = is_wrong or not pa.types.is_float64(values.type) or not np.isfinite(values).all()
        if is_wrong:
            raise EvaluationError(f"{table_file}: expected a value for each user in {column!r}.")
