"""Predictions as rows of a table: what each estimator of texts takes as its ``table_rows``."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from promptlab.core.errors import UnsupportedError
from promptlab.core.types import Example

DIGITS = 6  # of a probability
AT_ONCE = 32  # texts that are written before the first is yielded


def label_rows(
    classifier: Any, examples: Iterable[Example], *, proba: bool = False, separator: str | None = None
) -> Iterator[dict[str, Any]]:
    """Yield the likeliest class of each example, and its probability; see ``TrainedEstimator.table_rows``."""
    for row, probabilities in _numbered(classifier, examples):
        best = int(probabilities.argmax())
        said = {"label": classifier.class_names_[best], "probability": _rounded(probabilities[best])}
        yield row | said | (_each(classifier, probabilities) if proba else {})


def label_set_rows(
    classifier: Any, examples: Iterable[Example], *, proba: bool = False, separator: str | None = None
) -> Iterator[dict[str, Any]]:
    """Yield all classes that hold for each example, as one text if there is a separator."""
    for row, probabilities in _numbered(classifier, examples):
        held = classifier.decide_names(probabilities)
        said = {"labels": held if separator is None else separator.join(held)}
        yield row | said | (_each(classifier, probabilities) if proba else {})


def text_rows(
    generator: Any, examples: Iterable[Example], *, proba: bool = False, separator: str | None = None
) -> Iterator[dict[str, Any]]:
    """Return the text that is written for each example.

    Raises:
        UnsupportedError: if probabilities are asked for.
    """
    if proba:
        raise UnsupportedError("it writes texts, which have no probabilities of classes; drop proba=True.")
    return _written(generator, enumerate(examples, start=1))


def _written(generator: Any, numbered: Iterator[tuple[int, Example]]) -> Iterator[dict[str, Any]]:
    while some := list(itertools.islice(numbered, AT_ONCE)):
        for (number, _), text in zip(some, generator.generate([example for _, example in some]), strict=True):
            yield {"row": number, "text": text}


def _numbered(classifier: Any, examples: Iterable[Example]) -> Iterator[tuple[dict[str, Any], np.ndarray]]:
    """Yield the number of each example in a row of its own, and its class probabilities, (classes,)."""
    classifier.ready()
    for number, probabilities in enumerate(classifier.iter_proba(examples), start=1):
        yield {"row": number}, probabilities


def _each(classifier: Any, probabilities: np.ndarray) -> dict[str, float]:
    """Return the probability of every class, by the names of columns."""
    return {f"p({name})": _rounded(p) for name, p in zip(classifier.class_names_, probabilities, strict=True)}


def _rounded(probability: float) -> float:
    return round(float(probability), DIGITS)
