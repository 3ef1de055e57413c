"""Names of the parts that can be chosen by name, each imported on first use."""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Mapping
from typing import Any

from promptlab.core.errors import SavedModelError, UnknownNameError


class Registry:
    """A table from a name to ``"module:attribute"``.

    Args:
        kind: what the names stand for, used in messages.
        entries: name to location.
    """

    def __init__(self, kind: str, entries: Mapping[str, str]) -> None:
        self.kind = kind
        self.entries = dict(entries)
        self._shipped = dict(entries)

    @property
    def added(self) -> dict[str, str]:
        """Entries that promptlab doesn't come with."""
        return {name: entry for name, entry in self.entries.items() if self._shipped.get(name) != entry}

    @property
    def names(self) -> list[str]:
        return sorted(self.entries)

    @property
    def modules(self) -> dict[str, str]:
        """What the names stand for → the module that it is in."""
        return {attribute: module for module, attribute in (entry.split(":") for entry in self.entries.values())}

    def get(self, name: str) -> Any:
        """Import what ``name`` stands for.

        Raises:
            UnknownNameError: if the name isn't in the table.
        """
        if name not in self.names:
            raise UnknownNameError(self.kind, name, self.entries)
        module, attribute = self.entries[name].split(":")
        return getattr(importlib.import_module(module), attribute)

    def knows(self, part: Any) -> bool:
        """Whether the class of a part is in the table."""
        return _location(part) in self.entries.values()

    def to_dict(self, part: Any) -> dict[str, Any]:
        """A part's settings as plain JSON, its registered name under ``kind``."""
        names = [name for name, entry in self.entries.items() if entry == _location(part)]
        if not names:
            raise SavedModelError(
                f"{_location(part)} is no registered {self.kind}, by whose name it could be made again; add one to "
                f"the table of {self.kind}s in promptlab.core.registry, such as "
                f"TABLE.entries['mine'] = {_location(part)!r}."
            )
        values = {field.name: _setting_json(getattr(part, field.name)) for field in dataclasses.fields(part)}
        return {"kind": names[0], **values}

    def from_dict(self, settings: Mapping[str, Any]) -> Any:
        """Make the part that ``to_dict`` described.

        Raises:
            SavedModelError: if the settings don't belong to the part.
        """
        values = {name: _restored(value) for name, value in settings.items()}
        part = self.get(str(values.pop("kind", "")))
        try:
            return part.from_saved(values)
        except TypeError as error:
            raise SavedModelError(f"settings of {self.kind} {settings!r} don't fit {part.__name__}: {error}.") from None


TEMPLATES = Registry(
    "template kind",
    {
        "manual": "promptlab.templates.manual:ManualTemplate",
        "input": "promptlab.templates.plain:InputTemplate",
        "demonstrations": "promptlab.templates.demonstrations:DemonstrationTemplate",
        "soft-prompt": "promptlab.tuning.soft_prompts:SoftPromptTemplate",
        "in-context": "promptlab.templates.demonstrations:InContextTemplate",
    },
)

FILTERS = Registry(
    "template filter",
    {
        "keep": "promptlab.templates.filters:keep",
        "lower_first": "promptlab.templates.filters:lower_first",
        "strip_punctuation": "promptlab.templates.filters:strip_punctuation",
        "upper_first": "promptlab.templates.filters:upper_first",
    },
)

VERBALIZERS = Registry(
    "verbalizer kind",
    {
        "manual": "promptlab.verbalizers.manual:ManualVerbalizer",
        "linear": "promptlab.verbalizers.linear:LinearVerbalizer",
        "strings": "promptlab.verbalizers.strings:MultiTokenVerbalizer",
        "contextual": "promptlab.verbalizers.calibrated:ContextualCalibration",
        "domain": "promptlab.verbalizers.calibrated:PMICalibration",
        "ensemble": "promptlab.verbalizers.ensemble:EnsembleVerbalizer",
        "rules": "promptlab.verbalizers.rules:RuleVerbalizer",
        "prototypical": "promptlab.verbalizers.prototypical:PrototypicalVerbalizer",
        "soft": "promptlab.verbalizers.soft:SoftVerbalizer",
        "words": "promptlab.verbalizers.words:WordsVerbalizer",
        "weighted": "promptlab.verbalizers.weighted:WeightedVerbalizer",
        "support": "promptlab.verbalizers.calibrated:SupportCalibration",
    },
)

TUNINGS = Registry(
    "tuning",
    {
        "none": "promptlab.tuning.none:NoTuning",
        "full": "promptlab.tuning.full:Full",
        "frozen": "promptlab.tuning.frozen:Frozen",
        "top-layers": "promptlab.tuning.top_layers:TopLayers",
        "bitfit": "promptlab.tuning.bitfit:BitFit",
        "layer-norm": "promptlab.tuning.layer_norm:LayerNormTuning",
        "adapter": "promptlab.tuning.adapter:Adapter",
        "lora": "promptlab.tuning.lora:LoRA",
        "ia3": "promptlab.tuning.lora:IA3",
        "prefix": "promptlab.tuning.prefix:PrefixTuning",
        "p-tuning-v2": "promptlab.tuning.prefix:PTuningV2",
        "prompt-tuning": "promptlab.tuning.prompt_tuning:PromptTuning",
        "p-tuning": "promptlab.tuning.prompt_tuning:PTuning",
    },
)

BACKBONES = Registry(
    "model family",
    {
        "albert": "promptlab.backbones.masked:MaskedBackbone",
        "bart": "promptlab.backbones.seq2seq:BartBackbone",
        "bert": "promptlab.backbones.masked:MaskedBackbone",
        "deberta-v2": "promptlab.backbones.deberta:DebertaV2Backbone",
        "distilbert": "promptlab.backbones.masked:MaskedBackbone",
        "electra": "promptlab.backbones.masked:MaskedBackbone",
        "gpt2": "promptlab.backbones.causal:CausalBackbone",
        "gpt_neox": "promptlab.backbones.causal:CausalBackbone",
        "llama": "promptlab.backbones.causal:CausalBackbone",
        "mistral": "promptlab.backbones.causal:CausalBackbone",
        "mt5": "promptlab.backbones.seq2seq:T5Backbone",
        "phi": "promptlab.backbones.causal:CausalBackbone",
        "qwen2": "promptlab.backbones.causal:CausalBackbone",
        "qwen3": "promptlab.backbones.causal:CausalBackbone",
        "t5": "promptlab.backbones.seq2seq:T5Backbone",
        "mpnet": "promptlab.backbones.mpnet:MPNetBackbone",
        "modernbert": "promptlab.backbones.masked:MaskedBackbone",
        "roberta": "promptlab.backbones.masked:MaskedBackbone",
        "xlm-roberta": "promptlab.backbones.masked:MaskedBackbone",
    },
)

ESTIMATORS = Registry(
    "estimator",
    {
        "HeadClassifier": "promptlab.estimators.head_classifier:HeadClassifier",
        "MultiLabelClassifier": "promptlab.estimators.multi_label_classifier:MultiLabelClassifier",
        "PVPEnsemble": "promptlab.ensembles.ensemble:PVPEnsemble",
        "PromptClassifier": "promptlab.estimators.classifiers:PromptClassifier",
        "PromptGenerator": "promptlab.estimators.generator:PromptGenerator",
        "TokenClassifier": "promptlab.estimators.token_classifier:TokenClassifier",
    },
)

WORD_SEARCHES = Registry(
    "label-word search",
    {
        "autoprompt": "promptlab.search.words.engines:autoprompt",
        "lm-bff": "promptlab.search.words.engines:lm_bff",
        "petal": "promptlab.search.words.engines:petal",
    },
)

TEMPLATE_SEARCHES = Registry(
    "template search",
    {
        "autoprompt": "promptlab.search.gradient_based.autoprompt:AutoPromptSearch",
        "bart": "promptlab.search.generation_based.infill_engines:BartSearch",
        "heuristic": "promptlab.search.rule_based.heuristic:HeuristicSearch",
        "lm": "promptlab.search.generation_based.causal_engine:CausalSearch",
        "masked-lm": "promptlab.search.generation_based.masked_engine:MaskedSearch",
        "paraphrase": "promptlab.search.rule_based.heuristic:ParaphraseSearch",
        "t5": "promptlab.search.generation_based.infill_engines:T5Search",
    },
)

MADE_BY_JOBS = (TEMPLATES, FILTERS, VERBALIZERS, TUNINGS, BACKBONES, ESTIMATORS)
NESTED = {"$template": TEMPLATES, "$verbalizer": VERBALIZERS}  # parts that other parts wrap, in saved settings


def _location(part: Any) -> str:
    return f"{type(part).__module__}:{type(part).__qualname__}"


def _setting_json(value: Any) -> Any:
    """A setting as plain JSON; a wrapped part under a key that says which registry knows it."""
    if not dataclasses.is_dataclass(value) or isinstance(value, type):
        return [_setting_json(item) for item in value] if isinstance(value, (list, tuple)) else value
    for key, registry in NESTED.items():
        if registry.knows(value):
            return {key: registry.to_dict(value)}
    return dataclasses.asdict(value)


def _restored(value: Any) -> Any:
    if isinstance(value, list):
        return [_restored(item) for item in value]
    if isinstance(value, dict) and len(value) == 1 and (key := next(iter(value))) in NESTED:
        return NESTED[key].from_dict(value[key])
    return value
