"""A prototype for each class, learned by contrast."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from promptlab.core.errors import VerbalizerError
from promptlab.core.interfaces import Backbone, Head, Verbalizer
from promptlab.core.means import weighted_mean
from promptlab.core.ranges import Count
from promptlab.core.types import AnswerSlot, MaskStates
from promptlab.verbalizers.head import MaskHead
from promptlab.verbalizers.label_words import check_one_mask
from promptlab.verbalizers.manual import ManualVerbalizer

TIES = 1e-4  # weight of scores as they are where z-scores leave a tie


@dataclass(frozen=True)
class PrototypicalVerbalizer(Verbalizer):
    """Learn a prototype of each class among projected mask states, and classify by the cosine with it.

    States of a class are drawn together, and to the prototype. Projection and prototypes are learned from the mask
    states of the finished language model, which are computed once. If the model is to be trained itself, that happens
    first, with ``verbalizer``; a frozen one stays as it is.

    Source: ProtoVerb, arXiv:2203.09770, section 3.

    Args:
        verbalizer: another one, or class → label words, whose scores count as much as the prototypes'; it may
            calibrate. None for the prototypes alone.
        names: names of the classes, where there is no other verbalizer.
        size: width of the projection.
        learning_rate: rate of projection and prototypes.
        max_steps: number of updates, each on all examples.

    Raises:
        VerbalizerError: if neither or both of verbalizer and names are given, or there are fewer than two classes.

    Example:
        >>> from promptlab import PromptClassifier, PrototypicalVerbalizer
        >>> prototypes = PrototypicalVerbalizer({"negative": "bad", "positive": "good"})
        >>> classifier = PromptClassifier("{{ text_a }} It was {{ mask }}.", prototypes, "minilm", "frozen")
        >>> texts, labels = ["a dull film", "lifeless", "great fun", "a gem"], ["negative"] * 2 + ["positive"] * 2
        >>> classifier.fit(texts, labels).predict(["what a bore", "a delight"])
        array(['negative', 'positive'], dtype='<U8')
    """

    verbalizer: Verbalizer | Mapping[str, Sequence[str]] | None = None
    names: Sequence[str] = ()
    size: Count = 64
    learning_rate: float = 1e-2
    max_steps: Count = 30

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "names", tuple(self.names))
        if isinstance(self.verbalizer, Mapping):
            object.__setattr__(self, "verbalizer", ManualVerbalizer(self.verbalizer))
        if (self.verbalizer is None) != bool(self.names):
            raise VerbalizerError(
                f"verbalizer={self.verbalizer!r} and names={self.names!r}: give a verbalizer to combine the prototypes "
                "with, or the names of the classes."
            )
        if self.verbalizer is not None and not isinstance(self.verbalizer, Verbalizer):
            raise VerbalizerError(f"verbalizer is {self.verbalizer!r}; pass one such as ManualVerbalizer({{...}}).")
        if len(self.classes) < 2:
            raise VerbalizerError(f"names holds {len(self.names)} class(es); a classifier needs at least 2.")

    @property
    def classes(self) -> Sequence[str]:
        return self.names if self.wrapped is None else self.wrapped.classes

    @property
    def answers(self) -> Mapping[str, str]:
        return super().answers if self.wrapped is None else self.wrapped.answers

    @property
    def wrapped(self) -> Verbalizer | None:
        return self.verbalizer if isinstance(self.verbalizer, Verbalizer) else None

    @property
    def starts_from_nothing(self) -> bool:
        return True

    def suited(self, backbone: Backbone, slot: AnswerSlot) -> Verbalizer:
        return self if self.wrapped is None else replace(self, verbalizer=self.wrapped.suited(backbone, slot))

    def build(self, backbone: Backbone, slot: AnswerSlot) -> PrototypicalHead:
        inner = None if self.wrapped is None else self.wrapped.build(backbone, slot)
        check_one_mask(slot, "a prototype reads exactly 1")
        if inner is not None and not inner.reads_mask_states:
            raise VerbalizerError(
                f"{type(self.verbalizer).__name__} reads no mask states, which prototypes need; wrap another."
            )
        width = backbone.decoder()[0].shape[1]
        return PrototypicalHead(inner, len(self.classes), width, self)


class PrototypicalHead(MaskHead):
    """Cosines of a projected mask state with the prototypes, alone or with another head's scores.

    Both are brought to one scale before they are averaged: less their mean over the classes, by the root mean square
    that the training texts have there. So a text on which one part is sure and the other isn't goes with the sure one.
    The paper says a standard scaler; its code scales each text by itself over the classes (``z_scores``), by which
    sureness is lost: of two classes only the sign is left. What was saved without a scale is still read so.
    """

    optional_weights = frozenset({"scales"})  # promptlab 0.1 saved none

    def __init__(
        self, inner: Head[MaskStates] | None, n_classes: int, width: int, settings: PrototypicalVerbalizer
    ) -> None:
        super().__init__()
        self.inner = inner
        self.projection = nn.Linear(width, settings.size, bias=False)
        self.prototypes = nn.Parameter(torch.empty(n_classes, settings.size))
        nn.init.xavier_uniform_(self.prototypes)
        if inner is not None:
            self.scales = nn.Parameter(torch.zeros(2))  # of the prototypes' and the other's scores; 0: not measured
        self.post_training = {
            "head_learning_rate": settings.learning_rate,
            "max_steps": settings.max_steps,
            "eval_every": settings.max_steps,
            "weight_decay": 0.0,
            "warmup_ratio": 0.0,
            "schedule": "constant",
            "patience": None,
        }

    def project(self, outputs: MaskStates) -> Tensor:
        """Projected mask states, (batch, size)."""
        return F.linear(outputs.hidden[:, 0], self.projection.weight)

    def forward(self, outputs: MaskStates) -> Tensor:
        scores = self._scores(outputs)
        if self.inner is not None:
            scores = [scaled(part, scale) for part, scale in zip(scores, self.scales)]
        return F.log_softmax(torch.stack(scores).mean(dim=0), dim=-1)

    def _scores(self, outputs: MaskStates) -> list[Tensor]:
        """The prototypes' and the other head's, (batch, classes) each."""
        own = cosines(self.project(outputs), self.prototypes)
        return [own] if self.inner is None else [own, self.inner(outputs)]

    @torch.no_grad()
    def settle(self, outputs: MaskStates, weights: Tensor | None = None) -> None:
        if self.inner is not None:
            self.scales.copy_(torch.stack([spread(part, weights) for part in self._scores(outputs)]))

    @property
    def wrapped(self) -> Head[MaskStates] | None:
        return self.inner

    @property
    def first_head(self) -> Head[MaskStates]:
        if self.inner is None:
            raise VerbalizerError(
                "prototypes are learnt from a finished language model, which nothing would train here; give "
                "PrototypicalVerbalizer a verbalizer, or choose tuning='frozen'."
            )
        return self.inner

    def own_loss(self, outputs: MaskStates, labels: Tensor, weights: Tensor | None = None) -> Tensor:
        states = self.project(outputs)
        return instance_loss(states, labels, weights) + prototype_loss(states, self.prototypes, labels, weights)


def cosines(a: Tensor, b: Tensor) -> Tensor:
    """Cosine of each row of ``a`` with each of ``b``: (n, size), (m, size) → (n, m)."""
    return F.normalize(a, dim=-1) @ F.normalize(b, dim=-1).T


def centered(scores: Tensor) -> Tensor:
    """Scores (batch, classes) less their mean over the classes."""
    return scores - scores.mean(dim=-1, keepdim=True)


def spread(scores: Tensor, weights: Tensor | None = None) -> Tensor:
    """Root mean square, over all texts and classes, of the centered scores (batch, classes).

    Args:
        weights: of the texts, (batch,); None: alike.
    """
    return weighted_mean(centered(scores).square(), weights).sqrt()


def scaled(scores: Tensor, scale: Tensor) -> Tensor:
    """Centred scores by a scale; where it isn't known (0), those of each text by their own.

    Of the latter, two classes are often even: then the scores as they are decide.
    """
    return centered(scores) / scale if scale > 0 else z_scores(scores) + TIES * centered(scores)


def z_scores(scores: Tensor) -> Tensor:
    """Scores (batch, classes) less their mean over the classes, over their standard deviation."""
    off = centered(scores)
    return off / off.square().mean(dim=-1, keepdim=True).sqrt().clamp(min=1e-12)


def instance_loss(states: Tensor, labels: Tensor, weights: Tensor | None = None) -> Tensor:
    """How far states of one class are from one another, compared with those of other classes, in nats.

    For each pair of one class (also of a state and itself) minus the log of exp(cosine) over itself plus those of the
    first with all states of other classes; the mean over the pairs of each class, then over the classes, divided by the
    number of classes once more. With as many states of each class it is the paper's. A state of weight 2 counts as two.

    Source: ProtoVerb, arXiv:2203.09770, section 3.2 (instance-instance loss).

    Args:
        states: (batch, size).
        labels: (batch,).
        weights: of the states, above 0, (batch,); None: alike.
    """
    weights = torch.ones_like(states[:, 0]) if weights is None else weights
    similar = cosines(states, states)
    same = labels[:, None] == labels  # (batch, batch)
    others = (similar + weights.log()).masked_fill(same, -torch.inf).logsumexp(dim=1, keepdim=True)  # (batch, 1)
    losses = torch.logaddexp(similar, others) - similar  # -log(exp s / (exp s + sum of others))
    counts = same.to(weights.dtype) @ weights  # (batch,) states of the row's class
    n_classes = len(labels.unique())
    return (losses * same * weights[:, None] * weights / counts[:, None] ** 2).sum() / n_classes**2


def prototype_loss(states: Tensor, prototypes: Tensor, labels: Tensor, weights: Tensor | None = None) -> Tensor:
    """Cross-entropy over the cosines with the prototypes, mean over each class, then the classes, over their number.

    Source: ProtoVerb, arXiv:2203.09770, section 3.2 (instance-prototype loss).
    """
    weights = torch.ones_like(states[:, 0]) if weights is None else weights
    losses = F.cross_entropy(cosines(states, prototypes), labels, reduction="none")  # (batch,)
    counts = (labels[:, None] == labels).to(weights.dtype) @ weights
    return (losses * weights / counts).sum() / len(prototypes) ** 2
