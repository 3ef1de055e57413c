"""What a tuning method trains with where the user says nothing."""

from __future__ import annotations

from dataclasses import dataclass


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
