"""How the scores of several classifiers become one's.

A score is a log-probability. PET merges raw logits; a log-probability is the logit minus one number for the whole
example. So a weighted mean of one differs from that of the other by one number, which no softmax notices.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

TIE = 1e-6  # what the mean score counts beside whole votes


def merged(scores: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Weighted mean over the members, normalized again: (members, examples, classes) → (examples, classes).

    Source: PET, arXiv:2001.07676, section 3.3.
    """
    return log_softmax(np.tensordot(weights / weights.sum(), scores, axes=1))


def votes(scores: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Log of the weighted share of members whose first choice a class is; of equal shares, the mean score decides."""
    chosen = np.eye(scores.shape[-1])[scores.argmax(axis=-1)]  # (members, examples, classes)
    share = np.tensordot(weights / weights.sum(), chosen, axes=1)
    return np.log((1 - TIE) * share + TIE * np.exp(merged(scores, weights)))


def weights_of(accuracies: Sequence[float]) -> np.ndarray:
    """Weights in proportion to accuracies; alike if nobody is ever right."""
    weights = np.asarray(accuracies, dtype=float)
    return weights if weights.sum() > 0 else np.ones_like(weights)


WEIGHED_BY = {
    "uniform": "alike",
    "untrained-accuracy": "by accuracy on the training rows before any training",
    "trained-accuracy": "by accuracy on the dev rows, which chose the models' weights, too",
    "stacked": "by a regression that was learnt on the dev rows",
}


def weighed_by(weighting: str, weights: Sequence[float]) -> str:
    """What says how much each member counts, in words.

    Args:
        weighting: how members are weighed, one of ``PVPEnsemble``'s.
        weights: of the members.
    """
    is_alike = weighting != "stacked" and len(set(weights)) == 1
    return "alike" if is_alike else WEIGHED_BY[weighting]


def agreement(scores: np.ndarray) -> np.ndarray:
    """Share of the examples for which two members choose the same class, (members, members)."""
    chosen = scores.argmax(axis=-1)  # (members, examples)
    return (chosen[:, None] == chosen[None]).mean(axis=-1)


def accuracies(scores: np.ndarray, targets: np.ndarray, weights: np.ndarray | None = None) -> list[float]:
    """Of each member, by the weights of the examples if there are some."""
    return np.average(scores.argmax(axis=-1) == targets, axis=-1, weights=weights).tolist()


def log_softmax(scores: np.ndarray) -> np.ndarray:
    """Log-probabilities over the last axis, in double precision."""
    return torch.log_softmax(torch.as_tensor(scores, dtype=torch.float64), dim=-1).numpy()


@dataclass(frozen=True)
class Stacking:
    """A logistic regression on all members' scores.

    Args:
        coefficients: (classes, members * classes).
        intercepts: (classes,).
    """

    coefficients: np.ndarray
    intercepts: np.ndarray

    @classmethod
    def fitted(cls, scores: np.ndarray, targets: np.ndarray, *, seed: int) -> Stacking:
        """Learn from the scores of labeled examples, (members, examples, classes), some of every class."""
        from sklearn.linear_model import LogisticRegression

        model = LogisticRegression(max_iter=1000, random_state=seed).fit(_features(scores), targets)
        coefficients, intercepts = model.coef_, model.intercept_
        if scores.shape[-1] == 2:  # scikit-learn keeps only the second class's
            coefficients, intercepts = (np.concatenate([0 * part, part]) for part in (coefficients, intercepts))
        return cls(coefficients, intercepts)

    def __call__(self, scores: np.ndarray) -> np.ndarray:
        """Log-probabilities (examples, classes) for scores (members, examples, classes)."""
        return log_softmax(_features(scores) @ self.coefficients.T + self.intercepts)


def _features(scores: np.ndarray) -> np.ndarray:
    return np.moveaxis(scores, 0, 1).reshape(scores.shape[1], -1)
