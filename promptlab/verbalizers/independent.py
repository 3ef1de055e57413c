"""Classes of which several may hold at once."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from promptlab.core.interfaces import Outputs
from promptlab.verbalizers.head import ScoringHead, WrappingHead


class IndependentHead(WrappingHead[Outputs]):
    """Another head's classes, each decided by itself; the log-odds of a class are its score with a trained bias.

    The score is the label words' logit as it is. Less its mean over the classes, or less the log of the sum over the
    vocabulary, it would fall where another class holds, too: the former was measured to be worse, the latter worse for
    untrained label words and no better for trained ones (benchmarks/accuracy/multilabel.py).

    Args:
        inner: scores the classes.
        n_classes: of them.
    """

    inner: ScoringHead[Outputs]

    def __init__(self, inner: ScoringHead[Outputs], n_classes: int) -> None:
        super().__init__(inner)
        self.bias = nn.Parameter(torch.zeros(n_classes))

    def log_odds(self, outputs: Outputs) -> Tensor:
        """Log-odds of each class, in nats, (batch, classes)."""
        return self.inner.class_scores(outputs) + self.bias

    def forward(self, outputs: Outputs) -> Tensor:
        """Log-probability of each class by itself, in nats, (batch, classes)."""
        return F.logsigmoid(self.log_odds(outputs))

    def losses(self, outputs: Outputs, labels: Tensor) -> Tensor:
        """Binary cross-entropy of each class, (batch, classes); ``labels`` are 1 where one holds, likewise."""
        return F.binary_cross_entropy_with_logits(self.log_odds(outputs), labels, reduction="none")

    @torch.no_grad()
    def start(self, log_odds: Tensor, labels: Tensor, weights: Tensor | None = None) -> None:
        """Move the bias so that the mean log-odds of a class are those of its share of the training texts.

        Half a text more is counted where it holds, and half a one where it doesn't.

        Args:
            log_odds: of the training texts, (texts, classes).
            labels: 1 where a class holds, else 0, (batch, classes).
            weights: of the texts, (texts,), or of their classes, (texts, classes); a text of weight 2 counts as two.
        """
        each = torch.ones_like(labels) if weights is None else weights.view(len(labels), -1).expand_as(labels)
        share = ((each * labels).sum(dim=0) + 0.5) / (each.sum(dim=0) + 1)
        each = each.to(log_odds.device)
        mean = (each * log_odds).sum(dim=0) / each.sum(dim=0).clamp(min=torch.finfo(each.dtype).tiny)
        self.bias.add_(share.logit().to(self.bias.device) - mean)
