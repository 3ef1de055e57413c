"""How the words of a class count together."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from promptlab.core.errors import VerbalizerError


def mean_logit(logits: Tensor, valid: Tensor) -> Tensor:
    """Mean over a class's words of the mask logit: (batch, classes, words) → (batch, classes). PET's code."""
    return logits.masked_fill(~valid, 0.0).sum(dim=-1) / valid.sum(dim=-1)


def max_logit(logits: Tensor, valid: Tensor) -> Tensor:
    """The logit of a class's likeliest word."""
    return logits.masked_fill(~valid, -torch.inf).amax(dim=-1)


def sum_prob(logits: Tensor, valid: Tensor) -> Tensor:
    """Log of the summed probability of a class's words. AutoPrompt, arXiv:2010.15980, section 2.1."""
    return logits.masked_fill(~valid, -torch.inf).logsumexp(dim=-1)


def mean_prob(logits: Tensor, valid: Tensor) -> Tensor:
    """Log of the mean probability of a class's words, so that a class doesn't gain by having more of them."""
    return sum_prob(logits, valid) - valid.sum(dim=-1).log()


AGGREGATES: Mapping[str, Callable[[Tensor, Tensor], Tensor]] = {
    "mean-logit": mean_logit,
    "max-logit": max_logit,
    "sum-prob": sum_prob,
    "mean-prob": mean_prob,
}


def check_aggregate(name: str) -> None:
    """Refuse what is none of ``AGGREGATES``.

    Raises:
        VerbalizerError: if it is none.
    """
    if name not in AGGREGATES:
        raise VerbalizerError(f"unknown aggregate {name!r}; known: {', '.join(AGGREGATES)}.")
