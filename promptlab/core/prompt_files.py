"""Soft prompts as files: written after training, read as the start of another."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from promptlab.core.errors import TemplateError, short_repr
from promptlab.core.files import atomic_file, sha256
from promptlab.core.identity import BaseDescription, base_difference, described_base
from promptlab.core.interfaces import Backbone
from promptlab.core.types import SoftSlot

LENGTH = 20  # soft tokens of a prompt where nothing is said
STARTS = ("random", "vocabulary", "labels")


def prompt_length(start: str) -> int:
    """Soft tokens of a prompt that starts from here: as many as a saved one has, else ``LENGTH``.

    Raises:
        TemplateError: if ``start`` is neither a way to start nor a saved prompt.
    """
    return LENGTH if start in STARTS else len(_read_prompt(start)[0])


def start_files(slots: Iterable[SoftSlot]) -> dict[str, str]:
    """The files that soft tokens start from: their paths, and the hashes of what they hold."""
    starts = {slot.start for slot in slots} - set(STARTS)
    return {str(start): sha256(start) for start in sorted(starts) if os.path.isfile(start)}


def save_prompt(path: str | Path, vectors: Tensor, backbone: Backbone) -> None:
    """Write vectors of soft tokens, (tokens, embedding), and which model they are for.

    Raises:
        DataError: if the file can't be written.
    """
    about = {"format": "pt", "base": json.dumps(described_base(backbone))}
    with atomic_file(path) as file:
        save_file({"prompt": vectors.detach().cpu().contiguous()}, file, metadata=about)


def saved_vectors(slot: SoftSlot, embedding: Tensor, backbone: Backbone) -> Tensor:
    """The rows of a prompt that was saved before for this model, as many as the slot has."""
    rows, trained_on = _read_prompt(slot.start)
    if rows.shape[1] != embedding.shape[1]:
        raise TemplateError(
            f"the prompt saved in {slot.start!r} has vectors of {rows.shape[1]} numbers, but this model's embeddings "
            f"have {embedding.shape[1]}; take a prompt made for this model."
        )
    if len(rows) != slot.n:
        raise TemplateError(
            f"the prompt saved in {slot.start!r} has {len(rows)} soft tokens, but {slot.n} are asked for; give "
            f"length={len(rows)}, or leave length out."
        )
    if trained_on and (difference := base_difference(trained_on, backbone)):
        raise TemplateError(
            f"the prompt saved in {slot.start!r} was trained on {trained_on['name']} {difference}; take that model, or "
            "a prompt made for this one."
        )
    return rows.to(embedding)


def _read_prompt(place: str) -> tuple[Tensor, BaseDescription | None]:
    """The rows (soft tokens, width) of a saved prompt, and what its file says of the model that it is for."""
    try:
        if not os.path.isfile(place):
            raise FileNotFoundError(f"{short_repr(place)} is no file")
        with safe_open(Path(place), framework="pt") as file:
            trained_on = _base(file.metadata() or {})
            tensors: Mapping[str, Tensor] = {name: file.get_tensor(name) for name in set(file.keys())}
    except (OSError, SafetensorError, ValueError) as error:
        raise TemplateError(
            f"start={short_repr(place)} of soft tokens is none of {', '.join(STARTS)} and no saved prompt: {error}."
        ) from None
    if len(tensors) != 1 or (rows := next(iter(tensors.values()))).ndim != 2:
        shapes = ", ".join(f"{name} {tuple(tensor.shape)}" for name, tensor in tensors.items())
        raise TemplateError(
            f"{place!r} holds {shapes or 'no tensors'}, where a saved prompt has one table of vectors; give a file "
            "that save_prompt or pretrain-prompt wrote."
        )
    return rows, trained_on


def _base(about: Mapping[str, str]) -> BaseDescription | None:
    """What a file says of the model that its prompt is for; version 0.1 wrote its name and revision."""
    if "revision" in about:
        return {"name": about.get("model", ""), "revision": about["revision"]}
    if "base" not in about:
        return None
    base: BaseDescription = json.loads(about["base"])
    return base
