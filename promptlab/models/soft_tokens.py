"""A template's trainable slots: where their vectors start, and what may stand between the trained weights and them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from promptlab.core.errors import TemplateError
from promptlab.core.interfaces import Backbone
from promptlab.core.prompt_files import STARTS, saved_vectors
from promptlab.core.types import SoftSlot

COMMON_WORDS = 5000


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


def _first_vectors(slot: SoftSlot, embedding: Tensor, backbone: Backbone, label_words: Sequence[str]) -> Tensor:
    if slot.text:
        return embedding[backbone.token_ids(slot.text)].clone()
    if slot.start == "random":
        noise = torch.randn(slot.n, embedding.shape[1]).to(embedding)  # drawn on the CPU: the same on every device
        return embedding.mean(dim=0) + noise * embedding.std(dim=0)
    if slot.start not in STARTS:
        return saved_vectors(slot, embedding, backbone)
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


def to_be_filled(slots: Sequence[SoftSlot]) -> list[SoftSlot]:
    """The slots of a saved model: its file holds their vectors, so that it doesn't matter where they once started."""
    return [slot._replace(start="random") for slot in slots]
