"""Encoder-decoder models that fill gaps: the examples' encoder states once, many beams on them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface, EncoderDecoderCache
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from promptlab.backbones.caching import cache_of, read_on
from promptlab.core.interfaces import Backbone
from promptlab.models.inference import length_batches
from promptlab.search.generation_based.joint_beam import CLOSE, NextTokenModel, State, at_once

NAME = "promptlab_beams"


class Infill(NamedTuple):
    """An example whose gaps are to be filled.

    Args:
        input_ids: what the encoder reads.
        prefix: what the decoder has before the first gap.
        closers: for each gap, the ids any of which ends it; the decoder goes on from the first of them.
    """

    input_ids: Sequence[int]
    prefix: Sequence[int]
    closers: Sequence[Sequence[int]]


class InfillNextTokens(NextTokenModel):
    """Reads all states of all examples, one token each, going on from the decoder's keys and values.

    Args:
        backbone: a copy that may be changed: the beams of an example then share its keys and values of the encoder.
        rows: the examples; they are read in groups of one length of the prefix.
        width: states at most.
    """

    def __init__(self, backbone: Backbone, rows: Sequence[Infill], width: int) -> None:
        AttentionInterface.register(NAME, beam_attention)
        AttentionMaskInterface.register(NAME, sdpa_mask)
        backbone.model.set_attn_implementation(NAME)
        self.backbone = backbone
        self.n_rows = len(rows)
        self.vocabulary = backbone.decoder()[0].shape[0]
        self.groups = [GapGroup(backbone, some) for some in self._grouped(rows, width)]

    @torch.inference_mode()
    def read(self, states: Sequence[State], parents: Sequence[int]) -> Tensor:
        total = torch.zeros(1, dtype=torch.double, device=self.groups[0].mask.device)
        for group in self.groups:
            hidden = group.read(states, parents)  # (rows, states, hidden)
            log_probs = self.backbone.project(self.backbone.transform(hidden)).log_softmax(dim=-1)
            closers = group.closers[:, [state.n_closed for state in states]]  # (rows, states, ids)
            ends = log_probs.gather(2, closers)
            total = total + torch.cat([log_probs.sum(dim=0), ends.sum(dim=0)], dim=-1).double()
        mean = total / self.n_rows
        log_probs, ends = mean[:, : self.vocabulary], mean[:, self.vocabulary :]
        return torch.cat([log_probs, ends.amax(dim=-1, keepdim=True)], dim=-1)

    def _grouped(self, rows: Sequence[Infill], width: int) -> list[list[Infill]]:
        """Rows of one length of the prefix, of like length of the input, as many as fit into memory."""
        return length_batches(
            rows,
            lambda row: len(row.input_ids),
            size=lambda longest: min(at_once(1, self.vocabulary) // width, at_once(longest, 1)),
            group=lambda row: len(row.prefix),
        )


class GapGroup:
    """Examples with prefixes of one length."""

    def __init__(self, backbone: Backbone, rows: Sequence[Infill]) -> None:
        device = next(backbone.parameters()).device
        self.decoder = backbone.model.get_decoder()
        length = max(len(row.input_ids) for row in rows)
        ids = torch.tensor([[*row.input_ids, *[0] * (length - len(row.input_ids))] for row in rows], device=device)
        n_tokens = torch.tensor([len(row.input_ids) for row in rows], device=device)
        self.mask = (torch.arange(length, device=device) < n_tokens[:, None]).long()  # (rows, length)
        with torch.inference_mode():
            self.encoded = backbone.model.get_encoder()(input_ids=ids, attention_mask=self.mask).last_hidden_state
        self.prefix = torch.tensor([list(row.prefix) for row in rows], device=device)
        n_ways = max(len(gap) for row in rows for gap in row.closers)
        closers = [[[*gap, *gap[:1] * (n_ways - len(gap))] for gap in map(list, row.closers)] for row in rows]
        self.closers = torch.tensor(closers, device=device)  # (rows, gaps, ways to end)
        self.cache: EncoderDecoderCache | None = None
        self.n_states = 1

    def read(self, states: Sequence[State], parents: Sequence[int]) -> Tensor:
        """Last hidden states of the decoder, (rows, states, hidden)."""
        n_rows = len(self.prefix)
        if self.cache is None:
            ids = self.prefix
        else:
            start = self.n_states * torch.arange(n_rows, device=self.prefix.device)
            kept = (start[:, None] + torch.tensor(parents, device=self.prefix.device)).flatten()
            self.cache.self_attention_cache.batch_select_indices(kept)
            ids = self._last(states).reshape(-1, 1)
        output = read_on(
            self.decoder,
            self.cache,
            input_ids=ids,
            encoder_hidden_states=self.encoded,
            encoder_attention_mask=self.mask,
        )
        self.cache, self.n_states = cache_of(output), len(states)
        return output.last_hidden_state[:, -1].unflatten(0, (n_rows, len(states)))

    def _last(self, states: Sequence[State]) -> Tensor:
        """The last token of each state in each row, (rows, states); at the end of a gap it differs from row to row."""
        columns = [
            self.closers[:, state.n_closed - 1, 0]
            if state.tokens[-1] == CLOSE
            else torch.full_like(self.closers[:, 0, 0], state.tokens[-1])
            for state in states
        ]
        return torch.stack(columns, dim=1)


def beam_attention(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **options: object
) -> tuple[Tensor, Tensor | None]:
    """Attention in which several rows of queries, one token each, look at the same row of keys and values."""
    times = len(query) // len(key)
    if times == 1:
        return sdpa_attention_forward(module, query, key, value, attention_mask, **options)
    folded = query[:, :, 0].unflatten(0, (len(key), times)).transpose(1, 2)  # (rows, heads, times, width)
    output, weights = sdpa_attention_forward(
        module, folded, key, value, attention_mask, **{**options, "is_causal": False}
    )
    return output.flatten(0, 1)[:, None], weights  # (rows * times, 1, heads, width)
