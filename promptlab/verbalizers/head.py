"""Kinds of heads, by what they read and how they score."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Hashable

from torch import Tensor, nn
from torch.nn import functional as F

from promptlab.core.interfaces import Backbone, Head, Outputs
from promptlab.core.types import Batch, MaskStates


class MaskHead(Head[MaskStates], nn.Module):
    """A head that reads the states at the masks."""

    reads_mask_states = True

    def read_backbone(self, backbone: Backbone, batch: Batch) -> MaskStates:
        return backbone.mask_states(batch)


class ScoringHead(Head[Outputs], nn.Module):
    """A head that scores each class by itself before it compares them."""

    @abstractmethod
    def class_scores(self, outputs: Outputs) -> Tensor:
        """Unnormalized class scores, (batch, classes)."""

    def forward(self, outputs: Outputs) -> Tensor:
        return F.log_softmax(self.class_scores(outputs), dim=-1)


class WordHead(ScoringHead[Outputs]):
    """A head whose classes own words (or whole answers) that the model scores one by one."""

    valid: Tensor  # (classes, words), False where padded

    @abstractmethod
    def word_scores(self, outputs: Outputs) -> Tensor:
        """Logits or log-probabilities of every word, (batch, classes, words)."""

    @abstractmethod
    def combine(self, word_scores: Tensor) -> Tensor:
        """Unnormalized class scores, (batch, classes)."""

    def word_weights(self) -> Tensor:
        """How much each word counts within its class, (classes, words), 0 where padded; alike unless a head says."""
        valid = self.valid.float()
        return valid / valid.sum(dim=1, keepdim=True)

    def class_scores(self, outputs: Outputs) -> Tensor:
        return self.combine(self.word_scores(outputs))


class WrappingHead(Head[Outputs], nn.Module):
    """A head that works on what another makes of the model's outputs, and reads what that one reads."""

    def __init__(self, inner: Head[Outputs]) -> None:
        super().__init__()
        self.inner = inner
        self.reads_lm_head, self.reads_mask_states = inner.reads_lm_head, inner.reads_mask_states
        self.answer_length = inner.answer_length

    @property
    def batch_key(self) -> Hashable:
        return self.inner.batch_key

    def read_backbone(self, backbone: Backbone, batch: Batch) -> Outputs:
        return self.inner.read_backbone(backbone, batch)
