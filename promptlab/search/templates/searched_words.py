"""Label words that are searched for each of the best templates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from tqdm.auto import tqdm

from promptlab.core.checks import check_arguments
from promptlab.core.errors import SearchError
from promptlab.core.ranges import Count
from promptlab.search.templates.ranking import RankedTemplate
from promptlab.search.templates.task import FoundTemplate, SearchTask
from promptlab.search.words.search import FoundWords, search_words


class SearchedWords:
    """Adds to templates what a search of label words finds for them on the training examples, once for each template.

    Source: LM-BFF, arXiv:2012.15723, section 5 ("auto T + L").

    Args:
        templates: so many of the best.
        assignments: label words to find for each.

    Raises:
        SearchError: if a number is below 1.
    """

    def __init__(self, task: SearchTask, *, templates: Count = 10, assignments: Count = 10) -> None:
        check_arguments(type(self).__init__, locals(), SearchError)
        self.task, self.templates, self.assignments = task, templates, assignments
        self._known: dict[str, list[FoundWords]] = {}

    def __call__(self, ranked: Sequence[RankedTemplate]) -> list[FoundTemplate]:
        """The best templates, each with its own label words and with those that are found for it.

        Raises:
            DataError: if a class has fewer than 2 training examples.
        """
        pairs = []
        for one in tqdm(ranked[: self.templates], desc="label words", unit="template", leave=False, disable=None):
            pairs.append(one.found)
            pairs += [
                replace(one.found, label_words=row.label_words, origin={**one.found.origin, **_said(row)})
                for row in self._words(one.found.template)
                if row.label_words != one.found.label_words
            ]
        return pairs

    def _words(self, template: str) -> list[FoundWords]:
        if template not in self._known:
            task = self.task
            self._known[template] = search_words(
                template,
                task.train,
                model=task.backbone,
                device=str(next(task.backbone.parameters()).device),
                top=self.assignments,
                max_length=task.max_length,
                seed=task.seed,
            )
        return self._known[template]


def _said(row: FoundWords) -> dict[str, object]:
    return {"words_engine": "lm-bff", "words_train_accuracy": row.score}
