"""Fine-tuning of the biases only."""

from __future__ import annotations

from dataclasses import dataclass

from promptlab.core.errors import TuningError
from promptlab.core.interfaces import Backbone, Tuning
from promptlab.core.training_defaults import TrainingDefaults


@dataclass(frozen=True)
class BitFit(Tuning):
    """Train every bias and the head.

    Source: BitFit, arXiv:2106.10199, section 3.

    Example:
        >>> from promptlab import BitFit, PromptClassifier
        >>> classifier = PromptClassifier("sst2", "sst2", "minilm", BitFit(), max_steps=2)
        >>> classifier = classifier.fit(["a dull film", "great fun"], ["negative", "positive"])
        >>> classifier.trainable_parameters()  # of 22.7 million
        57018
    """

    def attach(self, backbone: Backbone) -> None:
        backbone.requires_grad_(False)
        biases = [weight for name, weight in backbone.named_parameters() if name.endswith("bias")]
        if not biases:
            raise TuningError(f"{backbone.name or 'this model'} has no biases to train; choose tuning='lora'.")
        for bias in biases:
            bias.requires_grad_(True)

    @property
    def defaults(self) -> TrainingDefaults:
        return TrainingDefaults(learning_rate=4e-3, max_steps=100, head_learning_rate=1e-3)
