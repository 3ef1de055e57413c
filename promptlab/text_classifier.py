"""What both text classifiers do: fit and predict."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from sklearn.base import ClassifierMixin

<<<<<<< HEAD
from promptlab.errors import DataError
from promptlab.fitting import Labelled
from promptlab.text_estimator import TextEstimator
=======
from promptlab.data.readers import as_examples
from promptlab.devices import resolve_device
from promptlab.errors import DataError, TuningError
from promptlab.estimator import TrainedEstimator
from promptlab.fitting import EncodedSet, Labelled, Objective, Training, dev_score, fit_model
from promptlab.inference import calibrate, predict_log_probs
from promptlab.interfaces import Template, Tuning, Verbalizer
from promptlab.model import PromptModel
from promptlab.parts import fresh_backbone, resolve_tuning
from promptlab.registry import TEMPLATES, VERBALIZERS
from promptlab.seeding import seeded
from promptlab.soft_tokens import to_be_filled
from promptlab.types import Example

CHUNK = 1024  # rows that prediction holds at once
>>>>>>> d559aefa0a1b2d45e4b4f45ddd555f5c88afac5d


@dataclass(kw_only=True, eq=False, repr=False)
class TextClassifier(ClassifierMixin, TextEstimator):
    """Classification of texts: each has one class."""

    def fit(self, X: Any, y: Any = None, *, eval_set: tuple[Any, Any] | None = None) -> Self:
        """Train on labelled texts.

        Args:
            X: texts (field ``text_a``), tuples (``text_a``, ``text_b``, …), dicts, a DataFrame or a Dataset.
            y: labels, strings or whole numbers; None takes those that the examples carry.
            eval_set: dev texts and labels. The latest weights whose accuracy on them is within one standard error
                of the highest are kept.

        Raises:
            DataError: if labels are missing, unknown to the verbalizer, or all the same.
            PromptlabError: if template, verbalizer, model, tuning or settings don't fit one another.
        """
        self._check_settings(eval_set)
        training = Labelled.of(X, y)
        return self.learn(training, None if eval_set is None else Labelled.of(*eval_set))

    def learn(self, training: Training, dev: Labelled | None = None, *, objective: Objective | None = None) -> Self:
        """What ``fit`` does with its texts.

        Args:
            training: with a label or a distribution over the classes for each example.
            objective: what is minimised, if not the head's loss.
        """
        names = training.classes
        if len(names) < 2:
            count = len(training.examples)
            raise DataError(f"all {count} labels are {names[0]!r}; a classifier needs examples of 2 classes or more.")
        verbalizer = self._verbalizer(names)
        training.targets(verbalizer.classes)  # an unknown label is told before the model is loaded
<<<<<<< HEAD
        dev = None if eval_set is None else Labelled.of(*eval_set)
        return self._fit(verbalizer, training, dev)
=======
        tuning = resolve_tuning(self.tuning)
        with seeded(self.seed):
            template = tuning.edit(self._template().bind(training.examples, verbalizer))
            model = PromptModel.build(template, verbalizer, fresh_backbone(self.model, self.device), tuning)
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
>>>>>>> d559aefa0a1b2d45e4b4f45ddd555f5c88afac5d

    def predict(self, X: Any) -> np.ndarray:
        """The likeliest class of each text."""
        probabilities = self.predict_proba(X)
        return self.classes_[probabilities.argmax(axis=1)]

    def score(self, X: Any, y: Any = None, sample_weight: Any = None) -> float:
        """Accuracy; without ``y`` by the labels that the examples carry.

        Raises:
            DataError: if a label is missing, or there isn't one for each text.
        """
        data = Labelled.of(X, y)
        if y is not None:
            return float(super().score(data.examples, y, sample_weight))
        hits = self.predict(data.examples).astype(str) == np.array(data.labels)
        return float(np.average(hits, weights=sample_weight))
<<<<<<< HEAD
=======

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

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        tags.input_tags.string = True
        return tags

    def saved_parts(self) -> dict[str, Any]:
        model = self._ready()
        return {
            "template": TEMPLATES.to_dict(model.template),
            "verbalizer": VERBALIZERS.to_dict(model.verbalizer),
            "classes": list(model.verbalizer.classes),
            "label_type": self.label_type_,
        }

    @classmethod
    def restored(cls, saved: dict[str, Any], backbone: Any, tuning: Tuning) -> tuple[Self, PromptModel]:
        template, verbalizer = TEMPLATES.from_dict(saved["template"]), VERBALIZERS.from_dict(saved["verbalizer"])
        slots = to_be_filled(template.soft_slots)
        model = PromptModel.build(template, verbalizer, backbone, tuning, slots=slots)
        parts = {"template": template, "verbalizer": verbalizer}
        given: dict[str, Any] = {name: part for name, part in parts.items() if name in cls.__dataclass_fields__}
        return cls(**saved["parameters"], **given), model

    def take_model(self, model: PromptModel, saved: dict[str, Any]) -> None:
        calibrate(model.to(resolve_device(self.device)), max_length=self.max_length)
        self.model_ = model.eval()
        self._set_classes(model.verbalizer.classes, whole=saved["label_type"] == "int")

    def _set_classes(self, names: Sequence[str], *, whole: bool) -> None:
        """Labels come back as whole numbers if they came as such and every class is one."""
        self.label_type_ = "int" if whole and all(name.lstrip("-").isdecimal() for name in names) else "str"
        self.classes_ = np.array(sorted(int(name) if self.label_type_ == "int" else name for name in names))

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
        given = [name for name in ("max_steps", "epochs", "learning_rate") if getattr(self, name) is not None]
        if given:
            value = getattr(self, given[0])
            raise TuningError(f"tuning 'none' trains nothing, so that {given[0]}={value!r} has no use; leave it out.")
        if dev is None:
            return []
        score = dev_score(predict_log_probs(model.to(resolve_device(self.device)).eval(), dev.rows), dev.targets)
        return [{"step": 0, "dev_accuracy": score.accuracy, "dev_loss": score.loss}]
>>>>>>> d559aefa0a1b2d45e4b4f45ddd555f5c88afac5d
