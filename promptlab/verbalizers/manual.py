"""Label words chosen by hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor, nn

from promptlab.core.interfaces import Backbone
from promptlab.core.types import AnswerSlot, MaskStates
from promptlab.verbalizers.aggregates import AGGREGATES, check_aggregate, mean_logit
from promptlab.verbalizers.head import MaskHead, WordHead
from promptlab.verbalizers.label_words import LabelWordVerbalizer, label_word_ids


@dataclass(frozen=True)
class ManualVerbalizer(LabelWordVerbalizer):
    """Score a class by the mask logits of its label words.

    Source: PET, arXiv:2001.07676, section 3.1, there with one word per class.

    Args:
        aggregate: how the words of a class count together: ``"mean-logit"`` (which ranks classes as the mean of
            log-probabilities does), ``"max-logit"``, ``"mean-prob"`` or ``"sum-prob"``.

    Raises:
        VerbalizerError: if there are fewer than two classes, a class without words, or an unknown aggregate; in use,
            if a word isn't one token of the model.

    Example:
        >>> from promptlab import ManualVerbalizer, PromptClassifier
        >>> words = ManualVerbalizer({"negative": ["bad", "dull"], "positive": ["good", "great"]})
        >>> classifier = PromptClassifier("{{ text_a }} It was {{ mask }}.", words, "minilm")
        >>> classifier.predict_proba(["a dull film", "great fun"]).round(2)  # (texts, classes)
        array([[0.68, 0.32],
               [0.01, 0.99]], dtype=float32)
    """

    aggregate: str = "mean-logit"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_aggregate(self.aggregate)

    def build(self, backbone: Backbone, slot: AnswerSlot) -> LabelWordHead:
        return LabelWordHead(*label_word_ids(self.label_words, backbone, slot), AGGREGATES[self.aggregate])


class LabelWordHead(MaskHead, WordHead[MaskStates]):
    """Aggregated label-word logits, normalized over the classes; padded words don't count."""

    def __init__(self, ids: Tensor, valid: Tensor, aggregate: Callable[[Tensor, Tensor], Tensor] = mean_logit) -> None:
        super().__init__()
        self.ids = nn.Buffer(ids, persistent=False)  # (classes, words)
        self.valid = nn.Buffer(valid, persistent=False)  # (classes, words), False where padded
        self.aggregate = aggregate

    def word_scores(self, outputs: MaskStates) -> Tensor:
        logits = outputs.logits(self.ids.flatten())[:, 0]  # (batch, classes * words)
        return logits.view(len(logits), *self.ids.shape)

    def combine(self, word_scores: Tensor) -> Tensor:
        return self.aggregate(word_scores, self.valid)
