"""What a part can be set to, as its class and its docstring say it."""

from __future__ import annotations

import dataclasses
import inspect
import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from promptlab.core.docstrings import items
from promptlab.core.ranges import plain_types
from promptlab.core.registry import Registry

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

REQUIRED = inspect.Parameter.empty  # stands where a setting has no default


@dataclass(frozen=True)
class Setting:
    """A setting of a part.

    Args:
        name: as it is written in Python and on the command line.
        type: its annotation.
        default: its value if none is given; ``REQUIRED`` if one has to be.
        meaning: what the docstring says of it.
    """

    name: str
    type: str
    default: object
    meaning: str

    @property
    def shown_default(self) -> str:
        """The default as Python prints it."""
        return "to be given" if self.default is REQUIRED else repr(self.default)

    def to_json(self) -> dict[str, object]:
        """Return the setting as plain JSON; a default that JSON doesn't know as the text that Python prints."""
        given = {} if self.default is REQUIRED else {"default": _json_value(self.default)}
        return {"name": self.name, "type": self.type, **given, "meaning": self.meaning}


@dataclass(frozen=True)
class PartHelp:
    """What there is to know of a part before it is used.

    Args:
        name: by which it is chosen.
        location: ``"module:attribute"``.
        package: that brings it, with its version; empty for none.
        description: what it is, in one line.
        source: the paper that it follows, if there is one.
        settings: in their order.
    """

    name: str
    location: str
    package: str
    description: str
    source: str
    settings: Sequence[Setting]

    def to_json(self) -> dict[str, object]:
        """Return all of it as plain JSON."""
        return vars(self) | {"settings": [setting.to_json() for setting in self.settings]}


def help_of(registry: Registry[Callable[..., object]], name: str) -> PartHelp:
    """Say what a registered part is and what it can be set to; what its entry leaves open, its docstring says.

    Raises:
        UnknownNameError: if there is no such name.
    """
    part, entry = registry.get(name), registry.entry(name)
    summary = (inspect.getdoc(part) or "").partition("\n")[0]
    said = [summary, entry.description] if entry.package else [entry.description, summary]  # a package is more than it
    description = next(filter(None, said), "")
    source = entry.source or source_of(part)
    return PartHelp(name, entry.location, entry.package, description, source, settings_of(part))


def settings_of(part: Callable[..., object]) -> list[Setting]:
    """List the settings of a dataclass, or of a function beside its first argument, in their order.

    What a class doesn't say of an inherited setting, the class says that it is from.
    """
    meanings = [documented(one.__doc__ or "") for one in getattr(part, "__mro__", [part])]
    found = _fields(part) if dataclasses.is_dataclass(part) else _parameters(part)
    return [
        Setting(name, kind, default, next((said[name] for said in meanings if name in said), ""))
        for name, kind, default in found
    ]


def documented(docstring: str) -> dict[str, str]:
    """Read the ``Args`` of a docstring of Google's style: name → what is said of it, in one line."""
    return {name: item.text.replace("``", "") for name, item in items(docstring, "Args")}


def source_of(part: Callable[..., object]) -> str:
    """Return what the docstring says behind ``Source:``, in one line; empty if it doesn't."""
    said = re.search(r"\bSource: (.*?)(?=\n\n|\Z)", inspect.getdoc(part) or "", flags=re.DOTALL)
    return " ".join(said[1].replace("``", "").split()).rstrip(".") if said else ""


def _fields(part: type[DataclassInstance]) -> Iterator[tuple[str, str, object]]:
    for field in sorted(dataclasses.fields(part), key=lambda field: bool(field.kw_only)):  # as they are passed
        if field.init:
            made = field.default_factory
            default = REQUIRED if field.default is dataclasses.MISSING else field.default
            kind = " | ".join(plain_types(str(field.type)))
            yield field.name, kind, default if made is dataclasses.MISSING else made()


def _parameters(part: Callable[..., object]) -> Iterator[tuple[str, str, object]]:
    for parameter in list(inspect.signature(part).parameters.values())[1:]:
        yield parameter.name, " | ".join(plain_types(str(parameter.annotation))), parameter.default


def _json_value(value: object) -> object:
    try:
        return json.loads(json.dumps(value))
    except TypeError:
        return repr(value)
