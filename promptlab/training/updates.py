"""One update of what is trained, by batches that may be too large to be seen at once."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from promptlab.core.errors import TuningError
from promptlab.models.trainable_model import Seen, TrainableModel
from promptlab.training.settings import TrainingSettings

if TYPE_CHECKING:
    from accelerate import Accelerator


def update(
    accelerator: Accelerator,
    model: TrainableModel[Seen],
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    batches: Sequence[Seen],
    *,
    limit: float,
    separate: Sequence[nn.Module] = (),
) -> Tensor:
    """Make one update with the gradient of the loss of all batches together, and return that loss, ().

    The loss is the weighted mean over all that the batches hold. ``model.loss(batch)`` is the weighted mean of one
    batch, Σ w l / Σ w, and ``model.loss_weights(batch)`` says Σ w, so that batches count in proportion to it. What w
    counts is the model's own affair: rows, words, tokens, or rows with weights of their own. A batch in which all
    weights are 0 must return a finite loss. A loss that is the sum of several means returns them, and their weights,
    (terms,) each.

    Args:
        network: the model as accelerate prepared it, whose forward pass is its loss, and ``optimizer`` likewise.
        batches: as ``model.prepare`` returns them.
        limit: norm to which a larger gradient of the whole update is scaled down.
        separate: parts that share no trained weight; each one's gradient is clipped by itself.
    """
    losses: list[Tensor] = []
    for batch, share in zip(batches, _shares(accelerator, [model.loss_weights(batch) for batch in batches])):
        with nullcontext() if len(losses) == len(batches) - 1 else accelerator.no_sync(network):
            loss = network(batch)
            loss = (loss * share.to(loss.device)).sum()
            accelerator.backward(loss)
        losses.append(loss.detach())
    _clip(accelerator, network, separate, limit)
    optimizer.step()
    optimizer.zero_grad()
    return torch.stack(losses).sum()


def _shares(accelerator: Accelerator, weights: Sequence[Tensor]) -> Tensor:
    """Share of each batch in an update, (batches,) or (batches, terms).

    Of several processes, each one's gradient counts alike, so the total is the mean of theirs.
    """
    own = torch.stack(list(weights)).to(accelerator.device)
    total: Tensor = accelerator.reduce(own.sum(dim=0), reduction="mean")
    return own / total.clamp(min=torch.finfo(own.dtype).tiny)


def _clip(accelerator: Accelerator, network: nn.Module, separate: Sequence[nn.Module], limit: float) -> None:
    if not separate:
        accelerator.clip_grad_norm_(network.parameters(), limit)
        return
    accelerator.unscale_gradients()  # once, where accelerate's own clipping would do it for each part
    for part in separate:
        nn.utils.clip_grad_norm_(part.parameters(), limit)


def mean_loss(losses: Sequence[Tensor], step: int, settings: TrainingSettings) -> float:
    """Return the mean loss since the last evaluation.

    Raises:
        TuningError: if every loss is NaN: such a run has lost its weights and can't recover.
    """
    loss = torch.stack(list(losses))
    if loss.isnan().all():
        raise TuningError(
            f"the loss at update {step} isn't a number any more; lower learning_rate={settings.learning_rate:g}, or "
            "try precision='no'."
        )
    return loss.mean().item()
