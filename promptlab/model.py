"""Where template, verbalizer, backbone and tuning meet."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Self

import torch
from torch import Tensor, nn

from promptlab.errors import BackboneError, TemplateError, TuningError, VerbalizerError
from promptlab.interfaces import Backbone, Template, Tuning, Verbalizer
from promptlab.soft_tokens import SoftTokens
from promptlab.types import AnswerSlot, Batch, Encoded, Example, MaskStates, Prompt, SoftSlot


class TrainableModel(nn.Module):
    """A language model with something on it, of which a part is trained."""

    backbone: Any

    def export(self) -> Self:
        """Drop what only training needs, such as the MLP that makes a prefix; the model answers as before."""
        for module in list(self.modules()):
            export: Any = getattr(module, "export", None)
            if export is not None and module is not self:
                export()
        return self

    def train(self, mode: bool = True) -> Self:
        """Training mode, except for modules without a trainable weight: frozen layers must not drop anything out."""
        super().train(mode)
        if not mode:
            return self
        for _, module in list(self.named_modules())[1:]:  # without the model itself
            weights = list(module.parameters())
            if weights and not any(weight.requires_grad for weight in weights):
                module.eval()
        for module in self.modules():  # layers that compute activations again do so only in this mode
            if getattr(module, "gradient_checkpointing", False):
                module.training = True
        return self

    def trained_parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        """Name and weight of everything that training moves.

        Weights inside the backbone have names that start with ``backbone.``.
        """
        return ((name, weight) for name, weight in self.named_parameters() if weight.requires_grad)

    def added_inputs(self) -> Sequence[str]:
        """What the model is fed besides ordinary tokens."""
        return ()

    def check_trainable(self) -> None:
        """Raise if training could change nothing.

        Raises:
            TuningError: if no weight is trainable.
        """
        if not any(True for _ in self.trained_parameters()):
            raise TuningError(
                "this tuning leaves nothing to train: the model is frozen, the verbalizer has no weights and the "
                "template no soft tokens. Choose tuning='full', or put {{ soft(5) }} into the template."
            )


def attach(tuning: Tuning, backbone: Backbone) -> None:
    """Say which weights of a backbone are to be trained, those that nothing reads left out.

    Raises:
        TuningError: if the tuning doesn't fit the model.
    """
    tuning.attach(backbone)
    backbone.freeze_unread()
    backbone.own_trained()


class PromptModel(TrainableModel):
    """A template and a verbalizer on one language model.

    Args:
        template: turns examples into prompts.
        verbalizer: says which classes there are.
        backbone: runs the language model; also an ``nn.Module``.
        head: turns the model's answer into class log-probabilities.
        soft: vectors of the template's soft tokens.
    """

    def __init__(self, template: Template, verbalizer: Verbalizer, backbone: Any, head: Any, soft: SoftTokens) -> None:
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
        prompts = [prompt for example in examples for prompt in self.template.variants(example)]
        self._check_slots(prompts)
        return self.encode_prompts(prompts, max_length=max_length)

    def encode_prompts(self, prompts: Sequence[Prompt], *, max_length: int | None = None) -> list[Encoded]:
        """Tokenize prompts, with room for the longest answer."""
        return self.backbone.encode(
            prompts, soft_ids=self.soft.ids, max_length=max_length, answer_length=self.head.answer_length
        )

    def _check_slots(self, prompts: Sequence[Prompt]) -> None:
        """The head was built for one kind of slot; a branch of the template with another would be misread."""
        for prompt in prompts:
            if prompt.slot != self.template.slot:
                raise TemplateError(
                    f"prompt {str(prompt)!r} has {_said(prompt.slot)}, but the template usually has "
                    f"{_said(self.template.slot)}; give every branch of it the same."
                )

    def read(self, batch: Batch) -> Any:
        """The language model's answer, as the head takes it."""
        return self.head.read(self.backbone, batch)

    def forward(self, batch: Batch) -> Tensor:
        """The loss if the batch has labels, else log-probabilities (batch, classes)."""
        return score(self.head, self.read(batch), batch.labels)

    def added_inputs(self) -> Sequence[str]:
        return [f"soft tokens {key!r}" for key in self.soft.ids]

    def has_constant_answers(self) -> bool:
        """Whether only the head is trained, so that each example's answer can be computed once."""
        return all(name.startswith("head.") for name, _ in self.trained_parameters())


def _label_words(verbalizer: Verbalizer) -> Sequence[str]:
    """The words of each class, or the class names where a head has no words."""
    try:
        return list(verbalizer.answers.values())
    except VerbalizerError:
        return list(verbalizer.classes)


class HeadModel(nn.Module):
    """The head alone, on answers of a frozen model that were computed once."""

    def __init__(self, head: Any, answers: Any, labels: Tensor) -> None:
        super().__init__()
        self.head = head
        self.answers, self.labels = answers, labels

    def forward(self, rows: Tensor) -> Tensor:
        """The loss of some rows."""
        return score(self.head, self.answers[rows], self.labels[rows])


def score(head: Any, answer: Any, labels: Tensor | None) -> Tensor:
    """The loss if labels are given, else log-probabilities."""
    return head(answer) if labels is None else head.loss(answer, labels)


def _said(slot: AnswerSlot) -> str:
    where = " at its very start" if slot.at_start else " after white space" if slot.spaced else ""
    return f"{slot.n_masks} mask(s) in {slot.n_places} place(s){where}"


def join_answers(answers: Sequence[Any]) -> Any:
    """One answer for several batches of examples."""
    if isinstance(answers[0], MaskStates):
        return MaskStates(torch.cat([answer.hidden for answer in answers]), answers[0].lm_head)
    return torch.cat(list(answers))
