"""Who reads examples, which of their fields, and who is told what can't be read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple, Self

from promptlab.backbones.catalog import load_backbone
from promptlab.core.errors import error_context
from promptlab.core.seeding import seeded
from promptlab.core.types import Example
from promptlab.estimators.text_estimator import TextEstimator


class RowCheck(NamedTuple):
    """Who reads examples, before anything is trained, to refuse those that can't be read."""

    who: str
    encode: Callable[[Sequence[Example]], object]

    @classmethod
    def of(cls, who: str, classifier: TextEstimator, classes: Sequence[str], examples: Sequence[Example]) -> Self:
        """An unfitted classifier on a loaded backbone, as it is before any training.

        Args:
            examples: the labeled ones, which templates with demonstrations show.

        Raises:
            PromptlabError: naming whose parts don't fit one another.
        """
        with error_context(who), seeded(classifier.seed):
            model = classifier.build(
                classifier.make_verbalizer(classes), examples, load_backbone(classifier.model).copy()
            )
        return cls(who, partial(model.encode, max_length=classifier.max_length))

    def check(self, examples: Sequence[Example]) -> None:
        """Refuse examples that a template can't show, or that leave no room in the model.

        Raises:
            PromptlabError: naming who can't read one.
        """
        with error_context(self.who):
            self.encode(examples)
