"""Label words with a trained weight each."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from promptlab.core.interfaces import Backbone
from promptlab.core.ranges import Rate
from promptlab.core.types import AnswerSlot
from promptlab.verbalizers.label_words import LabelWordVerbalizer, label_word_ids
from promptlab.verbalizers.manual import LabelWordHead


@dataclass(frozen=True)
class WeightedVerbalizer(LabelWordVerbalizer):
    """Learn how much each label word counts within its class; before training all count alike.

    Source: KPT, arXiv:2108.02035, section 3.3.4 (learnable refinement), with the rate of its code.

    Args:
        learning_rate: rate of the words' weights where more than the head is trained, whatever the rest's rate is: they
            are exponents, which have to move by about 1 to tell good words from bad ones. With ``tuning="frozen"`` they
            take that method's rate (0.01, 500 updates); this one was measured to be too high for so many.

    Raises:
        VerbalizerError: if there are fewer than two classes, a class without words, or the rate is out of range.

    Example:
        >>> from promptlab import PromptClassifier, WeightedVerbalizer
        >>> words = WeightedVerbalizer({"negative": ["dull", "bad"], "positive": ["fun", "great"]})
        >>> classifier = PromptClassifier("{{ text_a }} It was {{ mask }}.", words, "minilm", "frozen", max_steps=50)
        >>> classifier = classifier.fit(["a dull film", "great fun"], ["negative", "positive"])
        >>> classifier.trainable_parameters()  # a weight for each word
        4
    """

    learning_rate: Rate = 0.06

    def build(self, backbone: Backbone, slot: AnswerSlot) -> WeightedHead:
        return WeightedHead(*label_word_ids(self.label_words, backbone, slot), learning_rate=self.learning_rate)


class WeightedHead(LabelWordHead):
    """Mean of the words' logits under weights that are a softmax within each class."""

    def __init__(self, ids: Tensor, valid: Tensor, *, learning_rate: float | None = None) -> None:
        super().__init__(ids, valid)
        self.learning_rate = learning_rate
        self.weight = nn.Parameter(torch.zeros(ids.shape))  # (classes, words)

    def word_weights(self) -> Tensor:
        return self.weight.masked_fill(~self.valid, -torch.inf).softmax(dim=-1)

    def combine(self, word_scores: Tensor) -> Tensor:
        return (word_scores.masked_fill(~self.valid, 0.0) * self.word_weights()).sum(dim=-1)
