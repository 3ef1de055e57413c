"""What both text classifiers do: learn from labeled texts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

from promptlab.data.labeled import Labeled, Training, check_rows, several_classes
from promptlab.estimators.class_scorer import SingleLabel
from promptlab.estimators.text_estimator import TextEstimator
from promptlab.library.known_classes import KnownClasses, read_sets
from promptlab.training.fitting import Objective


@dataclass(kw_only=True, eq=False, repr=False)
class TextClassifier(SingleLabel, TextEstimator):
    """Classification of texts by one model."""

    def fit(self, X: Any, y: Any = None, sample_weight: Any = None, *, eval_set: tuple[Any, Any] | None = None) -> Self:
        """Train on labeled texts.

        Args:
            X: texts (field ``text_a``), tuples (``text_a``, ``text_b``, …), dicts, a DataFrame or a Dataset.
            y: labels: texts, whole numbers (also as floats), or True and False, all of one type, which ``classes_``
                have, too. Whole numbers from 0 to n - 1, none of which is the name of a class, count the sorted names
                of n classes; those of a data set's ``ClassLabel`` mean the names that it gives them. None takes the
                labels that the examples carry.
            sample_weight: how much each text counts, a number from 0; None: alike. An update's loss is the weighted
                mean over its texts, so that a text of weight 2 counts like two, and one of weight 0 is left out.
            eval_set: dev texts and labels. The latest weights whose accuracy on them is within one standard error
                of the highest are kept.

        Raises:
            DataError: if labels are missing, of different types, or all the same.
            UnknownNameError: if a label is unknown to the verbalizer.
            PromptlabError: if template, verbalizer, model, tuning or settings don't fit one another.
        """
        self.check_settings(eval_set)
        return self.learn(*read_sets(X, y, eval_set, self.known_classes(), sample_weight))

    def known_classes(self) -> KnownClasses | None:
        """The classes that labels may mean; None if the training labels decide."""
        raise NotImplementedError

    def learn(self, training: Training, dev: Labeled | None = None, *, objective: Objective | None = None) -> Self:
        """What ``fit`` does with its texts.

        Args:
            training: with a label or a distribution over the classes for each example.
            objective: what is minimised, if not the head's loss.
        """
        verbalizer = self.make_verbalizer(several_classes(training))
        check_rows(self.make_template(), verbalizer, training, dev)  # before the model is loaded
        weighed = training.weighed_by_class(self.class_weight, verbalizer.classes)
        return self._fit(verbalizer, weighed, dev, objective=objective)
