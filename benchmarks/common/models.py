"""The models that benchmarks run, and a baseline without one."""

from __future__ import annotations

import functools
from typing import Any

from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.pipeline import Pipeline, make_pipeline

from promptlab import load_backbone

MODEL = "minilm"
GENERATOR = "smollm2"  # writes; after ``promptlab download smollm2``


def fresh(name: str) -> Any:
    """Return a backbone of its own."""
    return load_backbone(name)


@functools.cache
def loaded(name: str) -> Any:
    """Return a backbone that is loaded once; processes that part later share it."""
    return fresh(name)


def word_counts(classifier: Any) -> Pipeline:
    """Return scikit-learn's classifier behind words and pairs of words, weighted by TF-IDF."""
    return make_pipeline(TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True), classifier)
