"""Names of the parts that can be chosen by name, each imported on first use."""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Mapping
from typing import Any

from promptlab.errors import SavedModelError, UnknownNameError


class Registry:
    """A table from a name to ``"module:attribute"``.

    Args:
        kind: what the names stand for, used in messages.
        entries: name to location.
    """

    def __init__(self, kind: str, entries: Mapping[str, str]) -> None:
        self.kind = kind
        self.entries = dict(entries)

    @property
    def names(self) -> list[str]:
        return sorted(self.entries)

    def get(self, name: str) -> Any:
        """Import what ``name`` stands for.

        Raises:
            UnknownNameError: if the name isn't in the table.
        """
        if name not in self.entries:
            raise UnknownNameError(self.kind, name, self.entries)
        module, attribute = self.entries[name].split(":")
        return getattr(importlib.import_module(module), attribute)

    def to_dict(self, part: Any) -> dict[str, Any]:
        """A part's settings as plain JSON, its registered name under ``kind``."""
        location = f"{type(part).__module__}:{type(part).__qualname__}"
        names = [name for name, entry in self.entries.items() if entry == location]
        if not names:
            raise UnknownNameError(self.kind, location, self.entries.values())
        return {"kind": names[0], **dataclasses.asdict(part)}

    def from_dict(self, settings: Mapping[str, Any]) -> Any:
        """Make the part that ``to_dict`` described.

        Raises:
            SavedModelError: if the settings don't belong to the part.
        """
        values = dict(settings)
        part = self.get(str(values.pop("kind", "")))
        try:
            return part(**values)
        except TypeError as error:
            raise SavedModelError(f"settings of {self.kind} {settings!r} don't fit {part.__name__}: {error}.") from None


TEMPLATES = Registry(
    "template kind",
    {
        "manual": "promptlab.templates.manual:ManualTemplate",
        "input": "promptlab.templates.plain:InputTemplate",
    },
)

VERBALIZERS = Registry(
    "verbalizer kind",
    {
        "manual": "promptlab.verbalizers.manual:ManualVerbalizer",
        "linear": "promptlab.verbalizers.linear:LinearVerbalizer",
    },
)

TUNINGS = Registry(
    "tuning",
    {
        "none": "promptlab.tuning.none:NoTuning",
        "full": "promptlab.tuning.full:Full",
        "frozen": "promptlab.tuning.frozen:Frozen",
        "top-layers": "promptlab.tuning.top_layers:TopLayers",
    },
)

BACKBONES = Registry(
    "model family",
    {
        "albert": "promptlab.backbones.masked:MaskedBackbone",
        "bert": "promptlab.backbones.masked:MaskedBackbone",
        "deberta-v2": "promptlab.backbones.deberta:DebertaV2Backbone",
        "distilbert": "promptlab.backbones.masked:MaskedBackbone",
        "electra": "promptlab.backbones.masked:MaskedBackbone",
        "modernbert": "promptlab.backbones.masked:MaskedBackbone",
        "roberta": "promptlab.backbones.masked:MaskedBackbone",
        "xlm-roberta": "promptlab.backbones.masked:MaskedBackbone",
    },
)
