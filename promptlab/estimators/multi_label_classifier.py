"""Multi-label classification: several classes may hold at once, or none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
from sklearn.metrics import accuracy_score

from promptlab.core.devices import resolve_device
from promptlab.core.errors import SavedModelError, short_repr
from promptlab.core.inputs import (
    DevSet,
    Labels,
    ModelLike,
    TemplateLike,
    Texts,
    TuningLike,
    VerbalizerLike,
    Weights,
)
from promptlab.core.interfaces import Template, Verbalizer
from promptlab.data.labeled import VERBALIZERS, Training
from promptlab.data.labels import Label, check_separator
from promptlab.data.multi_label import MultiLabeled
from promptlab.data.weights import row_weights
from promptlab.estimators.class_scorer import ClassScorer
from promptlab.estimators.saving import SavedSettings
from promptlab.estimators.scikit_learn import Tags
from promptlab.estimators.table_rows import label_set_rows
from promptlab.estimators.table_scores import SEVERAL_LABELS, TableScores
from promptlab.estimators.text_estimator import TextEstimator
from promptlab.library.resolve import check_head, label_type_of, resolve_unanswered, resolve_verbalizer
from promptlab.models.inference import in_batches
from promptlab.models.multi_label_model import MultiLabelModel
from promptlab.models.prompt_model import PromptModel
from promptlab.training.dev_score import micro_f1
from promptlab.training.fitting import Objective, Scorer
from promptlab.training.thresholds import HALF, check_threshold, choose_thresholds
from promptlab.verbalizers.independent import IndependentHead


@dataclass(eq=False, repr=False)
class MultiLabelClassifier(ClassScorer, TextEstimator):
    """Classify texts with a template and a verbalizer where several classes may hold at once.

    Each class is decided from its own label words: their score at the mask, with a trained bias, is its log-odds.

    Args:
        template: Jinja source, a name of the task library, or a ``Template``, but without answered demonstrations,
            which have one class each.
        verbalizer: class → label words, a name of the task library, or a ``Verbalizer`` that scores each class by
            itself: manual, weighted, soft, strings or linear.
        model: a package's name, a hub id, a folder or a loaded backbone; None takes ``minilm``.
        tuning: name of a tuning method such as ``"full"`` or ``"lora"``, or a ``Tuning``; ``"none"`` learns each
            class's bias and threshold alone.
        threshold: from which probability on a class holds: ``"global"``, the one with the highest micro-F1 on the dev
            set, ``"per-class"``, each class's with the highest F1, or a number. Without a dev set it is 0.5.
        separator: what stands between the labels of a row where they are read from and written to tables.
        class_weight: how much a class counts where it holds (PyTorch's ``pos_weight``): class → a number from 0; or
            ``"balanced"``, where it holds and where it doesn't each as much as half of the texts; None: alike.

    Attributes:
        thresholds_: probability from which on each class holds, (classes,).

    Raises:
        PromptlabError: in ``fit``, if settings, parts and texts don't fit one another.

    Example:
        >>> from promptlab import MultiLabelClassifier
        >>> words = {"sports": ["sports", "football"], "science": ["science", "physics"]}
        >>> texts = ["The striker scored.", "A new planet was found.", "Physics of a football.", "It rains."]
        >>> classifier = MultiLabelClassifier("{{ text_a }} About {{ mask }}.", words, "minilm", "bitfit", max_steps=15)
        >>> classifier = classifier.fit(texts, [["sports"], ["science"], ["sports", "science"], []])
        >>> classifier.predict(["He won the cup.", "The atom was measured."])  # (texts, classes): science, sports
        array([[0, 1],
               [1, 0]])
    """

    template: TemplateLike | None = None
    verbalizer: VerbalizerLike | None = None
    model: ModelLike | None = None
    tuning: TuningLike = "full"
    threshold: str | float = "global"
    separator: str = "|"

    table_scores: ClassVar[TableScores | None] = SEVERAL_LABELS
    table_rows = label_set_rows
    model_class: ClassVar[type[PromptModel]] = MultiLabelModel
    shares_batches: ClassVar[bool] = False
    dev_scorer: ClassVar[Scorer] = staticmethod(micro_f1)

    def fit(
        self, X: Texts, y: Labels | None = None, sample_weight: Weights | None = None, *, eval_set: DevSet | None = None
    ) -> Self:
        """Train on texts with any number of labels.

        Args:
            X: texts (field ``text_a``), tuples (``text_a``, ``text_b``, …), dicts, a DataFrame or a Dataset.
            y: a list of labels for each text, which may be empty, of texts, whole numbers, or True and False; or an
                indicator matrix (texts, classes) whose columns are the sorted classes, as scikit-learn's
                ``MultiLabelBinarizer`` makes it, or named after them in a data frame. None takes the ``labels`` that
                the examples carry. Cross-validation by scikit-learn takes a matrix only.
            sample_weight: how much each text counts, a number from 0; None: alike.
            eval_set: dev texts and labels. The latest weights whose micro-F1 on them is within one standard error of
                the highest are kept; then the thresholds are chosen on them.

        Raises:
            DataError: if labels are missing or of another form, no text has one, or a class holds the separator.
            UnknownNameError: if a label is none of the verbalizer's.
            PromptlabError: if template, verbalizer, model, tuning or settings don't fit one another.
        """
        return super().fit(X, y, sample_weight, eval_set=eval_set)

    def read_labels(
        self, X: Texts, y: Labels | None, eval_set: DevSet | None, sample_weight: Weights | None
    ) -> tuple[MultiLabeled, MultiLabeled | None]:
        classes, written = self.make_verbalizer(None).classes, label_type_of(self.verbalizer)
        training = MultiLabeled.read(X, y, written.sorted(classes), written=written, whose=VERBALIZERS)
        training.label_type.check(classes)
        names = training.label_type.sorted(classes)
        training.check_positive(names)
        dev = None
        if eval_set is not None:
            X, y = eval_set
            dev = MultiLabeled.read(X, y, names, like=training.label_type, whose=VERBALIZERS, source="eval_set")
        return training.weighed(sample_weight), dev

    def fit_labeled(
        self, training: Training, dev: Training | None = None, *, objective: Objective | None = None
    ) -> Self:
        super().fit_labeled(training, dev, objective=objective)
        if dev is None:
            fixed = HALF if isinstance(self.threshold, str) else float(self.threshold)
            self.thresholds_ = np.full(len(self.class_names_), fixed)
        else:
            probabilities, truth = self.predict_proba(dev.examples), dev.targets(self.class_names_).numpy()
            self.thresholds_ = choose_thresholds(self.threshold, probabilities, truth)
        return self

    def check_settings(self, eval_set: DevSet | None) -> None:
        super().check_settings(eval_set)
        verbalizer = self.make_verbalizer(None)
        check_head(verbalizer, self.tuning)
        check_separator(self.separator, verbalizer.classes)

    def predict(self, X: Texts) -> np.ndarray:
        """Return 1 where a class holds, else 0: an indicator matrix (texts, classes) in the order of ``classes_``."""
        return (self.predict_proba(X) >= self.thresholds_).astype(int)

    def predict_labels(self, X: Texts) -> list[tuple[Label, ...]]:
        """Return the classes that hold for each text, in the order of ``classes_``."""
        return [self.decide(row) for row in self.predict_proba(X)]

    def decide(self, probabilities: np.ndarray) -> tuple[Label, ...]:
        """Return the classes that hold, by the probabilities of one text, (classes,)."""
        return tuple(self.classes_[probabilities >= self.thresholds_].tolist())

    def decide_names(self, probabilities: np.ndarray) -> list[str]:
        """Return the names of the classes that hold, as ``decide`` finds them."""
        return [name for name, holds in zip(self.class_names_, probabilities >= self.thresholds_) if holds]

    @property
    def label_separator(self) -> str | None:
        return self.separator

    def score(self, X: Texts, y: Labels | None = None, sample_weight: Weights | None = None) -> float:
        """Return the share of texts whose classes are all right, as scikit-learn scores several labels.

        Without ``y`` by the labels that the examples carry.

        Raises:
            DataError: as ``fit`` does.
        """
        self.ready()
        data = MultiLabeled.read(X, y, self.class_names_, like=self.label_type_)
        truth = data.targets(self.class_names_).numpy().astype(int)
        weights = row_weights(sample_weight, len(truth))
        return float(accuracy_score(truth, self.predict(data.examples), sample_weight=weights))

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags

    def saved_parts(self) -> dict[str, object]:
        return {**super().saved_parts(), "thresholds": self.thresholds_.tolist()}

    def take_model(self, model: PromptModel, saved: SavedSettings) -> None:
        super().take_model(model, saved)
        thresholds = saved["thresholds"]
        is_numbers = isinstance(thresholds, list) and all(isinstance(one, float) for one in thresholds)
        if not is_numbers or len(thresholds) != len(self.classes_):
            raise SavedModelError(
                f"the saved thresholds are {short_repr(thresholds)}, where {len(self.classes_)} numbers should "
                "stand; save the model again."
            )
        self.thresholds_ = np.array(thresholds, dtype=float)

    def make_template(self) -> Template:
        return resolve_unanswered(self.template)

    def make_verbalizer(self, names: Sequence[str] | None) -> Verbalizer:
        return resolve_verbalizer(self.verbalizer)

    def _check_values(self) -> None:
        super()._check_values()
        check_threshold(self.threshold)

    def start(self, model: PromptModel, training: Training) -> None:
        """Let training start where each class is as likely as it is among the training texts."""
        model.to(resolve_device(self.device)).eval()
        rows = model.encode(training.examples, max_length=self.max_length)
        head = model.head
        assert isinstance(head, IndependentHead)
        log_odds = in_batches(model.backbone, rows, lambda batch: head.log_odds(model.read(batch)))
        head.start(log_odds, training.targets(model.verbalizer.classes), training.weights)
