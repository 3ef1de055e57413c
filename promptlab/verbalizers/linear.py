"""An ordinary classification head on the pooled hidden states."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from promptlab.core.errors import VerbalizerError
from promptlab.core.interfaces import Backbone, Verbalizer
from promptlab.core.types import AnswerSlot, Batch
from promptlab.verbalizers.head import ScoringHead

POOLINGS = ("mean", "first", "last")


@dataclass(frozen=True)
class LinearVerbalizer(Verbalizer):
    """Train a linear layer on the mean of the hidden states, or on one of them: an ordinary classification head.

    Args:
        names: names of the classes.
        pooling: ``"mean"`` over the tokens that aren't padding, the ``"first"`` ([CLS]) or the ``"last"`` of them.
        dropout: share of the pooled features that is dropped in training.

    Raises:
        VerbalizerError: if there are fewer than two classes, or the pooling is unknown.

    Example:
        >>> from promptlab import InputTemplate, LinearVerbalizer, PromptClassifier
        >>> head = LinearVerbalizer(["negative", "positive"], pooling="first")
        >>> classifier = PromptClassifier(InputTemplate(), head, "minilm", "frozen", max_steps=20)
        >>> classifier.fit(["a dull film", "great fun"], ["negative", "positive"]).predict(["dull", "fun"])
        array(['negative', 'positive'], dtype='<U8')
    """

    names: Sequence[str]
    pooling: str = "mean"
    dropout: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "names", tuple(self.names))
        if len(self.names) < 2:
            raise VerbalizerError(f"the labels hold {len(self.names)} class(es); a classifier needs at least 2.")
        if self.pooling not in POOLINGS:
            raise VerbalizerError(f"unknown pooling {self.pooling!r}; known: {', '.join(POOLINGS)}.")

    @property
    def classes(self) -> tuple[str, ...]:
        return tuple(self.names)

    @property
    def starts_from_nothing(self) -> bool:
        return True

    def build(self, backbone: Backbone, slot: AnswerSlot) -> LinearHead:
        return LinearHead(backbone.hidden_size, len(self.names), pooling=self.pooling, dropout=self.dropout)


class LinearHead(ScoringHead[Tensor]):
    """Pooled features → dropout → linear layer, which starts at zero: every class is as likely as any other."""

    reads_lm_head = False

    def __init__(self, hidden: int, classes: int, *, pooling: str = "mean", dropout: float = 0.1) -> None:
        super().__init__()
        self.pooling = pooling
        self.dropout = nn.Dropout(dropout)
        self.linear = nn.Linear(hidden, classes)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    @property
    def batch_key(self) -> Hashable:
        return super().batch_key, self.pooling

    def read_backbone(self, backbone: Backbone, batch: Batch) -> Tensor:
        hidden = backbone.hidden_states(batch)  # (batch, length, hidden)
        if self.pooling == "mean":
            return masked_mean(hidden, batch.attention_mask)
        ends = batch.attention_mask.sum(dim=1) - 1
        place = torch.zeros_like(ends) if self.pooling == "first" else ends
        return hidden[torch.arange(len(hidden), device=hidden.device), place]

    def class_scores(self, outputs: Tensor) -> Tensor:
        scores: Tensor = self.linear(self.dropout(outputs))
        return scores


def masked_mean(hidden: Tensor, attention_mask: Tensor) -> Tensor:
    """Mean of the hidden states that aren't padding: (batch, length, hidden) → (batch, hidden)."""
    weights = attention_mask[..., None].to(hidden.dtype)
    return torch.sum(hidden * weights, dim=1) / weights.sum(dim=1)
