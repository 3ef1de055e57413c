"""What estimators do that score the classes of texts, by one model or by many."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, cast

import numpy as np

from promptlab.core.inputs import ClassWeight, Labels, Texts, Weights
from promptlab.core.types import Example
from promptlab.data.labeled import Labeled, TrainingT
from promptlab.data.labels import LabelType
from promptlab.data.readers import as_examples
from promptlab.data.weights import row_weights
from promptlab.estimators.scikit_learn import ClassifierMixin
from promptlab.estimators.table_rows import label_rows
from promptlab.estimators.table_scores import ONE_LABEL, TableScores


@dataclass(kw_only=True, eq=False, repr=False)
class ClassScorer(ClassifierMixin):
    """Score classes, of which each text has one.

    Args:
        class_weight: how much the training texts of each class count, times their ``sample_weight``: class → a number
            from 0, 1 where none is given, or ``"balanced"``, n / (k · texts of the class); None: alike.

    Attributes:
        classes_: the classes, an array (classes,) of the type that the labels had; columns of probabilities are in this
            order.
        class_names_: names of the classes, texts in the order of ``classes_``.
        label_type_: what labels are: texts, whole numbers, True and False, or numbers of named classes.
    """

    class_weight: ClassWeight | None = None

    table_scores: ClassVar[TableScores | None] = ONE_LABEL
    table_rows = label_rows

    if TYPE_CHECKING:  # what the estimator has

        def iter_log_proba(self, examples: Iterable[Example]) -> Iterator[np.ndarray]: ...

        def ready(self) -> Any: ...

    def iter_proba(self, examples: Iterable[Example]) -> Iterator[np.ndarray]:
        """Yield class probabilities of one example after the other, in constant memory."""
        return map(np.exp, self.iter_log_proba(examples))

    def predict_proba(self, X: Texts) -> np.ndarray:
        """Return class probabilities, (texts, classes), columns in the order of ``classes_``."""
        rows = list(self.iter_proba(as_examples(X)))
        return np.stack(rows) if rows else np.zeros((0, len(self.classes_)))

    def weighed(self, training: TrainingT, names: Sequence[str]) -> TrainingT:
        """Return training texts, those of each class with its weight; ``names`` are those of the classes."""
        return cast(TrainingT, training.weighed_by_class(self.class_weight, names))

    def set_classes(self, names: Sequence[str], label_type: LabelType) -> None:
        """Take the classes, named as the labels of a type are."""
        label_type.check(names)
        self.label_type_, self.class_names_ = label_type, label_type.sorted(names)
        self.classes_ = np.array([label_type.value(name) for name in self.class_names_])

    def predict(self, X: Texts) -> np.ndarray:
        """Return the likeliest class of each text, (texts,)."""
        probabilities = self.predict_proba(X)  # gives a zero-shot classifier its classes
        likeliest: np.ndarray = self.classes_[probabilities.argmax(axis=1)]
        return likeliest

    def score(self, X: Texts, y: Labels | None = None, sample_weight: Weights | None = None) -> float:
        """Return the accuracy; without ``y`` by the labels that the examples carry.

        Raises:
            DataError: if a label or a weight is missing, or there isn't one for each text.
        """
        self.ready()
        data = Labeled.of(X, y, like=self.label_type_)
        hits = np.array(self.class_names_)[self.predict_proba(data.examples).argmax(axis=1)] == np.array(data.labels)
        return float(np.average(hits, weights=row_weights(sample_weight, len(hits))))
