"""A template on a language model that writes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from promptlab.core.errors import BackboneError, TemplateError, TuningError
from promptlab.core.generative_backbone import GenerativeBackbone
from promptlab.core.interfaces import Backbone, Template, Tuning
from promptlab.core.means import weighted_mean
from promptlab.core.types import Batch, Encoded, Example, SoftSlot
from promptlab.models.soft_tokens import SoftTokens
from promptlab.models.trainable_model import TrainableModel, attach


class PromptAndTarget(NamedTuple):
    """An encoded prompt and the ids of what is to follow."""

    encoded: Encoded
    target: list[int]


@dataclass(slots=True)
class PairBatch:
    """Prompts, whose weights are those of the pairs, their targets (batch, longest), padded on the right, and the
    targets' lengths (batch,)."""

    batch: Batch
    targets: Tensor
    lengths: Tensor

    def to(self, device: str | torch.device) -> PairBatch:
        return PairBatch(self.batch.to(device), self.targets.to(device), self.lengths.to(device))

    @property
    def weights(self) -> Tensor:
        """Of the pairs, 1 where they count alike, (batch,)."""
        own = self.batch.weights
        return torch.ones(len(self), device=self.lengths.device) if own is None else own

    def __len__(self) -> int:
        return len(self.lengths)

    @property
    def counts(self) -> Tensor:
        """Which target tokens aren't padding, (batch, longest)."""
        return torch.arange(self.targets.shape[1], device=self.lengths.device) < self.lengths[:, None]


class GeneratorModel(TrainableModel[PairBatch]):
    """A template on a language model that writes.

    Args:
        template: turns examples into prompts that end with a mask.
        backbone: a causal or encoder-decoder model.
        soft: vectors of the template's soft tokens.
        reduction: of the loss: the mean over all target ``"token"``s, or the sum of each ``"sequence"``, then the mean,
            as in Prefix-Tuning's code.
    """

    backbone: GenerativeBackbone

    def __init__(self, template: Template, backbone: GenerativeBackbone, soft: SoftTokens, reduction: str) -> None:
        super().__init__()
        self.template, self.backbone, self.soft, self.reduction = template, backbone, soft, reduction
        if soft.ids:
            backbone.embed_soft(soft)

    @classmethod
    def build(
        cls,
        template: Template,
        backbone: Backbone,
        tuning: Tuning,
        reduction: str,
        *,
        slots: Sequence[SoftSlot] | None = None,
    ) -> GeneratorModel:
        """Put the parts together; the backbone is changed in place.

        Args:
            slots: soft tokens to make, if not those that the template declares.

        Raises:
            BackboneError: if the model can't write.
            TuningError: if the tuning doesn't fit the model.
        """
        if not isinstance(backbone, GenerativeBackbone):
            raise BackboneError(
                f"model {backbone.name!r} fills masks but writes no text; choose a causal or encoder-decoder one, "
                "such as smollm2."
            )
        if template.slot.n_masks != 1:
            raise TemplateError(f"the template has {template.slot.n_masks} masks, but a text goes into exactly 1.")
        backbone.only_hidden = False
        attach(tuning, backbone)
        width = backbone.embedding_weight().shape[1]
        soft = SoftTokens(template.soft_slots if slots is None else slots, backbone, encoder=tuning.soft_encoder(width))
        return cls(template, backbone, soft, reduction)

    def added_inputs(self) -> Sequence[str]:
        return [f"soft tokens {key!r}" for key in self.soft.ids]

    def encode(self, examples: Sequence[Example], *, max_length: int | None, answer_length: int) -> list[Encoded]:
        """Prompts, shortened so that a text of ``answer_length`` tokens still fits the model.

        Raises:
            TemplateError: if a prompt doesn't fit the model.
            TuningError: if it would, but for the text.
        """
        prompts = [self.template.render(example) for example in examples]

        def encoded(length: int) -> list[Encoded]:
            return self.backbone.encode(prompts, soft_ids=self.soft.ids, max_length=max_length, answer_length=length)

        try:
            return encoded(answer_length)
        except TemplateError:
            encoded(1)
            limit = self.backbone.max_length if max_length is None else min(max_length, self.backbone.max_length)
            raise TuningError(
                f"max_new_tokens={answer_length} leaves too little room for the prompt in the {limit} tokens that fit "
                "together; lower it."
            ) from None

    def collate(self, pairs: Sequence[PromptAndTarget]) -> PairBatch:
        lengths = torch.tensor([len(pair.target) for pair in pairs])
        targets = torch.zeros(len(pairs), int(lengths.max()), dtype=torch.long)
        for row, pair in enumerate(pairs):
            targets[row, : len(pair.target)] = torch.tensor(pair.target)
        return PairBatch(self.backbone.collate([pair.encoded for pair in pairs]), targets, lengths)

    def loss(self, pairs: PairBatch) -> Tensor:
        """Return the negative log-likelihood of the targets given the prompts, in nats, ()."""
        logits = self.backbone.target_logits(pairs.batch, pairs.targets, pairs.lengths)
        losses = -_of(logits.log_softmax(dim=-1), pairs.targets).masked_fill(~pairs.counts, 0.0)  # (batch, longest)
        if self.reduction == "sequence":
            return weighted_mean(losses.sum(dim=1), pairs.weights)
        return weighted_mean(losses, self._token_weights(pairs))

    forward = loss

    def loss_weights(self, batch: PairBatch) -> Tensor:
        return (self._token_weights(batch) if self.reduction == "token" else batch.weights).sum()

    def _token_weights(self, pairs: PairBatch) -> Tensor:
        """Those of the pairs, 0 where padded, (batch, longest)."""
        return pairs.weights[:, None] * pairs.counts

    def score(self, pairs: PairBatch) -> tuple[Tensor, Tensor]:
        """Loss of each target token, and whether the model would have chosen it, (tokens,) both."""
        logits = self.backbone.target_logits(pairs.batch, pairs.targets, pairs.lengths)
        losses = -_of(logits.log_softmax(dim=-1), pairs.targets)
        return losses[pairs.counts], (logits.argmax(dim=-1) == pairs.targets)[pairs.counts]


def _of(log_probs: Tensor, targets: Tensor) -> Tensor:
    return log_probs.gather(2, targets[..., None]).squeeze(2)
