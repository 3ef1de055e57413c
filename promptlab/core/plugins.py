"""Parts that installed packages bring, found by their entry points; no package is imported before a part is used.

The groups are ``promptlab.verbalizers``, ``promptlab.tunings`` and so on: the registries' names in lower case.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from importlib.metadata import EntryPoint, PackageNotFoundError, entry_points, version

from promptlab.core.entries import Entry

PREFIX = "promptlab."  # of the groups


@functools.cache
def plugins(group: str) -> Mapping[str, Sequence[Entry]]:
    """Find what installed packages give in a group: name → its entries, of which there should be one."""
    found: dict[str, list[Entry]] = {}
    for point in entry_points(group=group):
        found.setdefault(point.name, []).append(_entry(point))
    return found


@functools.cache
def package_of(module: str) -> str:
    """Return the package, such as ``"my-prompts==1.0"``, that brings parts and holds this module; empty for none."""
    return _packages().get(module.partition(".")[0], "")


def installed_version(package: str) -> str:
    """Return the version of a package; empty if it isn't installed."""
    try:
        return version(package)
    except (PackageNotFoundError, ValueError):  # no name at all is the latter
        return ""


@functools.cache
def _packages() -> Mapping[str, str]:
    """Outermost module → package, of all that bring parts."""
    groups = [group for group in entry_points().groups if group.startswith(PREFIX)]
    entries = [entry for group in groups for given in plugins(group).values() for entry in given]
    return {entry.package_module: entry.package for entry in entries}


def _entry(point: EntryPoint) -> Entry:
    about = point.dist.metadata["Summary"] if point.dist else None
    package = f"{point.dist.name}=={point.dist.version}" if point.dist else "?"
    return Entry(f"{point.module}:{point.attr}", about or "", package=package)
