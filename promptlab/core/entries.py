"""What a registry knows of a part without importing it."""

from __future__ import annotations

import functools
import importlib
import sys
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Entry:
    """A part that can be chosen by name.

    Args:
        location: ``"module:attribute"``.
        description: what it is, in one line, for people.
        source: the paper that it follows, with the section.
        package: that brings it, with its version, such as ``"my-prompts==1.0"``; empty for none.
    """

    location: str
    description: str = ""
    source: str = ""
    package: str = ""

    @property
    def module(self) -> str:
        return self.location.partition(":")[0]

    @property
    def package_module(self) -> str:
        """The outermost module."""
        return self.module.partition(".")[0]

    @property
    def attribute(self) -> str:
        return self.location.partition(":")[2]

    @property
    def about(self) -> str:
        """Description and source as one line, with the package."""
        origins = [self.source, self.package and f"package {self.package}"]
        said = "; ".join(filter(None, origins))
        return f"{self.description} ({said})".lstrip() if said else self.description

    @property
    def owner(self) -> str:
        """Who brings it, for people."""
        if self.package:
            return f"the package {self.package.replace('==', ' ')}"
        return "promptlab" if self.package_module == "promptlab" else "this program"

    def is_class_of(self, part: object) -> bool:
        """Whether the part is one of these; a module that is imported may give its class from another one."""
        found: object = sys.modules.get(self.module)
        for name in self.attribute.split("."):
            found = getattr(found, name, None)
        return self.location == location_of(type(part)) or found is type(part)

    def load(self) -> Any:
        """Import the part."""
        return functools.reduce(getattr, self.attribute.split("."), importlib.import_module(self.module))


def location_of(kind: type) -> str:
    """``"module:attribute"`` of a class."""
    return f"{kind.__module__}:{kind.__qualname__}"
