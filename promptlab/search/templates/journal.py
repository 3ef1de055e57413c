"""Finished pieces of a search on disk, so that an interrupted one repeats none of them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from promptlab.core.errors import SearchError
from promptlab.core.files import atomic_file
from promptlab.core.identity import VERSION, examples_digest, fingerprint
from promptlab.core.interfaces import Backbone
from promptlab.search.templates.task import SearchTask


class Journal:
    """Results by key, in one JSON file that is replaced whole after each.

    Args:
        path: of the file; None keeps the results in memory only.
        identity: what the results depend on, as plain JSON.

    Raises:
        SearchError: if the file can't be read, or was written under another identity.
    """

    def __init__(self, path: Path | None, identity: Mapping[str, Any]) -> None:
        self.path, self.identity = path, json.loads(json.dumps(identity, default=str))
        self.results: dict[str, Any] = {}
        if path is not None and path.exists():
            self.results = self._stored_results(path)

    def once(self, key: str, compute: Callable[..., Any], *arguments: Any) -> Any:
        """The result of ``compute(*arguments)`` (plain JSON), which runs unless it is known by this key."""
        if key not in self.results:
            self.put(key, compute(*arguments))
        return self.results[key]

    def put(self, key: str, result: Any) -> None:
        """Keep a result (plain JSON) in the place of the one that was known by this key."""
        self.results[key] = json.loads(json.dumps(result))  # fresh as read
        if self.path is not None:
            with atomic_file(self.path) as file:
                content = {"identity": self.identity, "results": self.results}
                file.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")

    def _stored_results(self, path: Path) -> dict[str, Any]:
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            identity, results = dict(content["identity"]), dict(content["results"])
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise SearchError(f"state file {str(path)!r} can't be read ({error}); delete it to start anew.") from None
        if identity != self.identity:
            other = [name for name in self.identity | identity if self.identity.get(name) != identity.get(name)]
            names = f"{', '.join(other)} differ{'s' * (len(other) == 1)}"
            raise SearchError(
                f"state file {str(path)!r} belongs to another search ({names}); choose another folder, or delete it to "
                "start anew."
            )
        return results


def journal_of(path: Path | None, task: SearchTask, **settings: Any) -> Journal:
    """The results of a task; those that aren't kept on disk need no identity, for which weights may have to be hashed.

    Args:
        settings: as for ``identity_of``.

    Raises:
        SearchError: as ``Journal`` does.
    """
    return Journal(path, {} if path is None else identity_of(task, **settings))


def identity_of(task: SearchTask, **settings: Any) -> dict[str, Any]:
    """What a result for a task depends on, data as hashes, with the settings of the work that is done.

    Models, those among the settings too, count by their name and weights.
    """
    return {
        **_known_by("model", task.backbone),
        "seed": task.seed,
        "max_length": task.max_length,
        "label_words": [[name, list(words)] for name, words in task.label_words.items()],  # their order can matter
        "train": examples_digest(task.train),
        "dev": examples_digest(task.dev),
        **VERSION,
        **plain_settings(settings),
    }


def plain_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings as plain JSON, a model as two of them."""
    plain = dict(settings)
    for name, value in settings.items():
        if isinstance(value, Backbone):
            plain |= _known_by(name, value)
    return dict(json.loads(json.dumps(plain, default=str)))


def _known_by(name: str, backbone: Any) -> dict[str, str]:
    return {name: backbone.name, f"{name}_weights": fingerprint(backbone)}
