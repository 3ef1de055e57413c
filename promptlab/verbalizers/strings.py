"""Answers of several tokens."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from promptlab.core.errors import VerbalizerError
from promptlab.core.interfaces import Backbone, Verbalizer
from promptlab.core.types import AnswerSlot, Batch
from promptlab.verbalizers.aggregates import AGGREGATES, check_aggregate
from promptlab.verbalizers.head import WordHead
from promptlab.verbalizers.label_words import check_distinct, check_words


@dataclass(frozen=True)
class MultiTokenVerbalizer(Verbalizer):
    """Score a class by the log-probability of whole answers, such as "not entailed" or words of unequal length.

    Masked models fill one mask after the other; in training they look once and maximize the margin (PET's hinge).
    Causal and encoder-decoder models sum the log-probabilities of the answer's tokens and train on cross-entropy.

    Source: arXiv:2009.07118, section 3.1 (masked models); GPT-3, arXiv:2005.14165, section 2.4 (causal models).

    Args:
        strings: class → its answers; a single string is one answer.
        aggregate: how the answers of a class count together: ``"sum-prob"``, ``"mean-prob"``, ``"mean-logit"`` or
            ``"max-logit"``.
        per_token: whether to divide log-probabilities by the number of tokens, so that long answers aren't worse off.
        decoding: order in which a masked model fills an answer: ``"max-first"``, ``"left-to-right"`` or ``"parallel"``;
            None is the model's usual one.

    Raises:
        VerbalizerError: if there are fewer than two classes, a class without answers, or an unknown aggregate.

    Example:
        >>> from promptlab import MultiTokenVerbalizer, PromptClassifier
        >>> answers = MultiTokenVerbalizer({"negative": "very bad", "positive": "very good"}, per_token=True)
        >>> classifier = PromptClassifier("{{ text_a }} It was {{ mask }}.", answers, "minilm")
        >>> classifier.predict_proba(["a dull film", "great fun"]).round(2)  # (texts, classes)
        array([[0.69, 0.31],
               [0.14, 0.86]], dtype=float32)
    """

    strings: Mapping[str, Sequence[str]]
    aggregate: str = "sum-prob"
    per_token: bool = False
    decoding: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "strings", check_words(self.strings))
        check_aggregate(self.aggregate)

    @property
    def classes(self) -> tuple[str, ...]:
        return tuple(self.strings)

    @property
    def answers(self) -> Mapping[str, str]:
        return {name: row[0] for name, row in self.strings.items()}

    def build(self, backbone: Backbone, slot: AnswerSlot) -> StringHead:
        decoding = backbone.decodings[0] if self.decoding is None else self.decoding
        if decoding not in backbone.decodings:
            raise VerbalizerError(
                f"decoding {decoding!r} isn't one of {', '.join(backbone.decodings)}, which "
                f"{backbone.name or 'this model'} knows."
            )
        if slot.n_places != 1:
            raise VerbalizerError(
                f"the template has {slot.n_places} places for an answer; whole answers need exactly 1."
            )
        ids = [[self._ids(text, name, backbone, slot) for text in row] for name, row in self.strings.items()]
        check_distinct([list(map(tuple, row)) for row in ids], self.strings)
        longest = max(len(string) for row in ids for string in row)
        if 1 < slot.n_masks < longest:
            raise VerbalizerError(
                f"the template has {slot.n_masks} masks, but the longest answer has {longest} tokens; write "
                "{{ mask }}, which grows as needed."
            )
        return StringHead(
            ids,
            AGGREGATES[self.aggregate],
            per_token=self.per_token,
            decoding=decoding,
            margin="parallel" in backbone.decodings,
        )

    def _ids(self, text: str, name: str, backbone: Backbone, slot: AnswerSlot) -> list[int]:
        ids = backbone.answer_ids(text, slot)
        known = backbone.name or "this model"
        if not ids:
            raise VerbalizerError(f"answer {text!r} of class {name!r} has no token for {known}; choose other words.")
        if backbone.tokenizer.unk_token_id in ids:
            raise VerbalizerError(
                f"answer {text!r} of class {name!r} isn't in the vocabulary of {known}; choose another."
            )
        return ids


class StringHead(WordHead[Tensor]):
    """Aggregated log-probabilities of each class's answers.

    Args:
        ids: class → answer → token ids.
        aggregate: of the answers of a class.
        per_token: whether log-probabilities are divided by the number of tokens.
        decoding: how the model scores answers in prediction.
        margin: whether training looks once at all masks and maximizes the margin, as masked models do.
    """

    def __init__(
        self,
        ids: Sequence[Sequence[Sequence[int]]],
        aggregate: Callable[[Tensor, Tensor], Tensor],
        *,
        per_token: bool,
        decoding: str,
        margin: bool,
    ) -> None:
        super().__init__()
        self.strings = [list(string) for row in ids for string in row]
        self.answer_length = max(map(len, self.strings))
        self.aggregate, self.decoding, self.margin = aggregate, decoding, margin
        width, numbers = max(map(len, ids)), iter(range(len(self.strings)))
        place = torch.tensor([[next(numbers) if i < len(row) else 0 for i in range(width)] for row in ids])
        valid = torch.tensor([[i < len(row) for i in range(width)] for row in ids])
        lengths = torch.tensor([len(string) if per_token else 1 for string in self.strings])
        self.place = nn.Buffer(place, persistent=False)  # (classes, answers)
        self.valid = nn.Buffer(valid, persistent=False)  # (classes, answers)
        self.lengths = nn.Buffer(lengths, persistent=False)  # (all answers,)

    @property
    def batch_key(self) -> Hashable:
        return super().batch_key, tuple(map(tuple, self.strings)), self.decoding, self.margin

    def read_backbone(self, backbone: Backbone, batch: Batch) -> Tensor:
        """Log-probabilities, (batch, all answers)."""
        decoding = "parallel" if self.training and self.margin else self.decoding
        return backbone.string_log_probs(batch, self.strings, decoding=decoding)

    def word_scores(self, outputs: Tensor) -> Tensor:
        return (outputs / self.lengths)[:, self.place]

    def combine(self, word_scores: Tensor) -> Tensor:
        return self.aggregate(word_scores, self.valid)

    def losses(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """PET's hinge: every wrong class should score at least 1 nat less than the right one; or cross-entropy."""
        if not self.margin:
            return super().losses(outputs, labels)
        scores = self.class_scores(outputs)
        return (
            F.multi_margin_loss(scores, labels, reduction="none") * scores.shape[1]
        )  # torch divides by the number of classes
