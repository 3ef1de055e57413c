"""Ordinary fine-tuning."""

from __future__ import annotations

from dataclasses import dataclass

from promptlab.core.interfaces import Backbone, Tuning
from promptlab.core.training_defaults import TrainingDefaults


@dataclass(frozen=True)
class Full(Tuning):
    """Train every weight: ordinary fine-tuning.

    Example:
        >>> from promptlab import Full, PromptClassifier
        >>> classifier = PromptClassifier("sst2", "sst2", "minilm", Full(), max_steps=2)
        >>> classifier = classifier.fit(["a dull film", "great fun"], ["negative", "positive"])
        >>> f"{classifier.trainable_parameters():,}"
        '22,744,506'
    """

    def attach(self, backbone: Backbone) -> None:
        backbone.requires_grad_(True)

    @property
    def defaults(self) -> TrainingDefaults:
        return TrainingDefaults(learning_rate=2.5e-5, max_steps=100, head_learning_rate=1e-3, scale_with_width=True)
