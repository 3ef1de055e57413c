"""What both text classifiers do: learn from labelled texts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

from promptlab.class_scorer import SingleLabel
from promptlab.fitting import Objective
from promptlab.labelled import Labelled, Training, several_classes
from promptlab.text_estimator import TextEstimator


@dataclass(kw_only=True, eq=False, repr=False)
class TextClassifier(SingleLabel, TextEstimator):
    """Classification of texts by one model."""

    def fit(self, X: Any, y: Any = None, *, eval_set: tuple[Any, Any] | None = None) -> Self:
        """Train on labelled texts.

        Args:
            X: texts (field ``text_a``), tuples (``text_a``, ``text_b``, …), dicts, a DataFrame or a Dataset.
            y: labels, strings or whole numbers; None takes those that the examples carry.
            eval_set: dev texts and labels. The latest weights whose accuracy on them is within one standard error
                of the highest are kept.

        Raises:
            DataError: if labels are missing, unknown to the verbalizer, or all the same.
            PromptlabError: if template, verbalizer, model, tuning or settings don't fit one another.
        """
        self._check_settings(eval_set)
        training = Labelled.of(X, y)
        return self.learn(training, None if eval_set is None else Labelled.of(*eval_set))

    def learn(self, training: Training, dev: Labelled | None = None, *, objective: Objective | None = None) -> Self:
        """What ``fit`` does with its texts.

        Args:
            training: with a label or a distribution over the classes for each example.
            objective: what is minimised, if not the head's loss.
        """
        verbalizer = self._verbalizer(several_classes(training))
        training.targets(verbalizer.classes)  # an unknown label is told before the model is loaded
        return self._fit(verbalizer, training, dev, objective=objective)
