"""Regression: a number for each text, between two ends that have label words."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from promptlab.core.errors import DataError, UnsupportedError, VerbalizerError, short_repr
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
from promptlab.core.interfaces import AnyHead, Backbone, Head, Outputs, Template, Verbalizer
from promptlab.core.types import Example
from promptlab.data.labeled import Labeled
from promptlab.data.labels import NAMES, LabelType
from promptlab.data.readers import as_examples, listed_labels
from promptlab.estimators.scikit_learn import RegressorMixin
from promptlab.estimators.table_scores import TableScores
from promptlab.estimators.text_estimator import TextEstimator
from promptlab.library.resolve import check_head, resolve_unanswered, resolve_verbalizer
from promptlab.models.prompt_model import PromptModel
from promptlab.models.soft_tokens import SoftTokens
from promptlab.training.dev_score import DevScore
from promptlab.training.fitting import Scorer
from promptlab.verbalizers.head import WrappingHead

DIGITS = 6  # of a number in a table


def scores_of(truth: Sequence[float], predicted: Sequence[float]) -> dict[str, float]:
    """Return Pearson's and Spearman's correlation, 0 where one side doesn't vary, and the mean absolute error."""
    import pandas as pd

    right, said = pd.Series(truth, dtype=float), pd.Series(predicted, dtype=float)
    varies = right.nunique() > 1 and said.nunique() > 1
    return {
        "pearson": float(right.corr(said)) if varies else 0.0,
        "spearman": float(right.rank().corr(said.rank())) if varies else 0.0,
        "mean_absolute_error": float((right - said).abs().mean()),
    }


def evaluate_numbers(regressor: PromptRegressor, examples: Iterable[Example]) -> dict[str, float]:
    """Score a regressor on examples as they come, whose numbers alone are kept in memory.

    Raises:
        DataError: if a label is no number.
    """
    truth: list[float] = []

    def remember() -> Iterator[Example]:
        for row, example in enumerate(examples, start=1):
            truth.append(number_of(example.label, row))
            yield example

    predicted = list(regressor.iter_numbers(remember()))
    return {"rows": len(truth), **scores_of(truth, predicted)}


class CorrelationScore(DevScore):
    """Pearson's correlation with the numbers of a dev set in the place of the accuracy."""

    @property
    def standard_error(self) -> float:
        """Of the correlation: (1 - r²) / √(n - 1)."""
        return (1 - self.accuracy**2) / math.sqrt(max(1, self.n_examples - 1))


def correlation(log_probs: Tensor, targets: Tensor) -> DevScore:
    """Score log-probabilities of the ends, (examples, 2), by the places between them, (examples,)."""
    shares = log_probs.exp()[:, 1].double().numpy()
    loss = range_losses(log_probs, targets).mean().item()
    pearson = scores_of(targets.double().tolist(), shares.tolist())["pearson"]
    return CorrelationScore(pearson, loss, len(targets), metric="pearson")


def range_losses(log_probs: Tensor, places: Tensor) -> Tensor:
    """KL(target || p) of each row, in nats, (batch,): the target is 1 - place at the lower end, place at the upper.

    Args:
        log_probs: of the two ends, (batch, 2).
        places: from 0 to 1, (batch,).
    """
    targets = torch.stack([1 - places, places], dim=-1).to(log_probs.dtype)
    return F.kl_div(log_probs, targets, reduction="none").sum(dim=-1)


class RangeHead(WrappingHead[Outputs]):
    """Another head's two classes, which are the ends of a range; its labels are places from 0 to 1 between them."""

    def __init__(self, inner: Head[Outputs]) -> None:
        super().__init__(inner)
        self.learning_rate = inner.learning_rate

    def forward(self, outputs: Outputs) -> Tensor:
        log_probs: Tensor = self.inner(outputs)
        return log_probs

    def losses(self, outputs: Outputs, labels: Tensor) -> Tensor:
        return range_losses(self(outputs), labels)


class RangeModel(PromptModel):
    """A prompt model whose two classes are the ends of a range.

    Raises:
        VerbalizerError: if the verbalizer has a training of its own, which knows classes only.
    """

    def __init__(
        self, template: Template, verbalizer: Verbalizer, backbone: Backbone, head: AnyHead, soft: SoftTokens
    ) -> None:
        if head.post_training is not None:
            raise VerbalizerError(
                f"{type(verbalizer).__name__} learns from classes, which a number isn't; choose one with label words, "
                "such as ManualVerbalizer."
            )
        super().__init__(template, verbalizer, backbone, RangeHead(head), soft)


class NumberedTexts(Labeled):
    """Examples whose labels are numbers, by their names."""

    @classmethod
    def read(cls, X: Texts, y: Labels | None, ends: Sequence[float], *, source: str = "") -> NumberedTexts:
        """Read texts and their numbers; without ``y`` those that the examples carry.

        Args:
            ends: the lowest and the highest number.
            source: where the rows come from, such as ``"eval_set"``.

        Raises:
            DataError: if there are no examples, or a number is missing or out of the range.
        """
        examples = as_examples(X)
        given = [example.label for example in examples] if y is None else listed_labels(y)
        if not examples:
            raise DataError("there are no examples; give texts with their numbers.")
        if len(given) != len(examples):
            raise DataError(f"{len(given)} numbers for {len(examples)} texts; give one for each text.")
        numbers = [number_of(value, row, source) for row, value in enumerate(given, start=1)]
        low, high = ends
        for row, number in enumerate(numbers, start=1):
            if not low <= number <= high:
                raise DataError(
                    f"row {row}{source and f' of {source}'} has the number {number:g}, which isn't from {low:g} to "
                    f"{high:g}; the ends are the classes of the verbalizer, so choose others or mend the number."
                )
        return cls([Example(one.fields, repr(number)) for one, number in zip(examples, numbers)])

    @property
    def numbers(self) -> list[float]:
        """The number of each example."""
        return list(map(float, self.labels))

    def several_classes(self) -> Sequence[str]:
        """Return the numbers that occur.

        Raises:
            DataError: if there is only one.
        """
        if len(set(self.numbers)) < 2:
            raise DataError(f"all {len(self.examples)} numbers are {self.labels[0]}; a regressor needs different ones.")
        return self.classes

    def targets(self, classes: Sequence[str]) -> Tensor:
        """Return the place of each number between the two ends, from 0 to 1."""
        low, high = map(float, classes)
        return torch.tensor([(number - low) / (high - low) for number in self.numbers])


def number_of(value: object, row: int, source: str = "") -> float:
    """Return a label as a number.

    Raises:
        DataError: if it is none.
    """
    try:
        number = math.nan if isinstance(value, (bool, np.bool_)) or value is None else float(str(value))
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        where = f"row {row}{source and f' of {source}'}"
        raise DataError(f"{where} has the label {short_repr(value)}; a regressor needs a finite number.")
    return number


@dataclass(eq=False, repr=False)
class PromptRegressor(RegressorMixin, TextEstimator):
    """Predict a number for each text by how much likelier one of two label words is than the other.

    The words stand for the ends v_l and v_u of a range; the prediction is v_l + (v_u - v_l) · p(u), where p(u) is the
    softmax of the two words' logits at the mask. Trained by KL(target || p), the target being how far a number lies
    between the ends.

    Source: LM-BFF, arXiv:2012.15723, section 4.2.

    Args:
        template: Jinja source, a name of the task library, or a ``Template``, but without answered demonstrations,
            which have classes.
        verbalizer: the lowest number → its label words, and the highest, such as ``{0: "terrible", 5: "great"}``; or a
            ``Verbalizer`` of two classes whose names are numbers.
        model: a package's name, a hub id, a folder or a loaded backbone; None takes ``minilm``.
        tuning: name of a tuning method such as ``"full"`` or ``"lora"``, or a ``Tuning``.

    Attributes:
        ends_: the lowest and the highest number, (2,).

    Raises:
        PromptlabError: in ``fit``, if settings, parts, texts and numbers don't fit one another.

    Example:
        >>> from promptlab import PromptRegressor
        >>> texts, stars = ["great fun", "a dull film", "fine, but too long"], [5, 0.5, 2.5]
        >>> regressor = PromptRegressor("sst2", {0: "terrible", 5: "great"}, "minilm", "bitfit", max_steps=20)
        >>> regressor.fit(texts, stars).predict(["a gem", "lifeless"]).round()  # (texts,)
        array([5., 1.])
    """

    template: TemplateLike | None = None
    verbalizer: VerbalizerLike | None = None
    model: ModelLike | None = None
    tuning: TuningLike = "full"

    model_class: ClassVar[type[PromptModel]] = RangeModel
    shares_batches: ClassVar[bool] = False
    dev_scorer: ClassVar[Scorer] = staticmethod(correlation)
    table_scores: ClassVar[TableScores | None] = TableScores(
        evaluate_numbers,
        "pearson",
        {"pearson": "Pearson", "spearman": "Spearman", "mean_absolute_error": "mean absolute error"},
    )

    def fit(
        self, X: Texts, y: Labels | None = None, sample_weight: Weights | None = None, *, eval_set: DevSet | None = None
    ) -> Self:
        """Train on texts with numbers.

        Args:
            X: texts (field ``text_a``), tuples (``text_a``, ``text_b``, …), dicts, a DataFrame or a Dataset.
            y: a number for each text, between the ends. None takes the labels that the examples carry.
            sample_weight: how much each text counts, a number from 0; None: alike.
            eval_set: dev texts and numbers. The latest weights whose correlation (Pearson's) with them is within one
                standard error of the highest are kept.

        Raises:
            DataError: if numbers are missing, out of the range, or all the same.
            VerbalizerError: if the verbalizer doesn't name two numbers.
            PromptlabError: if template, verbalizer, model, tuning or settings don't fit one another.
        """
        return super().fit(X, y, sample_weight, eval_set=eval_set)

    def predict(self, X: Texts) -> np.ndarray:
        """Predict the number of each text, (texts,)."""
        return np.array(list(self.iter_numbers(as_examples(X))), dtype=float)

    def iter_numbers(self, examples: Iterable[Example]) -> Iterator[float]:
        """Yield the number of one example after the other, in constant memory."""
        self.ready()
        low, high = self.ends_
        for log_probs in self.iter_log_proba(examples):
            yield float(low + (high - low) * np.exp(log_probs[1]))

    def score(self, X: Texts, y: Labels | None = None, sample_weight: Weights | None = None) -> float:
        """Return R² of the predictions, as scikit-learn's regressors do; without ``y`` by the examples' labels.

        Raises:
            DataError: if a number is missing.
        """
        examples = as_examples(X)
        given = [example.label for example in examples] if y is None else listed_labels(y)
        truth = [number_of(value, row) for row, value in enumerate(given, start=1)]
        return float(super().score(examples, truth, sample_weight))

    def table_rows(
        self, examples: Iterable[Example], *, proba: bool = False, separator: str | None = None
    ) -> Iterator[dict[str, object]]:
        """Yield the number of each example; see ``TrainedEstimator.table_rows``."""
        if proba:
            raise UnsupportedError("it predicts numbers, which have no probabilities of classes; drop proba=True.")
        self.ready()
        numbers = enumerate(self.iter_numbers(examples), start=1)
        return ({"row": row, "value": round(number, DIGITS)} for row, number in numbers)

    def check_settings(self, eval_set: DevSet | None) -> None:
        super().check_settings(eval_set)
        check_head(self.make_verbalizer(None), self.tuning)

    def read_labels(
        self, X: Texts, y: Labels | None, eval_set: DevSet | None, sample_weight: Weights | None
    ) -> tuple[NumberedTexts, NumberedTexts | None]:
        ends = ends_of(self.make_verbalizer(None))
        training = NumberedTexts.read(X, y, ends)
        dev = None if eval_set is None else NumberedTexts.read(eval_set[0], eval_set[1], ends, source="eval_set")
        return training.weighed(sample_weight), dev

    def make_template(self) -> Template:
        return resolve_unanswered(self.template)

    def make_verbalizer(self, names: Sequence[str] | None) -> Verbalizer:
        verbalizer = resolve_verbalizer(self.verbalizer)
        ends_of(verbalizer)
        if verbalizer.wrapped is not None:
            raise VerbalizerError(
                f"{type(verbalizer).__name__} shifts the probabilities of classes, and so every number; use the "
                "verbalizer that it wraps."
            )
        return verbalizer

    def set_classes(self, names: Sequence[str], label_type: LabelType) -> None:
        super().set_classes(names, label_type)
        self.label_type_, self.ends_ = NAMES, np.array(list(map(float, names)))


def ends_of(verbalizer: Verbalizer) -> tuple[float, float]:
    """Return the numbers that a verbalizer's two classes are called by.

    Raises:
        VerbalizerError: if they aren't two different numbers.
    """
    try:
        low, high = map(float, verbalizer.classes)
    except ValueError:
        low = high = math.nan
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise VerbalizerError(
            f"the verbalizer's classes are {short_repr(list(verbalizer.classes))}; a regressor needs two, called by "
            'the lowest and the highest number, in this order, such as {0: "terrible", 5: "great"}.'
        )
    return low, high
