"""Scores of a classifier on labeled examples, computed by scikit-learn."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from promptlab.core.errors import UnknownNameError, UnsupportedError
from promptlab.core.types import Example


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
    names = list(classifier.class_names_)
    for row, label in enumerate(truth, start=1):
        if label not in names:
            raise UnknownNameError("label", label, names, where=f"row {row}", whose="the classifier's classes")
    predicted = [names[i] for i in indices]
    classes = _by_class(names, precision_recall_fscore_support(truth, predicted, labels=names, zero_division=0))
    return {
        "rows": len(truth),
        "accuracy": float(accuracy_score(truth, predicted)),
        "macro_f1": sum(row["f1"] for row in classes.values()) / len(classes),
        "classes": classes,
    }


def evaluate_labels(classifier: Any, examples: Iterable[Example]) -> dict[str, Any]:
    """Micro- and macro-F1, the share of rows whose labels are all right, and per-class scores of several labels a row.

    Only labels are kept in memory, not texts.

    Raises:
        UnknownNameError: if a label isn't one of the classifier's classes.
    """
    from sklearn.metrics import accuracy_score, f1_score, precision_recall_fscore_support
    from sklearn.preprocessing import MultiLabelBinarizer

    classifier.ready()
    names = list(classifier.class_names_)
    truth: list[Sequence[str]] = []

    def remember() -> Iterator[Example]:
        for example in examples:
            for label in example.labels or ():
                if label not in names:
                    where = f"row {len(truth) + 1}"
                    raise UnknownNameError("label", label, names, where=where, whose="the classifier's classes")
            truth.append(example.labels or ())
            yield example

    found = [classifier.decide_names(row) for row in classifier.iter_proba(remember())]
    binarizer = MultiLabelBinarizer(classes=names).fit([])
    right, said = binarizer.transform(truth), binarizer.transform(found)
    classes = _by_class(names, precision_recall_fscore_support(right, said, zero_division=0))
    return {
        "rows": len(truth),
        "micro_f1": float(f1_score(right, said, average="micro", zero_division=0)),
        "macro_f1": sum(row["f1"] for row in classes.values()) / len(classes),
        "subset_accuracy": float(accuracy_score(right, said)),
        "classes": classes,
    }


class Report(NamedTuple):
    """How predictions are scored: the function that scores a classifier on examples, and its main score."""

    make: Callable[[Any, Iterable[Example]], dict[str, Any]]
    main: str


REPORTS = {"one label": Report(evaluate, "accuracy"), "several labels": Report(evaluate_labels, "micro_f1")}  # by task


def report_for(estimator: Any) -> Report:
    """Return how an estimator is scored on rows of a table.

    Raises:
        UnsupportedError: if it isn't.
    """
    if estimator.task not in REPORTS:
        kind = type(estimator).__name__
        raise UnsupportedError(f"a {kind} isn't scored on rows of a table; use its score in Python.")
    return REPORTS[estimator.task]


def _by_class(names: Sequence[str], scores: Sequence[Any]) -> dict[str, dict[str, Any]]:
    """Class → its precision, recall, F1 and rows, of what scikit-learn returns."""
    columns = ("precision", "recall", "f1", "support")
    return {name: {column: scores[j][i].item() for j, column in enumerate(columns)} for i, name in enumerate(names)}
