"""What estimators do that put a template and a verbalizer on a language model: build it, train it, run and save it."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np

from promptlab.data.labels import label_type, sorted_classes
from promptlab.data.readers import as_examples
from promptlab.devices import resolve_device
from promptlab.estimator import TrainedEstimator
from promptlab.fitting import EncodedSet, Labelled, Objective, Training, fit_model
from promptlab.inference import calibrate, predict_log_probs
from promptlab.interfaces import Template, Tuning, Verbalizer
from promptlab.model import PromptModel
from promptlab.parts import fresh_backbone, resolve_tuning
from promptlab.registry import TEMPLATES, VERBALIZERS
from promptlab.seeding import seeded
from promptlab.soft_tokens import to_be_filled
from promptlab.types import Example

CHUNK = 1024  # rows that prediction holds at once


@dataclass(kw_only=True, eq=False, repr=False)
class TextEstimator(TrainedEstimator):
    """Classes of texts. A subclass says which template and verbalizer it uses, and what its labels are."""

    model_class: ClassVar[type[PromptModel]] = PromptModel

    def _template(self) -> Template:
        raise NotImplementedError

    def _verbalizer(self, names: Sequence[str] | None) -> Verbalizer:
        """The verbalizer for the classes seen in training, or (None) for none seen."""
        raise NotImplementedError

    def _fit(
        self, verbalizer: Verbalizer, training: Training, dev: Labelled | None, *, objective: Objective | None = None
    ) -> Self:
        """Build and train a model, and become fitted with it."""
        tuning = resolve_tuning(self.tuning)
        with seeded(self.seed):
            template = tuning.edit(self._template().bind(training.examples, verbalizer))
            model = self.model_class.build(template, verbalizer, fresh_backbone(self.model, self.device), tuning)
            history = self._train(model, tuning, training, dev, objective)
        return self.become(model, whole=training.whole, history=history)

    def become(self, model: PromptModel, *, whole: bool, history: list[dict[str, float]]) -> Self:
        """Take a trained model: what only training needs is dropped, the head measures its prior.

        Args:
            model: on any device.
            whole: whether the labels came as whole numbers.
            history: the record of ``training.train``.
        """
        with seeded(self.seed):
            calibrate(model.export().to(resolve_device(self.device)), max_length=self.max_length)
        self.model_, self.history_ = model.eval(), history
        self._set_classes(model.verbalizer.classes, whole=whole)
        return self

    def predict_proba(self, X: Any) -> np.ndarray:
        """Class probabilities, shape (texts, classes), columns in the order of ``classes_``."""
        rows = list(self.iter_proba(as_examples(X)))
        return np.stack(rows) if rows else np.zeros((0, len(self.classes_)))

    def iter_proba(self, examples: Iterable[Example]) -> Iterator[np.ndarray]:
        """Class probabilities of one example after the other, in constant memory."""
        return map(np.exp, self.iter_log_proba(examples))

    def iter_log_proba(self, examples: Iterable[Example]) -> Iterator[np.ndarray]:
        """Their logarithms, in nats, which don't become 0 where a class is unlikely."""
        model = self._ready()
        model.to(resolve_device(self.device)).eval()
        order = [list(model.verbalizer.classes).index(str(name)) for name in self.classes_]
        source = iter(examples)
        while chunk := list(itertools.islice(source, CHUNK)):
            log_probs = predict_log_probs(model, model.encode(chunk, max_length=self.max_length))
            yield from log_probs.numpy()[:, order]

    def saved_parts(self) -> dict[str, Any]:
        model = self._ready()
        return {
            "template": TEMPLATES.to_dict(model.template),
            "verbalizer": VERBALIZERS.to_dict(model.verbalizer),
            "classes": list(model.verbalizer.classes),
            "label_type": label_type(self.classes_),
        }

    @classmethod
    def restored(cls, saved: dict[str, Any], backbone: Any, tuning: Tuning) -> tuple[Self, PromptModel]:
        template, verbalizer = TEMPLATES.from_dict(saved["template"]), VERBALIZERS.from_dict(saved["verbalizer"])
        slots = to_be_filled(template.soft_slots)
        model = cls.model_class.build(template, verbalizer, backbone, tuning, slots=slots)
        parts = {"template": template, "verbalizer": verbalizer}
        given: dict[str, Any] = {name: part for name, part in parts.items() if name in cls.__dataclass_fields__}
        return cls(**saved["parameters"], **given), model

    def take_model(self, model: PromptModel, saved: dict[str, Any]) -> None:
        calibrate(model.to(resolve_device(self.device)), max_length=self.max_length)
        self.model_ = model.eval()
        self._set_classes(model.verbalizer.classes, whole=saved["label_type"] == "int")

    def _set_classes(self, names: Sequence[str], *, whole: bool) -> None:
        self.classes_ = np.array(sorted_classes(names, whole=whole))

    def _train(
        self, model: PromptModel, tuning: Tuning, training: Training, dev: Labelled | None, objective: Objective | None
    ) -> list[dict[str, float]]:
        held_out = None if dev is None else EncodedSet.of(dev, model, self.max_length)
        if tuning.defaults.max_steps == 0:  # zero-shot
            model.encode(training.examples[:1], max_length=self.max_length)  # what doesn't fit is told now
            return self._score_untrained(model, held_out)
        return fit_model(
            model,
            EncodedSet.of(training, model, self.max_length),
            held_out,
            self._training_settings(tuning, len(training.examples), model.backbone.hidden_size),
            checkpoint=self.checkpoint_dir,
            objective=objective,
        )

    def _score_untrained(self, model: PromptModel, dev: EncodedSet | None) -> list[dict[str, float]]:
        self._check_untrained()
        if dev is None:
            return []
        score = dev.score(predict_log_probs(model.to(resolve_device(self.device)).eval(), dev.rows))
        return [{"step": 0, **score.record()}]
