"""Prompt learning: few labelled texts and one pre-trained language model make a classifier.

Public names are loaded on first use, so that ``import promptlab`` is quick.
"""

from __future__ import annotations

import importlib
from typing import Any

from promptlab.registry import TEMPLATE_SEARCHES, TEMPLATES, TUNINGS, VERBALIZERS

__version__ = "0.1.0"

_PUBLIC = {
    **TEMPLATES.modules,  # every part that can be chosen by name
    **TUNINGS.modules,
    **VERBALIZERS.modules,
    **TEMPLATE_SEARCHES.modules,
    "Example": "promptlab.types",
    "PVP": "promptlab.pvp",
    "read_pvps": "promptlab.pvp",
    "write_pvps": "promptlab.pvp",
    "HeadClassifier": "promptlab.head_classifier",
    "IPET": "promptlab.ipet",
    "JointClassifier": "promptlab.joint",
    "MultiLabelClassifier": "promptlab.multilabel",
    "PET": "promptlab.distillation",
    "PVPEnsemble": "promptlab.ensemble",
    "PromptClassifier": "promptlab.classifier",
    "PromptGenerator": "promptlab.generator",
    "PromptlabError": "promptlab.errors",
    "TokenClassifier": "promptlab.tagger",
    "download": "promptlab.backbones.download",
    "k_shot": "promptlab.data.sampling",
    "load_backbone": "promptlab.backbones.catalog",
    "nearest_words": "promptlab.search.expansion",
    "read_word_lists": "promptlab.search.expansion",
    "refine_words": "promptlab.search.refinement",
    "search_templates": "promptlab.search.templates",
    "search_words": "promptlab.search.label_words",
    "wordnet_words": "promptlab.search.expansion",
    "class_words": "promptlab.inspection",
    "explain": "promptlab.inspection",
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
