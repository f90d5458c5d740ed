# SPDX-License-Identifier: AGPL-3.0-or-later
"""Frozen records as JSON and back, so that a submission can be sent again identically after a restart.

Understood: dataclasses, enumerations, aware datetimes, tuples, ``| None``, str, int, float, bool.
``bytes`` fields are left out (a document has its own column) and read back empty.  Keys unknown to this
version are ignored and missing keys take the field's default, so that an older row stays readable.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from datetime import datetime
from enum import Enum
from functools import lru_cache
from types import NoneType, UnionType
from typing import Any, Union, cast, get_args, get_origin, get_type_hints

from drimbox.errors import DocumentError

REASON = "record-invalid"


def to_json(record: object) -> str:
    """Write a record as compact JSON.  Raises `TypeError` on a value of no understood type."""
    return json.dumps(_plain(record), ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def from_json[T](cls: type[T], text: str) -> T:
    """Read what `to_json` wrote.  Raises `DocumentError` (``record-invalid``) naming the wrong field."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DocumentError(f"{cls.__name__}: not JSON", reason=REASON) from error
    return cast(T, _read(cls, value, cls.__name__))


def _plain(value: object) -> Any:
    # bool is an int and a StrEnum is a str: the narrower type first
    if isinstance(value, Enum):
        return value.value
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise TypeError("a naive datetime has no place in a record")
        return value.isoformat()
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    if is_dataclass(value) and not isinstance(value, type):
        pairs = ((f.name, getattr(value, f.name)) for f in fields(value))
        return {name: _plain(item) for name, item in pairs if not isinstance(item, bytes)}
    raise TypeError(f"{type(value).__name__} is not written to JSON")


@lru_cache(maxsize=128)
def _hints(cls: type) -> Mapping[str, Any]:
    return get_type_hints(cls)


def _read(hint: Any, value: Any, where: str) -> Any:
    origin = get_origin(hint)
    if origin in (Union, UnionType):
        return _read_union(hint, value, where)
    if origin is tuple:
        return _read_tuple(get_args(hint), value, where)
    if is_dataclass(hint):
        return _read_record(cast(type, hint), value, where)
    if hint is datetime:
        return _read_instant(value, where)
    if isinstance(hint, type) and issubclass(hint, Enum):
        try:
            return hint(value)
        except ValueError:
            raise _wrong(where, hint.__name__) from None
    if hint is float and type(value) is int:
        return float(value)
    if hint in (str, int, float, bool) and type(value) is hint:
        return value
    raise _wrong(where, getattr(hint, "__name__", str(hint)))


def _read_union(hint: Any, value: Any, where: str) -> Any:
    choices = [arg for arg in get_args(hint) if arg is not NoneType]
    if value is None:
        return None
    if len(choices) != 1:
        raise TypeError(f"{where}: only `X | None` is understood")
    return _read(choices[0], value, where)


def _read_tuple(arguments: tuple[Any, ...], value: Any, where: str) -> tuple[Any, ...]:
    if not isinstance(value, list):
        raise _wrong(where, "list")
    if len(arguments) == 2 and arguments[1] is Ellipsis:
        return tuple(_read(arguments[0], item, f"{where}[{i}]") for i, item in enumerate(value))
    if len(value) != len(arguments):
        raise _wrong(where, f"list of {len(arguments)}")
    return tuple(_read(a, item, f"{where}[{i}]") for i, (a, item) in enumerate(zip(arguments, value, strict=True)))


def _read_record(cls: type, value: Any, where: str) -> Any:
    if not isinstance(value, dict):
        raise _wrong(where, "object")
    hints = _hints(cls)
    known: dict[str, Any] = {}
    for field in fields(cls):
        hint = hints[field.name]
        if hint is bytes:
            known[field.name] = b""
        elif field.name in value:
            known[field.name] = _read(hint, value[field.name], f"{where}.{field.name}")
        elif field.default is MISSING and field.default_factory is MISSING:
            raise DocumentError(f"{where}.{field.name} is missing", reason=REASON)
    return cls(**known)


def _read_instant(value: Any, where: str) -> datetime:
    try:
        instant = datetime.fromisoformat(value)
    except (TypeError, ValueError):
        raise _wrong(where, "instant") from None
    if instant.tzinfo is None:
        raise _wrong(where, "aware instant")
    return instant


def _wrong(where: str, wanted: str) -> DocumentError:
    # the value is not quoted: it may be an identity
    return DocumentError(f"{where}: {wanted} expected", reason=REASON)
