"""Label words with a trained weight each."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from promptlab.interfaces import Backbone
from promptlab.types import AnswerSlot
from promptlab.verbalizers.label_words import LabelWordVerbalizer, label_word_ids
from promptlab.verbalizers.manual import LabelWordHead


@dataclass(frozen=True)
class WeightedVerbalizer(LabelWordVerbalizer):
    """Learn how much each label word counts within its class; before training all count alike.

    Source: KPT, arXiv:2108.02035, section 3.3.4 (learnable refinement).

    Args:
        label_words: class → its words; a single string is one word.

    Raises:
        VerbalizerError: if there are fewer than two classes, or a class without words.
    """

    def build(self, backbone: Backbone, slot: AnswerSlot) -> WeightedHead:
        return WeightedHead(*label_word_ids(self.label_words, backbone, slot))


class WeightedHead(LabelWordHead):
    """Mean of the words' logits under weights that are a softmax within each class."""

    def __init__(self, ids: Tensor, valid: Tensor) -> None:
        super().__init__(ids, valid)
        self.weight = nn.Parameter(torch.zeros(ids.shape))  # (classes, words)

    def word_weights(self) -> Tensor:
        return self.weight.masked_fill(~self.valid, -torch.inf).softmax(dim=-1)

    def combine(self, word_scores: Tensor) -> Tensor:
        return (word_scores.masked_fill(~self.valid, 0.0) * self.word_weights()).sum(dim=-1)
