"""Soft tokens inside any model: ids past the vocabulary are looked up in a table of our own.

Keeping ``input_ids`` leaves positions, pooling and end-of-text rules of every model as they are, and the output
vocabulary doesn't grow, so a soft token can never be predicted.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class SoftEmbedding:
    """Hooks on an embedding layer that give ids ``vocabulary + i`` the row i of ``table()``.

    Args:
        embedding: the model's input embedding.
        table: returns the vectors, shape (soft tokens, embedding).
        vocabulary: the number of ordinary ids.
    """

    def __init__(self, embedding: nn.Module, table: nn.Module, vocabulary: int) -> None:
        self.table, self.vocabulary = table, vocabulary
        self.handles = [
            embedding.register_forward_pre_hook(self.clamp),
            embedding.register_forward_hook(self.write),
        ]
        self.soft: Tensor | None = None

    def clamp(
        self, module: nn.Module, inputs: tuple[Tensor, *tuple[object, ...]]
    ) -> tuple[Tensor, *tuple[object, ...]] | None:
        """Remember where the soft tokens are and give the layer an id that it knows."""
        ids = inputs[0]
        soft = ids - self.vocabulary
        self.soft = soft if bool((soft >= 0).any()) else None
        return None if self.soft is None else (ids.masked_fill(soft >= 0, 0), *inputs[1:])

    def write(self, module: nn.Module, inputs: tuple[Tensor, *tuple[object, ...]], output: Tensor) -> Tensor | None:
        """Put the table's rows where the soft tokens are."""
        if self.soft is None:
            return None
        soft, self.soft = self.soft, None
        rows = self.table()[soft.clamp(min=0)].to(output.dtype)  # (batch, length, embedding)
        return torch.where((soft >= 0)[..., None], rows, output)

    def remove(self) -> None:
        """Leave the layer as it was."""
        for handle in self.handles:
            handle.remove()
