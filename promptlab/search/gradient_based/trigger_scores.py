"""How good tokens in trigger slots are: the loss's gradient with respect to their vectors, and scores on examples."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from promptlab.core.interfaces import Backbone
from promptlab.core.types import Batch, MaskStates
from promptlab.models.inference import length_batches
from promptlab.search.gradient_based.triggers import SlotRows
from promptlab.verbalizers.manual import LabelWordHead

CPU_TOKENS = 1024  # in one forward pass: more would only mix texts of different length
GPU_TOKENS = 16_384
KEPT_TOKENS = 4096  # likewise at most, where activations are kept for the gradient
BLOCKS = 4  # of examples, the hardest first; more of them would mix short and long texts

Penalty = Callable[[LabelWordHead, MaskStates, Tensor], Tensor]


def word_losses(head: LabelWordHead, states: MaskStates, targets: Tensor) -> Tensor:
    """Mean over the target's label words of -log of the probability among the whole vocabulary, in nats, (batch,).

    Source: AutoPrompt, arXiv:2010.15980, section 2.1 and 2.2, where the words' probabilities are summed.

    Args:
        head: of a ``ManualVerbalizer`` with the mean of logits.
    """
    scores = head.combine(head.word_scores(states))  # (batch, classes)
    return states.logits()[:, 0].logsumexp(dim=-1) - scores.gather(1, targets[:, None])[:, 0]


def class_losses(head: LabelWordHead, states: MaskStates, targets: Tensor) -> Tensor:
    """-log of the target's probability among the classes, in nats, (batch,); reads the label words' logits only."""
    return F.nll_loss(head(states), targets, reduction="none")


def errors(head: LabelWordHead, states: MaskStates, targets: Tensor) -> Tensor:
    """1 where another class than the target is the likeliest, (batch,)."""
    return (head(states).argmax(dim=-1) != targets).float()


class TriggerVectors(nn.Module):
    """A table of soft tokens that stand for the trigger tokens: the leaf at which the gradient is taken."""

    rows: Tensor  # (slots, embedding)

    def forward(self) -> Tensor:
        return self.rows


class TriggerScores:
    """Gradients and scores of trigger tokens on one model.

    Args:
        backbone: a frozen model that may be changed: soft tokens are put into it.
        head: reads its label words.
        rows: encoded examples with trigger slots.
    """

    def __init__(self, backbone: Backbone, head: LabelWordHead, rows: SlotRows) -> None:
        self.backbone, self.head, self.rows = backbone, head, rows
        self.device = backbone.embedding_weight().device
        self.n_tokens = CPU_TOKENS if self.device.type == "cpu" else GPU_TOKENS
        self.vectors = TriggerVectors()
        backbone.embed_soft(self.vectors)

    def gradient(self, trigger: Sequence[int], rows: Sequence[int], losses: Penalty) -> Tensor:
        """Gradient of the summed loss with respect to the embedded trigger tokens, (slots, embedding).

        It is that of the embedded sequence, not of the embedding matrix; no weight has a gradient.

        Args:
            trigger: ids, one for each slot.
            rows: numbers of the examples.
            losses: of a batch, (batch,).
        """
        ids = torch.tensor(trigger, device=self.device)
        self.vectors.rows = self.backbone.model.get_input_embeddings()(ids).detach().requires_grad_()
        soft = self.backbone.vocabulary + torch.arange(len(ids), device=self.device)
        for some in self._chunks(rows, min(self.n_tokens, KEPT_TOKENS)):
            batch, places, targets = self._batch(some)
            states = self.backbone.mask_states_with(batch, places, soft[None])
            losses(self.head, states, targets).sum().backward()
        gradient = self.vectors.rows.grad
        assert gradient is not None
        return gradient

    @torch.inference_mode()
    def examine(self, trigger: Sequence[int], rows: Sequence[int], penalty: Penalty) -> tuple[float, list[list[int]]]:
        """The summed penalty of a trigger, and the examples in blocks, those that it finds hardest first."""
        total, hardness = 0.0, dict.fromkeys(rows, 0.0)
        current = torch.tensor([trigger], device=self.device)
        for some in self._chunks(rows, self.n_tokens):
            batch, places, targets = self._batch(some)
            states = self.backbone.mask_states_with(batch, places, current)
            total += penalty(self.head, states, targets).double().sum().item()
            hardness |= dict(zip(some, class_losses(self.head, states, targets).tolist()))
        hardest = sorted(rows, key=hardness.__getitem__, reverse=True)
        size = math.ceil(len(hardest) / BLOCKS)
        return total, [hardest[start : start + size] for start in range(0, len(hardest), size)]

    @torch.inference_mode()
    def penalties(
        self,
        trigger: Sequence[int],
        slot: int,
        tokens: Sequence[int],
        blocks: Sequence[Sequence[int]],
        penalty: Penalty,
        *,
        limit: float = math.inf,
    ) -> list[float]:
        """Summed penalty of each token in one slot, the others as they are; infinite from ``limit`` on.

        All tokens are tried in the same passes. Penalties only grow, so one that has reached the limit is tried no
        further.

        Args:
            blocks: numbers of the examples, one block tried after the other.
            penalty: of a batch, (batch,), at least 0.
        """
        totals, alive = [0.0] * len(tokens), list(range(len(tokens)))
        current = torch.tensor(trigger, device=self.device)
        left = [list(block) for block in blocks]
        while any(left) and alive:
            block = next(filter(None, left))
            some = self._chunks(block, self.n_tokens // len(alive))[0]
            block[:] = [row for row in block if row not in some]
            batch, places, targets = self._batch(some)
            batch.input_ids.scatter_(1, places, current.expand(len(some), -1))
            tried = torch.tensor([[tokens[i]] for i in alive], device=self.device)
            states = self.backbone.mask_states_with(batch, places[:, slot : slot + 1], tried)
            found = penalty(self.head, states, targets.repeat_interleave(len(alive)))
            for i, more in zip(alive, found.view(len(some), -1).double().sum(dim=0).tolist()):
                totals[i] += more
            alive = [i for i in alive if totals[i] < limit]
        return [total if i in alive else math.inf for i, total in enumerate(totals)]

    def _chunks(self, rows: Sequence[int], n_tokens: int) -> list[list[int]]:
        """Rows that go into one pass, of like length, so many tokens at most."""
        return length_batches(
            rows, lambda row: len(self.rows.encoded[row].input_ids), size=lambda longest: n_tokens // longest
        )

    def _batch(self, rows: Sequence[int]) -> tuple[Batch, Tensor, Tensor]:
        batch = self.backbone.collate([self.rows.encoded[row] for row in rows]).to(self.device)
        index = torch.tensor(rows)
        return batch, self.rows.places[index].to(self.device), self.rows.targets[index].to(self.device)


def ranked(weight: Tensor, gradient: Tensor, allowed: Tensor) -> list[int]:
    """Allowed tokens by the first-order decrease of the loss if they took a slot, the largest first.

    Source: AutoPrompt, arXiv:2010.15980, equation 2.

    Args:
        weight: embeddings, (vocabulary, embedding).
        gradient: of the loss with respect to the slot's vector, (embedding,).
        allowed: (vocabulary,), True for tokens that may be taken.
    """
    decrease = -(weight @ gradient)  # (vocabulary,)
    order = decrease.masked_fill(~allowed, -torch.inf).argsort(descending=True, stable=True)
    ids: list[int] = order[: int(allowed.sum())].tolist()
    return ids
