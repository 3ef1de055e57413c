"""The classifiers: with a prompt, and with an ordinary head."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from promptlab.core.devices import resolve_device
from promptlab.core.errors import TemplateError, TuningError
from promptlab.core.inputs import DevSet, ModelLike, TemplateLike, TuningLike, VerbalizerLike
from promptlab.core.interfaces import Template, Tuning, Verbalizer
from promptlab.core.prompt_files import save_prompt
from promptlab.core.ranges import PartShare
from promptlab.core.registry import TUNINGS
from promptlab.core.seeding import seeded
from promptlab.estimators.class_scorer import ClassScorer
from promptlab.estimators.saving import SavedSettings
from promptlab.estimators.text_estimator import TextEstimator
from promptlab.library.known_classes import KnownClasses
from promptlab.library.resolve import (
    check_head,
    fresh_backbone,
    label_type_of,
    resolve_template,
    resolve_tuning,
    resolve_verbalizer,
)
from promptlab.models.inference import calibrate
from promptlab.models.prompt_model import PromptModel
from promptlab.templates.plain import InputTemplate
from promptlab.verbalizers.linear import LinearVerbalizer


@dataclass(eq=False, repr=False)
class PromptClassifier(ClassScorer, TextEstimator):
    """Classify texts with a template and a verbalizer; zero-shot before ``fit``.

    Source: PET, arXiv:2001.07676, section 3.1; LM-BFF, arXiv:2012.15723, section 4.

    Args:
        template: Jinja source, a name of the task library such as ``"sst2/it-was"`` or ``"sst2"``, or a ``Template``.
        verbalizer: class → label words, a name of the task library, or a ``Verbalizer``.
        model: a package's name, a hub id, a folder or a loaded backbone; None takes ``minilm``.
        tuning: name of a tuning method such as ``"full"``, ``"lora"``, ``"frozen"`` or ``"none"``, or a ``Tuning``.
        origin: where template and verbalizer come from, such as ``PVP.origin``; it is saved with the classifier.

    Raises:
        PromptlabError: in ``fit`` and ``predict``, if settings, parts and texts don't fit one another.

    Example:
        >>> from promptlab import PromptClassifier
        >>> words = {"negative": ["bad", "dull"], "positive": ["good", "great"]}
        >>> classifier = PromptClassifier("{{ text_a }} It was {{ mask }}.", words, "minilm", "bitfit", max_steps=5)
        >>> classifier = classifier.fit(["a dull film", "great fun"], ["negative", "positive"])
        >>> classifier.predict(["a dull story", "a gem"]), classifier.predict_proba(["a gem"]).shape  # (texts, classes)
        (array(['negative', 'positive'], dtype='<U8'), (1, 2))
    """

    template: TemplateLike | None = None
    verbalizer: VerbalizerLike | None = None
    model: ModelLike | None = None
    tuning: TuningLike = "full"
    origin: Mapping[str, object] | None = None

    def save_prompt(self, path: str | Path) -> None:
        """Write the trained soft tokens, in order, as one tensor, which ``PromptTuning(start=path)`` starts from.

        Args:
            path: a ``.safetensors`` file.

        Raises:
            TemplateError: if the template has no soft tokens.
            DataError: if the file can't be written.
        """
        model = self.ready()
        if not model.soft.ids:
            raise TemplateError("there are no soft tokens to save; choose tuning='prompt-tuning'.")
        save_prompt(path, model.soft(), model.backbone)

    def check_settings(self, eval_set: DevSet | None) -> None:
        super().check_settings(eval_set)
        check_head(self.make_verbalizer(None), self.tuning)

    def make_template(self) -> Template:
        return resolve_template(self.template)

    def make_verbalizer(self, names: Sequence[str] | None) -> Verbalizer:
        return resolve_verbalizer(self.verbalizer)

    def known_classes(self) -> KnownClasses:
        return KnownClasses.of(self.verbalizer)

    def model_tuning(self) -> Tuning:
        return TUNINGS.make("none") if self._is_untrained() else super().model_tuning()

    def saved_parts(self) -> dict[str, object]:
        return super().saved_parts() | ({"untrained": True} if self._is_untrained() else {})

    def take_model(self, model: PromptModel, saved: SavedSettings) -> None:
        super().take_model(model, saved)
        self._saved_untrained = self.model_ if saved.get("untrained") else None

    def _is_untrained(self) -> bool:
        """Whether there was no ``fit``, neither before nor after the classifier was saved."""
        return getattr(self, "model_", None) is getattr(self, "_saved_untrained", None)

    def ready(self) -> PromptModel:
        return super().ready() if hasattr(self, "model_") else self._zero_shot()

    def _zero_shot(self) -> PromptModel:
        """The untrained model, kept until a part of it is set anew."""
        self._check_values()
        parts = (self.template, self.verbalizer, self.model, self.seed, self.max_length)
        kept = getattr(self, "_untrained", None)
        if kept is None or kept[0] != parts:
            with seeded(self.seed):
                verbalizer = self.make_verbalizer(None)
                check_head(verbalizer, "none")
                model = self.build(verbalizer, (), fresh_backbone(self.model, self.device), self.model_tuning())
                calibrate(model.to(resolve_device(self.device)), max_length=self.max_length)
            self._untrained = kept = (parts, model)
            self.set_classes(verbalizer.classes, label_type_of(self.verbalizer))
        return kept[1]


@dataclass(eq=False, repr=False)
class HeadClassifier(ClassScorer, TextEstimator):
    """Classify texts by an ordinary head on the pooled hidden states: fine-tuning baseline and linear probe.

    ``tuning="frozen"`` is the linear probe; the features of each text are then computed once.

    Args:
        model: a package's name, a hub id, a folder or a loaded backbone; None takes ``minilm``.
        tuning: name of a tuning method such as ``"full"``, ``"lora"`` or ``"frozen"``, or a ``Tuning``.
        fields: names of the fields that make up the input, in order; None is ``text_a`` alone, and of a student of
            ``PET`` all fields that the members read.
        pooling: ``"mean"`` of the hidden states, the ``"first"`` or the ``"last"`` one.
        dropout: share of the pooled features that is dropped in training.

    Raises:
        PromptlabError: in ``fit``, if settings and texts don't fit one another.

    Example:
        >>> from promptlab import HeadClassifier
        >>> classifier = HeadClassifier("minilm", "frozen", max_steps=50)
        >>> classifier = classifier.fit(["a dull film", "a bore", "great fun", "a gem"], [0, 0, 1, 1])
        >>> classifier.predict(["dull", "fun"]), classifier.predict_proba(["dull", "fun"]).shape  # (texts, classes)
        (array([0, 1]), (2, 2))
    """

    model: ModelLike | None = None
    tuning: TuningLike = "full"
    fields: Sequence[str] | None = None
    pooling: str = "mean"
    dropout: PartShare = 0.1

    def check_settings(self, eval_set: DevSet | None) -> None:
        super().check_settings(eval_set)
        if resolve_tuning(self.tuning).defaults.max_steps == 0:
            raise TuningError(
                "tuning='none' trains nothing, not even the head; choose 'frozen', which trains that alone."
            )

    def make_template(self) -> Template:
        return InputTemplate() if self.fields is None else InputTemplate(tuple(self.fields))

    def make_verbalizer(self, names: Sequence[str] | None) -> Verbalizer:
        return LinearVerbalizer(tuple(names or ()), self.pooling, self.dropout)
