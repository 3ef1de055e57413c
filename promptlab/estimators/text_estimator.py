"""What estimators do that put a template and a verbalizer on a language model: build it, train it, run it."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np

from promptlab.core.devices import resolve_device
from promptlab.core.interfaces import Template, Tuning, Verbalizer
from promptlab.core.seeding import seeded
from promptlab.core.types import Example
from promptlab.data.labeled import Labeled, Training
from promptlab.data.labels import LabelType
from promptlab.estimators.class_scorer import CHUNK
from promptlab.estimators.saved_estimator import SavedTextEstimator
from promptlab.library.resolve import fresh_backbone, resolve_tuning
from promptlab.models.inference import calibrate, predict_log_probs
from promptlab.models.input_warnings import Noticed, notice
from promptlab.models.prompt_model import PromptModel
from promptlab.training.dev_score import dev_score
from promptlab.training.fitting import EncodedSet, Objective, Scorer, fit_model


@dataclass(kw_only=True, eq=False, repr=False)
class TextEstimator(SavedTextEstimator):
    """Classes of texts. A subclass says which template and verbalizer it uses, and what its labels are."""

    dev_scorer: ClassVar[Scorer] = staticmethod(dev_score)

    def make_template(self) -> Template:
        """Return the template, made of what the user passed."""
        raise NotImplementedError

    def make_verbalizer(self, names: Sequence[str] | None) -> Verbalizer:
        """Return the verbalizer for the classes seen in training, or (None) for none seen."""
        raise NotImplementedError

    def check_settings(self, eval_set: Any) -> None:
        super().check_settings(eval_set)
        _ = self.make_template().slot  # a template without a mask is told before a model is loaded

    def _fit(
        self, verbalizer: Verbalizer, training: Training, dev: Labeled | None, *, objective: Objective | None = None
    ) -> Self:
        """Build and train a model, and become fitted with it."""
        tuning = resolve_tuning(self.tuning)
        with seeded(self.seed):
            model = self.build(verbalizer, training.examples, fresh_backbone(self.model, self.device))
            history = self._train(model, tuning, training, dev, objective)
        return self.become(model, label_type=training.label_type, history=history)

    def build(self, verbalizer: Verbalizer, examples: Sequence[Example], backbone: Any) -> PromptModel:
        """The model before any training; what is random in it comes from torch's generator.

        Args:
            examples: labeled ones, which templates with demonstrations show.
            backbone: that may be changed.

        Raises:
            PromptlabError: if the parts don't fit one another.
        """
        tuning = resolve_tuning(self.tuning)
        template = tuning.edit(self.make_template().bind(examples, verbalizer))
        return self.model_class.build(template, verbalizer, backbone, tuning)

    def become(self, model: PromptModel, *, label_type: LabelType, history: list[dict[str, float]]) -> Self:
        """Take a trained model: what only training needs is dropped, the head measures its prior.

        Args:
            model: on any device.
            label_type: of the labels.
            history: the record of ``training.train``.
        """
        with seeded(self.seed):
            calibrate(model.export().to(resolve_device(self.device)), max_length=self.max_length)
        self.model_, self.history_ = model.eval(), history
        self.set_classes(model.verbalizer.classes, label_type)
        return self

    def iter_log_proba(self, examples: Iterable[Example]) -> Iterator[np.ndarray]:
        model = self.ready()
        model.to(resolve_device(self.device)).eval()
        order = [list(model.verbalizer.classes).index(name) for name in self.class_names_]
        source, noticed = iter(examples), Noticed(model.template.n_variants)
        while chunk := list(itertools.islice(source, CHUNK)):
            rows = model.encode(chunk, max_length=self.max_length)
            noticed.add(rows)
            yield from predict_log_probs(model, rows).numpy()[:, order]
        noticed.tell(model.backbone, self.max_length)

    def _train(
        self, model: PromptModel, tuning: Tuning, training: Training, dev: Labeled | None, objective: Objective | None
    ) -> list[dict[str, float]]:
        held_out = None if dev is None else EncodedSet.of(dev, model, self.max_length, type(self).dev_scorer)
        if tuning.defaults.max_steps == 0:  # zero-shot
            model.encode(training.examples[:1], max_length=self.max_length)  # what doesn't fit is told now
            return self._score_untrained(model, held_out)
        learnt = EncodedSet.of(training, model, self.max_length)
        notice(learnt.rows, model.backbone, self.max_length, n_variants=learnt.n_variants)
        n, width, n_variants = len(training.examples), model.backbone.hidden_size, learnt.n_variants
        settings = self.training_settings(tuning, n, width, n_variants=n_variants)
        checkpoint = self.checkpoints(tuning, held_out)
        return fit_model(model, learnt, held_out, settings, checkpoint=checkpoint, objective=objective)

    def _score_untrained(self, model: PromptModel, dev: EncodedSet | None) -> list[dict[str, float]]:
        self._check_untrained()
        if dev is None:
            return []
        score = dev.score(predict_log_probs(model.to(resolve_device(self.device)).eval(), dev.rows))
        return [{"step": 0, **score.record()}]
