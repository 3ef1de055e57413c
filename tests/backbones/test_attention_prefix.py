from __future__ import annotations

import copy

import torch
from torch import nn

from promptlab.backbones.attention_prefix import Prefixes, Site, prefix_attention


class Table(nn.Module):
    """Keys and values of two calls: zeros and ones."""

    visible, dropout = None, nn.Identity()

    def forward(self):
        return [(torch.full((1, 2, 3), float(i)), torch.full((1, 2, 3), -float(i))) for i in range(2)]


def test_a_copy_has_no_part_in_the_gradient_of_a_pass():
    prefixes, weight = Prefixes(lambda: [(2 * weight, 3 * weight)]), torch.ones(1, 2, 3, requires_grad=True)
    prefixes.begin(nn.Identity(), ())

    assert copy.deepcopy(prefixes).current == ()
    assert prefixes.current[0][0].requires_grad


def test_a_pass_that_broke_off_leaves_the_next_one_its_calls():
    prefixes = Prefixes(Table())
    site = Site(prefixes)  # of layers that share their weights, which call it twice
    prefixes.sites, site.numbers = [site], [0, 1]
    prefixes.begin(site, ())
    site.next(1)

    prefixes.begin(site, ())

    assert [site.next(4)[0].unique().tolist() for _ in range(2)] == [[0.0], [1.0]]


def test_a_query_sees_the_prefix_and_the_keys_up_to_its_own_place_where_no_mask_is_given():
    torch.manual_seed(0)
    module, prefixes = nn.Module(), Prefixes(Table())
    module.promptlab_site = site = Site(prefixes)
    prefixes.sites, site.numbers = [site], [1]  # keys of ones, values of minus ones
    prefixes.begin(module, ())
    query, key, value = (
        torch.randn(1, 1, 2, 3),
        torch.randn(1, 1, 5, 3),
        torch.randn(1, 1, 5, 3),
    )  # 3 keys are a cache's

    found = prefix_attention(module, query, key, value, None, is_causal=True, scaling=1.0)[0]  # (1, queries, 1, width)

    before = torch.ones(2, 3)
    for place in range(2):
        keys = torch.cat([before, key[0, 0, : 3 + place + 1]])
        values = torch.cat([-before, value[0, 0, : 3 + place + 1]])
        expected = (keys @ query[0, 0, place]).softmax(dim=0) @ values
        torch.testing.assert_close(found[0, place, 0], expected)
