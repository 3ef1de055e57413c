"""The classifiers: with a prompt, and with an ordinary head."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from promptlab.errors import TemplateError, UnknownNameError, VerbalizerError
from promptlab.estimator import fresh_backbone
from promptlab.inference import calibrate, resolve_device
from promptlab.interfaces import Template, Verbalizer
from promptlab.library import template_entry, verbalizer_entry
from promptlab.model import PromptModel
from promptlab.registry import TUNINGS
from promptlab.seeding import seeded
from promptlab.soft_tokens import save_prompt
from promptlab.templates.manual import ManualTemplate
from promptlab.templates.plain import InputTemplate
from promptlab.text_classifier import TextClassifier
from promptlab.verbalizers.linear import LinearVerbalizer
from promptlab.verbalizers.manual import ManualVerbalizer
from promptlab.verbalizers.strings import StringVerbalizer


@dataclass(eq=False, repr=False)
class PromptClassifier(TextClassifier):
    """Classification with a template and a verbalizer; zero-shot before ``fit``.

    Source: PET, arXiv:2001.07676, section 3.1; LM-BFF, arXiv:2012.15723, section 4.

    Args:
        template: Jinja source, a name of the task library such as ``"sst2/it-was"`` or ``"sst2"``, or a ``Template``.
        verbalizer: class → label words, a name of the task library, or a ``Verbalizer``.
        model: a model package's name, a hub id, a folder, or a loaded backbone; None takes ``minilm`` if installed.
        tuning: ``"full"``, ``"frozen"``, ``"top-layers"``, ``"none"``, or a ``Tuning``.

    The other settings are those of ``TextClassifier``.
    """

    template: Any = None
    verbalizer: Any = None
    model: Any = None
    tuning: Any = "full"

    def save_prompt(self, path: str | Path) -> None:
        """Write the trained soft tokens, in order, as one tensor, which ``PromptTuning(start=path)`` starts from.

        Args:
            path: a ``.safetensors`` file.

        Raises:
            TemplateError: if the template has no soft tokens.
            DataError: if the file can't be written.
        """
        model = self._ready()
        if not model.soft.ids:
            raise TemplateError("there are no soft tokens to save; choose tuning='prompt-tuning'.")
        save_prompt(path, model.soft, model.backbone)

    def _template(self) -> Template:
        return resolve_template(self.template)

    def _verbalizer(self, names: Sequence[str] | None) -> Verbalizer:
        return resolve_verbalizer(self.verbalizer)

    def _ready(self) -> PromptModel:
        return self.model_ if hasattr(self, "model_") else self._zero_shot()

    def _zero_shot(self) -> PromptModel:
        """The untrained model, kept until a part of it is set anew."""
        parts = (self.template, self.verbalizer, self.model, self.seed, self.max_length)
        kept = getattr(self, "_untrained", None)
        if kept is None or kept[0] != parts:
            with seeded(self.seed):
                verbalizer = self._verbalizer(None)
                template = self._template().bind((), verbalizer)
                model = PromptModel.build(
                    template, verbalizer, fresh_backbone(self.model, self.device), TUNINGS.get("none")()
                )
                calibrate(model.to(resolve_device(self.device)), max_length=self.max_length)
            self._untrained = kept = (parts, model)
            names = self.verbalizer if isinstance(self.verbalizer, Mapping) else ()
            self._set_classes(verbalizer.classes, whole=bool(names) and all(type(name) is int for name in names))
        return kept[1]


@dataclass(eq=False, repr=False)
class HeadClassifier(TextClassifier):
    """An ordinary classification head on the pooled hidden states: fine-tuning baseline and linear probe.

    ``tuning="frozen"`` is the linear probe; the features of each text are then computed once.

    Args:
        model: as for ``PromptClassifier``.
        tuning: likewise.
        fields: names of the fields that make up the input, in order.
        pooling: ``"mean"`` of the hidden states, the ``"first"`` or the ``"last"`` one.
        dropout: of the pooled features.

    The other settings are those of ``TextClassifier``.
    """

    model: Any = None
    tuning: Any = "full"
    fields: Sequence[str] = ("text_a",)
    pooling: str = "mean"
    dropout: float = 0.1

    def _template(self) -> Template:
        return InputTemplate(tuple(self.fields))

    def _verbalizer(self, names: Sequence[str] | None) -> Verbalizer:
        return LinearVerbalizer(tuple(names or ()), self.pooling, self.dropout)


def resolve_template(template: Any) -> Template:
    """A template, or the one of that Jinja source or name in the task library.

    Raises:
        TemplateError: if there is none.
        UnknownNameError: if the library has no such name.
    """
    if isinstance(template, Template):
        return template
    if template is None:
        raise TemplateError('no template was given; pass one such as "{{ text_a }} It was {{ mask }}." or "sst2".')
    source = str(template)
    return ManualTemplate(source if "{" in source or " " in source else template_entry(source).template)


def resolve_verbalizer(verbalizer: Any) -> Verbalizer:
    """A verbalizer, one of these label words, or the one of that name in the task library.

    Raises:
        VerbalizerError: if there is none.
        UnknownNameError: if the library has no such name.
    """
    if isinstance(verbalizer, Verbalizer):
        return verbalizer
    if verbalizer is None:
        raise VerbalizerError('no verbalizer was given; pass one such as {"negative": ["bad"], "positive": ["good"]}.')
    if isinstance(verbalizer, Mapping):
        return ManualVerbalizer(verbalizer)
    entry = verbalizer_entry(str(verbalizer))
    options = {} if entry.aggregate is None else {"aggregate": entry.aggregate}
    kinds: Mapping[str, Callable[..., Verbalizer]] = {"manual": ManualVerbalizer, "strings": StringVerbalizer}
    if entry.kind not in kinds:
        raise UnknownNameError(f"kind of verbalizer {entry.name}", entry.kind, kinds)
    return kinds[entry.kind](entry.label_words, **options)
