"""Prompt learning: few labelled texts and one pre-trained language model make a classifier.

Public names are loaded on first use, so that ``import promptlab`` is quick.
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

_PUBLIC = {
    "Adapter": "promptlab.tuning.adapter",
    "BitFit": "promptlab.tuning.bitfit",
    "ContextualVerbalizer": "promptlab.verbalizers.calibrated",
    "DemonstrationTemplate": "promptlab.templates.demonstrations",
    "DomainVerbalizer": "promptlab.verbalizers.calibrated",
    "Example": "promptlab.types",
    "Frozen": "promptlab.tuning.frozen",
    "Full": "promptlab.tuning.full",
    "HeadClassifier": "promptlab.head_classifier",
    "IA3": "promptlab.tuning.lora",
    "InContextTemplate": "promptlab.templates.demonstrations",
    "JointClassifier": "promptlab.joint",
    "LayerNormTuning": "promptlab.tuning.layer_norm",
    "LoRA": "promptlab.tuning.lora",
    "ManualTemplate": "promptlab.templates.manual",
    "ManualVerbalizer": "promptlab.verbalizers.manual",
    "PTuning": "promptlab.tuning.prompt_tuning",
    "PTuningV2": "promptlab.tuning.prefix",
    "PrefixTuning": "promptlab.tuning.prefix",
    "PromptClassifier": "promptlab.classifier",
    "PromptGenerator": "promptlab.generator",
    "PromptTuning": "promptlab.tuning.prompt_tuning",
    "PromptlabError": "promptlab.errors",
    "StringVerbalizer": "promptlab.verbalizers.strings",
    "SupportVerbalizer": "promptlab.verbalizers.calibrated",
    "TokenClassifier": "promptlab.tagger",
    "TopLayers": "promptlab.tuning.top_layers",
    "download": "promptlab.backbones.download",
    "k_shot": "promptlab.data.sampling",
    "load_backbone": "promptlab.backbones.catalog",
    "load_sample": "promptlab.data.samples",
    "pretrain_prompt": "promptlab.pretraining",
    "read_documents": "promptlab.pretraining",
    "read_examples": "promptlab.data.readers",
}

__all__ = sorted(_PUBLIC)


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'promptlab' has no attribute {name!r}")
    value = getattr(importlib.import_module(_PUBLIC[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *_PUBLIC])
