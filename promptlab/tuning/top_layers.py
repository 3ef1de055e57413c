"""Fine-tuning of the last layers only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from promptlab.core.errors import TuningError
from promptlab.core.interfaces import Backbone, Tuning
from promptlab.core.training_defaults import TrainingDefaults


@dataclass(frozen=True)
class TopLayers(Tuning):
    """Train the last ``n`` transformer layers and what stands above them; embeddings and lower layers get no gradient.

    Above them are the final norm of models whose layers begin with norms, the dense layer and norm of a masked model's
    head, and the verbalizer's own weights. The decoder shares its weights with the embeddings and so stays frozen.

    Source: Houlsby et al., arXiv:1902.00751, section 3.2 (variable fine-tuning).

    Args:
        n: number of layers, from the top.
        above: whether to train the final norm and the language-model head's transform, too.

    Raises:
        TuningError: if the model has fewer layers.

    Example:
        >>> from promptlab import PromptClassifier, TopLayers
        >>> classifier = PromptClassifier("sst2", "sst2", "minilm", TopLayers(1), max_steps=2)
        >>> classifier = classifier.fit(["a dull film", "great fun"], ["negative", "positive"])
        >>> f"{classifier.trainable_parameters():,}"  # a layer and the dense layer of the head
        '1,923,072'
    """

    n: int = 2
    above: bool = True

    @classmethod
    def from_saved(cls, values: Mapping[str, object]) -> Self:
        """Read saved settings; before there was a choice, what stands above the layers was left frozen."""
        return super().from_saved({"above": False, **values})

    def attach(self, backbone: Backbone) -> None:
        layers = backbone.layers()
        if not 1 <= self.n <= len(layers):
            raise TuningError(
                f"top-layers n={self.n} doesn't fit a model of {len(layers)} layers; choose 1 to {len(layers)}."
            )
        backbone.requires_grad_(False)
        trained = layers[-self.n :]
        for module in (*trained, *(backbone.above(trained) if self.above else ())):
            module.requires_grad_(True)

    @property
    def defaults(self) -> TrainingDefaults:
        return TrainingDefaults(learning_rate=3e-5, max_steps=100, head_learning_rate=1e-3, scale_with_width=True)
