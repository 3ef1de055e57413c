"""Names of the parts that can be chosen by name, each imported on first use."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from promptlab.core import shipped_parts
from promptlab.core.entries import Entry
from promptlab.core.errors import PluginError, SavedModelError, UnknownNameError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    from promptlab.core.interfaces import Template, Tuning, Verbalizer
    from promptlab.core.part import Part

Named_co = TypeVar("Named_co", covariant=True)  # what the names of a registry stand for: classes or functions
Role_co = TypeVar("Role_co", bound="Part", covariant=True)


class Registry(Generic[Named_co]):
    """The classes or functions of a kind by name: those that promptlab comes with, and those that are registered.

    Args:
        kind: what the names stand for, used in messages.
        table: the registry's own name here, used in messages.
        shipped: name → entry.
    """

    def __init__(self, kind: str, table: str, shipped: Mapping[str, Entry]) -> None:
        self.kind = kind
        self.table = table
        self.shipped = shipped
        self.entries = dict(shipped)

    def register(self, name: str, location: str, description: str = "", source: str = "") -> None:
        """Add a part of your own, so that it can be chosen by name, saved and loaded, in this process and its jobs.

        Args:
            name: under which nothing that promptlab comes with is registered.
            location: ``"module:attribute"``, imported on first use.
            description: one line for ``promptlab list``.
            source: the paper that it follows.

        Raises:
            PluginError: if the name is taken.
        """
        if name in self.shipped:
            raise PluginError(f"{self.kind} {name!r} is promptlab's own; register {location!r} under another name.")
        self.entries[name] = Entry(location, description, source)

    @property
    def added(self) -> dict[str, Entry]:
        """Entries that promptlab doesn't come with."""
        return {name: entry for name, entry in self.entries.items() if self.shipped.get(name) != entry}

    @property
    def names(self) -> list[str]:
        return sorted(self.entries)

    @property
    def descriptions(self) -> dict[str, str]:
        """Name → what it stands for and its source, in one line; nothing is imported for it."""
        return {name: self.entries[name].about for name in self.names}

    @property
    def modules(self) -> dict[str, str]:
        """What the shipped names stand for → the module that it is in."""
        return {entry.attribute: entry.module for entry in self.shipped.values()}

    def get(self, name: str) -> Named_co:
        """Import what ``name`` stands for.

        Raises:
            UnknownNameError: if the name isn't in the table.
        """
        if name not in self.entries:
            raise UnknownNameError(self.kind, name, self.entries)
        found: Named_co = self.entries[name].load()
        return found

    def knows(self, part: object) -> bool:
        """Whether the class of a part is in the table."""
        return self.name_of(part) is not None

    def name_of(self, part: object) -> str | None:
        """The name by which a part's class is known, if there is one."""
        return next((name for name, entry in self.entries.items() if entry.location == _location(part)), None)


class PartRegistry(Registry[type[Role_co]]):
    """A registry of parts that play one role, whose settings can be saved."""

    def make(self, name: str, *values: object, **settings: object) -> Role_co:
        """Make the part of that name.

        Raises:
            UnknownNameError: if the name isn't in the table.
            TypeError: if it has no such setting.
            PromptlabError: if a value doesn't fit.
        """
        made: Callable[..., Role_co] = self.get(name)
        return made(*values, **settings)

    def to_dict(self, part: DataclassInstance) -> dict[str, object]:
        """A part's settings as plain JSON, its registered name under ``kind``."""
        name = self.name_of(part)
        if name is None:
            raise SavedModelError(
                f"{_location(part)} is no registered {self.kind}, by whose name it could be made again; give it one: "
                f"promptlab.core.registry.{self.table}.register('mine', {_location(part)!r})."
            )
        values = {field.name: _setting_json(getattr(part, field.name)) for field in dataclasses.fields(part)}
        return {"kind": name, **values}

    def from_dict(self, settings: Mapping[str, object]) -> Role_co:
        """Make the part that ``to_dict`` described.

        Raises:
            SavedModelError: if the settings don't belong to the part.
        """
        values = {name: _restored(value) for name, value in settings.items()}
        part = self.get(str(values.pop("kind", "")))
        try:
            return part.from_saved(values)
        except TypeError as error:
            raise SavedModelError(f"settings of {self.kind} {settings!r} don't fit {part.__name__}: {error}.") from None


TEMPLATES: PartRegistry[Template] = PartRegistry("template kind", "TEMPLATES", shipped_parts.TEMPLATES)
FILTERS: Registry[Callable[..., object]] = Registry("template filter", "FILTERS", shipped_parts.FILTERS)
VERBALIZERS: PartRegistry[Verbalizer] = PartRegistry("verbalizer kind", "VERBALIZERS", shipped_parts.VERBALIZERS)
TUNINGS: PartRegistry[Tuning] = PartRegistry("tuning", "TUNINGS", shipped_parts.TUNINGS)
BACKBONES: Registry[Any] = Registry("model family", "BACKBONES", shipped_parts.BACKBONES)
ESTIMATORS: Registry[Any] = Registry("estimator", "ESTIMATORS", shipped_parts.ESTIMATORS)
WORD_SEARCHES: Registry[Any] = Registry("label-word search", "WORD_SEARCHES", shipped_parts.WORD_SEARCHES)
TEMPLATE_SEARCHES: Registry[Any] = Registry("template search", "TEMPLATE_SEARCHES", shipped_parts.TEMPLATE_SEARCHES)

MADE_BY_JOBS = (TEMPLATES, FILTERS, VERBALIZERS, TUNINGS, BACKBONES, ESTIMATORS)
NESTED: Mapping[str, PartRegistry[Part]] = {
    "$template": TEMPLATES,
    "$verbalizer": VERBALIZERS,
}  # parts that other parts wrap, in saved settings


def _location(part: object) -> str:
    return f"{type(part).__module__}:{type(part).__qualname__}"


def _setting_json(value: object) -> object:
    """A setting as plain JSON; a wrapped part under a key that says which registry knows it."""
    if not dataclasses.is_dataclass(value) or isinstance(value, type):
        return [_setting_json(item) for item in value] if isinstance(value, (list, tuple)) else value
    for key, registry in NESTED.items():
        if registry.knows(value):
            return {key: registry.to_dict(value)}
    return dataclasses.asdict(value)


def _restored(value: object) -> object:
    if isinstance(value, list):
        return [_restored(item) for item in value]
    if isinstance(value, dict) and len(value) == 1 and (key := next(iter(value))) in NESTED:
        return NESTED[key].from_dict(value[key])
    return value
