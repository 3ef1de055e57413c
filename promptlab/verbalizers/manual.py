"""Label words chosen by hand."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from promptlab.errors import VerbalizerError
from promptlab.interfaces import Backbone, Verbalizer
from promptlab.types import AnswerSlot, MaskStates
from promptlab.verbalizers.head import WordHead
from promptlab.verbalizers.label_words import check_words, label_word_ids


def mean_logit(logits: Tensor, valid: Tensor) -> Tensor:
    """Mean over a class's words of the mask logit: (batch, classes, words) → (batch, classes). PET's code."""
    return logits.masked_fill(~valid, 0.0).sum(dim=-1) / valid.sum(dim=-1)


def max_logit(logits: Tensor, valid: Tensor) -> Tensor:
    """The logit of a class's likeliest word."""
    return logits.masked_fill(~valid, -torch.inf).amax(dim=-1)


def sum_prob(logits: Tensor, valid: Tensor) -> Tensor:
    """Log of the summed probability of a class's words. AutoPrompt, arXiv:2010.15980, section 2.1."""
    return logits.masked_fill(~valid, -torch.inf).logsumexp(dim=-1)


def mean_prob(logits: Tensor, valid: Tensor) -> Tensor:
    """Log of the mean probability of a class's words, so that a class doesn't gain by having more of them."""
    return sum_prob(logits, valid) - valid.sum(dim=-1).log()


AGGREGATES: Mapping[str, Callable[[Tensor, Tensor], Tensor]] = {
    "mean-logit": mean_logit,
    "max-logit": max_logit,
    "sum-prob": sum_prob,
    "mean-prob": mean_prob,
}


@dataclass(frozen=True)
class ManualVerbalizer(Verbalizer):
    """Score a class by the mask logits of its label words.

    Source: PET, arXiv:2001.07676, section 3.1, there with one word per class.

    Args:
        label_words: class → its words; a single string is one word.
        aggregate: how the words of a class count together, one of ``AGGREGATES``. ``mean-logit`` ranks classes as the
            mean of log-probabilities does.

    Raises:
        VerbalizerError: if there are fewer than two classes, a class without words or an unknown aggregate.
    """

    label_words: Mapping[str, Sequence[str]]
    aggregate: str = "mean-logit"

    def __post_init__(self) -> None:
        object.__setattr__(self, "label_words", check_words(self.label_words))
        if self.aggregate not in AGGREGATES:
            raise VerbalizerError(f"unknown aggregate {self.aggregate!r}; known: {', '.join(AGGREGATES)}.")

    @property
    def classes(self) -> tuple[str, ...]:
        return tuple(self.label_words)

    @property
    def answers(self) -> dict[str, str]:
        return {name: words[0] for name, words in self.label_words.items()}

    def build(self, backbone: Backbone, slot: AnswerSlot) -> LabelWordHead:
        if slot.n_masks != 1:
            raise VerbalizerError(
                f"the template has {slot.n_masks} masks, but label words of one token need exactly 1; for longer "
                "answers use StringVerbalizer."
            )
        return LabelWordHead(*label_word_ids(self.label_words, backbone, slot), AGGREGATES[self.aggregate])


class LabelWordHead(WordHead):
    """Aggregated label-word logits, normalised over the classes; padded words don't count."""

    def __init__(self, ids: Tensor, valid: Tensor, aggregate: Callable[[Tensor, Tensor], Tensor] = mean_logit) -> None:
        super().__init__()
        self.ids = nn.Buffer(ids, persistent=False)  # (classes, words)
        self.valid = nn.Buffer(valid, persistent=False)  # (classes, words), False where padded
        self.aggregate = aggregate

    def word_scores(self, answer: MaskStates) -> Tensor:
        logits = answer.logits(self.ids.flatten())[:, 0]  # (batch, classes * words)
        return logits.unflatten(-1, self.ids.shape)

    def combine(self, word_scores: Tensor) -> Tensor:
        return self.aggregate(word_scores, self.valid)
