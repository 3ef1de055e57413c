"""Trainable keys and values at every layer of a frozen model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from promptlab.core.interfaces import Backbone, Tuning
from promptlab.core.ranges import NonNegative, PartShare, Size, Width
from promptlab.core.training_defaults import TrainingDefaults


@dataclass(frozen=True)
class PrefixTuning(Tuning):
    """Train a prefix of keys and values before every attention layer, made by an MLP that is dropped after training.

    Encoder-decoder models get one in the encoder, the decoder and the cross-attention. It takes up no positions.

    Source: Prefix-Tuning, arXiv:2101.00190, section 4.

    Args:
        length: keys and values of each prefix.
        hidden: width of the MLP; 0 trains the keys and values themselves.
        dropout: share of the keys and values that is dropped in training.
        std: standard deviation of the first weights.

    Raises:
        TuningError: if a number is out of range.

    Example:
        >>> from promptlab import PrefixTuning, PromptClassifier
        >>> classifier = PromptClassifier("sst2", "sst2", "minilm", PrefixTuning(length=4), max_steps=2)
        >>> classifier = classifier.fit(["a dull film", "great fun"], ["negative", "positive"])
        >>> classifier.trainable_parameters()  # that are kept: 6 layers · 4 keys and 4 values · 384
        18432
    """

    length: Size = 10
    hidden: Width = 512
    dropout: PartShare = 0.0
    std: NonNegative = 0.02

    def attach(self, backbone: Backbone) -> None:
        backbone.requires_grad_(False)
        sites = backbone.prefix_sites()
        backbone.set_prefix(PrefixTable(sites, self.length, self.hidden, backbone.hidden_size, self.dropout, self.std))

    @property
    def defaults(self) -> TrainingDefaults:
        return TrainingDefaults(learning_rate=1e-3, max_steps=100, head_learning_rate=1e-3)


@dataclass(frozen=True)
class PTuningV2(PrefixTuning):
    """Train deep prompts for understanding tasks: a prefix without an MLP, at a high learning rate.

    Source: P-Tuning v2, arXiv:2110.07602, section 3.

    Example:
        >>> from promptlab import HeadClassifier, PTuningV2
        >>> classifier = HeadClassifier("minilm", PTuningV2(length=8), max_steps=2)
        >>> classifier = classifier.fit(["a dull film", "great fun"], ["negative", "positive"])
        >>> classifier.trainable_parameters()  # 6 layers · 8 keys and 8 values · 384, and a head of 770
        37634
    """

    length: Size = 16
    hidden: Width = 0
    dropout: PartShare = 0.1

    @property
    def defaults(self) -> TrainingDefaults:
        return TrainingDefaults(learning_rate=1e-2, max_steps=200, head_learning_rate=1e-3)


class PrefixTable(nn.Module):
    """Keys and values for each site, (heads, length, width) each, from a table or from a small table and an MLP.

    Args:
        sites: heads and width of each attention call.
        length: of the prefix.
        hidden: width of the MLP; 0 for none.
        width: of the small table.
        dropout: of the keys and values, in training, where they are used.
        std: of the first weights.
    """

    visible = None  # all of it, from every row

    def __init__(
        self, sites: Sequence[tuple[int, int]], length: int, hidden: int, width: int, dropout: float, std: float
    ) -> None:
        super().__init__()
        self.sites = [(heads, head_width) for heads, head_width in sites]
        self.sizes = [2 * heads * head_width for heads, head_width in self.sites]
        total = sum(self.sizes)
        self.table = nn.Parameter(torch.randn(length, width if hidden else total) * std)
        self.mlp: nn.Module | None = None
        if hidden:
            self.mlp = nn.Sequential(nn.Linear(width, hidden), nn.Tanh(), nn.Linear(hidden, total))
        self.dropout = nn.Dropout(dropout)

    def rows(self) -> Tensor:
        """All keys and values, (length, total)."""
        return self.table if self.mlp is None else self.mlp(self.table)

    def forward(self) -> list[tuple[Tensor, Tensor]]:
        parts = self.rows().split(self.sizes, dim=1)
        return [self._pair(part, *site) for part, site in zip(parts, self.sites)]

    def _pair(self, part: Tensor, heads: int, width: int) -> tuple[Tensor, Tensor]:
        both = part.view(len(part), 2, heads, width).permute(1, 2, 0, 3)  # (2, heads, length, width)
        return both[0], both[1]

    @torch.no_grad()
    def export(self) -> None:
        """Keep the keys and values and drop the MLP."""
        if self.mlp is not None:
            rows = self.rows()
            self.mlp = None
            self.table = nn.Parameter(rows.clone())
