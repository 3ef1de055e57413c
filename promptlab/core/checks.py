"""Checks of settings: their types, and seeds."""

from __future__ import annotations

import dataclasses
import inspect
import numbers
import warnings
from collections.abc import Callable, Iterable, Mapping, Sized
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeGuard

from promptlab.core.errors import PromptlabError, PromptlabWarning, short_repr
from promptlab.core.ranges import RANGES, plain_types

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


def is_number(value: object) -> TypeGuard[float]:
    """Whether a value is a number, NumPy's included; True, False and NaN aren't."""
    return isinstance(value, numbers.Real) and not isinstance(value, bool) and value == value  # NaN isn't itself


def is_whole(value: object) -> TypeGuard[int]:
    """Whether a value is a whole number, as ``is_number``."""
    return is_number(value) and isinstance(value, numbers.Integral)


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _each(is_item: Callable[[object], bool], value: object) -> bool:
    if isinstance(value, (str, Mapping)) or not (isinstance(value, Iterable) and isinstance(value, Sized)):
        return False
    return all(map(is_item, value))


def _is_named(value: object) -> bool:
    return isinstance(value, Mapping) and all(map(_is_text, value))


# what an annotation may say → how a person says it, and whether a value fits; NumPy's numbers count as numbers
TYPES: Mapping[str, tuple[str, Callable[[object], bool]]] = {
    "int": ("a whole number", is_whole),
    "float": ("a number", is_number),
    "bool": ("True or False", lambda value: type(value).__name__ in ("bool", "bool_")),
    "str": ("a text", _is_text),
    "Path": ("a path", lambda value: isinstance(value, Path)),
    "Sequence[str]": ("a list of texts", partial(_each, _is_text)),
    "Sequence[int]": ("a list of whole numbers", partial(_each, is_whole)),
    "Mapping[str, object]": (
        "names and values",
        lambda value: isinstance(value, Mapping) and all(map(_is_text, value)),
    ),
    "None": ("None", lambda value: value is None),
}


def check_types(settings: DataclassInstance, error: type[PromptlabError]) -> None:
    """Refuse a dataclass whose values aren't of the types, or not in the ranges, that it says.

    Types that ``TYPES`` doesn't know pass.

    Raises:
        PromptlabError: of the class ``error``, naming the setting, its value and what was expected.
    """
    for field in dataclasses.fields(settings):
        _check_type(type(settings).__name__, field.name, getattr(settings, field.name), str(field.type), error)
    check_ranges(settings, error)


def check_ranges(settings: DataclassInstance, error: type[PromptlabError]) -> None:
    """Refuse a dataclass whose numbers aren't in the ranges that it says, see ``ranges``.

    Raises:
        PromptlabError: of the class ``error``, naming the setting, its value and its range.
    """
    for field in dataclasses.fields(settings):
        _check_range(field.name, getattr(settings, field.name), str(field.type), error, usual=field.default)


def check_arguments(function: Callable[..., object], given: Mapping[str, object], error: type[PromptlabError]) -> None:
    """Refuse arguments that aren't of the types, or not in the ranges, that a function's signature says.

    Args:
        given: argument → value; what else it holds is left alone.

    Raises:
        PromptlabError: as for ``check_types``.
    """
    for name, kind in function.__annotations__.items():
        if name in given:
            _check_type(function.__name__, name, given[name], str(kind), error)
            _check_range(name, given[name], str(kind), error)


def _check_type(owner: str, name: str, value: object, annotation: str, error: type[PromptlabError]) -> None:
    kinds = plain_types(annotation)
    if set(kinds) <= set(TYPES) and not any(TYPES[kind][1](value) for kind in kinds):
        expected = " or ".join(TYPES[kind][0] for kind in kinds)
        raise error(f"{owner}: {name}={short_repr(value)} must be {expected}.")


def _check_range(
    name: str, value: object, annotation: str, error: type[PromptlabError], *, usual: object = None
) -> None:
    kinds = annotation.split(" | ")
    ranges = [RANGES[kind] for kind in kinds if kind in RANGES]
    if ranges and is_number(value) and not any(one.holds(value) for one in ranges):
        expected = " or ".join(one.said for one in ranges) + (", or None" if "None" in kinds else "")
        hint = f", usually {usual}" if is_number(usual) and "usually" not in expected else ""
        raise error(f"{name}={short_repr(value)} must be {expected}{hint}.")


def warn(message: str) -> None:
    """Warn where somebody called promptlab, however deep in it the cause was found."""
    frame, level = inspect.currentframe(), 1
    while frame is not None and str(frame.f_globals.get("__name__", "")).split(".")[0] == "promptlab":
        frame, level = frame.f_back, level + 1
    warnings.warn(message, PromptlabWarning, stacklevel=level)


def check_seed(seed: int, error: type[PromptlabError]) -> None:
    """Refuse what NumPy takes for no seed.

    Raises:
        PromptlabError: of the class ``error``.
    """
    if not (is_whole(seed) and 0 <= seed < 2**32):
        raise error(f"seed={short_repr(seed)} must be a whole number from 0 to 4294967295.")
