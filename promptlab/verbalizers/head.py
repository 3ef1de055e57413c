"""What every verbalizer head does."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from promptlab.core.interfaces import Backbone
from promptlab.core.means import weighted_mean
from promptlab.core.types import Batch


class VerbalizerHead(nn.Module, ABC):
    """Reads the model's answer and turns it into class log-probabilities.

    ``read`` is the only step that runs the model: a head that scores answers of several tokens, or pools hidden states,
    reads something else than mask states.
    """

    reads_lm_head = True  # False for heads on hidden states, whose language-model head then isn't trained

    reads_mask_states = True  # False for heads that override ``read``
    answer_length = 1  # tokens that the longest answer has
    learning_rate: float | None = None  # of this head's own weights when a model is trained with it, if not the usual
    post_training: Mapping[str, Any] | None = None  # settings of a training on the finished language model's answers

    def read(self, backbone: Backbone, batch: Batch) -> Any:
        """The model's answer to a batch; mask states unless a head says otherwise."""
        return backbone.mask_states(batch)

    @property
    def reading(self) -> tuple[Any, ...]:
        """What must be equal for heads to share one pass of the model; hashable."""
        return type(self).read, self.reads_lm_head

    @abstractmethod
    def forward(self, answer: Any) -> Tensor:
        """Class log-probabilities in nats, (batch, classes)."""

    def losses(self, answer: Any, labels: Tensor) -> Tensor:
        """Training loss of each row, (batch,); cross-entropy over the classes unless a head says otherwise.

        Where several classes may hold, it is that of each class, (batch, classes).
        """
        return F.nll_loss(self(answer), labels, reduction="none")

    def loss(self, answer: Any, labels: Tensor, weights: Tensor | None = None) -> Tensor:
        """Mean training loss of a batch, by the weights of its rows (or of their classes) if there are some."""
        return weighted_mean(self.losses(answer, labels), weights)

    @property
    def first_head(self) -> VerbalizerHead:
        """The head with which the language model is trained, where this one has a training of its own after that."""
        return self

    def own_loss(self, answer: Any, labels: Tensor, weights: Tensor | None = None) -> Tensor:
        """Mean loss of the head's training on answers of a language model that stays as it is."""
        return self.loss(answer, labels, weights)

    def settle(self, answer: Any, weights: Tensor | None = None) -> None:
        """Measure on the answers to the training texts what no update learns; called after a training of its own."""


class ScoringHead(VerbalizerHead):
    """A head that scores each class by itself before it compares them."""

    @abstractmethod
    def class_scores(self, answer: Any) -> Tensor:
        """Unnormalised class scores, (batch, classes)."""

    def forward(self, answer: Any) -> Tensor:
        return F.log_softmax(self.class_scores(answer), dim=-1)


class WordHead(ScoringHead):
    """A head whose classes own words (or whole answers) that the model scores one by one."""

    valid: Tensor  # (classes, words), False where padded

    @abstractmethod
    def word_scores(self, answer: Any) -> Tensor:
        """Logits or log-probabilities of every word, (batch, classes, words)."""

    @abstractmethod
    def combine(self, word_scores: Tensor) -> Tensor:
        """Unnormalised class scores, (batch, classes)."""

    def word_weights(self) -> Tensor:
        """How much each word counts within its class, (classes, words), 0 where padded; alike unless a head says."""
        valid = self.valid.float()
        return valid / valid.sum(dim=1, keepdim=True)

    def class_scores(self, answer: Any) -> Tensor:
        return self.combine(self.word_scores(answer))
