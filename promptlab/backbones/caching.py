"""Keys and values that are read once, under the names that transformers has for them (``cache`` since 5.24)."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import lru_cache

from torch import Tensor
from transformers import Cache, PreTrainedModel
from transformers.utils import ModelOutput


def read_on(model: PreTrainedModel, cache: Cache, **inputs: Tensor) -> ModelOutput:
    """What a model computes for inputs that follow the keys and values in a cache, which is added to."""
    return model(**inputs, **{_name(type(model).forward): cache}, use_cache=True)


def cache_of(output: ModelOutput) -> Cache:
    """The keys and values in a model's output."""
    return output["cache" if "cache" in output else "past_key_values"]


@lru_cache
def _name(forward: Callable[..., object]) -> str:
    """What a model calls its cache."""
    return "cache" if "cache" in inspect.signature(forward).parameters else "past_key_values"
