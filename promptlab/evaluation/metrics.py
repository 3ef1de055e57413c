"""Scores of a classifier on labelled examples, computed by scikit-learn."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from promptlab.errors import UnknownNameError
from promptlab.types import Example


def evaluate(classifier: Any, examples: Iterable[Example]) -> dict[str, Any]:
    """Accuracy, macro-F1 and per-class scores; only labels are kept in memory, not texts.

    Raises:
        UnknownNameError: if a label isn't one of the classifier's classes.
    """
    from sklearn.metrics import accuracy_score, precision_recall_fscore_support

    truth: list[str] = []

    def remember() -> Iterator[Example]:
        for example in examples:
            truth.append(str(example.label))
            yield example

    indices = [int(row.argmax()) for row in classifier.iter_proba(remember())]
    names = [str(name) for name in classifier.classes_]
    for label in truth:
        if label not in names:
            raise UnknownNameError("label", label, names)
    predicted = [names[i] for i in indices]
    scores = precision_recall_fscore_support(truth, predicted, labels=names, zero_division=0)
    columns = ("precision", "recall", "f1", "support")
    classes = {name: {column: scores[j][i].item() for j, column in enumerate(columns)} for i, name in enumerate(names)}
    return {
        "rows": len(truth),
        "accuracy": float(accuracy_score(truth, predicted)),
        "macro_f1": sum(row["f1"] for row in classes.values()) / len(classes),
        "classes": classes,
    }
