"""TensorFlow Serving's REST format of a prediction, to arrays and back."""

import base64
import binascii
import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from pipeline.serving.errors import RequestError
from pipeline.serving.json_text import parse_json, render_json
from pipeline.serving.limits import Limits
from pipeline.serving.models import ServedModel, Tensor
from schemas.contract import K_INPUT, RAW_SIGNATURE, RETRIEVER

_BYTES_KEY: Final = "b64"
_KEYS: Final = ("signature_name", "instances", "inputs")


@dataclass(frozen=True)
class Prediction:
    """What a request asks a model for."""

    signature: str
    """Name of the signature."""
    arrays: dict[str, np.ndarray]
    """An array for each of its inputs."""
    is_row_format: bool
    """Whether the request had `instances`, one value for each row, and its answer has `predictions`;
    otherwise it had `inputs`, and the answer has `outputs`."""


def read_prediction(body: bytes, model: ServedModel, limits: Limits) -> Prediction:
    """Read a request.

    Args:
        body: JSON: `instances`, a list of objects with a value for each input, or of values of the only
            input; or `inputs`, an object with all rows' values for each input, or those of the only one.
            Texts are strings or {"b64": base64}. `signature_name` is `serving_default` where it is missing.
        model: The model that is asked.
        limits: The most rows, and the most items of a recommendation.

    Returns:
        The request.

    Raises:
        RequestError: The body is none, or does not fit the signature.
    """
    content = parse_json(body)
    if not isinstance(content, dict):
        raise RequestError("Expected a JSON object with 'instances' or 'inputs'. Received: another value.")
    if unknown := sorted(set(content) - set(_KEYS)):
        raise RequestError(f"Expected the keys {', '.join(_KEYS)}. Received: {', '.join(unknown)!r:.200}.")
    name = content.get("signature_name", RAW_SIGNATURE)
    if not isinstance(name, str):
        raise RequestError("signature_name: expected a text. Received: another value.")
    # TensorFlow Serving takes an empty name for the default.
    name = name or RAW_SIGNATURE
    wanted = model.find_signature(name).inputs
    is_row_format = "instances" in content
    if is_row_format == ("inputs" in content):
        raise RequestError(
            f"Expected either 'instances' or 'inputs'. Received: {'both' if is_row_format else 'neither'}."
        )
    values = (
        _turn_rows(content["instances"], wanted) if is_row_format else _name_inputs(content["inputs"], wanted)
    )
    arrays = {key: to_array(values[key], tensor, key) for key, tensor in wanted.items()}
    for key, array in arrays.items():
        if array.ndim and array.shape[0] > limits.rows:
            raise RequestError(
                f"{key}: expected at most {limits.rows:,} rows. Received: {array.shape[0]:,}. Send them in "
                "several requests."
            )
    if len({array.shape[0] for array in arrays.values() if array.ndim}) > 1:
        rows = ", ".join(f"{key} {array.shape[0]:,}" for key, array in arrays.items() if array.ndim)
        raise RequestError(f"Expected as many rows of each input. Received: {rows}.")
    if model.name == RETRIEVER and K_INPUT in arrays:
        _check_k(arrays[K_INPUT], limits)
    return Prediction(name, arrays, is_row_format)


def render_prediction(outputs: Mapping[str, np.ndarray], is_row_format: bool) -> bytes:
    """Write an answer.

    Args:
        outputs: An array for each output, each with as many rows.
        is_row_format: As the request was.

    Returns:
        JSON: `predictions`, a list of objects, or of values of the only output; or `outputs`. NaN and the
        infinities are NaN, Infinity and -Infinity, as TensorFlow Serving writes them.
    """
    has_non_finite = any(
        array.dtype.kind == "f" and not np.isfinite(array).all() for array in outputs.values()
    )
    values = {name: _to_values(name, array) for name, array in outputs.items()}
    content: Any = next(iter(values.values())) if len(values) == 1 else values
    if is_row_format:
        rows = zip(*values.values(), strict=True)
        predictions = content if len(values) == 1 else [dict(zip(values, row, strict=True)) for row in rows]
        return render_json({"predictions": predictions}, has_non_finite)
    return render_json({"outputs": content}, has_non_finite)


def to_array(value: Any, tensor: Tensor, label: str) -> np.ndarray:
    """Make an array of nested lists.

    Args:
        value: Lists of lists of numbers, or of texts and {"b64": base64} objects.
        tensor: What the array must be.
        label: The input's name, for messages.

    Returns:
        The array; texts as bytes.

    Raises:
        RequestError: The lists are of different lengths, or their shape or a value does not fit.
    """
    shape: list[int] = []
    level = [value]
    while level and isinstance(level[0], list):
        if not all(isinstance(one, list) for one in level):
            raise RequestError(f"{label}: expected lists of one depth. Received: a value beside a list.")
        lengths = set(map(len, level))
        if len(lengths) > 1:
            raise RequestError(
                f"{label}: expected lists of one length. Received: lists of {min(lengths)} and of "
                f"{max(lengths)}. Fill the shorter ones up{' with empty texts' if tensor.is_text else ''}."
            )
        shape.append(lengths.pop())
        level = list(itertools.chain.from_iterable(level))
    if len(shape) != len(tensor.shape) or any(
        wanted is not None and wanted != length for wanted, length in zip(tensor.shape, shape, strict=True)
    ):
        expected = ", ".join("any" if length is None else str(length) for length in tensor.shape)
        raise RequestError(f"{label}: expected values of shape [{expected}]. Received: {shape}.")
    if shape and not shape[0]:
        raise RequestError(f"{label}: expected at least one row. Received: none.")
    if tensor.is_text:
        flat = np.empty(len(level), object)
        flat[:] = [_to_bytes(one, label) for one in level]
        return flat.reshape(shape)
    return _to_numbers(level, tensor.dtype, label).reshape(shape)


def _turn_rows(rows: Any, wanted: Mapping[str, Tensor]) -> dict[str, list]:
    """Give all rows' values by input."""
    if not isinstance(rows, list) or not rows:
        received = "an empty list" if isinstance(rows, list) else "another value"
        raise RequestError(f"instances: expected a list of at least one row. Received: {received}.")
    names = set(wanted)
    if not isinstance(rows[0], dict) or (set(rows[0]) == {_BYTES_KEY} != names):
        _check_is_only_input(wanted, "instances")
        return {next(iter(wanted)): rows}
    for number, row in enumerate(rows):
        if not isinstance(row, dict):
            raise RequestError(
                f"instances[{number}]: expected an object as the first. Received: another value."
            )
        if row.keys() != names:
            _refuse_names(row, names, f"instances[{number}]")
    return {name: [row[name] for row in rows] for name in wanted}


def _name_inputs(values: Any, wanted: Mapping[str, Tensor]) -> dict[str, Any]:
    names = set(wanted)
    if not isinstance(values, dict) or (set(values) == {_BYTES_KEY} != names):
        _check_is_only_input(wanted, "inputs")
        return {next(iter(wanted)): values}
    if values.keys() != names:
        _refuse_names(values, names, "inputs")
    return values


def _check_is_only_input(wanted: Mapping[str, Tensor], label: str) -> None:
    if len(wanted) != 1:
        raise RequestError(
            f"{label}: expected a value for each of {', '.join(wanted)}, by name. Received: a value "
            "without one."
        )


def _refuse_names(row: Mapping[str, Any], names: set[str], label: str) -> None:
    missing, unknown = sorted(names - set(row)), sorted(set(row) - names)
    parts = [f"no {', '.join(missing)}"] * bool(missing) + [f"{', '.join(unknown)!r:.200}"] * bool(unknown)
    raise RequestError(
        f"{label}: expected the inputs {', '.join(sorted(names))}. Received: {' and '.join(parts)}."
    )


def _to_bytes(value: Any, label: str) -> bytes:
    if isinstance(value, str):
        return value.encode()
    if isinstance(value, dict) and value.keys() == {_BYTES_KEY} and isinstance(value[_BYTES_KEY], str):
        try:
            return base64.b64decode(value[_BYTES_KEY], validate=True)
        except (binascii.Error, ValueError) as error:
            raise RequestError(f"{label}: expected base64 under {_BYTES_KEY!r}. Received: {error}.") from None
    raise RequestError(
        f'{label}: expected texts, or {{"{_BYTES_KEY}": base64}}. Received: {_name_type(value)}.'
    )


def _to_numbers(values: list, dtype: np.dtype, label: str) -> np.ndarray:
    is_whole = dtype.kind in "iu"
    wrong = [value for value in values if type(value) is not int and (is_whole or type(value) is not float)]
    if wrong:
        what = "whole numbers" if is_whole else "numbers"
        raise RequestError(f"{label}: expected {what}. Received: {_name_type(wrong[0])}.")
    try:
        with np.errstate(over="ignore"):
            wide = np.array(values, np.int64 if is_whole else np.float64)
            numbers = wide.astype(dtype)
    except OverflowError:
        raise RequestError(f"{label}: expected numbers of {dtype}. Received: a larger one.") from None
    is_wrong = numbers != wide if is_whole else np.isinf(numbers) & np.isfinite(wide)
    if is_wrong.any():
        raise RequestError(f"{label}: expected numbers of {dtype}. Received: {wide[is_wrong][0]}.")
    return numbers


def _check_k(k: np.ndarray, limits: Limits) -> None:
    wrong = k[(k < 1) | (k > limits.k)]
    if len(wrong):
        raise RequestError(f"{K_INPUT}: expected numbers from 1 to {limits.k:,}. Received: {wrong[0]}.")


def _name_type(value: Any) -> str:
    names = {bool: "a boolean", dict: "an object", list: "a list", str: "a text", type(None): "null"}
    return names.get(type(value), f"{value!r:.60}")


def _to_values(name: str, array: np.ndarray) -> Any:
    values = array.tolist()
    return _to_texts(values, name.endswith("_bytes")) if array.dtype == object else values


def _to_texts(value: Any, is_binary: bool) -> Any:
    if isinstance(value, list):
        return [_to_texts(one, is_binary) for one in value]
    if not is_binary:
        try:
            return value.decode()
        except UnicodeDecodeError:
            pass
    return {_BYTES_KEY: base64.b64encode(value).decode()}
