"""How predictions for rows of a table are scored, by scikit-learn: what estimators take as ``table_scores``."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from promptlab.core.errors import UnknownNameError
from promptlab.core.types import Example
from promptlab.estimators.table_rows import DecidesClasses, ScoresClasses

if TYPE_CHECKING:
    import numpy as np

Scores: TypeAlias = "dict[str, Any]"  # rows, each score by its name, and under classes those of each class


def evaluate(classifier: ScoresClasses, examples: Iterable[Example]) -> Scores:
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


def evaluate_labels(classifier: DecidesClasses, examples: Iterable[Example]) -> Scores:
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


def _by_class(names: Sequence[str], scores: Sequence[np.ndarray]) -> dict[str, dict[str, float]]:
    """Class → its precision, recall, F1 and rows, of what scikit-learn returns."""
    columns = ("precision", "recall", "f1", "support")
    return {name: {column: scores[j][i].item() for j, column in enumerate(columns)} for i, name in enumerate(names)}


class TableScores(NamedTuple):
    """How predictions are scored.

    Args:
        make: scores an estimator on examples: a mapping with ``rows``, the scores, and maybe those of each class.
        main: the score that counts most.
        titles: score → what it is called.
    """

    make: Callable[[Any, Iterable[Example]], Scores]
    main: str
    titles: Mapping[str, str]


ONE_LABEL = TableScores(evaluate, "accuracy", {"accuracy": "accuracy", "macro_f1": "macro-F1"})
SEVERAL_LABELS = TableScores(
    evaluate_labels,
    "micro_f1",
    {"subset_accuracy": "all labels right", "micro_f1": "micro-F1", "macro_f1": "macro-F1"},
)
