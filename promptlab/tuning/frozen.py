"""The model as a fixed feature extractor."""

from __future__ import annotations

from dataclasses import dataclass

from promptlab.core.interfaces import Backbone, Tuning
from promptlab.core.training_defaults import TrainingDefaults


@dataclass(frozen=True)
class Frozen(Tuning):
    """Train only the head and the soft tokens: with a linear head, a linear probe.

    Source: Houlsby et al., arXiv:1902.00751, section 3 (as a baseline).

    Example:
        >>> from promptlab import Frozen, HeadClassifier
        >>> classifier = HeadClassifier("minilm", Frozen(), max_steps=2)
        >>> classifier = classifier.fit(["a dull film", "great fun"], ["negative", "positive"])
        >>> classifier.trainable_parameters()  # a vector of 384 and a bias for each of 2 classes
        770
    """

    def attach(self, backbone: Backbone) -> None:
        backbone.requires_grad_(False)

    @property
    def defaults(self) -> TrainingDefaults:
        return TrainingDefaults(learning_rate=1e-2, max_steps=500)
