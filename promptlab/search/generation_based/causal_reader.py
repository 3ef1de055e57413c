"""A causal model that goes on after prompts: each prompt is read once, all beams share its keys and values."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import DynamicCache

from promptlab.backbones.caching import read_on
from promptlab.core.interfaces import Backbone
from promptlab.models.inference import length_batches
from promptlab.search.generation_based.joint_beam import NextTokenModel, State, at_once


class CausalNextTokens(NextTokenModel):
    """Reads all states of all prompts, one token each.

    The tokens of all states stand one after the other behind a prompt's own keys and values; a mask says which of them
    each sees, so that nothing is copied when a state goes on in several ways.

    Args:
        prompts: token ids of each.
        answers: the token that ends each prompt's gap.
        width: states at most.
    """

    def __init__(
        self, backbone: Backbone, prompts: Sequence[Sequence[int]], answers: Sequence[int], width: int
    ) -> None:
        self.backbone = backbone
        self.n_prompts = len(prompts)
        vocabulary = backbone.decoder()[0].shape[0]
        batches = length_batches(
            zip(prompts, answers, strict=True),
            lambda row: len(row[0]),
            size=lambda longest: min(at_once(1, vocabulary) // width, at_once(longest, 1)),
        )
        self.groups = [PromptGroup(backbone, some) for some in batches]
        self.ancestors: list[list[int]] = []  # of each state, the numbers of its tokens among those read

    @torch.inference_mode()
    def read(self, states: Sequence[State], parents: Sequence[int]) -> Tensor:
        n_read = self.groups[0].n_read
        if states[0].tokens:
            self.ancestors = [[*self.ancestors[p], n_read + i] for i, p in enumerate(parents)]
        else:
            self.ancestors = [[]]
        total = torch.zeros(1, dtype=torch.double, device=self.groups[0].mask.device)
        for group in self.groups:
            hidden = group.read(states, self.ancestors)  # (prompts, states, hidden)
            log_probs = self.backbone.project(self.backbone.transform(hidden)).log_softmax(dim=-1)
            ends = log_probs.gather(2, group.answers[:, None, None].expand(-1, len(states), 1))
            total = total + torch.cat([log_probs, ends], dim=-1).sum(dim=0).double()
        return total / self.n_prompts


class PromptGroup:
    """Prompts of like length, padded on the right."""

    def __init__(self, backbone: Backbone, rows: Sequence[tuple[Sequence[int], int]]) -> None:
        device = next(backbone.parameters()).device
        self.model = backbone.model.base_model
        length = max(len(ids) for ids, _ in rows)
        ids = torch.tensor([[*ids, *[0] * (length - len(ids))] for ids, _ in rows], device=device)
        self.answers = torch.tensor([answer for _, answer in rows], device=device)
        self.lengths = torch.tensor([len(ids) for ids, _ in rows], device=device)
        self.mask = torch.arange(length, device=device) < self.lengths[:, None]  # (prompts, length)
        self.cache = DynamicCache()
        self.n_read = 0  # tokens after each prompt, of all states
        with torch.inference_mode():
            output = read_on(self.model, self.cache, input_ids=ids, attention_mask=self.mask.long())
            hidden = output.last_hidden_state  # (prompts, length, hidden)
            self.first = hidden[torch.arange(len(rows), device=device), self.lengths - 1][
                :, None
            ]  # (prompts, 1, hidden)

    def read(self, states: Sequence[State], ancestors: Sequence[Sequence[int]]) -> Tensor:
        """Last hidden states, (prompts, states, hidden)."""
        if not states[0].tokens:
            return self.first
        device, n_prompts, n_states = self.mask.device, len(self.mask), len(states)
        self.n_read += n_states
        seen = torch.zeros(n_states, self.n_read, dtype=torch.bool)
        for row, numbers in enumerate(ancestors):
            seen[row, numbers] = True
        may_look = torch.cat(
            [
                self.mask[:, None].expand(-1, n_states, -1),
                seen.to(device).expand(n_prompts, -1, -1),
            ],
            dim=-1,
        )  # (prompts, states, length + read)
        # A mask of numbers, since eager attention adds it to its scores, and takes True for 1.
        mask = torch.zeros_like(may_look, dtype=self.model.dtype)
        mask.masked_fill_(~may_look, torch.finfo(mask.dtype).min)
        depth = len(states[0].tokens) - 1
        return read_on(
            self.model,
            self.cache,
            input_ids=torch.tensor([state.tokens[-1] for state in states], device=device).expand(n_prompts, -1),
            attention_mask=mask[:, None],
            position_ids=(self.lengths[:, None] + depth).expand(-1, n_states),
        ).last_hidden_state
