"""Fine-tuning of the last layers only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from promptlab.errors import TuningError
from promptlab.interfaces import Tuning
from promptlab.training_settings import TrainingDefaults


@dataclass(frozen=True)
class TopLayers(Tuning):
    """Train the last ``n`` transformer layers and the head; embeddings and lower layers get no gradient.

    The language-model head's decoder shares its weights with the embeddings and so stays frozen.

    Source: Houlsby et al., arXiv:1902.00751, section 3.2 (variable fine-tuning).
    """

    n: int = 2

    def attach(self, backbone: Any) -> None:
        layers = backbone.layers()
        if not 1 <= self.n <= len(layers):
            raise TuningError(
                f"top-layers n={self.n} doesn't fit a model of {len(layers)} layers; choose 1 to {len(layers)}."
            )
        backbone.requires_grad_(False)
        for layer in layers[-self.n :]:
            layer.requires_grad_(True)

    @property
    def defaults(self) -> TrainingDefaults:
        return TrainingDefaults(learning_rate=3e-5, max_steps=100, head_learning_rate=1e-3, scale_with_width=True)
