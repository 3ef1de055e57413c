from typing import Protocol, Self

from promptlab.core.inputs import Labels, Texts, Weights

class InputTags(Protocol):
    two_d_array: bool
    string: bool

class ClassifierTags(Protocol):
    multi_label: bool

class Tags(Protocol):
    input_tags: InputTags
    classifier_tags: ClassifierTags

class BaseEstimator:
    def get_params(self, deep: bool = True) -> dict[str, object]: ...
    def set_params(self, **params: object) -> Self: ...
    def __sklearn_tags__(self) -> Tags: ...

class ClassifierMixin:
    def __sklearn_tags__(self) -> Tags: ...

class RegressorMixin:
    def score(self, X: Texts, y: Labels | None = None, sample_weight: Weights | None = None) -> float: ...
    def __sklearn_tags__(self) -> Tags: ...
