"""From which probability on a class is said to hold."""

from __future__ import annotations

import numbers

import numpy as np

from promptlab.core.errors import TuningError, UnknownNameError, short_repr

HALF = 0.5
CHOICES = ("global", "per-class")


def check_threshold(threshold: str | float) -> None:
    """Refuse what is neither one of ``CHOICES`` nor a share.

    Raises:
        TuningError: if a number isn't between 0 and 1, or it is something else.
        UnknownNameError: if it is another name.
    """
    if isinstance(threshold, str):
        if threshold not in CHOICES:
            raise UnknownNameError("threshold", threshold, CHOICES)
    elif not isinstance(threshold, numbers.Real) or not 0 < threshold < 1:
        raise TuningError(
            f"threshold={short_repr(threshold)} must be between 0 and 1, such as 0.5, or one of {', '.join(CHOICES)}."
        )


def choose_thresholds(threshold: str | float, probabilities: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """The threshold of each class, (classes,): one for all with the highest micro-F1, or each class's own best.

    Args:
        threshold: ``"global"``, ``"per-class"``, or a number that holds for all classes.
        probabilities: of each class, (examples, classes).
        truth: 1 where a class holds, else 0, (examples, classes).
    """
    classes = probabilities.shape[1]
    if threshold == "per-class":
        return np.array([best_threshold(probabilities[:, i], truth[:, i]) for i in range(classes)])
    one = best_threshold(probabilities.ravel(), truth.ravel()) if threshold == "global" else threshold
    return np.full(classes, float(one))


def best_threshold(probabilities: np.ndarray, truth: np.ndarray) -> float:
    """The threshold of the highest F1; of equally good ones the nearest to 0.5, then the lower one.

    Those in question are 0.5 and the middles between neighbouring probabilities. So it is 0.5 if nothing holds.

    Source: SCut of Yang, SIGIR 2001 (A study of thresholding strategies for text categorization), section 2.3.

    Args:
        probabilities: of one or more classes, (n,).
        truth: 1 where the class holds, else 0, (n,).
    """
    levels = np.unique(probabilities.astype(np.float64))
    middles = (np.concatenate([[0.0], levels[:-1]]) + levels) / 2
    candidates = np.append(middles, HALF)
    f1 = f1_scores(probabilities, truth, candidates)
    return float(candidates[np.lexsort((candidates, np.abs(candidates - HALF), -f1))[0]])


def f1_scores(probabilities: np.ndarray, truth: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    """F1 at each of some thresholds, (thresholds,); 0 where nothing holds and nothing is said to.

    Args:
        probabilities: of one class, (examples,).
        truth: 1 where it holds, else 0, (examples,).
    """
    order = np.argsort(probabilities)
    first = np.searchsorted(probabilities[order].astype(np.float64), thresholds)  # from here on a class is said to hold
    hits = np.append(np.cumsum((truth[order] > 0)[::-1])[::-1], 0)[first]
    return 2 * hits / np.maximum(1, len(order) - first + (truth > 0).sum())
