"""Checks of settings: their types, and seeds."""

from __future__ import annotations

import dataclasses
import numbers
from collections.abc import Callable, Iterable, Mapping, Sized
from pathlib import Path
from typing import Any

from promptlab.errors import PromptlabError, shown


def _is_number(value: Any) -> bool:
    return isinstance(value, numbers.Real) and not isinstance(value, bool) and value == value  # NaN isn't itself


def _is_texts(value: Any) -> bool:
    if isinstance(value, (str, Mapping)) or not (isinstance(value, Iterable) and isinstance(value, Sized)):
        return False
    return all(isinstance(item, str) for item in value)


# what an annotation may say → how a person says it, and whether a value fits; NumPy's numbers count as numbers
TYPES: Mapping[str, tuple[str, Callable[[Any], bool]]] = {
    "int": ("a whole number", lambda value: _is_number(value) and isinstance(value, numbers.Integral)),
    "float": ("a number", _is_number),
    "bool": ("True or False", lambda value: type(value).__name__ in ("bool", "bool_")),
    "str": ("a text", lambda value: isinstance(value, str)),
    "Path": ("a path", lambda value: isinstance(value, Path)),
    "Sequence[str]": ("a list of texts", _is_texts),
    "None": ("None", lambda value: value is None),
}


def check_types(settings: Any, error: type[PromptlabError]) -> None:
    """Refuse a dataclass whose values aren't of the types that it says; types that ``TYPES`` doesn't know pass.

    Raises:
        PromptlabError: of the class ``error``, naming the setting, its value and what was expected.
    """
    for field in dataclasses.fields(settings):
        kinds = str(field.type).split(" | ")
        value = getattr(settings, field.name)
        if set(kinds) <= set(TYPES) and not any(TYPES[kind][1](value) for kind in kinds):
            expected = " or ".join(TYPES[kind][0] for kind in kinds)
            raise error(f"{type(settings).__name__}: {field.name}={shown(value)} must be {expected}.")


def check_seed(seed: int, error: type[PromptlabError]) -> None:
    """Refuse what NumPy takes for no seed.

    Raises:
        PromptlabError: of the class ``error``.
    """
    if not (_is_number(seed) and isinstance(seed, numbers.Integral) and 0 <= seed < 2**32):
        raise error(f"seed={shown(seed)} must be a whole number from 0 to 4294967295.")
