"""Python values as TOML text: the writing half that ``tomli`` does not have."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

from pydantic import BaseModel

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_ESCAPES = {"\\": "\\\\", '"': '\\"', "\b": "\\b", "\t": "\\t", "\n": "\\n", "\f": "\\f", "\r": "\\r"}


def toml_string(text: str) -> str:
    """``text`` as a basic TOML string on one line, control characters escaped."""
    return '"' + "".join(map(_escape, text)) + '"'


def toml_key(key: str) -> str:
    """One key: bare where TOML allows it, else quoted."""
    return key if _BARE_KEY.fullmatch(key) else toml_string(key)


def toml_value(value: Any) -> str:
    """``value`` as TOML on one line; tables become inline tables.

    Args:
        value: bool, int, float, str, path, date or time, None-free list or tuple, mapping, or pydantic model
            (its fields that are None are left out, as TOML has no null).

    Raises:
        TypeError: If a value has no form in TOML.
    """
    match value:
        case bool():
            return "true" if value else "false"
        case int():
            return str(value)
        case float():
            return _float(value)
        case str():
            return toml_string(value)
        case PurePath():
            return toml_string(str(value))
        case list() | tuple():
            return "[" + ", ".join(map(toml_value, value)) + "]"
        case BaseModel():
            fields = ((name, getattr(value, name)) for name in type(value).model_fields)
            return toml_value({name: field for name, field in fields if field is not None})
        case Mapping():
            pairs = ", ".join(f"{toml_key(str(key))} = {toml_value(item)}" for key, item in value.items())
            return "{ " + pairs + " }" if pairs else "{}"
    if hasattr(value, "isoformat"):
        return str(value.isoformat())
    raise TypeError(f"{type(value).__name__} has no form in TOML")


def _float(value: float) -> str:
    if math.isnan(value):
        return "nan"
    if math.isinf(value):
        return "inf" if value > 0 else "-inf"
    return repr(value)


def _escape(char: str) -> str:
    if char in _ESCAPES:
        return _ESCAPES[char]
    # Line separators and the like are legal in TOML but would break a message or a comment in two.
    if char.isprintable() or char == " ":
        return char
    return f"\\u{ord(char):04X}" if ord(char) < 0x10000 else f"\\U{ord(char):08X}"
