"""A folder in which independent work finds its data and leaves its results."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from promptlab.errors import BackboneError, DataError, UnknownNameError
from promptlab.files import atomic_file
from promptlab.interfaces import Backbone
from promptlab.types import Example

PART = 4096  # rows of a part of a large set


class Chunks(NamedTuple):
    """The hashes of the parts of a set, in order, and how many rows it has."""

    names: list[str]
    total: int


class Workspace:
    """Examples by the hash of what they hold, results by the hash of the job that made them, and loaded models.

    It can be sent to another process; models stay where they are and are loaded there by name.

    Args:
        folder: for all of it; on several machines, one that all of them see.
        temporary: whether the folder goes when the work ends, well or not.
        device: where jobs run their models.
        models: backbones that are loaded already.
    """

    def __init__(
        self, folder: str | Path, *, device: str = "auto", models: Iterable[Any] = (), temporary: bool = False
    ) -> None:
        self.folder, self.device, self.temporary = Path(folder).expanduser().resolve(), device, temporary
        self._identities: dict[int, tuple[str, Any]] = {}  # id → identity, and the model, lest another takes its id
        self._models = {(model.name, self.identity(model)): model for model in models}

    def __getstate__(self) -> dict[str, Any]:
        return vars(self) | {"_models": {}, "_identities": {}}

    @property
    def advice(self) -> str:
        """What somebody whose work stopped can do."""
        if self.temporary:
            return "Nothing is kept; set cache_dir to keep what is finished."
        return f"What is finished is kept in {str(self.folder)!r}; run again to go on."

    def identity(self, model: Backbone) -> str:
        """The hash of a backbone's weights, which are the same as long as the workspace is used."""
        if id(model) not in self._identities:
            self._identities[id(model)] = identity(model), model
        return self._identities[id(model)][0]

    def put(self, examples: Iterable[Example]) -> str:
        """Keep examples; returns the hash by which ``examples`` finds them.

        Raises:
            DataError: if a value isn't plain JSON, or the folder can't be written.
        """
        lines = "".join(f"{_line(example)}\n" for example in examples)
        name = hashlib.sha256(lines.encode()).hexdigest()[:32]
        path = self._data(name)
        try:
            if not path.exists():
                with atomic_file(path) as file:
                    file.write_text(lines, encoding="utf-8")
        except OSError as error:
            raise DataError(f"can't write {str(path)!r}: {error.strerror or error}; make room. {self.advice}") from None
        return name

    def put_chunks(self, examples: Iterable[Example]) -> Chunks:
        """Keep a set that may be larger than memory, as parts of ``PART`` rows."""
        source, names, total = iter(examples), [], 0
        while chunk := list(itertools.islice(source, PART)):
            names.append(self.put(chunk))
            total += len(chunk)
        return Chunks(names, total)

    def examples(self, name: str) -> list[Example]:
        """What ``put`` kept.

        Raises:
            DataError: if it is gone or damaged.
        """
        path = self._data(name)
        try:
            rows = [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]
            return [Example(row["fields"], row["label"]) for row in rows]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataError(f"data {str(path)!r} can't be read ({error}); delete {str(self.folder)!r}.") from None

    def result(self, key: str) -> Path:
        """The folder of a job's result."""
        return self.folder / "results" / key

    def backbone(self, model: Mapping[str, str]) -> Any:
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

    def keep(self, backbone: Any) -> Any:
        """The backbone, or the one of the same name and weights that is here already."""
        return self._models.setdefault((backbone.name, self.identity(backbone)), backbone)

    def _data(self, name: str) -> Path:
        return self.folder / "data" / f"{name}.jsonl"


def identity(model: Backbone) -> str:
    """The hash of a backbone's weights, but for those of a head that is random.

    A revision says where weights come from, not that nobody has changed them since.
    """
    digest = hashlib.sha256()
    network: Any = model.model if model.has_lm_head else model.model.base_model
    for name, weight in network.state_dict().items():
        digest.update(f"{name} {weight.dtype} {tuple(weight.shape)}".encode())
        digest.update(weight.detach().cpu().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()[:32]


def some_rows(workspace: Workspace, chunks: Sequence[str], rows: Iterable[int]) -> list[Example]:
    """Rows of what ``put_chunks`` kept, counted from 0, in the order given; one part is in memory at a time."""
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


def _line(example: Example) -> str:
    try:
        row = {"fields": dict(example.fields), "label": example.label}
        return json.dumps(row, sort_keys=True, default=_plain)
    except (TypeError, ValueError) as error:
        raise DataError(f"example {example.fields!r} holds what JSON doesn't know ({error}); pass texts.") from None


def _plain(value: Any) -> Any:
    """NumPy's numbers as Python's."""
    if hasattr(value, "item"):
        return value.item()
    raise TypeError(f"a {type(value).__name__}")
