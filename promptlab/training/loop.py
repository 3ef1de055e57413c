"""The training loop."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader
from tqdm.auto import tqdm

from promptlab.core.errors import TuningError
from promptlab.models.trainable_model import TrainableModel
from promptlab.training.accelerator import make_accelerator
from promptlab.training.batching import LengthBatches, endless
from promptlab.training.checkpoint import Checkpoint, Checkpoints
from promptlab.training.dev_score import DevScore
from promptlab.training.optimizers import make_optimizer
from promptlab.training.settings import TrainingSettings, rate_factor
from promptlab.training.updates import update


def train(
    model: TrainableModel,
    rows: Sequence[Any],
    collate: Callable[[list[Any]], Any],
    lengths: Sequence[int],
    settings: TrainingSettings,
    *,
    evaluate: Callable[[], DevScore] | None = None,
    checkpoint: Checkpoints | None = None,
    separate: Sequence[nn.Module] = (),
) -> list[dict[str, float]]:
    """Train ``model``, whose forward pass is its loss, and leave it with its best weights by dev score.

    The loss of an update is the weighted mean over all that it sees, in one batch or several; see ``updates.update``.

    Args:
        rows: what ``collate`` makes batches of.
        lengths: tokens of each row, to put like lengths together.
        evaluate: scores the model as it is; without it the last weights are kept.
        checkpoint: where to resume from, written at every evaluation; knows what ``evaluate`` scores by.
        separate: parts that share no trained weight; each one's gradient is clipped by itself.

    Returns:
        One record per evaluation: step, loss since the last one, and the dev score if there is one.
    """
    accelerator = make_accelerator(settings)
    place = None  # found before anything is changed
    if checkpoint is not None:
        kind = replace(settings, device=torch.device(settings.device).type), accelerator.num_processes
        place = checkpoint.place(model, _contents(rows, collate, settings.batch_size), kind)
    batches = LengthBatches(lengths, settings.batch_size, settings.seed)
    loader: Any = DataLoader(
        rows,  # type: ignore[arg-type]
        batch_sampler=batches,
        collate_fn=collate,
        generator=torch.Generator(),  # the global one must not depend on how often an epoch was begun
    )
    loader = accelerator.prepare(loader)
    optimizer = make_optimizer(model, settings)
    network, fast_optimizer = accelerator.prepare(model, optimizer)
    accelerator.sync_gradients = True  # each step of the optimizer is an update
    state = Checkpoint(model, optimizer, scaler=accelerator.scaler, path=place)
    step = state.load()
    bar = tqdm(total=settings.max_steps, initial=step, desc="training", unit="step", leave=False, disable=None)
    losses: list[Tensor] = []
    network.train()
    for some in endless(loader, batches, size=settings.gradient_accumulation_steps, start=step):
        if step >= settings.max_steps or (settings.patience is not None and state.stale >= settings.patience):
            break
        for group in optimizer.param_groups:
            group["lr"] = group["peak"] * rate_factor(step, settings)
        seen = [model.prepare(batch) for batch in some]
        losses.append(
            update(accelerator, model, network, fast_optimizer, seen, limit=settings.max_grad_norm, separate=separate)
        )
        step += 1
        bar.update()
        if step % settings.eval_every == 0 or step == settings.max_steps:
            score = evaluate() if evaluate else None
            if evaluate:
                network.train()
            state.record(step, _mean_loss(losses, step, settings), score)
            losses.clear()
            if accelerator.is_main_process:
                state.save(step)
    bar.close()
    accelerator.unwrap_model(network, keep_fp32_wrapper=False)
    vars(model).pop("forward", None)  # accelerate's, under which the model would go on in the training's precision
    state.restore_best()
    return state.history


def _contents(rows: Sequence[Any], collate: Callable[[list[Any]], Any], size: int) -> Iterator[Any]:
    """What the model is going to see, all of it once."""
    for start in range(0, len(rows), size):
        yield collate([rows[i] for i in range(start, min(start + size, len(rows)))])


def _mean_loss(losses: Sequence[Tensor], step: int, settings: TrainingSettings) -> float:
    """Mean since the last evaluation; a run in which every loss is NaN has lost its weights and can't recover."""
    loss = torch.stack(list(losses))
    if loss.isnan().all():
        raise TuningError(
            f"the loss at update {step} isn't a number any more; lower learning_rate={settings.learning_rate:g}, or "
            "try precision='no'."
        )
    return loss.mean().item()
