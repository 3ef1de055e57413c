"""Verbalizers that take the prior of the prompt out of another verbalizer's scores."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from promptlab.core.errors import VerbalizerError
from promptlab.core.interfaces import Backbone, Head, Outputs, Template, Verbalizer
from promptlab.core.types import AnswerSlot, Example, Prompt, Segment
from promptlab.verbalizers.head import WordHead, WrappingHead

CONTENT_FREE = ("N/A", "[MASK]", "")
FLOOR = 1e-12  # of a prior probability


@dataclass(frozen=True)
class CalibratedVerbalizer(Verbalizer):
    """Take the prior of the prompt out of another verbalizer's scores.

    The prior is measured after training and again when a saved model is loaded. Training itself isn't calibrated, nor
    are the dev scores that choose the weights. Wrappers may wrap one another: each takes the prior out of what the one
    inside it leaves.

    Args:
        verbalizer: the verbalizer whose scores are calibrated.
    """

    verbalizer: Verbalizer

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.verbalizer, Verbalizer):
            raise VerbalizerError(
                f"calibration wraps a verbalizer such as ManualVerbalizer({{...}}), not {self.verbalizer!r}."
            )

    @property
    def classes(self) -> Sequence[str]:
        return self.verbalizer.classes

    @property
    def answers(self) -> Mapping[str, str]:
        return self.verbalizer.answers

    @property
    def wrapped(self) -> Verbalizer:
        return self.verbalizer

    @property
    def starts_from_nothing(self) -> bool:
        return self.verbalizer.starts_from_nothing

    def suited(self, backbone: Backbone, slot: AnswerSlot) -> Verbalizer:
        return replace(self, verbalizer=self.verbalizer.suited(backbone, slot))

    def build(self, backbone: Backbone, slot: AnswerSlot) -> PriorHead[Any]:
        return ClassPriorHead(self.verbalizer.build(backbone, slot), len(self.classes))


@dataclass(frozen=True)
class ContextualCalibration(CalibratedVerbalizer):
    """Divide the class probabilities by those of inputs without content, in the same prompt.

    The probabilities of each input are normalized over the classes before they are averaged over the inputs. The
    paper's code averages first, so that an input after which the label words are likelier counts for more.

    With demonstrations drawn in several sets, each set's probabilities are divided by its own prior.

    Source: Zhao et al., arXiv:2102.09690, section 5 (W = diag(p_cf)^-1, normalized).

    Args:
        inputs: texts without content, each of which stands for every field of the template.

    Raises:
        VerbalizerError: if there are no inputs, or what is wrapped is no verbalizer.

    Example:
        >>> from promptlab import ContextualCalibration, ManualVerbalizer, PromptClassifier
        >>> words = ManualVerbalizer({"negative": ["bad", "dull"], "positive": ["good", "great"]})
        >>> template = "{{ text_a }} It was {{ mask }}."
        >>> both = [PromptClassifier(template, one, "minilm") for one in (words, ContextualCalibration(words))]
        >>> [one.predict_proba(["a dull film"]).round(2).tolist() for one in both]
        [[[0.68..., 0.31...]], [[0.87..., 0.12...]]]
    """

    inputs: str | Sequence[str] = CONTENT_FREE

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "inputs", (self.inputs,) if isinstance(self.inputs, str) else tuple(self.inputs))
        if not self.inputs:
            raise VerbalizerError('inputs is empty; give at least one text without content, such as "N/A".')

    def reference_prompts(self, template: Template) -> Sequence[Sequence[Prompt]]:
        return [template.variants(Example(dict.fromkeys(template.fields, text))) for text in self.inputs]


@dataclass(frozen=True)
class PMICalibration(CalibratedVerbalizer):
    """Divide by the probabilities after a text that only announces the kind of answer (domain-conditional PMI).

    Source: Holtzman et al., arXiv:2104.08315, section 3.

    Args:
        domain: the text before the answer, such as ``"The answer is:"``; None takes the template with empty fields.

    Example:
        >>> from promptlab import ManualVerbalizer, PMICalibration, PromptClassifier
        >>> words = ManualVerbalizer({"negative": ["bad", "dull"], "positive": ["good", "great"]})
        >>> calibrated = PMICalibration(words, domain="It was")
        >>> classifier = PromptClassifier("{{ text_a }} It was {{ mask }}.", calibrated, "minilm")
        >>> classifier.predict_proba(["a dull film", "great fun"]).round(2)  # (texts, classes)
        array([[0.91, 0.09],
               [0.05, 0.95]], dtype=float32)
    """

    domain: str | None = None

    def reference_prompts(self, template: Template) -> Sequence[Sequence[Prompt]]:
        if self.domain is None:
            return [template.variants(Example(dict.fromkeys(template.fields, "")))]
        mask, text = Segment("mask", n=template.slot.n_masks), self.domain.rstrip()
        if template.slot.at_start:
            return [[Prompt((mask, Segment("text", f" {text}")))]]
        return [[Prompt((Segment("text", text + " " * template.slot.spaced), mask))]]


@dataclass(frozen=True)
class SupportCalibration(CalibratedVerbalizer):
    """Divide each label word's probability by its mean over unlabeled texts.

    As in KPT's code, the prior is the softmax, over all label words jointly, of their mean logits.

    Source: KPT, arXiv:2108.02035, section 3.3.3 (contextualized calibration).

    Args:
        support: unlabeled examples, texts (field ``text_a``) or mappings of fields, about 200; labels are never
            looked at.

    Raises:
        VerbalizerError: if there is no support, or, in use, if what is wrapped scores no label words one by one.

    Example:
        >>> from promptlab import ManualVerbalizer, PromptClassifier, SupportCalibration
        >>> words = ManualVerbalizer({"negative": ["bad", "dull"], "positive": ["good", "great"]})
        >>> calibrated = SupportCalibration(words, support=["a long film", "two hours of talk"])
        >>> classifier = PromptClassifier("{{ text_a }} It was {{ mask }}.", calibrated, "minilm")
        >>> classifier.predict_proba(["a dull film", "great fun"]).round(2)  # (texts, classes)
        array([[0.86, 0.14],
               [0.03, 0.97]], dtype=float32)
    """

    support: Sequence[Example | str | Mapping[str, object]] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.support, (list, tuple)):
            raise VerbalizerError(f"support is a {type(self.support).__name__}; pass a list of texts or examples.")
        if not self.support:
            raise VerbalizerError("support is empty; pass about 200 unlabeled texts to measure the prior on.")
        object.__setattr__(self, "support", tuple(map(_unlabeled, self.support)))

    def reference_prompts(self, template: Template) -> Sequence[Sequence[Prompt]]:
        return [template.variants(row) for row in self.support if isinstance(row, Example)]

    def build(self, backbone: Backbone, slot: AnswerSlot) -> WordPriorHead[Any]:
        head = self.verbalizer.build(backbone, slot)
        if not isinstance(head, WordHead):
            raise VerbalizerError(
                f"{type(self.verbalizer).__name__} scores no label words one by one; use ContextualCalibration."
            )
        return WordPriorHead(head)


def _unlabeled(row: object) -> Example:
    if isinstance(row, str):
        return Example({"text_a": row})
    if isinstance(row, Example):
        return Example(row.fields)
    if isinstance(row, Mapping):  # a saved example, or fields
        return Example(row["fields"] if isinstance(row.get("fields"), Mapping) else row)
    raise VerbalizerError(f"support holds a {type(row).__name__}; pass texts, examples or mappings of fields.")


class PriorHead(WrappingHead[Outputs]):
    """Another head, less a prior in nats; trains as that head does."""

    def __init__(self, inner: Head[Outputs], prior: Tensor) -> None:
        super().__init__(inner)
        self.prior = nn.Buffer(prior, persistent=False)
        self.post_training = inner.post_training

    @property
    def wrapped(self) -> Head[Outputs]:
        return self.inner

    @property
    def first_head(self) -> Head[Outputs]:
        return self.inner.first_head

    def losses(self, outputs: Outputs, labels: Tensor) -> Tensor:
        return self.inner.losses(outputs, labels)

    def own_loss(self, outputs: Outputs, labels: Tensor, weights: Tensor | None = None) -> Tensor:
        return self.inner.own_loss(outputs, labels, weights)


class ClassPriorHead(PriorHead[Outputs]):
    """Class log-probabilities less the log of the mean class probabilities of the reference inputs.

    Several prompts of one example have a prior each. Their log-probabilities are averaged in the end, by which it is
    the same to take off the mean of the priors' logs; so rows of a batch needn't say which of the prompts they are.
    """

    def __init__(self, inner: Head[Outputs], n_classes: int) -> None:
        super().__init__(inner, torch.zeros(n_classes))

    def set_prior(self, outputs: Outputs, n_variants: int = 1) -> None:
        """Measure the prior from the answer to the reference inputs' prompts, ``n_variants`` of each."""
        mean = self.inner(outputs).exp().unflatten(0, (-1, n_variants)).mean(dim=0)  # (variants, classes)
        if (mean < FLOOR).any():
            warnings.warn(
                f"a class has probability {mean.min().item():.0e} without content, so that calibration favours it "
                "almost always; choose other label words or inputs.",
                stacklevel=2,
            )
        self.prior.copy_(mean.clamp(min=FLOOR).log().mean(dim=0))

    def forward(self, outputs: Outputs) -> Tensor:
        return F.log_softmax(self.inner(outputs) - self.prior, dim=-1)


class WordPriorHead(PriorHead[Outputs]):
    """Word scores less the log-softmax, over the words of all classes, of their means over the reference prompts.

    Of several prompts of one example the mean is taken, too: the same as a prior for each where a class's words count
    by their mean, near it where they count otherwise.
    """

    inner: WordHead[Outputs]

    def __init__(self, inner: WordHead[Outputs]) -> None:
        super().__init__(inner, torch.zeros(inner.valid.shape))

    def set_prior(self, outputs: Outputs, n_variants: int = 1) -> None:
        """Measure the prior from the answer to the reference inputs' prompts."""
        mean = self.inner.word_scores(outputs).mean(dim=0).masked_fill(~self.inner.valid, -torch.inf)
        log_prior = mean.flatten().log_softmax(dim=0).view_as(mean)  # (classes, words)
        self.prior.copy_(log_prior.masked_fill(~self.inner.valid, 0.0))

    def word_scores(self, outputs: Outputs) -> Tensor:
        """Those of the inner head, less the prior, (batch, classes, words)."""
        return self.inner.word_scores(outputs) - self.prior

    def word_weights(self) -> Tensor:
        return self.inner.word_weights()

    def forward(self, outputs: Outputs) -> Tensor:
        return F.log_softmax(self.inner.combine(self.word_scores(outputs)), dim=-1)
