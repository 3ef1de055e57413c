"""JSON as plain values, with bounds on what it says."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, NoReturn, TypeAlias

Json: TypeAlias = Any  # mappings, lists, texts, numbers, truth values and None; who reads some checks what it is

DEPTH = 50  # of mappings and lists in one another


def load(text: str) -> object:
    """Return what a JSON text says.

    Raises:
        ValueError: if it isn't JSON, holds a key twice or a number that isn't finite, or is nested too deep.
    """
    try:
        value = json.loads(text, object_pairs_hook=unique_keys, parse_constant=_refused_number)
    except RecursionError:
        raise ValueError(f"it is more than {DEPTH} levels deep") from None
    if _is_deep(value):
        raise ValueError(f"it is more than {DEPTH} levels deep")
    return value


def unique_keys(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """Make an object for ``json.loads``, which otherwise keeps the last of several values.

    Raises:
        ValueError: if a key stands twice.
    """
    values = dict(pairs)
    if len(values) < len(pairs):
        raise ValueError(f"the key {first_repeated(key for key, _ in pairs)!r} stands twice")
    return values


def first_repeated(names: Iterable[str]) -> str:
    """Return the first name that was there before; an empty text if none was."""
    seen: set[str] = set()
    for name in names:
        if name in seen:
            return name
        seen.add(name)
    return ""


def _refused_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number of JSON")


def _is_deep(value: object) -> bool:
    level = [value]
    for _ in range(DEPTH):
        below = [item for item in level if isinstance(item, (dict, list))]
        level = [part for item in below for part in (item.values() if isinstance(item, dict) else item)]
        if not level:
            return False
    return any(isinstance(item, (dict, list)) for item in level)
