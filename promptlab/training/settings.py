"""How to train: what the user may set, and what a tuning method uses where the user says nothing."""

from __future__ import annotations

import math
from dataclasses import dataclass

from promptlab.core.errors import TuningError, UnknownNameError

OPTIMIZERS = ("adamw", "adafactor")
SCHEDULES = ("linear", "constant")
PRECISIONS = ("no", "bf16", "fp16", "auto")


@dataclass(frozen=True)
class TrainingSettings:
    """How to train.

    Args:
        learning_rate: of the backbone; rises over ``warmup_ratio`` of the steps, then follows ``schedule``.
        head_learning_rate: of heads and soft tokens.
        max_steps: updates; ``batch_size`` × ``gradient_accumulation_steps`` prompts each, fewer at an epoch's end.
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
        if self.patience is not None and self.patience < 1:
            raise TuningError(f"patience={self.patience} must be at least 1, or None to train to the end.")
        for name in ("learning_rate", "head_learning_rate"):
            if not 0 <= getattr(self, name) < 10:
                raise TuningError(f"{name}={getattr(self, name)!r} must be between 0 and 10, usually 1e-5 to 1e-2.")
        if not 0 <= self.warmup_ratio < 1:
            raise TuningError(f"warmup_ratio={self.warmup_ratio!r} is a share of the steps: from 0 to below 1.")
        if not 0 <= self.weight_decay < math.inf:
            raise TuningError(f"weight_decay={self.weight_decay!r} must be 0 (none) or above, usually 0.01.")
        if not self.max_grad_norm > 0:
            raise TuningError(f"max_grad_norm={self.max_grad_norm!r} must be above 0; infinity leaves gradients alone.")
        for name, known in (("optimizer", OPTIMIZERS), ("schedule", SCHEDULES), ("precision", PRECISIONS)):
            if getattr(self, name) not in known:
                raise UnknownNameError(name, getattr(self, name), known)


def learning_rate_for(base: float, hidden_size: int) -> float:
    """A rate for the model's own matrices: it falls with the square of the width, down to 0.4 of that at width 768.

    ``base`` is the rate at width 768. So 2.5e-5 gives 1e-4 at width 384, where minilm was measured, 1.4e-5 at 1024, in
    LM-BFF's grid (1e-5 to 5e-5), and 1e-5 from 1,214 on, as models of 7 billion weights (4,096 wide) are fine-tuned.
    """
    return base * max((768 / hidden_size) ** 2, 0.4)


def updates_per_epoch(n_prompts: int, batch_size: int, gradient_accumulation_steps: int) -> int:
    """Updates in which every prompt is seen once; the last one takes what is left."""
    return math.ceil(n_prompts / max(1, batch_size * gradient_accumulation_steps))


def default_steps(base: int, steps_per_epoch: int) -> int:
    """Updates where the user says nothing.

    A tuning method's ``base``; for 25 epochs up to three times as many; and never less than 3 epochs.
    """
    return max(base, min(25 * steps_per_epoch, 3 * base), 3 * steps_per_epoch)


def rate_factor(step: int, settings: TrainingSettings) -> float:
    """Share of the learning rate that update ``step`` (from 0) uses: linear warm-up, then the schedule."""
    warm = round(settings.warmup_ratio * settings.max_steps)
    if step < warm:
        return (step + 1) / (warm + 1)
    if settings.schedule == "constant":
        return 1.0
    return max(0.0, (settings.max_steps - step) / max(1, settings.max_steps - warm))
