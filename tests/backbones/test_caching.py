from __future__ import annotations

import warnings

import pytest
import torch
from transformers import DynamicCache

from promptlab.backbones.caching import cache_of, read_on


class Old:
    def forward(self, input_ids, past_key_values=None, use_cache=False):
        return past_key_values, use_cache

    __call__ = forward


class New:
    def forward(self, input_ids, cache=None, use_cache=False, past_key_values=None):
        return cache, use_cache

    __call__ = forward


@pytest.mark.parametrize("model", [Old(), New()])
def test_a_cache_goes_in_under_the_name_that_the_model_has_for_it(model):
    assert read_on(model, "cache", input_ids="ids") == ("cache", True)


@pytest.mark.parametrize("name", ["cache", "past_key_values"])
def test_it_comes_out_under_either_name(name):
    assert cache_of({name: "cache", "last_hidden_state": "states"}) == "cache"


@torch.no_grad()
def test_a_text_read_in_two_parts_is_the_text_and_nothing_is_warned_of(causal_backbone):
    model, ids = causal_backbone.model.base_model, torch.tensor([[9, 11, 20, 12, 30]])

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        first = read_on(model, DynamicCache(), input_ids=ids[:, :3])
        second = read_on(model, cache_of(first), input_ids=ids[:, 3:], position_ids=torch.tensor([[3, 4]]))

    whole = model(input_ids=ids, use_cache=False).last_hidden_state
    torch.testing.assert_close(second.last_hidden_state, whole[:, 3:], atol=1e-5, rtol=1e-5)
