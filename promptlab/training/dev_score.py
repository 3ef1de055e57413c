"""How good a model is on dev examples: what chooses its best weights."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from promptlab.training.thresholds import best_threshold, f1_scores


def dev_score(log_probs: Tensor, targets: Tensor) -> DevScore:
    """Return accuracy and mean loss of class log-probabilities, (examples, classes)."""
    accuracy = (log_probs.argmax(dim=-1) == targets).float().mean().item()
    loss = -log_probs[torch.arange(len(targets)), targets].mean().item()
    return DevScore(accuracy, loss, len(targets))


class DevScore(NamedTuple):
    """How good the model is on a dev set: accuracy, mean loss in nats, number of examples.

    ``metric`` names what stands in the place of the accuracy, if it is another share that should be high.
    """

    accuracy: float
    loss: float
    n_examples: int
    metric: str = "accuracy"

    @property
    def standard_error(self) -> float:
        """Of the accuracy, as a share."""
        return math.sqrt(self.accuracy * (1 - self.accuracy) / self.n_examples)

    def record(self) -> dict[str, float]:
        """As it stands in the record of training."""
        return {f"dev_{self.metric}": self.accuracy, "dev_loss": self.loss}


def micro_f1(log_probs: Tensor, targets: Tensor) -> DevScore:
    """Return micro-F1 at the threshold that is best for it, and mean binary cross-entropy.

    Args:
        log_probs: of each class by itself, (examples, classes).
        targets: 1 where a class holds, else 0, (examples, classes).
    """
    probabilities, truth = log_probs.exp().numpy().ravel(), targets.numpy().ravel()
    (f1,) = f1_scores(probabilities, truth, np.array([best_threshold(probabilities, truth)]))
    loss = F.binary_cross_entropy(log_probs.exp(), targets).item()
    return DevScore(float(f1), loss, max(1, int(truth.sum())), metric="micro_f1")
