"""The models that benchmarks run, and a baseline without one."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.pipeline import make_pipeline

from promptlab import load_backbone
from promptlab.core.types import Example

MODEL = "minilm"
GENERATOR = "smollm2"  # writes; after ``promptlab download smollm2``


def fresh(name: str) -> Any:
    """Return a backbone of its own."""
    return load_backbone(name)


@functools.cache
def loaded(name: str) -> Any:
    """Return a backbone that is loaded once; processes that part later share it."""
    return fresh(name)


class TfidfBaseline:
    """scikit-learn's classifier behind words and pairs of words, weighted by TF-IDF.

    Args:
        targets: gives what the classifier learns of examples.
    """

    def __init__(self, classifier: Any, targets: Callable[[Sequence[Example]], Any]) -> None:
        self.pipeline = make_pipeline(TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True), classifier)
        self.targets = targets

    def fit(self, train: Sequence[Example], eval_set: Any = None) -> TfidfBaseline:
        self.pipeline.fit(texts_of(train), self.targets(train))
        return self

    def predict(self, examples: Sequence[Example]) -> np.ndarray:
        return self.pipeline.predict(texts_of(examples))

    def predict_proba(self, examples: Sequence[Example]) -> np.ndarray:
        return self.pipeline.predict_proba(texts_of(examples))


def texts_of(examples: Sequence[Example]) -> list[Any]:
    return [example.fields["text_a"] for example in examples]
