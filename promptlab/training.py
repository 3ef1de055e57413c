"""The training loop."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import GradientAccumulationPlugin
from torch import Tensor, nn
from torch.utils.data import DataLoader
from tqdm.auto import tqdm

from promptlab.checkpoint import Checkpoint, DevScore, trained_weights
from promptlab.errors import TuningError, UnknownNameError

OPTIMIZERS = ("adamw", "adafactor")
SCHEDULES = ("linear", "constant")


@dataclass(frozen=True)
class TrainingSettings:
    """How to train.

    Args:
        learning_rate: of the backbone; rises over ``warmup_ratio`` of the steps, then follows ``schedule``.
        head_learning_rate: of heads and soft tokens.
        max_steps: updates; ``batch_size`` × ``gradient_accumulation_steps`` examples each.
        weight_decay: decoupled, on matrices only.
        max_grad_norm: larger gradients are scaled down to it.
        optimizer: ``adamw``, or ``adafactor`` without parameter scaling (prompt tuning's, arXiv:2104.08691, section 3).
        schedule: what the rate does after the warm-up: ``linear`` (down to 0) or ``constant``.
        gradient_checkpointing: compute activations again for the gradient instead of keeping them.
        eval_every: updates between evaluations on the dev set.
        patience: evaluations without improvement after which training stops; None never stops early.
        precision: ``no``, ``bf16``, ``fp16`` or ``auto`` (bf16 where the accelerator has it).
        device: ``auto`` or ``cpu``.
    """

    learning_rate: float
    head_learning_rate: float
    max_steps: int
    batch_size: int = 8
    gradient_accumulation_steps: int = 1
    warmup_ratio: float = 0.1
    weight_decay: float = 0.01
    max_grad_norm: float = 1.0
    optimizer: str = "adamw"
    schedule: str = "linear"
    gradient_checkpointing: bool = False
    eval_every: int = 20
    patience: int | None = None
    precision: str = "auto"
    device: str = "auto"
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("max_steps", "batch_size", "gradient_accumulation_steps", "eval_every"):
            if getattr(self, name) < 1:
                raise TuningError(f"{name}={getattr(self, name)!r} must be at least 1.")
        for name in ("learning_rate", "head_learning_rate"):
            if not 0 <= getattr(self, name) < 10:
                raise TuningError(f"{name}={getattr(self, name)!r} must be between 0 and 10, usually 1e-5 to 1e-2.")
        if not 0 <= self.warmup_ratio < 1:
            raise TuningError(f"warmup_ratio={self.warmup_ratio!r} is a share of the steps: from 0 to below 1.")
        for name, known in (("optimizer", OPTIMIZERS), ("schedule", SCHEDULES)):
            if getattr(self, name) not in known:
                raise UnknownNameError(name, getattr(self, name), known)


def learning_rate_for(base: float, hidden_size: int) -> float:
    """A fine-tuning rate that falls with the square of the model's width.

    ``base`` is the rate at width 768. So 2.5e-5 gives 1.4e-5 at width 1024, inside LM-BFF's grid (1e-5 to 5e-5), and
    1e-4 at 384, where minilm was measured.
    """
    return base * (768 / hidden_size) ** 2


def default_steps(base: int, steps_per_epoch: int) -> int:
    """Updates where the user says nothing.

    A tuning method's ``base``; for 25 epochs up to three times as many; and never less than 3 epochs.
    """
    return max(base, min(25 * steps_per_epoch, 3 * base), 3 * steps_per_epoch)


class LengthBatches:
    """Batches of row numbers: shuffled anew each epoch, rows of like length together where there are many.

    Args:
        lengths: tokens of each row.
        batch_size: rows of a batch; the last one may be smaller.
        seed: of the shuffles.
    """

    drop_last = False

    def __init__(self, lengths: Sequence[int], batch_size: int, seed: int) -> None:
        self.lengths, self.batch_size, self.seed, self.epoch = np.asarray(lengths), batch_size, seed, 0

    def __len__(self) -> int:
        return math.ceil(len(self.lengths) / self.batch_size)

    def __iter__(self) -> Iterator[list[int]]:
        rng = np.random.default_rng([self.seed, self.epoch])
        rows = rng.permutation(len(self.lengths))
        window = self.batch_size * max(1, min(50, len(rows) // (4 * self.batch_size)))
        for start in range(0, len(rows), window):
            part = rows[start : start + window]
            if window > self.batch_size:
                part = part[np.argsort(-self.lengths[part], kind="stable")]
            batches = [part[i : i + self.batch_size].tolist() for i in range(0, len(part), self.batch_size)]
            rng.shuffle(batches)
            yield from batches


def train(
    model: nn.Module,
    rows: Sequence[Any],
    collate: Callable[[list[Any]], Any],
    lengths: Sequence[int],
    settings: TrainingSettings,
    *,
    evaluate: Callable[[], DevScore] | None = None,
    checkpoint: Path | None = None,
    separate: Sequence[nn.Module] = (),
) -> list[dict[str, float]]:
    """Train ``model``, whose forward pass returns the loss, and leave it with its best weights by dev score.

    Args:
        rows: what ``collate`` makes batches of.
        lengths: tokens of each row, to put like lengths together.
        evaluate: scores the model as it is; without it the last weights are kept.
        checkpoint: a folder to resume from, written at every evaluation.
        separate: parts that share no trained weight; each one's gradient is clipped by itself.

    Returns:
        One record per evaluation: step, loss since the last one, and the dev score if there is one.
    """
    accelerator = _accelerator(settings)
    batches = LengthBatches(lengths, settings.batch_size, settings.seed)
    loader: Any = DataLoader(
        rows,  # type: ignore[arg-type]
        batch_sampler=batches,
        collate_fn=collate,
        generator=torch.Generator(),  # the global one must not depend on how often an epoch was begun
    )
    loader = accelerator.prepare(loader)
    optimizer = _optimizer(model, settings)
    network, fast_optimizer = accelerator.prepare(model, optimizer)
    state = Checkpoint(model, optimizer, {**asdict(settings), "rows": len(rows)}, path=checkpoint)
    step = state.load()
    bar = tqdm(total=settings.max_steps, initial=step, desc="training", unit="step", leave=False, disable=None)
    losses: list[Tensor] = []
    network.train()
    for batch in _endless(loader, batches, start=step * settings.gradient_accumulation_steps):
        if step >= settings.max_steps:
            break
        for group in optimizer.param_groups:
            group["lr"] = group["peak"] * rate_factor(step, settings)
        with accelerator.accumulate(network):
            loss = network(batch)
            accelerator.backward(loss)
            if accelerator.sync_gradients:
                _clip(accelerator, network, separate, settings.max_grad_norm)
            fast_optimizer.step()
            fast_optimizer.zero_grad()
        losses.append(loss.detach())
        if not accelerator.sync_gradients:
            continue
        step += 1
        bar.update()
        if step % settings.eval_every == 0 or step == settings.max_steps:
            score = evaluate() if evaluate else None
            network.train()
            state.record(step, torch.stack(losses).mean().item(), score)
            losses.clear()
            if accelerator.is_main_process:
                state.save(step)
            if settings.patience is not None and state.stale >= settings.patience:
                break
    bar.close()
    accelerator.unwrap_model(network, keep_fp32_wrapper=False)
    vars(model).pop("forward", None)  # accelerate's, under which the model would go on in the training's precision
    state.restore_best()
    return state.history


def _clip(accelerator: Accelerator, network: Any, separate: Sequence[nn.Module], limit: float) -> None:
    if not separate:
        accelerator.clip_grad_norm_(network.parameters(), limit)
        return
    accelerator.unscale_gradients()  # once, where accelerate's own clipping would do it for each part
    for part in separate:
        nn.utils.clip_grad_norm_(part.parameters(), limit)


def _endless(loader: Any, batches: LengthBatches, *, start: int) -> Iterator[Any]:
    """Batches of epoch after epoch, the first ``start`` of them left out."""
    for epoch in itertools.count(start // len(loader)):
        batches.epoch = epoch
        skip = start - epoch * len(loader)
        yield from itertools.islice(loader, max(skip, 0), None)


def _accelerator(settings: TrainingSettings) -> Accelerator:
    precision = settings.precision
    if precision == "auto":
        wants_gpu = settings.device != "cpu" and torch.cuda.is_available()
        precision = "bf16" if wants_gpu and torch.cuda.is_bf16_supported() else "no"
    if not torch.distributed.is_initialized():
        AcceleratorState._reset_state(reset_partial_state=True)  # else the last run's precision and device hold
    steps = settings.gradient_accumulation_steps
    try:
        return Accelerator(
            mixed_precision=precision,
            cpu=settings.device == "cpu",
            device_placement=False,  # model and batches are where they should be
            gradient_accumulation_plugin=GradientAccumulationPlugin(steps, sync_with_dataloader=False),
        )
    except ValueError as error:
        raise TuningError(f"precision={settings.precision!r}, device={settings.device!r}: {error}") from None


def _optimizer(model: nn.Module, settings: TrainingSettings) -> torch.optim.Optimizer:
    """The optimizer of what is trainable, each group with its ``peak`` rate; vectors and scalars aren't decayed."""
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, weight in trained_weights(model).items():
        rate = settings.learning_rate if ".backbone." in f".{name}" else settings.head_learning_rate
        groups.setdefault((rate, settings.weight_decay if weight.ndim > 1 else 0.0), []).append(weight)
    parts = [
        {"params": weights, "lr": rate, "peak": rate, "weight_decay": decay}
        for (rate, decay), weights in groups.items()
    ]
    if settings.optimizer == "adafactor":
        from transformers.optimization import Adafactor

        return Adafactor(parts, lr=settings.learning_rate, scale_parameter=False, relative_step=False)
    return torch.optim.AdamW(parts, fused=True)


def rate_factor(step: int, settings: TrainingSettings) -> float:
    """Share of the learning rate that update ``step`` (from 0) uses: linear warm-up, then the schedule."""
    warm = round(settings.warmup_ratio * settings.max_steps)
    if step < warm:
        return (step + 1) / (warm + 1)
    if settings.schedule == "constant":
        return 1.0
    return max(0.0, (settings.max_steps - step) / max(1, settings.max_steps - warm))
