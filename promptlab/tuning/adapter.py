"""Small bottleneck layers inside a frozen model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from promptlab.errors import TuningError
from promptlab.interfaces import Tuning
from promptlab.training_settings import TrainingDefaults

PLACES = ("houlsby", "pfeiffer")


@dataclass(frozen=True)
class Adapter(Tuning):
    """Add a bottleneck after each sub-layer's output projection, before the residual sum; train them and the norms.

    Source: Houlsby et al., arXiv:1902.00751, section 2; with one per layer: Pfeiffer et al., arXiv:2005.00247.

    Args:
        size: width of the bottleneck.
        place: ``"houlsby"`` (after attention and feed-forward) or ``"pfeiffer"`` (after feed-forward only).
        std: of the first weights; small, so that an adapter starts close to the identity.
    """

    size: int = 64
    place: str = "houlsby"
    std: float = 1e-3

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.size < 1:
            raise TuningError(f"adapter size={self.size} must be at least 1.")
        if self.std <= 0:
            raise TuningError(f"adapter std={self.std} must be above 0, such as 0.001.")
        if self.place not in PLACES:
            raise TuningError(f"unknown adapter place {self.place!r}; known: {', '.join(PLACES)}.")

    def attach(self, backbone: Any) -> None:
        backbone.requires_grad_(False)
        for layer in backbone.norms():
            layer.requires_grad_(True)
        attention, feed_forward = backbone.sublayer_outputs()
        for layer in [*attention, *feed_forward] if self.place == "houlsby" else feed_forward:
            layer.add_module("adapter", Bottleneck(_width(layer), self.size, self.std))
            layer.register_forward_hook(_adapt)

    @property
    def defaults(self) -> TrainingDefaults:
        return TrainingDefaults(learning_rate=1e-4, max_steps=100, head_learning_rate=1e-3, scale_with_width=True)


class Bottleneck(nn.Module):
    """x + W2 gelu(W1 x + b1) + b2; has 2·width·size + width + size parameters."""

    def __init__(self, width: int, size: int, std: float) -> None:
        super().__init__()
        self.down, self.up = nn.Linear(width, size), nn.Linear(size, width)
        for layer in (self.down, self.up):
            nn.init.trunc_normal_(layer.weight, std=std, a=-2 * std, b=2 * std)
            nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.up(F.gelu(self.down(x)))


def _adapt(layer: Any, inputs: Any, output: Tensor) -> Tensor:
    return layer.adapter(output)


def _width(layer: Any) -> int:
    """Features that a linear layer (or GPT-2's transposed one) puts out."""
    return int(layer.out_features if hasattr(layer, "out_features") else layer.nf)
