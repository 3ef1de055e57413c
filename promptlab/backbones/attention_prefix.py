"""Trainable keys and values before those of every attention layer.

An attention function of our own puts them there, so that positions, masks, caches and pooling of every model stay as
they are. Where they go is found by running the model once, not listed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import MethodType
from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from promptlab.core.tunable_backbone import KeysAndValues

NAME = "promptlab_prefix"
MARK = "promptlab_site"


class SiteShape(NamedTuple):
    """Keys and values of one attention call have the shape (heads, length, width)."""

    heads: int
    width: int


class Prefixes:
    """Hands each attention call of a forward pass its keys and values.

    Args:
        table: makes them for each site, in the order of the calls.
    """

    def __init__(self, table: KeysAndValues) -> None:
        self.table = table
        self.sites: list[Site] = []
        self.current: Sequence[tuple[Tensor, Tensor]] = ()

    def __getstate__(self) -> dict[str, object]:
        return {**vars(self), "current": ()}  # a copy has no part in this one's gradient

    def begin(self, module: nn.Module, inputs: object) -> None:
        """A forward pass starts: compute the table once for all layers."""
        self.current = self.table()
        for site in self.sites:
            site.calls = 0


class Site:
    """One attention module, with the numbers of its calls in a forward pass (several where layers are shared)."""

    def __init__(self, prefixes: Prefixes) -> None:
        self.prefixes = prefixes
        self.numbers: list[int] = []
        self.calls = 0

    def next(self, rows: int) -> tuple[Tensor, Tensor, Tensor | None]:
        """Keys and values of the next call, (rows, heads, length, width), and which count, (rows, 1, 1, length)."""
        number = self.numbers[self.calls % len(self.numbers)]
        self.calls += 1
        keys, values = self.prefixes.current[number]
        table = self.prefixes.table
        keys, values = (part.expand(rows, -1, -1, -1) for part in (keys, values))
        # in the rows, so that each has a mask of its own; and here, so that a layer computed again drops out the same
        return table.dropout(keys), table.dropout(values), table.visible


class Recorder:
    """Notes the attention calls of a forward pass."""

    active: Recorder | None = None

    def __init__(self) -> None:
        self.calls: list[tuple[nn.Module, SiteShape]] = []


def prefix_attention(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **options: object
) -> tuple[Tensor, Tensor | None]:
    """Scaled dot-product attention with the site's keys and values before the others, visible from everywhere."""
    if Recorder.active is not None:
        Recorder.active.calls.append((module, SiteShape(key.shape[1], key.shape[-1])))
    site: Site | None = getattr(module, MARK, None)
    if site is None:
        return sdpa_attention_forward(module, query, key, value, attention_mask, **options)
    keys, values, visible = site.next(len(key))
    n_query, n_key = query.shape[2], key.shape[2]
    is_causal = options.get("is_causal")
    is_causal = getattr(module, "is_causal", False) if is_causal is None else is_causal
    if attention_mask is None and is_causal and n_query > 1:  # the mask was left out, but with a prefix it is needed
        attention_mask = torch.ones(n_query, n_key, dtype=torch.bool, device=query.device).tril(n_key - n_query)[
            None, None
        ]
    if attention_mask is not None or visible is not None:
        attention_mask = _joined_mask(visible, attention_mask, (len(key), keys.shape[2], n_query, n_key), query)
    bias = options.get("position_bias")
    if isinstance(bias, Tensor):  # T5: the prefix has no position
        options["position_bias"] = torch.cat([bias.new_zeros((*bias.shape[:-1], keys.shape[2])), bias], dim=-1)
    key = torch.cat([keys.to(key.dtype), key], dim=2)
    value = torch.cat([values.to(value.dtype), value], dim=2)
    return sdpa_attention_forward(module, query, key, value, attention_mask, **{**options, "is_causal": False})


class HeadedAttention(Protocol):
    """An attention module of such a family."""

    num_attention_heads: int
    attention_head_size: int
    dropout: nn.Module


class OwnAttention(NamedTuple):
    """Attention that a family computes in a way of its own, without transformers' attention functions.

    Args:
        layer: class of the modules that do.
        forward: their forward pass with a prefix, which ends in ``attend``.
    """

    layer: type[HeadedAttention]
    forward: Callable[..., tuple[Tensor | None, ...]]

    def calls(self, model: nn.Module) -> list[tuple[nn.Module, SiteShape]]:
        """The modules in order, one call each."""
        found = (module for module in model.modules() if isinstance(module, self.layer))
        return [(module, SiteShape(module.num_attention_heads, module.attention_head_size)) for module in found]

    def replace(self, calls: Sequence[tuple[nn.Module, SiteShape]]) -> None:
        """From now on, the modules run the forward pass with a prefix."""
        for module, _ in calls:
            module.forward = MethodType(self.forward, module)


def attend(
    module: HeadedAttention, query: Tensor, value: Tensor, scores: Tensor, scale: float | Tensor
) -> tuple[Tensor, Tensor]:
    """Attention to the module's prefix, which has no position, and to the text.

    Args:
        query: (batch, heads, length, width), and so is ``value``.
        scores: of the text, scaled and masked, (batch, heads, length, length).
        scale: what a product of query and key is multiplied by.

    Returns:
        The context (batch, length, hidden) and the weights (batch, heads, length, prefix + length).
    """
    keys, values, visible = getattr(module, MARK).next(len(query))  # (batch, heads, prefix, width) each
    to_prefix = query @ keys.to(query.dtype).transpose(-1, -2) * scale  # (batch, heads, length, prefix)
    if visible is not None:
        to_prefix = to_prefix.masked_fill(~visible, torch.finfo(query.dtype).min)
    weights = module.dropout(torch.cat([to_prefix, scores], dim=-1).softmax(dim=-1))
    context = weights @ torch.cat([values.to(value.dtype), value], dim=2)
    return context.transpose(1, 2).flatten(2), weights


def _joined_mask(visible: Tensor | None, mask: Tensor | None, sizes: tuple[int, int, int, int], like: Tensor) -> Tensor:
    """The mask (rows or 1, 1, queries, prefix + keys) of a prefix of which all is seen, or what ``visible`` says."""
    rows, n_prefix, n_query, n_key = sizes
    if mask is None:
        mask = torch.ones(1, 1, n_query, n_key, dtype=torch.bool, device=like.device)
    if visible is None:
        before = mask.new_full((*mask.shape[:-1], n_prefix), mask.dtype == torch.bool)
        return torch.cat([before, mask], dim=-1)
    if mask.dtype != torch.bool:
        visible = torch.zeros_like(visible, dtype=mask.dtype).masked_fill(~visible, torch.finfo(mask.dtype).min)
    before = visible.expand(rows, mask.shape[1], n_query, n_prefix)
    return torch.cat([before, mask.expand(rows, -1, n_query, -1)], dim=-1)


def record_sites(model: PreTrainedModel, run: Callable[[], None]) -> list[tuple[nn.Module, SiteShape]]:
    """The attention calls of ``run()``, in order; the model uses ``prefix_attention`` from then on."""
    AttentionInterface.register(NAME, prefix_attention)
    AttentionMaskInterface.register(NAME, sdpa_mask)
    model.set_attn_implementation(NAME)
    Recorder.active = recorder = Recorder()
    try:
        with torch.no_grad():
            run()
    finally:
        Recorder.active = None
    return recorder.calls


def attach_prefixes(
    calls: Sequence[tuple[nn.Module, SiteShape]], stacks: Sequence[nn.Module], table: KeysAndValues
) -> None:
    """Give the recorded calls the keys and values that ``table()`` returns, in the same order."""
    prefixes = Prefixes(table)
    for number, (module, _) in enumerate(calls):
        site = getattr(module, MARK, None)
        if site is None or site.prefixes is not prefixes:
            site = Site(prefixes)
            prefixes.sites.append(site)
            setattr(module, MARK, site)
        site.numbers.append(number)
    for stack in stacks:
        stack.register_forward_pre_hook(prefixes.begin)
