"""A template's trainable slots: where their vectors start, and what may stand between the trained weights and them."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from promptlab.errors import TemplateError
from promptlab.files import atomic_file, sha256
from promptlab.identity import base_difference, described_base
from promptlab.interfaces import Backbone, Template, Verbalizer
from promptlab.types import AnswerSlot, Example, Prompt, Segment, SoftSlot

LENGTH = 20  # soft tokens of a prompt where nothing is said
COMMON_WORDS = 5000
STARTS = ("random", "vocabulary", "labels")


class SoftTokens(nn.Module):
    """One trainable vector per soft token; tokens of one key share their vectors.

    Slots with words start from the words' embeddings. Others start as their ``start`` says: ``random`` (a normal
    distribution with the mean and standard deviation of the embedding matrix; torch's default would be 10 to 50 times
    too wide), ``vocabulary`` (some of the 5,000 most common words), ``labels`` (the mean embedding of each class's
    words, then common words), or the path of a saved prompt.

    Source: Prompt Tuning, arXiv:2104.08691, section 2; OptiPrompt, arXiv:2104.05240, section 3.2.

    Args:
        slots: of the template.
        backbone: whose embeddings they start from.
        label_words: words of each class, for the start ``labels``.
        encoder: maps the trained vectors to those used, (tokens, width) → (tokens, width); dropped by ``export``.
    """

    def __init__(
        self,
        slots: Sequence[SoftSlot],
        backbone: Backbone,
        *,
        label_words: Sequence[str] = (),
        encoder: nn.Module | None = None,
    ) -> None:
        super().__init__()
        embedding = backbone.embedding_weight().detach()  # (vocabulary, embedding)
        rows: list[Tensor] = []
        self.ids: dict[str, list[int]] = {}
        for slot in slots:
            start = len(embedding) + sum(map(len, rows))
            rows.append(_first_vectors(slot, embedding, backbone, label_words))
            self.ids[slot.key] = list(range(start, start + len(rows[-1])))
        table = torch.cat(rows) if rows else embedding.new_empty(0, embedding.shape[1])
        self.table = nn.Parameter(table, requires_grad=bool(rows))
        self.encoder = encoder if rows else None

    def forward(self) -> Tensor:
        return self.table if self.encoder is None else self.encoder(self.table)

    @torch.no_grad()
    def export(self) -> None:
        """Keep the vectors as they are used and drop the encoder."""
        if self.encoder is not None:
            self.eval()
            rows = self()
            self.encoder = None
            self.table = nn.Parameter(rows.clone())


class MLPEncoder(nn.Module):
    """Two layers over each vector, added to it.

    Source: residual prompt tuning's form of Prefix-Tuning's reparametrisation, arXiv:2101.00190, section 4.3.
    """

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.down, self.up = nn.Linear(width, hidden), nn.Linear(hidden, width)
        nn.init.zeros_(self.up.weight)  # starts as the identity, so that the start of a slot is kept
        nn.init.zeros_(self.up.bias)

    def forward(self, rows: Tensor) -> Tensor:
        return rows + self.up(torch.tanh(self.down(rows)))


class LSTMEncoder(nn.Module):
    """A two-layer bidirectional LSTM over all soft tokens in order, then an MLP.

    Source: P-Tuning, arXiv:2103.10385, section 3.2; sizes as in the authors' few-shot code.
    """

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.lstm = nn.LSTM(width, hidden, num_layers=2, bidirectional=True, batch_first=True)
        self.mlp = nn.Sequential(nn.Linear(2 * hidden, hidden), nn.ReLU(), nn.Linear(hidden, width))

    def forward(self, rows: Tensor) -> Tensor:
        return self.mlp(self.lstm(rows[None])[0][0])


@dataclass(frozen=True)
class SoftPromptTemplate(Template):
    """Another template with soft tokens before it.

    Source: Prompt Tuning, arXiv:2104.08691, section 2.
    """

    template: Template
    prompt: SoftSlot = field(default=SoftSlot("prompt", LENGTH))

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "prompt", SoftSlot(*self.prompt))

    @property
    def fields(self) -> Sequence[str]:
        return self.template.fields

    @property
    def slot(self) -> AnswerSlot:
        return self.template.slot.put_after(self._segment)

    @property
    def _segment(self) -> Segment:
        return Segment("soft", n=self.prompt.n, key=self.prompt.key)

    @property
    def soft_slots(self) -> Sequence[SoftSlot]:
        return (self.prompt, *self.template.soft_slots)

    @property
    def n_variants(self) -> int:
        return self.template.n_variants

    def bind(self, examples: Sequence[Example], verbalizer: Verbalizer) -> SoftPromptTemplate:
        return SoftPromptTemplate(self.template.bind(examples, verbalizer), self.prompt)

    def check_training(self) -> None:
        self.template.check_training()

    def render(self, example: Example) -> Prompt:
        return self.variants(example)[0]

    def variants(self, example: Example) -> Sequence[Prompt]:
        return [Prompt((self._segment, *prompt.segments)) for prompt in self.template.variants(example)]


def _first_vectors(slot: SoftSlot, embedding: Tensor, backbone: Backbone, label_words: Sequence[str]) -> Tensor:
    if slot.text:
        return embedding[backbone.token_ids(slot.text)].clone()
    if slot.start == "random":
        noise = torch.randn(slot.n, embedding.shape[1]).to(embedding)  # drawn on the CPU: the same on every device
        return embedding.mean(dim=0) + noise * embedding.std(dim=0)
    if slot.start not in STARTS:
        return _saved_vectors(slot, embedding, backbone)
    rows: list[Tensor] = []
    if slot.start == "labels":
        if not label_words:
            raise TemplateError("soft tokens can't start from labels that have no words; choose start='vocabulary'.")
        rows = [embedding[backbone.token_ids(word)].mean(dim=0) for word in label_words[: slot.n]]
    common = torch.tensor(backbone.common_word_ids(COMMON_WORDS))
    if len(common) < slot.n - len(rows):
        raise TemplateError(
            f"{slot.n} soft tokens are more than the model has common words ({len(common)}); take fewer."
        )
    drawn = common[torch.randperm(len(common))[: slot.n - len(rows)]].to(embedding.device)
    return torch.cat([*(row[None] for row in rows), embedding[drawn]])


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


def to_be_filled(slots: Sequence[SoftSlot]) -> list[SoftSlot]:
    """The slots of a saved model: its file holds their vectors, so that it doesn't matter where they once started."""
    return [slot._replace(start="random") for slot in slots]


def save_prompt(path: str | Path, soft: SoftTokens, backbone: Backbone) -> None:
    """Write vectors of soft tokens, and which model they are for.

    Raises:
        DataError: if the file can't be written.
    """
    about = {"format": "pt", "base": json.dumps(described_base(backbone))}
    with atomic_file(path) as file:
        save_file({"prompt": soft().detach().cpu().contiguous()}, file, metadata=about)


def _saved_vectors(slot: SoftSlot, embedding: Tensor, backbone: Backbone) -> Tensor:
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


def _read_prompt(place: str) -> tuple[Tensor, dict[str, Any]]:
    """The rows (soft tokens, width) of a saved prompt, and what its file says of the model that it is for."""
    try:
        with safe_open(Path(place), framework="pt") as file:
            trained_on = _base(file.metadata() or {})
            tensors: Mapping[str, Tensor] = {name: file.get_tensor(name) for name in set(file.keys())}
    except (OSError, SafetensorError, ValueError) as error:
        raise TemplateError(
            f"start={place!r} of soft tokens is none of {', '.join(STARTS)} and no saved prompt: {error}."
        ) from None
    if len(tensors) != 1 or (rows := next(iter(tensors.values()))).ndim != 2:
        shapes = ", ".join(f"{name} {tuple(tensor.shape)}" for name, tensor in tensors.items())
        raise TemplateError(
            f"{place!r} holds {shapes or 'no tensors'}, where a saved prompt has one table of vectors; give a file "
            "that save_prompt or pretrain-prompt wrote."
        )
    return rows, trained_on


def _base(about: Mapping[str, str]) -> dict[str, Any]:
    """What a file says of the model that its prompt is for; version 0.1 wrote its name and revision."""
    if "revision" in about:
        return {"name": about.get("model"), "revision": about["revision"]}
    return dict(json.loads(about["base"])) if "base" in about else {}
