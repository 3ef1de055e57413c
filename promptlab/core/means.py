"""Means of losses in which rows count by weights of their own."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def weighted_mean(losses: Tensor, weights: Tensor | None = None) -> Tensor:
    """Σ w l / Σ w, as ``torch.nn.CrossEntropyLoss(weight=…)`` has it; the plain mean without weights.

    Args:
        losses: of each row, (rows,), or of each of its terms, (rows, terms).
        weights: from 0, of each row, (rows,), or of each term like the losses. Where all are 0, the mean is 0.
    """
    if weights is None:
        return losses.mean()
    from torch import finfo

    each = weights if weights.ndim == losses.ndim else weights[:, None].expand_as(losses)
    return (losses * each).sum() / each.sum().clamp(min=finfo(each.dtype).tiny)
