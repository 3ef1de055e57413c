"""Where template, verbalizer, backbone and tuning meet."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from promptlab.core.errors import BackboneError, TemplateError, VerbalizerError
from promptlab.core.interfaces import AnyHead, Backbone, Template, Tuning, Verbalizer
from promptlab.core.types import Batch, Encoded, Example, Prompt, SoftSlot
from promptlab.models.soft_tokens import SoftTokens
from promptlab.models.trainable_model import TrainableModel, attach

CHUNK = 256  # examples whose prompts are held at once; more of them are slower to make and to throw away


class PromptModel(TrainableModel[Batch]):
    """A template and a verbalizer on one language model.

    Args:
        template: turns examples into prompts.
        verbalizer: says which classes there are.
        backbone: runs the language model; also an ``nn.Module``.
        head: turns the model's answer into class log-probabilities.
        soft: vectors of the template's soft tokens.
    """

    def __init__(
        self, template: Template, verbalizer: Verbalizer, backbone: Backbone, head: AnyHead, soft: SoftTokens
    ) -> None:
        super().__init__()
        self.template, self.verbalizer = template, verbalizer
        self.backbone, self.head, self.soft = backbone, head, soft
        if soft.ids:
            backbone.embed_soft(soft)

    @classmethod
    def build(
        cls,
        template: Template,
        verbalizer: Verbalizer,
        backbone: Backbone,
        tuning: Tuning,
        *,
        slots: Sequence[SoftSlot] | None = None,
    ) -> PromptModel:
        """Put the parts together; the backbone is changed in place.

        Args:
            slots: soft tokens to make, if not those that the template declares.

        Raises:
            VerbalizerError: if the label words don't fit the model or the template.
            TuningError: if the tuning doesn't fit the model.
        """
        verbalizer = verbalizer.suited(backbone, template.slot)
        head = verbalizer.build(backbone, template.slot)
        backbone.only_hidden = not head.reads_lm_head
        if head.reads_lm_head and not backbone.has_lm_head:
            raise BackboneError(
                f"model {backbone.name!r} was saved without a language-model head, which prompts need; choose another "
                "model, or use HeadClassifier (--head)."
            )
        attach(tuning, backbone)
        width = backbone.embedding_weight().shape[1]
        slots = template.soft_slots if slots is None else slots
        words = _label_words(verbalizer) if any(slot.start == "labels" for slot in slots) else ()
        soft = SoftTokens(slots, backbone, label_words=words, encoder=tuning.soft_encoder(width))
        return cls(template, verbalizer, backbone, head, soft)

    def encode(self, examples: Sequence[Example], *, max_length: int | None = None) -> list[Encoded]:
        """Render and tokenize examples: ``template.n_variants`` prompts of each, one example after the other.

        Raises:
            TemplateError: if an example doesn't fit the template, or its prompt the model.
        """
        encoded: list[Encoded] = []
        for start in range(0, len(examples), CHUNK):
            chunk = examples[start : start + CHUNK]
            prompts = [prompt for example in chunk for prompt in self.template.variants(example)]
            self._check_slots(prompts)
            encoded += self.encode_prompts(prompts, max_length=max_length)
        return encoded

    def encode_prompts(self, prompts: Sequence[Prompt], *, max_length: int | None = None) -> list[Encoded]:
        """Tokenize prompts, with room for the longest answer."""
        return self.backbone.encode(
            prompts, soft_ids=self.soft.ids, max_length=max_length, answer_length=self.head.answer_length
        )

    def _check_slots(self, prompts: Sequence[Prompt]) -> None:
        """The head was built for one kind of slot; a branch of the template with another would be misread."""
        for prompt in prompts:
            if not prompt.slot.reads_like(self.template.slot):
                raise TemplateError(
                    f"prompt {str(prompt)!r} has {prompt.slot.said}, but the template usually has "
                    f"{self.template.slot.said}; give every branch of it the same."
                )

    def read(self, batch: Batch) -> Any:
        """The language model's answer, as the head takes it."""
        return self.head.read_backbone(self.backbone, batch)

    def log_probs(self, batch: Batch) -> Tensor:
        """Return class log-probabilities in nats, (batch, classes)."""
        return self.head(self.read(batch))

    def loss(self, batch: Batch) -> Tensor:
        """Return the head's mean loss on a labeled batch, by the weights of its rows if they have some, ()."""
        assert batch.labels is not None
        return self.head.loss(self.read(batch), batch.labels, batch.weights)

    forward = loss

    def loss_weights(self, batch: Batch) -> Tensor:
        return torch.tensor(float(len(batch))) if batch.weights is None else batch.weights.sum()

    def added_inputs(self) -> Sequence[str]:
        return [f"soft tokens {key!r}" for key in self.soft.ids]

    def trains_head_only(self) -> bool:
        """Whether only the head is trained, so that each example's answer can be computed once."""
        return all(name.startswith("head.") for name, _ in self.trained_parameters())


def _label_words(verbalizer: Verbalizer) -> Sequence[str]:
    """The words of each class, or the class names where a head has no words."""
    try:
        return list(verbalizer.answers.values())
    except VerbalizerError:
        return list(verbalizer.classes)
