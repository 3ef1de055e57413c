"""No training at all."""

from __future__ import annotations

from dataclasses import dataclass

from promptlab.core.interfaces import Backbone, Tuning
from promptlab.core.training_defaults import TrainingDefaults


@dataclass(frozen=True)
class NoTuning(Tuning):
    """Keep the model as it is: zero-shot classification, with labels used only to check the classes.

    Example:
        >>> from promptlab import NoTuning, PromptClassifier
        >>> classifier = PromptClassifier("sst2", "sst2", "minilm", NoTuning())
        >>> classifier = classifier.fit(["a dull film", "great fun"], ["negative", "positive"])
        >>> classifier.trainable_parameters()
        0
    """

    def attach(self, backbone: Backbone) -> None:
        backbone.requires_grad_(False)

    @property
    def defaults(self) -> TrainingDefaults:
        return TrainingDefaults(learning_rate=0.0, max_steps=0)
