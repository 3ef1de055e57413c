"""What a tuning method trains with where the user says nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypedDict


class PostTraining(TypedDict):
    """How a head is trained on a finished language model's outputs, all examples in each update.

    What is said of these settings in ``promptlab.training.settings.TrainingSettings`` holds.
    """

    head_learning_rate: float
    max_steps: int
    eval_every: int
    weight_decay: float
    warmup_ratio: float
    schedule: str
    patience: int | None


@dataclass(frozen=True)
class TrainingDefaults:
    """What ``fit`` uses where the user says nothing.

    Args:
        learning_rate: of what is trained inside the backbone, the same at every width; with ``scale_with_width`` that
            for a hidden size of 768.
        max_steps: updates on few examples; see ``default_steps``. 0 is no training at all.
        head_learning_rate: of weights that start from nothing (heads, soft tokens); as ``learning_rate`` if None.
        scale_with_width: for methods that train the model's own matrices: the wider, the lower the rate; see
            ``learning_rate_for``. What starts without effect or is a vector moves as far at every width at one rate
            (benchmarks/results/widths.md).
    """

    learning_rate: float
    max_steps: int
    head_learning_rate: float | None = None
    scale_with_width: bool = False
