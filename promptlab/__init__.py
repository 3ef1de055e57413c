"""Prompt learning: few labeled texts and one pre-trained language model make a classifier.

Public names are loaded on first use, so that ``import promptlab`` is quick. Type checkers read ``__init__.pyi``.
"""

from __future__ import annotations

import importlib

from promptlab.core.registry import ESTIMATORS, TEMPLATE_SEARCHES, TEMPLATES, TUNINGS, VERBALIZERS

__version__ = "0.1.0"

_ROLES = ("Backbone", "Head", "Template", "Tuning", "Verbalizer")
_ERRORS = (
    "BackboneError", "DataError", "JobError", "PluginError", "PromptlabError", "PromptlabWarning", "SavedModelError",
    "SearchError", "TemplateError", "TuningError", "UnknownNameError", "UnsupportedError",
    "VerbalizerError",
)  # fmt: skip
_PUBLIC = {
    **TEMPLATES.modules,  # every part and estimator that has a name
    **TUNINGS.modules,
    **VERBALIZERS.modules,
    **TEMPLATE_SEARCHES.modules,
    **ESTIMATORS.modules,
    **dict.fromkeys(_ROLES, "promptlab.core.interfaces"),
    **dict.fromkeys(_ERRORS, "promptlab.core.errors"),
    "Example": "promptlab.core.types",
    "PVP": "promptlab.library.pvps",
    "read_pvps": "promptlab.library.pvps",
    "write_pvps": "promptlab.library.pvps",
    "IPET": "promptlab.distillation.ipet",
    "JointClassifier": "promptlab.estimators.joint_classifier",
    "PET": "promptlab.distillation.pet",
    "download": "promptlab.backbones.download",
    "k_shot": "promptlab.data.sampling",
    "load_backbone": "promptlab.backbones.catalog",
    "nearest_words": "promptlab.search.words.expansion",
    "read_word_lists": "promptlab.search.words.expansion",
    "refine_words": "promptlab.search.words.refinement",
    "search_templates": "promptlab.search.templates.search",
    "search_words": "promptlab.search.words.search",
    "Ranking": "promptlab.search.templates.ranking",
    "wordnet_words": "promptlab.search.words.expansion",
    "class_words": "promptlab.evaluation.inspection",
    "explain": "promptlab.evaluation.inspection",
    "load_sample": "promptlab.data.samples",
    "pretrain_prompt": "promptlab.estimators.prompt_pretraining",
    "read_documents": "promptlab.data.corpus",
    "read_examples": "promptlab.data.readers",
}

__all__ = sorted(_PUBLIC)


def __getattr__(name: str) -> object:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'promptlab' has no attribute {name!r}")
    value = getattr(importlib.import_module(_PUBLIC[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *_PUBLIC])
