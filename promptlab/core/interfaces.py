"""The roles. Whoever has read this page and ``types.py`` knows the design.

The parts that play them (templates, verbalizers, backbones, tunings) never import one another; they meet in
``PromptModel``. Settings are frozen dataclasses that can be compared, saved and sent to another process; tensors live
in the modules: backbones, and the heads that ``Verbalizer.build`` returns.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Hashable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeAlias, TypeVar

from promptlab.core.errors import TemplateError, TuningError, VerbalizerError
from promptlab.core.means import weighted_mean
from promptlab.core.part import Part
from promptlab.core.training_defaults import PostTraining, TrainingDefaults
from promptlab.core.tunable_backbone import Module, Tunable
from promptlab.core.types import AnswerSlot, Batch, Encoded, Example, MaskStates, Prompt, SoftSlot

if TYPE_CHECKING:
    from torch import Tensor, nn
    from transformers import PreTrainedTokenizerBase

Outputs = TypeVar("Outputs")  # what a head reads of the model: mask states, or a tensor with a row for each prompt


class Template(Part):
    """Turn an example into a prompt.

    Example:
        >>> from promptlab import Example, ManualTemplate
        >>> class Loud(ManualTemplate):  # a template of one's own
        ...     def render(self, example):
        ...         return super().render(Example({name: text.upper() for name, text in example.fields.items()}))
        >>> print(Loud("{{ text_a }} It was {{ mask }}.").render(Example({"text_a": "a gem."})))
        A GEM. It was {{ mask }}.
    """

    error_class = TemplateError

    @abstractmethod
    def render(self, example: Example) -> Prompt:
        """Fill the template.

        Raises:
            TemplateError: if the example lacks a field, or the result has no place for an answer.
        """

    @property
    @abstractmethod
    def slot(self) -> AnswerSlot:
        """The answer slots of any prompt this template makes."""

    @property
    def soft_slots(self) -> Sequence[SoftSlot]:
        """The soft tokens it declares."""
        return ()

    @property
    @abstractmethod
    def fields(self) -> Sequence[str]:
        """Names of the fields it reads."""

    @property
    def n_variants(self) -> int:
        """Prompts that it makes of one example; their class log-probabilities are averaged."""
        return 1

    def variants(self, example: Example) -> Sequence[Prompt]:
        """Return all prompts of an example, ``n_variants`` of them."""
        return (self.render(example),)

    def bind(self, examples: Sequence[Example], verbalizer: Verbalizer) -> Template:
        """Return the template with labeled examples taken up, where it shows some; before ``fit`` there are none."""
        return self

    def check_training(self) -> None:
        """Warn of what training with this template can't learn; called before there is any."""


class Verbalizer(Part):
    """Turn the model's answer into classes.

    Example:
        >>> from promptlab import ManualTemplate, ManualVerbalizer, load_backbone
        >>> verbalizer = ManualVerbalizer({"negative": ["bad", "dull"], "positive": "good"})
        >>> head = verbalizer.build(load_backbone("minilm"), ManualTemplate("{{ text_a }} It was {{ mask }}.").slot)
        >>> verbalizer.classes, head.ids.shape  # (classes, words)
        (('negative', 'positive'), torch.Size([2, 2]))
    """

    error_class = VerbalizerError

    @property
    @abstractmethod
    def classes(self) -> Sequence[str]:
        """Names of the classes, in the order of the head's output."""

    @property
    def answers(self) -> Mapping[str, str]:
        """Class → the words that stand for it in an answered example.

        Raises:
            VerbalizerError: if the classes have no words.
        """
        raise VerbalizerError(f"{type(self).__name__} has no label words to answer demonstrations with; use another.")

    @property
    def wrapped(self) -> Verbalizer | None:
        """The verbalizer whose scores this one works on, if there is one; its head is ``wrapped`` by this one's."""
        return None

    def suited(self, backbone: Backbone, slot: AnswerSlot) -> Verbalizer:
        """Return the verbalizer to build for one model: itself, unless it leaves something to the model to decide.

        Raises:
            VerbalizerError: as ``build`` does.
        """
        return self

    def reference_prompts(self, template: Template) -> Sequence[Sequence[Prompt]]:
        """Return inputs, as all prompts of each, on which the head measures its prior before it predicts.

        None, unless it calibrates. What it wraps is asked for itself.
        """
        return ()

    @property
    def starts_from_nothing(self) -> bool:
        """Whether its head says nothing of a text before it is trained, as where it has no words."""
        return False

    @abstractmethod
    def build(self, backbone: Backbone, slot: AnswerSlot) -> AnyHead:
        """Build the head for one model.

        Raises:
            VerbalizerError: if the label words don't fit the model's vocabulary or the slot.
        """


class Head(ABC, Generic[Outputs], Module):
    """Turn the model's outputs into the classes' log-probabilities, and into the loss.

    Every head is also an ``nn.Module``: ``class MyHead(Head[MaskStates], nn.Module)``. ``read_backbone`` is the only
    step that runs the model.

    Example:
        >>> from promptlab import Example, ManualTemplate, ManualVerbalizer, load_backbone
        >>> backbone, template = load_backbone("minilm"), ManualTemplate("{{ text_a }} It was {{ mask }}.")
        >>> head = ManualVerbalizer({"bad": "bad", "good": "good"}).build(backbone, template.slot)
        >>> prompts = [template.render(Example({"text_a": text})) for text in ("A bore.", "A gem.", "So long.")]
        >>> batch = backbone.collate(backbone.encode(prompts, soft_ids={}))
        >>> head(head.read_backbone(backbone, batch)).shape  # log-probabilities, (batch, classes)
        torch.Size([3, 2])
    """

    reads_lm_head = True  # False for heads on hidden states, whose language-model head then isn't trained
    reads_mask_states = False  # whether the outputs are mask states, which several heads may share
    answer_length = 1  # tokens that the longest answer has
    learning_rate: float | None = None  # of this head's own weights when a model is trained with it, if not the usual
    post_training: PostTraining | None = None  # settings of a training on the finished language model's outputs

    @abstractmethod
    def read_backbone(self, backbone: Backbone, batch: Batch) -> Outputs:
        """Return the model's outputs for a batch, such as ``backbone.mask_states(batch)``."""

    @property
    def batch_key(self) -> Hashable:
        """What must be equal for heads to share one pass of the model."""
        return type(self).read_backbone, self.reads_lm_head

    @abstractmethod
    def forward(self, outputs: Outputs) -> Tensor:
        """Return class log-probabilities in nats, (batch, classes)."""

    def losses(self, outputs: Outputs, labels: Tensor) -> Tensor:
        """Return the training loss of each row, (batch,); cross-entropy unless a head says otherwise.

        Where several classes may hold, it is that of each class, (batch, classes).
        """
        log_probs: Tensor = self(outputs)
        return -log_probs.gather(1, labels[:, None]).squeeze(1)

    def loss(self, outputs: Outputs, labels: Tensor, weights: Tensor | None = None) -> Tensor:
        """Return the mean training loss of a batch, weighted if its rows (or their classes) have weights."""
        return weighted_mean(self.losses(outputs, labels), weights)

    @property
    def wrapped(self) -> Head[Outputs] | None:
        """The head on whose scores this one works, if its verbalizer wraps another."""
        return None

    @property
    def first_head(self) -> Head[Outputs]:
        """The head with which the language model is trained, where this one has a training of its own after that."""
        return self

    def own_loss(self, outputs: Outputs, labels: Tensor, weights: Tensor | None = None) -> Tensor:
        """Return the mean loss of the head's training on outputs of a language model that stays as it is."""
        return self.loss(outputs, labels, weights)

    def settle(self, outputs: Outputs, weights: Tensor | None = None) -> None:
        """Measure on the outputs for the training texts what no update learns; called after a training of its own."""

    def set_prior(self, outputs: Outputs, n_variants: int = 1) -> None:
        """Measure the prior on the outputs for the verbalizer's ``reference_prompts``, ``n_variants`` of each input."""


AnyHead: TypeAlias = Head[Any]  # whatever it reads of the model, which is then handed to the same head


class Backbone(Tunable):
    """Run one model family. Every backbone is also an ``nn.Module`` that owns the model.

    Example:
        >>> from promptlab import Example, ManualTemplate, load_backbone
        >>> backbone = load_backbone("minilm")
        >>> prompt = ManualTemplate("{{ text_a }} It was {{ mask }}.").render(Example({"text_a": "A gem."}))
        >>> batch = backbone.collate(backbone.encode([prompt], soft_ids={}))
        >>> backbone.mask_states(batch).logits().shape  # (batch, masks, vocabulary)
        torch.Size([1, 1, 30522])
    """

    tokenizer: PreTrainedTokenizerBase
    name: str  # catalogue name, hub id or folder
    folder: str  # where it was read from, if it was given as a folder; absolute, else empty
    revision: str  # the hub's commit, or a hash of the weights
    hidden_size: int
    vocabulary: int  # ids that have an embedding; soft tokens have those from here on
    max_length: int
    only_hidden: bool  # whether only ``hidden_states`` is called, so that the language-model head isn't used
    has_lm_head: bool  # False if the weights had none, so that it is random
    memory: object  # which weights in memory it has, or was copied from
    as_in_0_1: bool  # whether ``answer_ids`` are those of promptlab 0.1, with which a saved classifier was trained
    decodings: Sequence[str]  # ways to score answers of several tokens, the usual one first

    @abstractmethod
    def copy(self) -> Backbone:
        """Return a copy that may be changed: modules of its own, weights shared until ``unshare_trainable``."""

    @abstractmethod
    def encode(
        self,
        prompts: Sequence[Prompt],
        *,
        soft_ids: Mapping[str, Sequence[int]],
        max_length: int | None = None,
        answer_length: int = 1,
    ) -> list[Encoded]:
        """Turn prompts into token ids, equal to those that the model's own tokenizer gives for the whole text.

        Args:
            soft_ids: ids of the soft tokens by their slot's key.
            max_length: tokens a prompt may take; the model's own limit if None.
            answer_length: tokens that an answer may have.

        Raises:
            TemplateError: if the parts that can't be shortened don't fit, or the family can't answer such a prompt.
        """

    @abstractmethod
    def collate(self, encoded: Sequence[Encoded]) -> Batch:
        """Pad encoded prompts to the longest of the batch."""

    @abstractmethod
    def mask_states(self, batch: Batch) -> MaskStates:
        """Return the hidden states at the answer slots."""

    @abstractmethod
    def mask_states_with(self, batch: Batch, places: Tensor, tokens: Tensor) -> MaskStates:
        """Return states at the slots of every prompt with every row of tokens in it, (batch * rows, masks, hidden).

        Args:
            places: positions of each prompt that the tokens take, ascending, (batch, k).
            tokens: ids, (rows, k).
        """

    @abstractmethod
    def transform(self, hidden: Tensor) -> Tensor:
        """Apply what stands before the LM head's last layer, the decoder: (…, hidden) → (…, embedding)."""

    @abstractmethod
    def project(self, hidden: Tensor, token_ids: Tensor | None = None) -> Tensor:
        """Return logits of the whole vocabulary, or of some tokens: (…, embedding) → (…, words)."""

    @abstractmethod
    def decoder(self) -> tuple[Tensor, Tensor | None]:
        """Return weight (vocabulary, embedding) and bias (vocabulary,) with which the LM head reads mask states."""

    @abstractmethod
    def string_log_probs(self, batch: Batch, strings: Sequence[Sequence[int]], *, decoding: str) -> Tensor:
        """Score whole answers at the one slot, in nats: (batch, strings), not normalized by length.

        Args:
            strings: token ids of each answer, as ``answer_ids`` gives them.
            decoding: one of ``decodings``.
        """

    def alike(self, encoded: Sequence[Encoded]) -> Sequence[Sequence[int]]:
        """Return groups of prompts worth ``sharing``; all in one, unless a family knows better."""
        return [range(len(encoded))]

    def sharing(self, encoded: Sequence[Encoded]) -> AbstractContextManager[None]:
        """Compute once, inside, what these prompts have in common; nothing, unless a family can."""
        return nullcontext()

    @abstractmethod
    def hidden_states(self, batch: Batch) -> Tensor:
        """Return the last hidden states of every token, (batch, length, hidden)."""

    @abstractmethod
    def answer_ids(self, text: str, slot: AnswerSlot) -> list[int]:
        """Return the ids of a text as the answer at a slot: those of the whole prompt with the text written there.

        Raises:
            VerbalizerError: if the tokenizer joins it to the template's own text beside it.
        """

    @abstractmethod
    def token_ids(self, text: str, *, at_start: bool = False) -> list[int]:
        """Return the ids of a text that follows other text, or (``at_start``) begins the input."""

    @property
    @abstractmethod
    def unknown_id(self) -> int | None:
        """Id of what isn't in the vocabulary, None where everything is."""

    @property
    @abstractmethod
    def frame(self) -> tuple[Sequence[int], Sequence[int]]:
        """Ids of the special tokens before and after a single text."""


class Tuning(Part):
    """Choose which weights are trained. Soft tokens and the verbalizer's own parameters always are.

    Example:
        >>> from promptlab import LoRA, load_backbone
        >>> backbone, tuning = load_backbone("minilm"), LoRA(rank=4)
        >>> tuning.attach(backbone)
        >>> sum(weight.numel() for weight in backbone.parameters() if weight.requires_grad)
        36864
    """

    error_class = TuningError

    def edit(self, template: Template) -> Template:
        """Return the template as this method needs it, such as with soft tokens before it; called once, by ``fit``."""
        return template

    def soft_encoder(self, width: int) -> nn.Module | None:
        """Return what turns trained weights into the vectors of soft tokens, of ``width``; None if nothing does."""
        return None

    def save(self, backbone: Backbone, folder: Path) -> frozenset[str]:
        """Write what another library's format is for; returns the names of the backbone's parameters in it."""
        return frozenset()

    def load(self, backbone: Backbone, folder: Path) -> frozenset[str]:
        """Read what ``save`` wrote; returns the names of the parameters that were filled."""
        return frozenset()

    def merge(self, backbone: Backbone) -> None:
        """Put what was added to the backbone into its own weights, as far as they can hold it."""

    @abstractmethod
    def attach(self, backbone: Backbone) -> None:
        """Set ``requires_grad`` on the backbone's parameters, adding modules where the method has any.

        Raises:
            TuningError: if the settings don't fit the model.
        """

    @property
    @abstractmethod
    def defaults(self) -> TrainingDefaults: ...
