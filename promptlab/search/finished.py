"""The parts of a search that are done, so that one which was interrupted goes on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from promptlab.errors import SearchError
from promptlab.files import atomic_file
from promptlab.search.task import SearchTask

NAME = "finished.json"


class Finished:
    """Results by the name of their part, kept in a folder as JSON, replaced whole after each part.

    Args:
        folder: None keeps nothing.
        about: what the results depend on, as plain JSON.

    Raises:
        SearchError: if the folder holds parts of another search, or can't be read.
    """

    def __init__(self, folder: Path | None, about: Mapping[str, Any]) -> None:
        self.path = None if folder is None else folder / NAME
        self.about = json.loads(json.dumps(about))
        self.parts: dict[str, Any] = {}
        if self.path is not None and self.path.exists():
            self.parts = self._read(self.path)

    def get(self, name: str, compute: Callable[[], Any]) -> Any:
        """The part's result, computed if it isn't there yet; plain JSON."""
        if name not in self.parts:
            self.parts[name] = json.loads(json.dumps(compute()))
            if self.path is not None:
                with atomic_file(self.path) as file:
                    file.write_text(json.dumps({"about": self.about, "parts": self.parts}), encoding="utf-8")
        return self.parts[name]

    def _read(self, path: Path) -> dict[str, Any]:
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            about, parts = content["about"], dict(content["parts"])
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise SearchError(
                f"file {str(path)!r} isn't what a search left ({error}); choose another folder."
            ) from None
        if about != self.about:
            other = sorted(key for key in {*about, *self.about} if about.get(key) != self.about.get(key))
            raise SearchError(
                f"folder {str(path.parent)!r} holds a search with another {other[0]}; choose another folder."
            )
        return parts


def fingerprint(task: SearchTask) -> str:
    """A hash of the examples that a search learns from and of the label words; their order doesn't count."""
    rows = sorted([sorted((name, str(value)) for name, value in e.fields.items()), str(e.label)] for e in task.train)
    words = sorted((name, list(row)) for name, row in task.label_words.items())
    return hashlib.sha256(json.dumps([rows, words, task.max_length]).encode()).hexdigest()[:16]
