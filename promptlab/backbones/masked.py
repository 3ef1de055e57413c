"""Masked language models: the answer stands at the mask."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from promptlab.backbones.base import TransformerBackbone, by_length
from promptlab.backbones.families import HeadLayout
from promptlab.core.types import Batch, MaskStates


class MaskedBackbone(TransformerBackbone):
    """A masked language model: the answer stands at the mask.

    An answer of k tokens takes k masks, which are filled one after the other, the likeliest first (``max-first``), from
    left to right, or all from one look (``parallel``).

    Source: PET, arXiv:2001.07676; answers of several tokens: arXiv:2009.07118, section 3.1.
    """

    auto_class = "AutoModelForMaskedLM"
    decodings = ("max-first", "left-to-right", "parallel")

    @cached_property
    def layout(self) -> HeadLayout:
        """Where the head's parts are."""
        return self.find_layout()

    def find_layout(self) -> HeadLayout:
        """The head's layout; a subclass may look for it in the model."""
        assert self.family.head is not None
        return self.family.head

    def hidden_states(self, batch: Batch) -> Tensor:
        inputs = {"input_ids": batch.input_ids, "attention_mask": batch.attention_mask}
        if getattr(self.model.config, "type_vocab_size", 0) > 1:
            inputs["token_type_ids"] = batch.segment_ids
        return self.model.base_model(**inputs).last_hidden_state  # (batch, length, hidden)

    def mask_states(self, batch: Batch) -> MaskStates:
        return self.states_at(self.hidden_states(batch), batch.mask_index)

    def string_log_probs(self, batch: Batch, strings: Sequence[Sequence[int]], *, decoding: str) -> Tensor:
        if decoding == "parallel":
            return self._all_at_once(batch, strings)
        columns: dict[int, Tensor] = {}
        for length, numbers in by_length(strings):
            resized = resize_slot(batch, length)
            first = self.mask_states(resized).logits().log_softmax(dim=-1)  # shared by the strings of this length
            for number in numbers:
                columns[number] = self._fill(resized, first, strings[number], decoding)
        return torch.stack([columns[number] for number in range(len(strings))], dim=1)

    def _all_at_once(self, batch: Batch, strings: Sequence[Sequence[int]]) -> Tensor:
        """One forward pass with as many masks as the longest string has, as in PET's training."""
        resized = resize_slot(batch, max(map(len, strings)))
        log_probs = self.mask_states(resized).logits().log_softmax(dim=-1)  # (batch, masks, vocabulary)
        return torch.stack([log_probs[:, range(len(s)), list(s)].sum(dim=1) for s in strings], dim=1)

    def _fill(self, batch: Batch, log_probs: Tensor, string: Sequence[int], decoding: str) -> Tensor:
        """Log-probability (batch,) of one string whose tokens are written in one by one."""
        tokens = torch.tensor(string, device=log_probs.device)  # (k,)
        total = log_probs.new_zeros(len(log_probs))
        filled = torch.zeros_like(batch.mask_index, dtype=torch.bool)  # (batch, k)
        input_ids = batch.input_ids
        for step in range(len(string)):
            here = log_probs[:, range(len(string)), tokens]  # (batch, k)
            if decoding == "max-first":
                place = here.masked_fill(filled, -torch.inf).argmax(dim=1, keepdim=True)  # (batch, 1)
            else:
                place = torch.full_like(batch.mask_index[:, :1], step)
            total = total + here.gather(1, place).squeeze(1)
            if step + 1 < len(string):
                filled = filled.scatter(1, place, True)
                input_ids = input_ids.scatter(1, batch.mask_index.gather(1, place), tokens[place])
                states = self.mask_states(replace(batch, input_ids=input_ids))
                log_probs = states.logits().log_softmax(dim=-1)
        return total

    def above(self, layers: Sequence[nn.Module]) -> Sequence[nn.Module]:
        head = [self.model.get_submodule(path) for path in self.layout.transform if path != "gelu"]
        return [*super().above(layers), *head]

    def transform(self, hidden: Tensor) -> Tensor:
        for path in self.layout.transform:
            step: Callable[[Tensor], Tensor] = F.gelu if path == "gelu" else self.model.get_submodule(path)
            hidden = step(hidden)
        return hidden

    def decoder(self) -> tuple[Tensor, Tensor | None]:
        layer = self.model.get_submodule(self.layout.decoder)
        return layer.weight, layer.bias


def resize_slot(batch: Batch, n_masks: int) -> Batch:
    """The batch with another number of masks at its one slot; what stands after it moves."""
    old = batch.mask_index.shape[1]
    if old == n_masks:
        return batch
    length = batch.input_ids.shape[1] + n_masks - old
    place = torch.arange(length, device=batch.input_ids.device).expand(len(batch.input_ids), length)
    first = batch.mask_index[:, :1]
    after = place >= first + n_masks
    source = torch.where(after, place - n_masks + old, torch.minimum(place, first))  # every mask is a copy of the first
    return replace(
        batch,
        input_ids=batch.input_ids.gather(1, source),
        attention_mask=batch.attention_mask.gather(1, source),
        segment_ids=batch.segment_ids.gather(1, source),
        mask_index=first + torch.arange(n_masks, device=first.device),
    )
