"""Who reads examples, which of their fields, and who is told what can't be read."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple, Self

from promptlab.errors import PromptlabError
from promptlab.fields import Fields
from promptlab.seeding import seeded
from promptlab.text_classifier import TextClassifier
from promptlab.types import Example


class Reader(NamedTuple):
    """Who reads examples, before anything is trained, to refuse those that can't be read."""

    who: str
    encode: Callable[[Sequence[Example]], Any]

    @classmethod
    def of(cls, who: str, classifier: TextClassifier, classes: Sequence[str], examples: Sequence[Example]) -> Self:
        """An unfitted classifier on a loaded backbone, as it is before any training.

        Args:
            examples: the labelled ones, which templates with demonstrations show.

        Raises:
            PromptlabError: naming whose parts don't fit one another.
        """
        with named(who), seeded(classifier.seed):
            model = classifier.build(classifier._verbalizer(classes), examples, classifier.model.copy())
        return cls(who, partial(model.encode, max_length=classifier.max_length))

    def check(self, examples: Sequence[Example]) -> None:
        """Refuse examples that a template can't show, or that leave no room in the model.

        Raises:
            PromptlabError: naming who can't read one.
        """
        with named(self.who):
            self.encode(examples)


@contextmanager
def named(who: str) -> Iterator[None]:
    """Say in every error whose it is."""
    try:
        yield
    except PromptlabError as error:
        error.args = (f"{who}: {error}",)
        raise


def reduced(examples: Iterable[Example], fields: Iterable[str]) -> list[Example]:
    """Examples without the fields that nobody reads, which may hold anything."""
    names = list(fields)
    return [Example(Fields(example.fields).only(names), example.label) for example in examples]
