"""The label of a row, or its several labels."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from promptlab.errors import DataError, shown


def is_missing(value: Any) -> bool:
    """None, NaN, and pandas' NaT and NA, without importing pandas."""
    if isinstance(value, float):
        return math.isnan(value)
    return value is None or type(value).__name__ in ("NAType", "NaTType")


def label_name(value: Any, where: str) -> str:
    """The name of a row's one class.

    Raises:
        DataError: if there is none, or several.
    """
    if is_missing(value) or not str(value).strip():
        raise DataError(f"{where} has no label ({value!r}); fill it in or leave the row out.")
    if isinstance(value, bytes):
        raise DataError(f"{where} has the label {value!r}, which is bytes; decode it to a text.")
    if isinstance(value, (Mapping, list, tuple)):
        raise DataError(f"{where} has the label {value!r}; expected one class, so pass a single column of labels.")
    return str(value)


def sorted_classes(names: Sequence[str], *, whole: bool) -> list[Any]:
    """Classes in order, as whole numbers if their labels came as such and every class is one."""
    whole = whole and all(name.lstrip("-").isdecimal() for name in names)
    return sorted(map(int, names)) if whole else sorted(names)


def label_type(classes: Any) -> str:
    """``"int"`` or ``"str"``, as saved models name it, of an array of classes."""
    return "int" if classes.dtype.kind == "i" else "str"


def label_list(value: Any, where: str, *, separator: str | None = None) -> tuple[str, ...]:
    """The labels of a row, of which there may be none.

    Args:
        value: a list, tuple, set or array of labels; or, if there is a ``separator``, a text with it between them.
        where: the row's name in messages.

    Raises:
        DataError: if it is something else, or holds an empty label or one twice.
    """
    if separator == "":
        raise DataError("separator is empty; name a character that stands between labels, such as '|'.")
    if isinstance(value, str) and separator is not None:
        items = [item.strip() for item in value.split(separator)] if value.strip() else []
    elif isinstance(value, (set, frozenset)):
        items = sorted(value, key=str)
    elif isinstance(value, (list, tuple)) or getattr(value, "ndim", 0) == 1:
        items = list(value)
    else:
        raise DataError(f"{where} has {shown(value)} for its labels; give a list of labels, empty if none holds.")
    names = tuple(label_name(item, where) for item in items)
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise DataError(f"{where} has the label {twice[0]!r} twice; give it once.")
    return names
