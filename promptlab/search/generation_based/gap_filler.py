"""A masked language model that fills gaps of masks with one text for all examples, from left to right."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional as F

from promptlab.backbones.masked import MaskedBackbone
from promptlab.core.types import Batch, Encoded
from promptlab.models.inference import length_batches
from promptlab.search.generation_based.joint_beam import State, at_once, expand


class GapFiller:
    """Examples with a gap of masks, the label word of each, and a second gap.

    Args:
        prompts: each with masks where gaps and label word stand.
        words: the label word's token of each.
        gaps: the lengths of both gaps.
    """

    def __init__(
        self, backbone: MaskedBackbone, prompts: Sequence[Encoded], words: Sequence[int], gaps: tuple[int, int]
    ) -> None:
        self.backbone = backbone
        self.device = next(backbone.parameters()).device
        self.mask_id = backbone.encoder.mask_id
        self.rows = list(zip(prompts, words, strict=True))
        self.columns = [*range(gaps[0]), *range(gaps[0] + 1, sum(gaps) + 1)]  # of the gaps' masks among the slot's
        self.word_column = gaps[0]

    def fill(self, allowed: Callable[[tuple[int, ...]], Tensor], width: int) -> list[State]:
        """The texts with the highest mean log-probability, each token given those to its left and open masks.

        Args:
            allowed: which tokens (vocabulary,) may follow some.
            width: texts kept at each step.
        """
        states = [State()]
        for column in self.columns:
            log_probs = self._predicted([state.tokens for state in states], column)
            masks = torch.stack([allowed(state.tokens) for state in states]).to(log_probs.device)
            log_probs = F.pad(log_probs.masked_fill(~masks, -torch.inf), (0, 1), value=-torch.inf)  # no gap is closed
            states = [state for state, _ in expand(states, log_probs, width)]
        return states

    def pseudo_log_prob(self, tokens: Sequence[int]) -> float:
        """Mean log-probability of each token of the gaps and of the label word when only it is masked, in nats."""
        total = sum(self._masked_in_turn(tokens, column) for column in sorted([*self.columns, self.word_column]))
        return total / (len(tokens) + 1)

    @torch.inference_mode()
    def _predicted(self, texts: Sequence[Sequence[int]], column: int) -> Tensor:
        """Mean log-probabilities at one mask, the texts written in: (texts, vocabulary)."""
        total = torch.zeros(1, dtype=torch.double, device=self.device)
        filled = torch.tensor([list(text) for text in texts], dtype=torch.long, device=self.device)  # (texts, k)
        for batch in self._batches(len(texts)):
            n = len(batch.input_ids)
            at = batch.mask_index[:, self.columns[: filled.shape[1]]]  # (rows, k)
            ids = batch.input_ids.repeat_interleave(len(texts), dim=0)
            ids = ids.scatter(1, at.repeat_interleave(len(texts), dim=0), filled.repeat(n, 1))
            log_probs = self._log_probs(batch, ids, column, len(texts))
            total = total + log_probs.unflatten(0, (n, len(texts))).sum(dim=0).double()
        return total / len(self.rows)

    @torch.inference_mode()
    def _masked_in_turn(self, tokens: Sequence[int], column: int) -> float:
        total = 0.0
        for batch in self._batches(1):
            ids = batch.input_ids
            said = torch.tensor(list(tokens), dtype=torch.long, device=self.device).expand(len(ids), -1)
            at = batch.mask_index[:, self.columns]
            ids = ids.scatter(1, at, said)
            place = batch.mask_index[:, column : column + 1]  # (rows, 1)
            right = ids.gather(1, place)
            log_probs = self._log_probs(batch, ids.scatter(1, place, self.mask_id), column, 1)
            total += log_probs.gather(1, right).sum().double().item()
        return total / len(self.rows)

    def _log_probs(self, batch: Batch, ids: Tensor, column: int, times: int) -> Tensor:
        """At one mask, (rows * times, vocabulary)."""
        larger = replace(
            batch,
            input_ids=ids,
            attention_mask=batch.attention_mask.repeat_interleave(times, dim=0),
            segment_ids=batch.segment_ids.repeat_interleave(times, dim=0),
            mask_index=batch.mask_index[:, column : column + 1].repeat_interleave(times, dim=0),
        )
        log_probs: Tensor = self.backbone.mask_states(larger).logits()[:, 0].log_softmax(dim=-1)
        return log_probs

    def _batches(self, times: int) -> Iterator[Batch]:
        """Batches of rows of like length, the label words written in, that fit into memory ``times`` over."""
        vocabulary = self.backbone.decoder()[0].shape[0]
        for some in length_batches(
            self.rows, lambda row: len(row[0].input_ids), size=lambda longest: at_once(longest, vocabulary) // times
        ):
            batch = self.backbone.collate([row for row, _ in some]).to(self.device)
            words = torch.tensor([[word] for _, word in some], device=self.device)
            place = batch.mask_index[:, self.word_column : self.word_column + 1]
            batch.input_ids = batch.input_ids.scatter(1, place, words)
            yield batch
