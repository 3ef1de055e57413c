"""What a registry knows of a part without importing it."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Entry:
    """A part that can be chosen by name.

    Args:
        location: ``"module:attribute"``.
        description: what it is, in one line, for people.
        source: the paper that it follows, with the section.
    """

    location: str
    description: str = ""
    source: str = ""

    @property
    def module(self) -> str:
        return self.location.partition(":")[0]

    @property
    def attribute(self) -> str:
        return self.location.partition(":")[2]

    @property
    def about(self) -> str:
        """Description and source as one line."""
        return f"{self.description} ({self.source})" if self.source else self.description

    def load(self) -> Any:
        """Import the part."""
        return getattr(importlib.import_module(self.module), self.attribute)
