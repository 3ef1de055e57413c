"""Names of the parts that can be chosen by name, each imported on first use."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from promptlab.core import shipped_parts
from promptlab.core.entries import Entry, location_of
from promptlab.core.errors import PluginError, SavedModelError, UnknownNameError, short_repr
from promptlab.core.plugins import PREFIX, installed_version, plugins

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    from promptlab.core.interfaces import Template, Tuning, Verbalizer
    from promptlab.core.part import Part

Named_co = TypeVar("Named_co", covariant=True)  # what the names of a registry stand for: classes or functions
Role_co = TypeVar("Role_co", bound="Part", covariant=True)


class Registry(Generic[Named_co]):
    """The classes or functions of a kind by name: promptlab's own, registered ones, and those of installed packages.

    Args:
        kind: what the names stand for, used in messages.
        table: the registry's own name here; in lower case it is that of the packages' entry points.
        shipped: name → entry.
        role: location of the class that those of others have to be derived from; empty for functions.
    """

    def __init__(self, kind: str, table: str, shipped: Mapping[str, Entry], role: str = "") -> None:
        self.kind = kind
        self.table = table
        self.group = f"{PREFIX}{table.lower()}"
        self.shipped = shipped
        self.role = role
        self.entries = dict(shipped)

    def register(self, name: str, location: str, description: str = "", source: str = "") -> None:
        """Add a part of your own, so that it can be chosen by name, saved and loaded, in this process and its jobs.

        Args:
            name: under which promptlab and installed packages bring nothing.
            location: ``"module:attribute"``, imported on first use.
            description: one line for ``promptlab list``.
            source: the paper that it follows.

        Raises:
            PluginError: if the name is taken.
        """
        taken = [self.shipped[name]] if name in self.shipped else plugins(self.group).get(name, ())
        if owners := [other.owner for other in taken if other.location != location]:
            remedy = f"register {location!r} under another name"
            raise PluginError(f"{self.kind} {name!r} is given by {owners[0]}; {remedy}.")
        self.entries[name] = Entry(location, description, source)

    @property
    def added(self) -> dict[str, Entry]:
        """Entries that were registered."""
        return {name: entry for name, entry in self.entries.items() if self.shipped.get(name) != entry}

    @property
    def names(self) -> list[str]:
        return sorted({*self.entries, *plugins(self.group)})

    @property
    def descriptions(self) -> dict[str, str]:
        """Name → what it stands for and its source, in one line; nothing is imported for it."""
        return {name: " | ".join(entry.about for entry in self._given(name)) for name in self.names}

    @property
    def modules(self) -> dict[str, str]:
        """What the shipped names stand for → the module that it is in."""
        return {entry.attribute: entry.module for entry in self.shipped.values()}

    def entry(self, name: str) -> Entry:
        """The entry of a name.

        Raises:
            UnknownNameError: if there is none.
            PluginError: if there are several.
        """
        given = self._given(name)
        if not given:
            raise UnknownNameError(self.kind, name, self.names)
        if len(given) > 1:
            owners = " and by ".join(entry.owner for entry in given)
            raise PluginError(f"{self.kind} {name!r} is given by {owners}; uninstall all but one of them.")
        return given[0]

    def get(self, name: str) -> Named_co:
        """Import what ``name`` stands for.

        Raises:
            UnknownNameError: if the name isn't in the table.
            PluginError: if several packages give it, or what one gives can't be imported or is something else.
        """
        entry = self.entry(name)
        found: Named_co = entry.load() if self.shipped.get(name) == entry else self._foreign(name, entry)
        return found

    def knows(self, part: object) -> bool:
        """Whether the class of a part is in the table."""
        return self.name_of(part) is not None

    def name_of(self, part: object) -> str | None:
        """The name by which a part's class is known, if there is one."""
        return next((name for name in self.names if any(entry.is_class_of(part) for entry in self._given(name))), None)

    def brought(self, *names: str) -> dict[str, str]:
        """What packages bring of some names: the entry point, as group and name → the package and its version."""
        given = {name: entry.package for name in names for entry in self._given(name)}
        return {f"{self.group}:{name}": package for name, package in given.items() if package}

    def _given(self, name: str) -> list[Entry]:
        """The entries of a name; one that is registered, too, is that of its package."""
        if not isinstance(name, str):  # what a user passed for a name
            return []
        brought = plugins(self.group).get(name, ())
        own = self.entries.get(name)
        return [*([] if own is None or own.location in [e.location for e in brought] else [own]), *brought]

    def _foreign(self, name: str, entry: Entry) -> Named_co:
        """Import what isn't promptlab's own.

        Raises:
            PluginError: if it can't be imported, or isn't what its name says.
        """
        who = f"{self.kind} {name!r}, {entry.location} of {entry.owner},"
        try:
            part = entry.load()
        except Exception as error:  # whatever somebody else's module does
            said = next(iter(str(error).splitlines()), "")
            kind = type(error).__name__
            raise PluginError(f"{who} can't be imported ({kind}: {said}); update or remove it.") from error
        if self.role and not (isinstance(part, type) and issubclass(part, Entry(self.role).load())):
            raise PluginError(f"{who} is no class derived from {self.role.replace(':', '.')}; update or remove it.")
        if not callable(part):
            raise PluginError(f"{who} is {short_repr(part)}, neither a class nor a function; update or remove it.")
        found: Named_co = part
        return found


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
            location = location_of(type(part))
            raise SavedModelError(
                f"{location} is no registered {self.kind}, by whose name it could be made again; give it one: "
                f"promptlab.core.registry.{self.table}.register('mine', {location!r})."
            )
        values = {field.name: _setting_json(getattr(part, field.name)) for field in dataclasses.fields(part)}
        brought = self.brought(name) | FILTERS.brought(*getattr(part, "filters", ()))
        return {"kind": name, **saved_as_brought(brought), **values}

    def from_dict(self, settings: Mapping[str, object]) -> Role_co:
        """Make the part that ``to_dict`` described.

        Raises:
            SavedModelError: if the settings don't belong to the part.
        """
        if not isinstance(settings, Mapping):
            raise SavedModelError(
                f"a {self.kind} is {short_repr(settings)}, no mapping of settings; save the model again."
            )
        check_brought(settings)
        part = self.get(str(settings.get("kind", "")))
        try:
            values = {name: _restored(value) for name, value in settings.items() if name not in (FROM, "kind")}
            return part.from_saved(values)
        except (AttributeError, LookupError, TypeError, ValueError) as error:
            raise SavedModelError(
                f"settings of {self.kind} {short_repr(settings)} don't fit {part.__name__}: {error}."
            ) from None


ROLES = "promptlab.core.interfaces"
SEARCH = "promptlab.search.templates.task:TemplateSearch"
TEMPLATES: PartRegistry[Template] = PartRegistry(
    "template kind", "TEMPLATES", shipped_parts.TEMPLATES, f"{ROLES}:Template"
)
FILTERS: Registry[Callable[..., object]] = Registry("template filter", "FILTERS", shipped_parts.FILTERS)
VERBALIZERS: PartRegistry[Verbalizer] = PartRegistry(
    "verbalizer kind", "VERBALIZERS", shipped_parts.VERBALIZERS, f"{ROLES}:Verbalizer"
)
TUNINGS: PartRegistry[Tuning] = PartRegistry("tuning", "TUNINGS", shipped_parts.TUNINGS, f"{ROLES}:Tuning")
BACKBONES: Registry[Any] = Registry("model family", "BACKBONES", shipped_parts.BACKBONES, f"{ROLES}:Backbone")
ESTIMATORS: Registry[Any] = Registry("estimator", "ESTIMATORS", shipped_parts.ESTIMATORS)
WORD_SEARCHES: Registry[Any] = Registry("label-word search", "WORD_SEARCHES", shipped_parts.WORD_SEARCHES)
TEMPLATE_SEARCHES: Registry[Any] = Registry(
    "template search", "TEMPLATE_SEARCHES", shipped_parts.TEMPLATE_SEARCHES, SEARCH
)
MODELS: Registry[Callable[[], object]] = Registry("model package", "MODELS", {})  # return a Hugging Face folder

TABLES: tuple[Registry[object], ...] = (
    TEMPLATES, FILTERS, VERBALIZERS, TUNINGS, BACKBONES, ESTIMATORS, WORD_SEARCHES, TEMPLATE_SEARCHES, MODELS,
)  # fmt: skip
MADE_BY_JOBS = (TEMPLATES, FILTERS, VERBALIZERS, TUNINGS, BACKBONES, ESTIMATORS)
FROM = "from"  # in saved settings, where no setting can be called so: what packages bring of a part → the package
NESTED: Mapping[str, PartRegistry[Part]] = {
    "$template": TEMPLATES,
    "$verbalizer": VERBALIZERS,
}  # parts that other parts wrap, in saved settings


def saved_as_brought(brought: Mapping[str, str]) -> dict[str, object]:
    """What is saved of ``Registry.brought``: nothing, if that is nothing."""
    return {FROM: dict(brought)} if brought else {}


def check_brought(saved: object) -> None:
    """Refuse saved settings with a part that no installed package brings.

    Args:
        saved: JSON, in which what stands under ``FROM``, however deep, is entry points, as group and name → the
            package and its version.

    Raises:
        SavedModelError: naming the package to install.
    """
    registries = {registry.group: registry for registry in TABLES}
    for point, package in _brought(saved):
        group, _, name = str(point).partition(":")
        if group in registries and name not in registries[group].names:
            raise SavedModelError(f"{registries[group].kind} {name!r} comes from {_lost(str(package))}.")


def _brought(saved: object) -> Iterator[tuple[object, object]]:
    if isinstance(saved, Mapping):
        own = saved.get(FROM)
        yield from own.items() if isinstance(own, Mapping) else ()
        saved = list(saved.values())
    for value in saved if isinstance(saved, list) else ():
        yield from _brought(value)


def _lost(package: str) -> str:
    name, _, version = package.partition("==")
    here = installed_version(name)
    why = f"which is installed as {here} and doesn't bring it any more" if here else "which isn't installed"
    return f"the package {name} {version}, {why}; install it: pip install {package}"


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
