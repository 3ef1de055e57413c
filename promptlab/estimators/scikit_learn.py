"""scikit-learn's base classes; it ships no types, which ``scikit_learn.pyi`` gives them."""

from __future__ import annotations

from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.utils import Tags

__all__ = ["BaseEstimator", "ClassifierMixin", "RegressorMixin", "Tags"]
