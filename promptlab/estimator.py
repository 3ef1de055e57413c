"""What every text classifier does: fit, predict, save. It follows scikit-learn and Hugging Face."""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.exceptions import NotFittedError

from promptlab.backbones import catalog
from promptlab.data.readers import as_examples
from promptlab.errors import DataError, TuningError
from promptlab.fitting import EncodedSet, Labelled, dev_score, fit_model
from promptlab.inference import calibrate, predict_log_probs, resolve_device
from promptlab.interfaces import Backbone, Template, Tuning, Verbalizer
from promptlab.model import PromptModel
from promptlab.registry import TUNINGS
from promptlab.seeding import seeded
from promptlab.training import TrainingSettings, default_steps, learning_rate_for
from promptlab.types import Example

CHUNK = 1024  # rows that prediction holds at once


@dataclass(kw_only=True, eq=False, repr=False)
class TextClassifier(ClassifierMixin, BaseEstimator):
    """The settings and methods that classifiers share. A subclass says which template and verbalizer it uses.

    Args:
        learning_rate: of the model's weights; None takes the tuning method's own.
        head_learning_rate: of heads and soft tokens; the same as ``learning_rate`` if that alone is given.
        max_steps: updates, or give ``epochs``; None takes the tuning method's own, more for more examples
            (``training.default_steps``).
        max_length: tokens that a prompt may have; fields are shortened to fit. None is the model's own limit.
        eval_every: updates between dev evaluations; None is a tenth of the steps.
        patience: dev evaluations without improvement before training stops early.
        precision: ``"no"``, ``"bf16"``, ``"fp16"`` or ``"auto"``.
        device: ``"auto"``, ``"cpu"``, ``"cuda"``, …
        checkpoint_dir: a folder from which an interrupted ``fit`` goes on.
    """

    learning_rate: float | None = None
    head_learning_rate: float | None = None
    max_steps: int | None = None
    epochs: int | None = None
    batch_size: int = 8
    gradient_accumulation_steps: int = 1
    warmup_ratio: float = 0.1
    weight_decay: float = 0.01
    max_grad_norm: float = 1.0
    eval_every: int | None = None
    patience: int | None = None
    max_length: int | None = None
    precision: str = "auto"
    device: str = "auto"
    seed: int = 0
    checkpoint_dir: str | Path | None = None

    def _template(self) -> Template:
        raise NotImplementedError

    def _verbalizer(self, names: Sequence[str] | None) -> Verbalizer:
        """The verbalizer for the classes seen in training, or (None) for none seen."""
        raise NotImplementedError

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
        if not 0 <= self.seed < 2**32:
            raise TuningError(f"seed={self.seed!r} must be a whole number from 0 to 4294967295.")
        if self.patience is not None and eval_set is None:
            raise TuningError(f"patience={self.patience} needs dev examples to wait for; pass eval_set.")
        training = Labelled.of(X, y)
        names = sorted({str(label) for label in training.labels})
        if len(names) < 2:
            raise DataError(
                f"all {len(training.labels)} labels are {names[0]!r}; a classifier needs examples of 2 classes or more."
            )
        verbalizer = self._verbalizer(names)
        training.targets(verbalizer.classes)  # an unknown label is told before the model is loaded
        dev = None if eval_set is None else Labelled.of(*eval_set)
        tuning = resolve_tuning(self.tuning)
        with seeded(self.seed):
            template = tuning.edit(self._template().bind(training.examples, verbalizer))
            model = PromptModel.build(template, verbalizer, fresh_backbone(self.model), tuning)
            self.history_ = self._train(model, tuning, training, dev)
            calibrate(model.export().to(resolve_device(self.device)), max_length=self.max_length)
        self.model_ = model.eval()
        self._set_classes(verbalizer.classes, whole=training.whole)
        return self

    def predict_proba(self, X: Any) -> np.ndarray:
        """Class probabilities, shape (texts, classes), columns in the order of ``classes_``."""
        rows = list(self.iter_proba(as_examples(X)))
        return np.stack(rows) if rows else np.zeros((0, len(self.classes_)))

    def predict(self, X: Any) -> np.ndarray:
        """The likeliest class of each text."""
        probabilities = self.predict_proba(X)
        return self.classes_[probabilities.argmax(axis=1)]

    def iter_proba(self, examples: Iterable[Example]) -> Iterator[np.ndarray]:
        """Class probabilities of one example after the other, in constant memory."""
        model = self._ready()
        model.to(resolve_device(self.device)).eval()
        order = [list(model.verbalizer.classes).index(str(name)) for name in self.classes_]
        source = iter(examples)
        while chunk := list(itertools.islice(source, CHUNK)):
            log_probs = predict_log_probs(model, model.encode(chunk, max_length=self.max_length))
            yield from log_probs.exp().numpy()[:, order]

    def save_pretrained(self, folder: str | Path) -> None:
        """Save what was trained, the settings and a model card; see ``promptlab.saving``."""
        from promptlab.saving import save

        save(self, Path(folder))

    @classmethod
    def from_pretrained(cls, folder: str | Path, *, model: Any = None, device: str = "auto") -> Self:
        """Load a saved classifier from a folder or a hub id; ``model`` overrides where its base model is looked for."""
        from promptlab.saving import load

        return load(cls, folder, model=model, device=device)

    def trainable_parameters(self) -> int:
        """Number of weights that training moved."""
        return sum(weight.numel() for _, weight in self._ready().trained_parameters())

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        tags.input_tags.string = True
        return tags

    def _ready(self) -> PromptModel:
        if not hasattr(self, "model_"):
            raise NotFittedError(f"this {type(self).__name__} has no classes yet; call fit first.")
        return self.model_

    def _set_classes(self, names: Sequence[str], *, whole: bool) -> None:
        """Labels come back as whole numbers if they came as such and every class is one."""
        self.label_type_ = "int" if whole and all(name.lstrip("-").isdecimal() for name in names) else "str"
        self.classes_ = np.array(sorted(int(name) if self.label_type_ == "int" else name for name in names))

    def _train(
        self, model: PromptModel, tuning: Tuning, training: Labelled, dev: Labelled | None
    ) -> list[dict[str, float]]:
        held_out = None if dev is None else EncodedSet.of(dev, model, self.max_length)
        if tuning.defaults.max_steps == 0:  # zero-shot
            return self._score_untrained(model, held_out)
        return fit_model(
            model,
            EncodedSet.of(training, model, self.max_length),
            held_out,
            self._training_settings(tuning, len(training.examples), model.backbone.hidden_size),
            checkpoint=None if self.checkpoint_dir is None else Path(self.checkpoint_dir),
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

    def _training_settings(self, tuning: Tuning, n_examples: int, hidden_size: int) -> TrainingSettings:
        """What ``fit`` trains with: the user's settings, and the tuning method's own where there are none."""
        defaults = tuning.defaults
        rate, head_rate = self.learning_rate, self.head_learning_rate
        if rate is None:
            rate = defaults.learning_rate
            rate = learning_rate_for(rate, hidden_size) if defaults.scale_with_width else rate
            head_rate = defaults.head_learning_rate if head_rate is None else head_rate
        steps = self._steps(defaults.max_steps, n_examples)
        given = {field.name: getattr(self, field.name, None) for field in fields(TrainingSettings)}
        chosen: dict[str, Any] = {
            "learning_rate": rate,
            "head_learning_rate": rate if head_rate is None else head_rate,
            "max_steps": steps,
            "eval_every": max(1, steps // 10) if self.eval_every is None else self.eval_every,
        }
        return TrainingSettings(**{**given, **chosen})

    def _steps(self, base: int, n_examples: int) -> int:
        if self.epochs is not None and self.max_steps is not None:
            raise TuningError(f"max_steps={self.max_steps} and epochs={self.epochs} are both given; give one.")
        if self.max_steps is not None:
            return self.max_steps
        per_epoch = math.ceil(n_examples / max(1, self.batch_size * self.gradient_accumulation_steps))
        return default_steps(base, per_epoch) if self.epochs is None else self.epochs * per_epoch


def fresh_backbone(model: Any) -> Any:
    """A backbone that may be changed: loaded anew, or copied from the one that was passed."""
    return copy.deepcopy(model) if isinstance(model, Backbone) else catalog.load_backbone(model)


def resolve_tuning(tuning: str | Tuning) -> Tuning:
    """A tuning method, or the one of that name with its defaults."""
    return tuning if isinstance(tuning, Tuning) else TUNINGS.get(str(tuning))()
