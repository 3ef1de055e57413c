"""What users may pass for a part, such as a name or its source, and the part that is meant."""

from __future__ import annotations

import numbers
from collections.abc import Hashable, Mapping, Sequence
from typing import Any, TypeVar

from promptlab.backbones import catalog
from promptlab.backbones.catalog import load_backbone
from promptlab.core.devices import resolve_device
from promptlab.core.errors import TemplateError, TuningError, VerbalizerError, short_repr
from promptlab.core.inputs import DeviceLike, ModelLike, TemplateLike, TuningLike, VerbalizerLike
from promptlab.core.interfaces import Backbone, Template, Tuning, Verbalizer
from promptlab.core.registry import TEMPLATES, TUNINGS, VERBALIZERS
from promptlab.data.labels import TRUTH, LabelType
from promptlab.library.tasks import template_entry, verbalizer_entry
from promptlab.templates.demonstrations import AnsweredTemplate
from promptlab.templates.manual import ManualTemplate
from promptlab.verbalizers.words import WordsVerbalizer

T = TypeVar("T")


def resolve_template(template: TemplateLike | None) -> Template:
    """A template, or the one of that Jinja source or name in the task library.

    A mapping is a template of a ``kind``, a name in the registry, with the kind's settings.

    Raises:
        TemplateError: if there is none.
        UnknownNameError: if the library has no such name, or the registry no such kind.
    """
    if isinstance(template, Template):
        return template
    if template is None:
        raise TemplateError('no template was given; pass one such as "{{ text_a }} It was {{ mask }}." or "sst2".')
    if isinstance(template, Mapping) and "kind" in template:
        return _template_of(str(template["kind"]), {name: value for name, value in template.items() if name != "kind"})
    if not isinstance(template, str):
        raise TemplateError(f"template is {short_repr(template)}; pass one text, or a Template.")
    return ManualTemplate(template if is_source(template) else template_entry(template).template)


def resolve_unanswered(template: TemplateLike | None) -> Template:
    """A template for texts that don't have one class each; else as ``resolve_template``.

    Raises:
        TemplateError: if it shows examples with their classes.
    """
    found = resolve_template(template)
    if isinstance(found, AnsweredTemplate):
        raise TemplateError(
            f"{type(found).__name__} shows answered examples, which have one class each; use the template alone."
        )
    return found


def _template_of(kind: str, settings: Mapping[str, object]) -> Template:
    try:
        return TEMPLATES.make(kind, **settings)
    except TypeError as error:
        raise TemplateError(
            f"settings {short_repr(settings)} don't fit a template of kind {kind!r}: {error}."
        ) from None


def label_type_of(verbalizer: VerbalizerLike | None) -> LabelType:
    """What the keys of class → words are; of any other verbalizer, texts."""
    names = list(_whole(verbalizer)) if isinstance(verbalizer, Mapping) else []
    if names and {type(name).__name__ for name in names} <= {"bool", "bool_"}:
        return LabelType("bool", TRUTH)
    is_whole = names and all(isinstance(name, numbers.Integral) and not isinstance(name, bool) for name in names)
    return LabelType("int" if is_whole else "str")


def _whole(words: Mapping[Any, T]) -> dict[Any, T]:
    """Words by class, where a class such as 1.0 is the whole number that labels such as 1.0 are taken for."""
    fractions = [name for name in words if isinstance(name, numbers.Real) and not isinstance(name, numbers.Integral)]
    whole = {name: int(float(name)) for name in fractions if float(name).is_integer()}
    return {whole.get(name, name): row for name, row in words.items()}


def is_source(template: str) -> bool:
    """Whether text is a template itself rather than the name of one."""
    return "{" in template or " " in template


def resolve_verbalizer(verbalizer: VerbalizerLike | None) -> Verbalizer:
    """A verbalizer, one of these label words, or the one of that name in the task library.

    Words of one token or of several may be given; the model decides how they are scored (``WordsVerbalizer``). Instead
    of class → label words, a mapping may be an entry as in the library's files: ``label_words``, ``kind`` (a name in
    the registry, by which it is that verbalizer and no other) and the kind's other settings.

    Raises:
        VerbalizerError: if there is none.
        UnknownNameError: if the library has no such name.
    """
    if isinstance(verbalizer, Verbalizer):
        return verbalizer
    if verbalizer is None:
        raise VerbalizerError('no verbalizer was given; pass one such as {"negative": ["bad"], "positive": ["good"]}.')
    if isinstance(verbalizer, Mapping):
        is_entry = isinstance(verbalizer.get("label_words"), Mapping)
        if not is_entry:
            return WordsVerbalizer(_whole(verbalizer))
        settings = {name: value for name, value in verbalizer.items() if name not in ("label_words", "kind", "source")}
        return _verbalizer_of(verbalizer["label_words"], str(verbalizer.get("kind", "words")), settings)
    if not isinstance(verbalizer, str):
        raise VerbalizerError(
            f"verbalizer is {short_repr(verbalizer)}; pass class: label words, a name, or a Verbalizer."
        )
    entry = verbalizer_entry(verbalizer)
    return _verbalizer_of(entry.label_words, entry.kind, entry.settings)


def _verbalizer_of(label_words: object, kind: str, settings: Mapping[str, object]) -> Verbalizer:
    """The verbalizer of an entry; settings without a kind are those of ``manual``."""
    kind = "manual" if kind == "words" and settings else kind
    try:
        return VERBALIZERS.make(kind, label_words, **settings)
    except TypeError as error:
        raise VerbalizerError(
            f"settings {short_repr(settings)} don't fit a verbalizer of kind {kind!r}: {error}."
        ) from None


def resolve_tuning(tuning: TuningLike) -> Tuning:
    """A tuning method, or the one of that name with its defaults."""
    return tuning if isinstance(tuning, Tuning) else TUNINGS.make(str(tuning))


def fresh_backbone(model: ModelLike | None, device: DeviceLike) -> Backbone:
    """A backbone that may be changed: loaded anew, or a copy of the one that was passed, sharing its weights.

    One that was passed is moved to the device first: only there can copies of it share memory.
    """
    if not isinstance(model, Backbone):
        return catalog.load_backbone(model)
    return model.to(resolve_device(device)).copy()


def check_head(verbalizer: Verbalizer, tuning: TuningLike) -> None:
    """Refuse a head that says nothing untrained where nothing trains it.

    Raises:
        TuningError: if it is one.
    """
    if verbalizer.starts_from_nothing and resolve_tuning(tuning).defaults.max_steps == 0:
        raise TuningError(
            f"{type(verbalizer).__name__} says nothing of a text before it is trained, and tuning='none' trains "
            "nothing; call fit with another, such as 'frozen', which trains the head alone."
        )


def model_key(model: ModelLike | None) -> Hashable:
    """What tells models apart, loaded or named; a loaded one prints like all of its architecture."""
    return id(model) if isinstance(model, Backbone) else str(model)


def model_of_each(model: ModelLike | Sequence[ModelLike | None] | None, n_pairs: int) -> list[ModelLike | None]:
    """The model of each pair.

    Args:
        model: one for all, or a list with one for each.

    Raises:
        TuningError: if there are more or fewer.
    """
    models = [model] * n_pairs if isinstance(model, str) or not isinstance(model, Sequence) else list(model)
    if len(models) != n_pairs:
        raise TuningError(f"{len(models)} models for {n_pairs} pairs; give one model, or one for each pair.")
    return models


def load_each(models: Sequence[ModelLike | None]) -> list[Backbone]:
    """The backbones of models, each loaded once, however often it comes."""
    loaded: dict[Hashable, Backbone] = {}
    for model in models:
        if model_key(model) not in loaded:
            loaded[model_key(model)] = load_backbone(model)
    return [loaded[model_key(model)] for model in models]
