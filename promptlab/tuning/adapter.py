"""Small bottleneck layers inside a frozen model."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Self

from torch import Tensor, nn
from torch.nn import functional as F

from promptlab.core.errors import TuningError
from promptlab.core.interfaces import Backbone, Tuning
from promptlab.core.ranges import Positive, Size
from promptlab.core.training_defaults import TrainingDefaults

NAME = "adapter"  # of what is added to a layer
PLACES = ("houlsby", "pfeiffer", "feed-forward")
ACTIVATIONS: Mapping[str, Callable[[Tensor], Tensor]] = {"gelu": F.gelu, "relu": F.relu, "silu": F.silu}


@dataclass(frozen=True)
class Adapter(Tuning):
    """Train small bottleneck layers inside a frozen model.

    Houlsby's adapters take what the attention and the feed-forward sub-layers give to the residual sum, after its
    dropout; all norms are trained with them. Pfeiffer's is one a layer and trains no norm: it reads the normed sum of
    the feed-forward sub-layer's output f and its input h, and the layer ends in LN(f + up(act(down(LN(f + h)))) + h);
    where norms come first, in x + up(act(down(x))) of the sum x that the layer ends in.

    Source: Houlsby et al., arXiv:1902.00751, section 2; Pfeiffer et al., arXiv:2005.00247, section 3 (in AdapterHub's
    settings: original_ln_before, residual_before_ln).

    Args:
        size: width of the bottleneck; each has 2 · width · size + width + size weights.
        place: where bottlenecks stand: ``"houlsby"``, two a layer; ``"feed-forward"``, the second of these alone; or
            ``"pfeiffer"``, one a layer, without training the norms.
        std: standard deviation of the first weights; small, so that an adapter starts close to the identity.
        activation: ``"gelu"`` (Houlsby's code), ``"relu"`` (AdapterHub's setting for Pfeiffer's) or ``"silu"``.

    Raises:
        TuningError: if a number is out of range, or a name unknown.

    Example:
        >>> from promptlab import Adapter, PromptClassifier
        >>> classifier = PromptClassifier("sst2", "sst2", "minilm", Adapter(size=8, place="pfeiffer"), max_steps=2)
        >>> classifier = classifier.fit(["a dull film", "great fun"], ["negative", "positive"])
        >>> classifier.trainable_parameters()  # 6 layers · (2 · 384 · 8 + 384 + 8)
        39216
    """

    size: Size = 64
    place: str = "houlsby"
    std: Positive = 1e-3
    activation: str = "gelu"

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, known in (("place", PLACES), ("activation", tuple(ACTIVATIONS))):
            if getattr(self, name) not in known:
                raise TuningError(f"unknown adapter {name} {getattr(self, name)!r}; known: {', '.join(known)}.")

    @classmethod
    def from_saved(cls, values: Mapping[str, object]) -> Self:
        """Read saved settings, in which Houlsby's second adapter may still be called Pfeiffer's."""
        if "activation" not in values and values.get("place") == "pfeiffer":
            values = {**values, "place": "feed-forward"}
        return super().from_saved(values)

    def attach(self, backbone: Backbone) -> None:
        backbone.requires_grad_(False)
        if self.place == "pfeiffer":
            self._attach_to_sums(backbone)
        else:
            self._attach_to_sublayers(backbone)

    def _attach_to_sublayers(self, backbone: Backbone) -> None:
        for norm in backbone.norms():
            norm.requires_grad_(True)
        attention, feed_forward = backbone.sublayer_outputs()
        for output in [*attention, *feed_forward] if self.place == "houlsby" else feed_forward:
            self._add(output.projection, output.width)
            output.end.register_forward_hook(partial(_adapt_output, output.projection))

    def _attach_to_sums(self, backbone: Backbone) -> None:
        norms = backbone.output_norms()
        for place in norms or backbone.layers():
            self._add(place, backbone.hidden_size)
            place.register_forward_hook(_adapt_norm if norms else _adapt_layer)

    def _add(self, layer: nn.Module, width: int) -> None:
        layer.add_module(NAME, Bottleneck(width, self.size, self.std, self.activation))

    @property
    def defaults(self) -> TrainingDefaults:
        return TrainingDefaults(learning_rate=4e-4, max_steps=100, head_learning_rate=1e-3)


class Bottleneck(nn.Module):
    """x + W2 act(W1 x + b1) + b2; has 2·width·size + width + size parameters."""

    def __init__(self, width: int, size: int, std: float, activation: str = "gelu") -> None:
        super().__init__()
        self.down, self.up = nn.Linear(width, size), nn.Linear(size, width)
        self.activation = activation
        for layer in (self.down, self.up):
            nn.init.trunc_normal_(layer.weight, std=std, a=-2 * std, b=2 * std)
            nn.init.zeros_(layer.bias)

    def change(self, x: Tensor) -> Tensor:
        """W2 act(W1 x + b1) + b2."""
        return self.up(ACTIVATIONS[self.activation](self.down(x)))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.change(x)


def _adapt_output(projection: nn.Module, end: nn.Module, inputs: object, output: Tensor) -> Tensor:
    """A sub-layer's output on its way to the residual sum; the adapter stands below the projection."""
    return projection.get_submodule(NAME)(output)


def _adapt_norm(norm: nn.Module, inputs: tuple[Tensor], output: Tensor) -> Tensor:
    """The norm of the residual sum and of what the adapter makes of its norm."""
    adapter = norm.get_submodule(NAME)
    assert isinstance(adapter, Bottleneck)
    return norm.forward(inputs[0] + adapter.change(output))  # not called, which would come here again


def _adapt_layer(
    layer: nn.Module, inputs: object, output: Tensor | tuple[Tensor, *tuple[object, ...]]
) -> Tensor | tuple[Tensor, *tuple[object, ...]]:
    """A layer's output, which some families return with more."""
    adapter = layer.get_submodule(NAME)
    return (adapter(output[0]), *output[1:]) if isinstance(output, tuple) else adapter(output)
