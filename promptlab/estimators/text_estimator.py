"""What estimators do that put a template and a verbalizer on a language model: build it, train it, run it, save it."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np

from promptlab.core.devices import resolve_device
from promptlab.core.inputs import DevSet, Labels, Texts, TuningLike, Weights
from promptlab.core.interfaces import Backbone, Template, Tuning, Verbalizer
from promptlab.core.registry import TEMPLATES, VERBALIZERS
from promptlab.core.seeding import seeded
from promptlab.core.types import Example
from promptlab.data.labeled import Training, TrainingT, check_rows
from promptlab.data.labels import LabelType
from promptlab.estimators.estimator import TrainedEstimator
from promptlab.estimators.saving import SavedSettings
from promptlab.library.known_classes import KnownClasses, read_sets
from promptlab.library.resolve import fresh_backbone, resolve_tuning
from promptlab.models.inference import calibrate, predict_log_probs
from promptlab.models.input_warnings import Noticed
from promptlab.models.prompt_model import PromptModel
from promptlab.models.soft_tokens import to_be_filled
from promptlab.training.dev_score import dev_score
from promptlab.training.fitting import EncodedSet, Objective, Scorer, untrained_record
from promptlab.training.loop import train

CHUNK = 1024  # rows that prediction holds at once


@dataclass(kw_only=True, eq=False, repr=False)
class TextEstimator(TrainedEstimator[PromptModel]):
    """Train a template and a verbalizer on one language model.

    A subclass says which these are (``make_template``, ``make_verbalizer``). Labels are classes, one for each text, and
    so are outputs, unless it says otherwise: by ``read_labels``, ``model_class``, ``dev_scorer``, ``start`` and
    ``set_classes``.

    Attributes:
        class_names_: names of what the verbalizer scores.
        label_type_: what labels are: texts, whole numbers, True and False, or numbers of named classes.
    """

    model_class: ClassVar[type[PromptModel]] = PromptModel
    dev_scorer: ClassVar[Scorer] = staticmethod(dev_score)
    shares_batches: ClassVar[bool] = True  # whether its rows may stand in one batch with those of others

    def make_template(self) -> Template:
        """Return the template, made of what the user passed."""
        raise NotImplementedError

    def make_verbalizer(self, names: Sequence[str] | None) -> Verbalizer:
        """Return the verbalizer for the classes seen in training, or (None) for none seen."""
        raise NotImplementedError

    def known_classes(self) -> KnownClasses | None:
        """Return the classes that labels may mean; None if the training labels decide."""
        return None

    def check_settings(self, eval_set: DevSet | None) -> None:
        super().check_settings(eval_set)
        _ = self.make_template().slot  # a template without a mask is told before a model is loaded

    def fit(
        self, X: Texts, y: Labels | None = None, sample_weight: Weights | None = None, *, eval_set: DevSet | None = None
    ) -> Self:
        """Train on labeled texts.

        Args:
            X: texts (field ``text_a``), tuples (``text_a``, ``text_b``, …), dicts, a DataFrame or a Dataset.
            y: labels: texts, whole numbers (also as floats), or True and False, all of one type, which ``classes_``
                have, too. Whole numbers from 0 to n - 1, none of which is the name of a class, count the sorted names
                of n classes; those of a data set's ``ClassLabel`` mean the names that it gives them. None takes the
                labels that the examples carry.
            sample_weight: how much each text counts, a number from 0; None: alike. An update's loss is the weighted
                mean over its texts, so that a text of weight 2 counts like two, and one of weight 0 is left out.
            eval_set: dev texts and labels. The latest weights whose accuracy on them is within one standard error
                of the highest are kept.

        Raises:
            DataError: if labels are missing, of different types, or all the same.
            UnknownNameError: if a label is unknown to the verbalizer.
            PromptlabError: if template, verbalizer, model, tuning or settings don't fit one another.
        """
        self.check_settings(eval_set)
        return self.fit_labeled(*self.read_labels(X, y, eval_set, sample_weight))

    def read_labels(
        self, X: Texts, y: Labels | None, eval_set: DevSet | None, sample_weight: Weights | None
    ) -> tuple[Training, Training | None]:
        """Return the training and the dev texts with what their labels mean, from the arguments of ``fit``."""
        return read_sets(X, y, eval_set, self.known_classes(), sample_weight)

    def fit_labeled(
        self, training: Training, dev: Training | None = None, *, objective: Objective | None = None
    ) -> Self:
        """Build a model, train it on texts whose labels are read, and become fitted with it.

        Args:
            training: with a label or a distribution over the classes for each example.
            objective: what is minimised, if not the head's loss.

        Raises:
            PromptlabError: as ``fit`` does.
        """
        verbalizer = self.make_verbalizer(training.several_classes())
        check_rows(self.make_template(), verbalizer, training, dev)  # before the model is loaded
        training = self.weighed(training, verbalizer.classes)
        history: list[dict[str, float]] = []
        with seeded(self.seed):
            model = self.build(verbalizer, training.examples, fresh_backbone(self.model, self.device))
            self.start(model, training)
            held_out = None if dev is None else EncodedSet.of(dev, model, self.max_length, type(self).dev_scorer)
            for run in self.runs(model, training, held_out, objective):
                history += train(run)
            history = history or untrained_record(model, held_out, self.device)
        return self.become(model, label_type=training.label_type, history=history)

    def weighed(self, training: TrainingT, names: Sequence[str]) -> TrainingT:
        """Return the training texts, weighed by the classes, if the outputs are such."""
        return training

    def start(self, model: PromptModel, training: Training) -> None:
        """Prepare an untrained model by what it is going to be trained on."""

    def set_classes(self, names: Sequence[str], label_type: LabelType) -> None:
        """Take the names of what the verbalizer scores."""
        self.class_names_, self.label_type_ = tuple(names), label_type

    def build(
        self, verbalizer: Verbalizer, examples: Sequence[Example], backbone: Backbone, tuning: TuningLike | None = None
    ) -> PromptModel:
        """Build the model before any training; what is random in it comes from torch's generator.

        Args:
            examples: labeled ones, which templates with demonstrations show.
            backbone: that may be changed.
            tuning: another than the settings'.

        Raises:
            PromptlabError: if the parts don't fit one another.
        """
        tuning = resolve_tuning(tuning or self.tuning)
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
        """Yield log-probabilities of one example after the other, in nats; they don't become 0 where one is small."""
        model = self.ready()
        model.to(resolve_device(self.device)).eval()
        order = [list(model.verbalizer.classes).index(name) for name in self.class_names_]
        source, noticed = iter(examples), Noticed(model.template.n_variants)
        while chunk := list(itertools.islice(source, CHUNK)):
            rows = model.encode(chunk, max_length=self.max_length)
            noticed.add(rows)
            yield from predict_log_probs(model, rows).numpy()[:, order]
        noticed.tell(model.backbone, self.max_length)

    def saved_parts(self) -> dict[str, object]:
        model = self.ready()
        return {
            "template": TEMPLATES.to_dict(model.template),
            "verbalizer": VERBALIZERS.to_dict(model.verbalizer),
            "classes": list(model.verbalizer.classes),
            **self.label_type_.saved(),
        }

    @classmethod
    def restored(cls, saved: SavedSettings, backbone: Backbone, tuning: Tuning) -> tuple[Self, PromptModel]:
        template, verbalizer = TEMPLATES.from_dict(saved["template"]), VERBALIZERS.from_dict(saved["verbalizer"])
        slots = to_be_filled(template.soft_slots)
        model = cls.model_class.build(template, verbalizer, backbone, tuning, slots=slots)
        parts = {"template": template, "verbalizer": verbalizer}
        given = {name: part for name, part in parts.items() if name in cls.__dataclass_fields__}
        return cls(**saved["parameters"] | given), model

    def take_model(self, model: PromptModel, saved: SavedSettings) -> None:
        calibrate(model.to(resolve_device(self.device)), max_length=self.max_length)
        self.model_ = model.eval()
        self.set_classes(model.verbalizer.classes, LabelType.from_saved(saved))
