"""What tuning methods take hold of in a transformer, found by the names that its family gives."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import torch
from torch import Tensor, nn

from promptlab.backbones.families import FAMILIES, Family
from promptlab.core.interfaces import Backbone
from promptlab.core.tunable_backbone import SublayerOutput

DROPOUT = "dropout"  # of a projection whose family has none of its own


class NamedLayers(Backbone):
    """Layers, norms and projections of a transformers model, and what stands around them."""

    @property
    def family(self) -> Family:
        """What the layers are called; a subclass for an architecture of its own may say it itself."""
        return FAMILIES[self.model.config.model_type]

    def norms(self) -> Sequence[nn.Module]:
        return [layer for layer in self.model.modules() if type(layer).__name__.lower().endswith("norm")]

    def layers(self) -> Sequence[nn.Module]:
        stacks = (self.model.base_model.get_submodule(name) for name in self.family.layers)
        return [layer for stack in stacks for layer in stack.children()]

    def above(self, layers: Sequence[nn.Module]) -> Sequence[nn.Module]:
        base = self.model.base_model
        pairs = zip(self.family.layers, self.family.final_norms)
        return [base.get_submodule(norm) for stack, norm in pairs if set(layers) & {*base.get_submodule(stack)}]

    def sublayer_outputs(self) -> tuple[Sequence[SublayerOutput], Sequence[SublayerOutput]]:
        if self.family.functional_dropout:
            for layer in self.layers():
                self._own_dropouts(layer, self.family.functional_dropout)
        attention, feed_forward = self._named(self.family.attention_outputs), self.feed_forward_outputs()
        return [self._output(name) for name in attention], [self._output(name) for name in feed_forward]

    def output_norms(self) -> Sequence[nn.Module]:
        names = (_follower(name, self.family.output_norms) for name in self.feed_forward_outputs())
        return [self.model.get_submodule(name) for name in names if name is not None]

    def query_value(self) -> Sequence[str]:
        return self._named(self.family.query_value)

    def key_value(self) -> Sequence[str]:
        return self._named(self.family.key_value)

    def outputs_of(self, name: str, roles: Collection[str]) -> Tensor | None:
        fused = self.family.fused
        if fused is None or not _ends(name, self.family.query_value):
            return None
        width = _width(self.model.get_submodule(name))
        block = width if fused == "thirds" else width // self.model.config.num_attention_heads
        third = torch.arange(width) % block // (block // 3)  # 0 for queries, 1 for keys, 2 for values
        return torch.isin(third, torch.tensor([("query", "key", "value").index(role) for role in roles]))

    def feed_forward_outputs(self) -> Sequence[str]:
        taken = self._named(self.family.attention_outputs)
        return [name for name in self._named(self.family.feed_forward_outputs) if name not in taken]

    def _named(self, ends: Sequence[str]) -> list[str]:
        return [name for name, _ in self.model.named_modules() if _ends(name, ends)]

    def _output(self, name: str) -> SublayerOutput:
        projection = self.model.get_submodule(name)
        dropout = _follower(name, self.family.dropouts)
        if dropout is not None:
            return SublayerOutput(projection, self.model.get_submodule(dropout), _width(projection))
        return SublayerOutput(projection, getattr(projection, DROPOUT, projection), _width(projection))

    def _own_dropouts(self, layer: nn.Module, attribute: str) -> None:
        """Give every output projection of a layer a dropout of its own, in the place of one that isn't a module's."""
        shared = getattr(layer, attribute)
        ends = (*self.family.attention_outputs, *self.family.feed_forward_outputs)
        for projection in [part for name, part in layer.named_modules() if _ends(name, ends)]:
            if not hasattr(projection, DROPOUT):
                projection.add_module(DROPOUT, nn.Dropout(getattr(shared, "p", shared)))
                projection.register_forward_hook(_dropped)
        if isinstance(shared, nn.Dropout):
            shared.p = 0.0
        else:
            setattr(layer, attribute, 0.0)


def _dropped(projection: nn.Module, inputs: object, output: Tensor) -> Tensor:
    return projection.get_submodule(DROPOUT)(output)


def _width(layer: nn.Module) -> int:
    """Numbers that a linear layer (or GPT-2's transposed one) puts out."""
    return int(getattr(layer, "out_features", 0) or getattr(layer, "nf", 0))


def _follower(name: str, pairs: Sequence[tuple[str, str]]) -> str | None:
    """The name of what follows a module, by the ends of both names."""
    return next((name.removesuffix(end) + after for end, after in pairs if _ends(name, [end])), None)


def _ends(name: str, ends: Sequence[str]) -> bool:
    return any(name == end or name.endswith(f".{end}") for end in ends)
