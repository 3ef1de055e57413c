"""Vectors of a template's soft tokens."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from promptlab.interfaces import Backbone
from promptlab.types import SoftSlot


class SoftTokens(nn.Module):
    """A table with one trainable vector per soft token; tokens of one key share their vectors.

    Slots with words start from the words' embeddings, others from a normal distribution with the mean and standard
    deviation of the embedding matrix (torch's default would be 10 to 50 times too wide).

    Source: Prompt Tuning, arXiv:2104.08691, section 2; OptiPrompt, arXiv:2104.05240, section 3.2.
    """

    def __init__(self, slots: Sequence[SoftSlot], backbone: Backbone) -> None:
        super().__init__()
        embedding = backbone.embedding_weight().detach()  # (vocabulary, embedding)
        rows: list[Tensor] = []
        self.ids: dict[str, list[int]] = {}
        for slot in slots:
            start = len(embedding) + sum(map(len, rows))
            rows.append(_first_vectors(slot, embedding, backbone))
            self.ids[slot.key] = list(range(start, start + len(rows[-1])))
        table = torch.cat(rows) if rows else embedding.new_empty(0, embedding.shape[1])
        self.table = nn.Parameter(table, requires_grad=bool(rows))

    def forward(self) -> Tensor:
        return self.table


def _first_vectors(slot: SoftSlot, embedding: Tensor, backbone: Backbone) -> Tensor:
    if slot.text:
        return embedding[backbone.token_ids(slot.text)].clone()
    noise = torch.randn(slot.n, embedding.shape[1]).to(embedding)  # drawn on the CPU: the same on every device
    return embedding.mean(dim=0) + noise * embedding.std(dim=0)
