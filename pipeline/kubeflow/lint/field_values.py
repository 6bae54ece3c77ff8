"""Tells whether Go's protojson, which the servers of Kubeflow Pipelines read JSON with, takes a value.

Python's json_format is laxer: it takes `true` for a number, and `1_0` and ` 30s`.
"""

import re
from decimal import Decimal
from typing import Any, Final

_NUMBER: Final = re.compile(r"-?(0|[1-9]\d*)(\.\d+)?([eE][-+]?\d+)?", re.ASCII)
_DURATION: Final = re.compile(r"[-+]?(?P<seconds>0|[1-9]\d*)?(\.\d{0,9})?s", re.ASCII)
_POINT_IN_FRONT: Final = re.compile(r"^([-+]?)\.")
_LONGEST_DURATION: Final = 315_576_000_000
_CONSTANTS: Final = ("NaN", "Infinity", "-Infinity")
_DURATION_TYPE: Final = "google.protobuf.Duration"
_ANY_VALUE: Final = "google.protobuf.Value"


def is_any_value(field: Any) -> bool:
    """Tell whether a field holds any JSON, `null` too."""
    return field.message_type is not None and field.message_type.full_name == _ANY_VALUE


def fits(field: Any, value: Any) -> bool:
    """Tell whether protojson reads a value for a field, or for one element of a repeated field.

    Args:
        field: The field's descriptor; its type is no message of our own.
        value: Plain data.

    Returns:
        Whether it does.
    """
    if field.message_type is not None:
        return _fits_known_message(field.message_type.full_name, value)
    if field.enum_type is not None:
        known = field.enum_type.values_by_name if isinstance(value, str) else field.enum_type.values_by_number
        return not isinstance(value, bool | list | dict) and value in known
    if field.type == field.TYPE_STRING:
        return isinstance(value, str)
    if field.type == field.TYPE_BOOL:
        return isinstance(value, bool)
    if field.type in (field.TYPE_DOUBLE, field.TYPE_FLOAT):
        is_constant = isinstance(value, str) and value in _CONSTANTS
        return is_constant or _read_number(value) is not None
    return _fits_integer(value, 32 if field.type == field.TYPE_INT32 else 64)


def normalize(field: Any, value: Any) -> Any:
    """Write a value that fits in the way that Python's json_format reads too."""
    if field.message_type is not None:
        is_duration = field.message_type.full_name == _DURATION_TYPE
        return _POINT_IN_FRONT.sub(r"\g<1>0.", value) if is_duration else value
    if field.type in (field.TYPE_INT32, field.TYPE_INT64):
        # JSON of messages has 64 bits as text.
        number = int(_read_number(value) or 0)
        return number if field.type == field.TYPE_INT32 else str(number)
    return value


def describe(field: Any) -> str:
    """Say what a field takes."""
    if field.message_type is not None:
        return {
            _DURATION_TYPE: "a duration with its unit, such as 30s",
            "google.protobuf.Struct": "a mapping",
        }.get(field.message_type.full_name, "another type")
    if field.enum_type is not None:
        return " or ".join(value.name for value in field.enum_type.values[1:])
    return {
        field.TYPE_STRING: "text",
        field.TYPE_BOOL: "true or false",
        field.TYPE_DOUBLE: "a number",
        field.TYPE_FLOAT: "a number",
    }.get(field.type, "a whole number")


def hint(field: Any, value: Any) -> str:
    """Say what to write for a value that does not fit."""
    if field.message_type is not None and field.message_type.full_name == _DURATION_TYPE:
        is_number = re.fullmatch(r"\d{1,9}", str(value), re.ASCII)
        return f"Write {value}s" if is_number else "Write seconds with an s, such as 30s"
    if field.enum_type is None and field.type == field.TYPE_STRING and isinstance(value, int | float):
        return "Put it in quotes"
    if field.enum_type is None and field.type == field.TYPE_BOOL and isinstance(value, str):
        return "Write true or false, without quotes"
    return "Correct the value"


def _fits_known_message(name: str, value: Any) -> bool:
    if name == _ANY_VALUE:
        return True
    if name == _DURATION_TYPE:
        return isinstance(value, str) and _fits_duration(value)
    return isinstance(value, dict)


def _fits_duration(text: str) -> bool:
    found = _DURATION.fullmatch(text)
    if found is None or text.lstrip("-+") == "s":
        return False
    seconds = found["seconds"] or "0"
    return len(seconds) <= 12 and int(seconds) <= _LONGEST_DURATION


def _fits_integer(value: Any, bits: int) -> bool:
    number = _read_number(value)
    return number is not None and number == number.to_integral_value() and abs(number) < 2 ** (bits - 1)


def _read_number(value: Any) -> Decimal | None:
    """Read a number of JSON, or one in quotes; None for anything else and for more than a double holds."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    text = str(value)
    if isinstance(value, str) and _NUMBER.fullmatch(text) is None:
        return None
    number = float(text)
    if abs(number) == float("inf"):
        return None
    # An exponent below what a double holds would make a decimal of any length.
    return Decimal(text) if number != 0 else Decimal(0)
