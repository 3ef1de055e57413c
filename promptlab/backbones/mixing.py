"""Several tuned copies of one backbone in a single pass: every row of a batch goes through its own copy's changes.

Copies differ from their origin in few modules: a linear layer with LoRA or an adapter, a norm, an embedding with soft
tokens. Only these are run for each copy on its rows; everything else runs once for the whole batch. Prefixes become one
table with as many rows as the batch.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from promptlab.core.errors import TuningError
from promptlab.core.interfaces import Backbone
from promptlab.core.tunable_backbone import KeysAndValues


class RowGroups:
    """How many rows of the batch at hand belong to each copy; their rows stand together, in the order of the copies."""

    def __init__(self) -> None:
        self.sizes: list[int] = []


class Routed(nn.Module):
    """The same place in several copies: each is given its rows.

    Raises:
        TuningError: where the model doesn't pass rows of the batch, but something that all rows share, such as
            positions: there, copies of one batch can't differ.
    """

    def __init__(self, parts: Sequence[nn.Module], groups: RowGroups) -> None:
        super().__init__()
        self.parts = nn.ModuleList(parts)
        self.groups = groups

    @property
    def weight(self) -> Tensor:
        """Of an embedding whose copies differ only in soft tokens."""
        weight = self.parts[0].weight
        assert isinstance(weight, Tensor)
        return weight

    def forward(self, *inputs: Tensor, **more: object) -> Tensor:
        if more or len(inputs) != 1 or len(inputs[0]) != sum(self.groups.sizes):
            raise _shared_by_rows()
        some = zip(self.parts, inputs[0].split(self.groups.sizes))
        return torch.cat([part(rows) for part, rows in some if len(rows)])


class RoutedPrefix(nn.Module):
    """Keys and values of each row's own copy, (rows, heads, length, width); shorter prefixes are filled up unseen.

    Args:
        tables: of the copies, None for one without a prefix.
        groups: the rows of each.
    """

    def __init__(self, tables: Sequence[KeysAndValues | None], groups: RowGroups) -> None:
        super().__init__()
        self.tables = nn.ModuleList(table if isinstance(table, nn.Module) else nn.Identity() for table in tables)
        self.groups = groups
        self.visible: Tensor | None = None  # (rows, 1, 1, length)
        self.dropout = next(table.dropout for table in tables if table is not None)

    def forward(self) -> list[tuple[Tensor, Tensor]]:
        made = [None if isinstance(table, nn.Identity) else table() for table in self.tables]
        known = next(sites for sites in made if sites is not None)
        lengths = [0 if sites is None else sites[0][0].shape[1] for sites in made]
        device = known[0][0].device
        sizes = torch.tensor(self.groups.sizes, device=device)
        place = torch.arange(max(lengths), device=device)
        seen = place < torch.tensor(lengths, device=device)[:, None]  # (copies, length)
        self.visible = None if bool(seen.all()) else seen.repeat_interleave(sizes, dim=0)[:, None, None]

        def rows(number: int, part: int) -> Tensor:
            blank = torch.zeros_like(known[number][part][:, :0])
            own = [blank if sites is None else sites[number][part] for sites in made]
            filled = torch.stack([F.pad(x, (0, 0, 0, max(lengths) - x.shape[1])) for x in own])
            return filled.repeat_interleave(sizes, dim=0)

        return [(rows(number, 0), rows(number, 1)) for number in range(len(known))]


def mix(origin: Backbone, copies: Sequence[Backbone], groups: RowGroups) -> Backbone:
    """A backbone that runs copies of ``origin`` together.

    Args:
        origin: the backbone that they were copied from.
        copies: backbones that share its weights, each with what a tuning method added or changed.
        groups: says of every batch which rows belong to which copy.
    """
    mixed = origin.copy()
    mixed.only_hidden = copies[0].only_hidden
    tables = [getattr(copy, "prefix_table", None) for copy in copies]
    if any(table is not None for table in tables):
        mixed.prefix_sites()
        mixed.set_prefix(RoutedPrefix(tables, groups))
    _route(mixed.model, [copy.model for copy in copies], groups)
    return mixed


def _route(parent: nn.Module, theirs: Sequence[nn.Module], groups: RowGroups) -> None:
    for name, child in parent.named_children():
        parts = [their.get_submodule(name) for their in theirs]
        if any(True for _ in child.children()):
            if not all(_is_extended(child, part) for part in parts):
                raise _shared_by_rows()
            _route(child, parts, groups)
            _extend(child, parts, groups)
        elif not all(_is_same(child, part) for part in parts):
            parent.add_module(name, Routed(parts, groups))


def _extend(module: nn.Module, parts: Sequence[nn.Module], groups: RowGroups) -> None:
    """Give a module what was added to its copies, one for all: children that their hooks call, and plain numbers."""
    for part in parts:
        for name in _children(part) - _children(module):
            module.add_module(name, Routed([getattr(other, name, nn.Identity()) for other in parts], groups))
            for hook in part._forward_hooks.values():
                module.register_forward_hook(hook)
    for name, value in vars(parts[0]).items():
        if isinstance(value, float):
            setattr(module, name, value)


def _shared_by_rows() -> TuningError:
    return TuningError(
        "these classifiers changed a part of the language model that is used for all rows of a batch at once, so that "
        "they can't share one; run them one after the other, or choose a method that adds to the model: prompt-tuning, "
        "PTuning(train_model=False), prefix, adapter or lora."
    )


def _is_same(module: nn.Module, other: nn.Module) -> bool:
    """Whether a module without children computes the same as another."""
    return (
        _is_extended(module, other)
        and _children(module) == _children(other)
        and module.extra_repr() == other.extra_repr()
        and not other._forward_hooks
    )


def _is_extended(module: nn.Module, other: nn.Module) -> bool:
    """Whether another module has a module's own weights and children, and perhaps further children that hooks call."""
    weights, others = dict(module.named_parameters(recurse=False)), dict(other.named_parameters(recurse=False))
    return (
        type(module) is type(other)
        and _children(module) <= _children(other)
        and weights.keys() == others.keys()
        and all(weights[name].data_ptr() == others[name].data_ptr() for name in weights)
        and bool(other._forward_hooks) == (_children(module) < _children(other))
    )


def _children(module: nn.Module) -> set[str]:
    return {name for name, _ in module.named_children()}
