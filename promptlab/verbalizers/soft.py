"""Trained vectors in place of label words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from promptlab.core.errors import VerbalizerError
from promptlab.core.interfaces import Backbone
from promptlab.core.types import AnswerSlot, MaskStates
from promptlab.verbalizers.head import MaskHead, ScoringHead
from promptlab.verbalizers.label_words import LabelWordVerbalizer, check_one_mask


@dataclass(frozen=True)
class SoftVerbalizer(LabelWordVerbalizer):
    """Train a vector and a bias for each class, which start as those of its label words in the LM head.

    They are copies: the vocabulary and the tied input embeddings stay as they are. With soft tokens in the template and
    ``tuning="frozen"`` this is WARP.

    Source: WARP, arXiv:2101.00121, section 3; OpenPrompt's SoftVerbalizer, which drops the bias and all words but one.

    Args:
        label_words: class → words of any number of tokens; a class starts as the mean over the tokens of all its words.

    Raises:
        VerbalizerError: if there are fewer than two classes, or a class without words.

    Example:
        >>> from promptlab import PromptClassifier, SoftVerbalizer
        >>> vectors = SoftVerbalizer({"negative": "bad", "positive": "good"})
        >>> warp = PromptClassifier("{{ text_a }} {{ soft(2) }} {{ mask }}.", vectors, "minilm", "frozen", max_steps=5)
        >>> warp = warp.fit(["a dull film", "great fun"], ["negative", "positive"])
        >>> warp.trainable_parameters()  # 2 soft tokens, and a vector and a bias for each of 2 classes: 4 · 384 + 2
        1538
    """

    def build(self, backbone: Backbone, slot: AnswerSlot) -> SoftHead:
        check_one_mask(slot, "a vector of a class reads exactly 1")
        starts = [self._start(name, words, backbone, slot) for name, words in self.label_words.items()]
        return SoftHead(*map(torch.stack, zip(*starts, strict=True)))

    def _start(self, name: str, words: Sequence[str], backbone: Backbone, slot: AnswerSlot) -> tuple[Tensor, Tensor]:
        ids = [token for word in words for token in backbone.answer_ids(word, slot)]
        if not ids:
            raise VerbalizerError(f"the words of class {name!r} have no token for {backbone.name}; choose other words.")
        weight, bias = backbone.decoder()
        return weight[ids].mean(dim=0), weight.new_zeros(()) if bias is None else bias[ids].mean()


class SoftHead(MaskHead, ScoringHead[MaskStates]):
    """A linear layer on the mask state, as the LM head's last layer takes it."""

    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight.clone())  # (classes, embedding)
        self.bias = nn.Parameter(bias.clone())  # (classes,)

    def class_scores(self, outputs: MaskStates) -> Tensor:
        return F.linear(outputs.hidden[:, 0], self.weight, self.bias)
