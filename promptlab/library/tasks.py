"""The task library: templates and label words for well-known tasks, one YAML file a task."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import TypeAlias

from promptlab.core.errors import TemplateError, UnknownNameError, VerbalizerError, short_repr
from promptlab.core.files import library_folder
from promptlab.core.json_loader import Json
from promptlab.core.plain_text import read_yaml

Entries: TypeAlias = "dict[str, Json]"  # of a YAML file, as it comes; who reads one checks it


@dataclass(frozen=True)
class TemplateEntry:
    """A template of the library, with where it comes from and the fields that the task's examples have."""

    name: str
    template: str
    source: str
    fields: tuple[str, ...]
    description: str


@dataclass(frozen=True)
class VerbalizerEntry:
    """Label words of the library: class → words, the kind of the verbalizer and its other settings."""

    name: str
    label_words: Mapping[str, tuple[str, ...]]
    source: str
    kind: str
    settings: Mapping[str, object]


def tasks() -> list[str]:
    """Names of the tasks that have templates."""
    return sorted(path.stem for path in library_folder("templates").glob("*.yaml"))


def template_names(task: str | None = None) -> list[str]:
    """Full names (``task/name``) of the templates of one task or all, each task's default first."""
    return [f"{t}/{name}" for t in _some(task) for name in _file_entries("templates", t)["templates"]]


def verbalizer_names(task: str | None = None) -> list[str]:
    """Full names of the verbalizers of one task or all, each task's default first."""
    return [f"{t}/{name}" for t in _some(task) for name in _file_entries("verbalizers", t)["verbalizers"]]


def template_entry(name: str) -> TemplateEntry:
    """The template ``task/name``, or the default of ``task``.

    Raises:
        UnknownNameError: if there is no such task or template.
        TemplateError: if its file isn't as it should be.
    """
    content, full, entry = _find("template", name)
    try:
        fields = tuple(content["fields"])
        return TemplateEntry(full, entry["template"], entry["source"], fields, content["description"])
    except (KeyError, TypeError) as error:
        raise TemplateError(f"template {full!r} in templates/{full.partition('/')[0]}.yaml lacks {error}.") from None


def verbalizer_entry(name: str) -> VerbalizerEntry:
    """The label words ``task/name``, or the default of ``task``.

    Raises:
        UnknownNameError: if there is no such task or verbalizer.
        VerbalizerError: if its file isn't as it should be.
    """
    _, full, entry = _find("verbalizer", name)
    try:
        words = {str(label): tuple(row) for label, row in entry["label_words"].items()}
        settings = {key: value for key, value in entry.items() if key not in ("label_words", "source", "kind")}
        odd = [(label, word) for label, row in words.items() for word in row if not isinstance(word, str)]
        if odd:
            raise VerbalizerError(
                f"verbalizer {full!r} has the word {short_repr(odd[0][1])} for class {odd[0][0]!r}, which isn't a "
                "text; put it in quotes."
            )
        return VerbalizerEntry(full, words, entry["source"], entry.get("kind", "words"), settings)
    except (KeyError, TypeError, AttributeError) as error:
        raise VerbalizerError(
            f"verbalizer {full!r} in verbalizers/{full.partition('/')[0]}.yaml lacks {error}."
        ) from None


def _some(task: str | None) -> list[str]:
    if task is None:
        return tasks()
    if task not in tasks():
        raise UnknownNameError("task", task, tasks())
    return [task]


def _find(kind: str, name: str) -> tuple[Entries, str, Entries]:
    """The file's content, the full name and the entry behind a name."""
    task, _, short = name.partition("/")
    if task not in tasks():
        raise UnknownNameError(kind, name, tasks())
    content = _file_entries(f"{kind}s", task)
    entries = content[f"{kind}s"]
    short = short if "/" in name else next(iter(entries))
    if short not in entries:
        raise UnknownNameError(kind, name, [f"{task}/{other}" for other in entries])
    return content, f"{task}/{short}", entries[short]


@cache
def _file_entries(folder: str, task: str) -> Entries:
    path = library_folder(folder) / f"{task}.yaml"
    kind = TemplateError if folder == "templates" else VerbalizerError
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise kind(f"library file {str(path)!r} can't be read: {str(error).splitlines()[0]}.") from None
    content = read_yaml(text, f"library file {str(path)!r}", kind, f"write a mapping {folder!r}")
    if not isinstance(content, dict) or not isinstance(content.get(folder), dict) or not content[folder]:
        raise kind(f"library file {str(path)!r} holds no {folder}.")
    return content
