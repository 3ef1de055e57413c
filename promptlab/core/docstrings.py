"""Docstrings that list all settings of a class: each is written once, by the class that declares it."""

from __future__ import annotations

import inspect
import re
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, Field
from typing import NamedTuple, TypeVar

from promptlab.core.ranges import said_types

T = TypeVar("T")

WIDTH = 112
INHERITED = ("Args", "Attributes")
_HEADING = re.compile(r"^(Args|Attributes|Returns|Yields|Raises|Example):\n", re.MULTILINE)
_ENTRY = re.compile(r"(\w+)(?: \((.*?)\))?:(?:\s+|$)(.*)", re.DOTALL)


class Item(NamedTuple):
    """An entry of a list: its text, and what stands in parentheses behind its name."""

    text: str
    about: str = ""


class Setting(NamedTuple):
    """A field of a dataclass."""

    kind: str
    default: object
    keyword_only: bool = False

    @property
    def about(self) -> str:
        return self.kind if self.default is MISSING else f"{self.kind}, default {self.default!r}"


def list_settings(cls: type[T]) -> type[T]:
    """Complete the lists of a class's docstring by those of its bases, and each setting by its type and default.

    For ``__init_subclass__``, and as a decorator below ``dataclass``: the class is no dataclass yet.
    """
    if isinstance(own := cls.__dict__.get("__doc__"), str):  # none with python -OO
        head, sections = _split(own)
        docs = [*(inspect.getdoc(base) or "" for base in reversed(cls.__mro__[1:-1])), own]
        args, attributes = ({key: item for doc in docs for key, item in items(doc, name)} for name in INHERITED)
        settings = {name: Item(args.get(name, Item("")).text, setting.about) for name, setting in _settings(cls)}
        lists = {"Args": _written(settings or args), "Attributes": _written(attributes)}
        parts = {**lists, **sections, **lists}  # the lists first, in the order in which they stand here
        cls.__doc__ = "\n\n".join([head, *(f"{name}:\n{text}" for name, text in parts.items() if text)])
    return cls


def items(doc: str, section: str) -> Iterator[tuple[str, Item]]:
    """The entries of a section of a docstring, such as ``Args``, by name."""
    text = _split(doc)[1].get(section, "")
    for lines in re.split(r"^ {4}(?=\S)", text, flags=re.MULTILINE):
        if match := _ENTRY.match(lines):
            name, about, said = match.groups()
            yield name, Item(" ".join(said.split()), about or "")


def _split(doc: str) -> tuple[str, dict[str, str]]:
    """What stands before the sections of a docstring, and the text of each."""
    head, *rest = _HEADING.split(inspect.cleandoc(doc))
    return head.rstrip(), {name: text.rstrip() for name, text in zip(rest[::2], rest[1::2])}


def _settings(cls: type) -> list[tuple[str, Setting]]:
    """The settings of a class in the order of its signature."""
    found: dict[str, Setting] = {}
    for base in reversed(cls.__mro__[1:]):
        fields: Mapping[str, Field[object]] = vars(base).get("__dataclass_fields__", {})
        found |= {name: _setting(said_types(str(value.type)), value) for name, value in fields.items()}
    for name, kind in inspect.get_annotations(cls).items():
        found[name] = _setting(said_types(str(kind)), cls.__dict__.get(name, MISSING))
    kept = [(name, setting) for name, setting in found.items() if not setting.kind.startswith("ClassVar")]
    return sorted(kept, key=lambda pair: pair[1].keyword_only)


def _setting(kind: str, value: object) -> Setting:
    """A setting that a class body gives a value, a field or nothing."""
    if not isinstance(value, Field):
        return Setting(kind, value)
    default = value.default if value.default_factory is MISSING else value.default_factory()
    return Setting(kind, default, value.kw_only is True)


def _written(entries: Mapping[str, Item]) -> str:
    """Entries as a docstring has them, one below the other."""
    lines = (
        f"{name} ({item.about}): {item.text}" if item.about else f"{name}: {item.text}"
        for name, item in entries.items()
    )
    wrapper = textwrap.TextWrapper(
        WIDTH, initial_indent=" " * 4, subsequent_indent=" " * 8, break_long_words=False, break_on_hyphens=False
    )
    return "\n".join(map(wrapper.fill, lines))
