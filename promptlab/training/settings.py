"""How to train: what the user may set, and what a tuning method uses where the user says nothing."""

from __future__ import annotations

import math
from dataclasses import dataclass

from promptlab.core.checks import check_ranges
from promptlab.core.errors import TuningError, UnknownNameError
from promptlab.core.ranges import Count, Limit, NonNegative, PartShare, Rate

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

    learning_rate: Rate
    head_learning_rate: Rate
    max_steps: Count
    batch_size: Count = 8
    gradient_accumulation_steps: Count = 1
    warmup_ratio: PartShare = 0.1
    weight_decay: NonNegative = 0.01
    max_grad_norm: Limit = 1.0
    optimizer: str = "adamw"
    schedule: str = "linear"
    gradient_checkpointing: bool = False
    eval_every: Count = 20
    patience: Count | None = None
    precision: str = "auto"
    device: str = "auto"
    seed: int = 0

    def __post_init__(self) -> None:
        check_ranges(self, TuningError)
        for name, known in (("optimizer", OPTIMIZERS), ("schedule", SCHEDULES), ("precision", PRECISIONS)):
            if getattr(self, name) not in known:
                raise UnknownNameError(name, getattr(self, name), known)


def learning_rate_for(base: float, hidden_size: int) -> float:
    """A rate for the model's own matrices: it falls with the square of the width, down to 0.4 of that at width 768.

    ``base`` is the rate at width 768. So 2.5e-5 gives 1e-4 at width 384, where minilm was measured, 1.4e-5 at 1024, in
    LM-BFF's grid (1e-5 to 5e-5), and 1e-5 from 1,214 on, as models of 7 billion weights (4,096 wide) are fine-tuned.
    Weights that start without effect (LoRA, adapters, prefixes, heads) and vectors (IA3, biases, norms) have one rate
    at every width; benchmarks/results/widths.md shows both.
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
