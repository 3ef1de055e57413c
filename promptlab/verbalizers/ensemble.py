"""Several verbalizers on one answer of the model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from promptlab.core.errors import VerbalizerError
from promptlab.core.interfaces import Backbone, Head, Verbalizer
from promptlab.core.types import AnswerSlot, MaskStates
from promptlab.verbalizers.calibrated import CalibratedVerbalizer
from promptlab.verbalizers.head import MaskHead


@dataclass(frozen=True)
class EnsembleVerbalizer(Verbalizer):
    """Average the class probabilities of several verbalizers, which read the model once.

    In training their losses are averaged with the same weights. To calibrate, wrap the ensemble.

    Source: PET, arXiv:2001.07676, section 3.3 (weighted ensembles), within one pattern.

    Args:
        verbalizers: two or more, of the same classes.
        weights: a number above 0 for each; None weighs all alike.

    Raises:
        VerbalizerError: if there are fewer than two, their classes differ, or the weights don't fit.

    Example:
        >>> from promptlab import EnsembleVerbalizer, ManualVerbalizer, PromptClassifier
        >>> usual, strong = [("bad", "good"), ("terrible", "wonderful")]
        >>> parts = [ManualVerbalizer({"negative": bad, "positive": good}) for bad, good in (usual, strong)]
        >>> words = EnsembleVerbalizer(parts, weights=[2, 1])
        >>> PromptClassifier("{{ text_a }} It was {{ mask }}.", words, "minilm").predict(["a dull film", "great fun"])
        array(['negative', 'positive'], dtype='<U8')
    """

    verbalizers: Sequence[Verbalizer]
    weights: Sequence[float] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        parts = tuple(self.verbalizers)
        object.__setattr__(self, "verbalizers", parts)
        if len(parts) < 2 or not all(isinstance(part, Verbalizer) for part in parts):
            raise VerbalizerError(f"verbalizers={list(parts)!r} must be two Verbalizers or more.")
        for part in parts:
            if isinstance(part, CalibratedVerbalizer):
                raise VerbalizerError(f"{type(part).__name__} calibrates; wrap the ensemble with it, not its parts.")
            if set(part.classes) != set(self.classes):
                raise VerbalizerError(
                    f"verbalizers of an ensemble have the same classes, but one has {', '.join(self.classes)} and "
                    f"another {', '.join(part.classes)}."
                )
        if self.weights is not None:
            object.__setattr__(self, "weights", tuple(self.weights))
            if len(self.weights) != len(parts) or not all(weight > 0 for weight in self.weights):
                raise VerbalizerError(f"weights={self.weights!r} must be {len(parts)} numbers above 0.")

    @property
    def classes(self) -> Sequence[str]:
        return self.verbalizers[0].classes

    @property
    def answers(self) -> Mapping[str, str]:
        return self.verbalizers[0].answers

    def build(self, backbone: Backbone, slot: AnswerSlot) -> EnsembleHead:
        heads = [part.build(backbone, slot) for part in self.verbalizers]
        for part, head in zip(self.verbalizers, heads):
            if not head.reads_mask_states or head.post_training is not None:
                raise VerbalizerError(
                    f"{type(part).__name__} doesn't learn from mask states alone, so that it can't share them; make an "
                    "ensemble of classifiers."
                )
        orders = [[list(part.classes).index(name) for name in self.classes] for part in self.verbalizers]
        return EnsembleHead(heads, torch.tensor(orders), torch.tensor(self.weights or [1.0] * len(heads)))


class EnsembleHead(MaskHead):
    """Heads that read one answer.

    Args:
        heads: of the verbalizers.
        orders: where each head has each class, (heads, classes).
        weights: of the heads, (heads,).
    """

    def __init__(self, heads: Sequence[Head[MaskStates]], orders: Tensor, weights: Tensor) -> None:
        super().__init__()
        self.heads = nn.ModuleList(heads)
        self.orders = nn.Buffer(orders, persistent=False)
        self.weights = nn.Buffer(weights / weights.sum(), persistent=False)

    def forward(self, outputs: MaskStates) -> Tensor:
        each = torch.stack([head(outputs)[:, order] for head, order in zip(self.heads, self.orders)], dim=-1)
        return F.log_softmax((each + self.weights.log()).logsumexp(dim=-1), dim=-1)  # (batch, classes)

    def losses(self, outputs: MaskStates, labels: Tensor) -> Tensor:
        heads = (head for head in self.heads if isinstance(head, Head))
        losses = [head.losses(outputs, order[labels]) for head, order in zip(heads, self.orders)]
        return torch.stack(losses, dim=-1) @ self.weights  # (batch,)
