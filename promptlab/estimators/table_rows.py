"""Predictions as rows of a table: what each estimator of texts takes as its ``table_rows``."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol

import numpy as np

from promptlab.core.errors import UnsupportedError
from promptlab.core.inputs import Texts
from promptlab.core.types import Example

DIGITS = 6  # of a probability
AT_ONCE = 32  # texts that are written before the first is yielded


class ScoresClasses(Protocol):
    """A classifier."""

    @property
    def class_names_(self) -> Sequence[str]:
        """The names of its classes."""

    def ready(self) -> object:
        """Return what predicts."""

    def iter_proba(self, examples: Iterable[Example]) -> Iterator[np.ndarray]:
        """Yield class probabilities of one example after the other."""


class DecidesClasses(ScoresClasses, Protocol):
    """A classifier of several labels."""

    def decide_names(self, probabilities: np.ndarray) -> list[str]:
        """Return the names of the classes that hold."""


class WritesTexts(Protocol):
    """What writes a text for each example."""

    def generate(self, X: Texts) -> list[str]:
        """Write the text of each."""


def label_rows(
    classifier: ScoresClasses, examples: Iterable[Example], *, proba: bool = False, separator: str | None = None
) -> Iterator[dict[str, object]]:
    """Yield the likeliest class of each example, and its probability; see ``TrainedEstimator.table_rows``."""
    for row, probabilities in _numbered(classifier, examples):
        best = int(probabilities.argmax())
        said = {"label": classifier.class_names_[best], "probability": _rounded(probabilities[best])}
        yield row | said | (_each(classifier, probabilities) if proba else {})


def label_set_rows(
    classifier: DecidesClasses, examples: Iterable[Example], *, proba: bool = False, separator: str | None = None
) -> Iterator[dict[str, object]]:
    """Yield all classes that hold for each example, as one text if there is a separator."""
    for row, probabilities in _numbered(classifier, examples):
        held = classifier.decide_names(probabilities)
        said = {"labels": held if separator is None else separator.join(held)}
        yield row | said | (_each(classifier, probabilities) if proba else {})


def text_rows(
    generator: WritesTexts, examples: Iterable[Example], *, proba: bool = False, separator: str | None = None
) -> Iterator[dict[str, object]]:
    """Return the text that is written for each example.

    Raises:
        UnsupportedError: if probabilities are asked for.
    """
    if proba:
        raise UnsupportedError("it writes texts, which have no probabilities of classes; drop proba=True.")
    return _written(generator, enumerate(examples, start=1))


def _written(generator: WritesTexts, numbered: Iterator[tuple[int, Example]]) -> Iterator[dict[str, object]]:
    while some := list(itertools.islice(numbered, AT_ONCE)):
        for (number, _), text in zip(some, generator.generate([example for _, example in some]), strict=True):
            yield {"row": number, "text": text}


def _numbered(classifier: ScoresClasses, examples: Iterable[Example]) -> Iterator[tuple[dict[str, object], np.ndarray]]:
    """Yield the number of each example in a row of its own, and its class probabilities, (classes,)."""
    classifier.ready()
    for number, probabilities in enumerate(classifier.iter_proba(examples), start=1):
        yield {"row": number}, probabilities


def _each(classifier: ScoresClasses, probabilities: np.ndarray) -> dict[str, float]:
    """Return the probability of every class, by the names of columns."""
    return {f"p({name})": _rounded(p) for name, p in zip(classifier.class_names_, probabilities, strict=True)}


def _rounded(probability: float) -> float:
    return round(float(probability), DIGITS)
