"""A folder in which independent work finds its data and leaves its results."""

from __future__ import annotations

import hashlib
import itertools
import json
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from promptlab.core.errors import BackboneError, DataError, UnknownNameError, short_repr
from promptlab.core.finished_work import Entry, FinishedWork, reading
from promptlab.core.identity import fingerprint
from promptlab.core.inputs import DeviceLike
from promptlab.core.interfaces import Backbone
from promptlab.core.registry import MADE_BY_JOBS
from promptlab.core.types import Example

PART = 4096  # rows of a part of a large set


class Chunks(NamedTuple):
    """The hashes of the parts of a set, in order, and how many rows it has."""

    names: list[str]
    total: int


class Workspace:
    """Examples by the hash of what they hold, results by the hash of the job that made them, and loaded models.

    It can be sent to another process; models stay where they are and are loaded there by name. What was added to the
    registries goes with it.

    Args:
        folder: for all of it; on several machines, one that all of them see.
        temporary: whether the folder goes when the work ends, well or not.
        device: where jobs run their models.
        models: backbones that are loaded already.

    Raises:
        DataError: as ``FinishedWork`` does.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        device: DeviceLike = "auto",
        models: Iterable[Backbone] = (),
        temporary: bool = False,
    ) -> None:
        self.work, self.device, self.temporary = FinishedWork(folder), device, temporary
        self._identities: dict[
            int, tuple[str, Backbone]
        ] = {}  # id → identity, and the model, lest another takes its id
        self._models = {(model.name, self.identity(model)): model for model in models}

    def __getstate__(self) -> dict[str, object]:
        added = [registry.added for registry in MADE_BY_JOBS]
        return vars(self) | {"_models": {}, "_identities": {}, "_added": added}

    def __setstate__(self, state: dict[str, Any]) -> None:
        for registry, added in zip(MADE_BY_JOBS, state.pop("_added")):
            registry.entries.update(added)
        vars(self).update(state)

    @property
    def resume_hint(self) -> str:
        """What somebody whose work stopped can do."""
        if self.temporary:
            return "Nothing is kept; set resume_dir to keep what is finished."
        return f"What is finished is kept in {str(self.work.folder)!r}; run again to go on."

    def identity(self, model: Backbone) -> str:
        """The hash of a backbone, which stays as it is as long as the workspace is used."""
        if id(model) not in self._identities:
            self._identities[id(model)] = fingerprint(model), model
        return self._identities[id(model)][0]

    def store(self, examples: Iterable[Example], *, first: int = 1) -> str:
        """Keep examples; returns the hash by which ``examples`` finds them.

        Args:
            first: number of the first row, which errors tell.

        Raises:
            DataError: if a value would come back as another, or the folder can't be written.
        """
        lines = "".join(f"{_line(example, number)}\n" for number, example in enumerate(examples, start=first))
        name = hashlib.sha256(lines.encode()).hexdigest()[:32]
        entry = self._data(name)
        try:
            if not entry.exists:
                with entry.writing() as file:
                    file.write_text(lines, encoding="utf-8")
        except (DataError, OSError) as error:
            raise DataError(f"can't keep data: {str(error).rstrip('.')}. {self.resume_hint}") from None
        return name

    def store_chunks(self, examples: Iterable[Example]) -> Chunks:
        """Keep a set that may be larger than memory, as parts of ``PART`` rows."""
        source, names, total = iter(examples), [], 0
        while chunk := list(itertools.islice(source, PART)):
            names.append(self.store(chunk, first=total + 1))
            total += len(chunk)
        return Chunks(names, total)

    def examples(self, name: str) -> list[Example]:
        """What ``store`` kept.

        Raises:
            DataError: if it is gone or damaged.
        """
        path = self._data(name).path
        with reading(path):
            rows = [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]
            return [Example(row["fields"], row["label"]) for row in rows]

    def entry(self, key: str) -> Entry:
        """The place of a job's result."""
        return self.work.entry("jobs", key)

    def result(self, key: str) -> Path:
        """The folder of a job's result."""
        return self.entry(key).path

    def discard_result(self, key: str) -> None:
        """Remove a result that this run needs no more, unless the folder stays, where it may serve another run."""
        if self.temporary:
            shutil.rmtree(self.result(key), ignore_errors=True)

    def backbone(self, model: Mapping[str, str]) -> Backbone:
        """The model of that name and identity, loaded once in a process.

        Raises:
            BackboneError: if it can't be loaded, or has other weights.
        """
        from promptlab.backbones.catalog import load_backbone  # slow to import, and not all jobs need a model

        wanted = (model["name"], model["identity"])
        if wanted not in self._models:
            try:
                loaded = load_backbone(model["name"])
            except (BackboneError, UnknownNameError) as error:
                raise BackboneError(
                    f"model {model['name']!r} can't be loaded by its name ({str(error).rstrip('.')}); if it was passed "
                    "loaded, pass a name or a folder that other processes find, or use executor='serial'."
                ) from None
            if self.identity(loaded) != model["identity"]:
                raise BackboneError(
                    f"model {model['name']!r} was loaded with other weights than it was given with; pass the model by "
                    "name, or use executor='serial'."
                )
            self._models[wanted] = loaded
        return self._models[wanted]

    def share_backbone(self, backbone: Backbone) -> Backbone:
        """The backbone, or the one of the same name and weights that is here already."""
        return self._models.setdefault((backbone.name, self.identity(backbone)), backbone)

    def _data(self, name: str) -> Entry:
        return self.work.entry("data", f"{name}.jsonl")


def some_rows(workspace: Workspace, chunks: Sequence[str], rows: Iterable[int]) -> list[Example]:
    """Rows of what ``store_chunks`` kept, counted from 0, in the order given; one part is in memory at a time."""
    order = list(rows)
    wanted: dict[int, set[int]] = {}
    for row in order:
        wanted.setdefault(row // PART, set()).add(row)
    found: dict[int, Example] = {}
    for number, own in sorted(wanted.items()):
        examples = workspace.examples(chunks[number])
        found |= {row: examples[row % PART] for row in own}
    return [found[row] for row in order]


def drawn_rows(total: int, at_most: int, *, seed: int) -> list[int]:
    """All rows, or so many of them drawn by seed, in order."""
    if total <= at_most:
        return list(range(total))
    return sorted(np.random.default_rng(seed).choice(total, at_most, replace=False).tolist())


def _line(example: Example, number: int) -> str:
    for name, value in example.fields.items():
        try:
            same = str(json.loads(json.dumps(value, default=_json_number))) == str(value)
        except (TypeError, ValueError):
            same = False
        if not same:
            raise DataError(
                f"field {name!r} of row {number} is {short_repr(value)}, of type {type(value).__name__}, which "
                "can't be kept as it is; pass it as a text."
            )
    return json.dumps({"fields": dict(example.fields), "label": example.label}, sort_keys=True, default=_json_number)


def _json_number(value: object) -> object:
    """A number of NumPy's as Python's that prints alike."""
    if isinstance(value, np.floating):
        return float(str(value))
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"a {type(value).__name__}")
