"""Fine-tuning of the normalization layers only."""

from __future__ import annotations

from dataclasses import dataclass

from promptlab.core.interfaces import Backbone, Tuning
from promptlab.core.training_defaults import TrainingDefaults


@dataclass(frozen=True)
class LayerNormTuning(Tuning):
    """Train the scale and shift of every normalization layer, and the head.

    Source: Houlsby et al., arXiv:1902.00751, section 3.4 (as a baseline).

    Example:
        >>> from promptlab import LayerNormTuning, PromptClassifier
        >>> classifier = PromptClassifier("sst2", "sst2", "minilm", LayerNormTuning(), max_steps=2)
        >>> classifier = classifier.fit(["a dull film", "great fun"], ["negative", "positive"])
        >>> classifier.trainable_parameters()  # 14 norms of width 384
        10752
    """

    def attach(self, backbone: Backbone) -> None:
        backbone.requires_grad_(False)
        for layer in backbone.norms():
            layer.requires_grad_(True)

    @property
    def defaults(self) -> TrainingDefaults:
        return TrainingDefaults(learning_rate=4e-3, max_steps=100, head_learning_rate=1e-3)
