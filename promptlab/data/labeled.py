"""What is learned from and scored by: examples with labels or with distributions over the classes."""

from __future__ import annotations

import itertools
import numbers
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import NamedTuple, Self, TypeVar

import torch
from torch import Tensor

from promptlab.core.errors import (
    DataError,
    TuningError,
    UnknownNameError,
    short_repr,
)
from promptlab.core.fields import Fields
from promptlab.core.inputs import ClassWeight, Labels, Texts, Weights
from promptlab.core.interfaces import Template, Verbalizer
from promptlab.core.types import Example
from promptlab.data.labels import NAMES, LabelType, is_missing, numbered_names, plain_label, plain_labels
from promptlab.data.readers import as_examples, listed_labels
from promptlab.data.weights import row_weights, weights_of_classes

VERBALIZERS = "the verbalizer's classes"  # what messages call them


def check_fields(template: Template, examples: Iterable[Example]) -> None:
    """Refuse examples that lack a field which a template reads, which takes no model.

    Raises:
        TemplateError: naming the first of them.
    """
    names = template.fields
    for example in examples:
        if any(name not in example.fields for name in names):
            template.render(example)  # it may read the field in some branch only


class Labeled(NamedTuple):
    """Examples, each with the name of its class, and what labels the names came as.

    Args:
        weights: of the examples in the loss, above 0, (examples,), or of each one's classes, (examples, classes);
            None: alike.
    """

    examples: list[Example]
    label_type: LabelType = NAMES
    weights: Tensor | None = None

    @property
    def labels(self) -> list[str]:
        return [str(example.label) for example in self.examples]

    @property
    def classes(self) -> list[str]:
        """Those that occur, sorted."""
        return sorted(set(self.labels))

    @classmethod
    def of(cls, X: Texts, y: Labels | None, *, classes: Sequence[str] = (), like: LabelType | None = None) -> Labeled:
        """From texts and labels; without ``y`` from the labels that the examples carry, which are names.

        Args:
            classes: names that the labels may mean, in the order in which they would be numbered; empty if any.
            like: the type of other labels that these are like; None finds out.

        Raises:
            DataError: if there are no examples, or labels are missing or of different types.
        """
        names: list[str] | None = None
        label_type = NAMES if like is None else like
        if y is not None:
            names, label_type = named_labels(y, classes=classes, like=like)
        examples = as_examples(X, names)
        if not examples:
            raise DataError("there are no examples; give at least one of each class.")
        missing = [row for row, example in enumerate(examples, start=1) if example.label is None]
        if missing:
            raise DataError(f"row {missing[0]} has no label; pass y, or label every example.")
        return cls(examples, label_type)

    def several_classes(self) -> Sequence[str]:
        """Return the classes that occur.

        Raises:
            DataError: if there is only one.
        """
        names, count = self.classes, len(self.examples)
        if len(names) < 2:
            raise DataError(f"all {count} labels are {names[0]!r}; a classifier needs examples of 2 classes or more.")
        return names

    def check(self, classes: Sequence[str], *, whose: str = "the classes", source: str = "") -> None:
        """Refuse labels of which one means none of the classes.

        Args:
            whose: what the classes are called in messages.
            source: where the rows come from, such as ``"eval_set"``.

        Raises:
            UnknownNameError: naming the row and its label.
        """
        known, of_source = set(classes), f" of {source}" if source else ""
        for row, label in enumerate(self.labels, start=1):
            if label not in known:
                raise UnknownNameError("label", label, classes, where=f"row {row}{of_source}", whose=whose)

    def targets(self, classes: Sequence[str]) -> Tensor:
        """The position of each label among the classes.

        Raises:
            UnknownNameError: if a label is none of them.
        """
        self.check(classes)
        position = {name: i for i, name in enumerate(classes)}
        return torch.tensor([position[label] for label in self.labels])

    @property
    def own_weights(self) -> Tensor:
        """The weights of the examples, 1 where there are none, (examples,)."""
        return torch.ones(len(self.examples)) if self.weights is None else self.weights

    def weighed(self, sample_weight: Weights | None) -> Self:
        """With weights of the examples, as users pass them; those of weight 0 are left out.

        Raises:
            DataError: if there isn't a number from 0 for each example, or all are 0.
        """
        weights = row_weights(sample_weight, len(self.examples))
        return self if weights is None else self._kept(self.own_weights * torch.tensor(weights))

    def weighed_by_class(self, class_weight: ClassWeight | None, classes: Sequence[str]) -> Self:
        """With each example's weight times that of its class; those of weight 0 are left out.

        Args:
            class_weight: as the setting of estimators. What is balanced are the sums of the examples' weights.

        Raises:
            UnknownNameError: if it mentions a class that there isn't.
            DataError: if nothing is left.
        """
        if class_weight is None:
            return self
        own, labels = self.own_weights, self.labels
        counts = dict.fromkeys(classes, 0.0)
        for label, weight in zip(labels, own.tolist()):
            counts[label] += weight
        by_class = weights_of_classes(class_weight, classes, counts, self.label_type)
        return self._kept(own * torch.tensor([by_class[label] for label in labels]))

    def _kept(self, weights: Tensor) -> Self:
        kept = [example for example, weight in zip(self.examples, weights.tolist()) if weight > 0]
        if not kept:
            raise DataError("sample_weight and class_weight are 0 for every row together; give some a weight above 0.")
        return self._replace(examples=kept, weights=weights[weights > 0])


class SoftLabeled(NamedTuple):
    """Examples, each with a distribution over the classes, and what labels these have.

    Args:
        log_probs: in nats, (examples, classes), in the order of ``classes``.
    """

    examples: list[Example]
    classes: Sequence[str]
    log_probs: Tensor
    label_type: LabelType = NAMES
    weights: Tensor | None = None

    def several_classes(self) -> Sequence[str]:
        """Return the classes."""
        return self.classes

    def weighed_by_class(self, class_weight: ClassWeight | None, classes: Sequence[str]) -> Self:
        """As it is: such examples have no class.

        Raises:
            TuningError: if there is a ``class_weight``.
        """
        if class_weight is not None:
            raise TuningError(
                f"class_weight={short_repr(class_weight)} has no use where distributions over the classes are "
                "learnt from; leave it out."
            )
        return self

    def targets(self, classes: Sequence[str]) -> Tensor:
        """Log-probabilities (examples, classes) in another order of the classes."""
        return self.log_probs[:, [list(self.classes).index(name) for name in classes]]


def named_labels(
    y: Labels, *, classes: Sequence[str] = (), like: LabelType | None = None
) -> tuple[list[str], LabelType]:
    """The names of the classes that labels mean, and the labels' type; arguments and errors as for ``Labeled.of``.

    A column of a data set that names its numbers goes by these names.
    """
    values = listed_labels(y)
    return _names(values, range(len(values)), classes, numbered_names(y), like)


def _names(
    values: Sequence[object],
    rows: Iterable[int],
    classes: Sequence[str],
    numbered: Sequence[str],
    like: LabelType | None,
) -> tuple[list[str], LabelType]:
    counted = [row + 1 for row in rows]
    if like is None:
        labels = plain_labels(values, counted)
        label_type = LabelType.of(labels, classes, numbered)
        return list(map(label_type.name, labels)), label_type
    own = LabelType("encoded", tuple(numbered)) if numbered and like.kind != "int" else like
    return [own.name(plain_label(value, f"row {row}")) for row, value in zip(counted, values)], like


def split_unlabeled(
    X: Texts | None,
    y: Labels | None,
    classes: Sequence[str],
    *,
    like: LabelType | None = None,
    sample_weight: Weights | None = None,
) -> tuple[Labeled | None, list[Example]]:
    """The labeled rows (None if there are none), and the others: those whose label is None, NaN or -1.

    Source: scikit-learn's convention for semi-supervised learning.

    Args:
        classes: names that the labels may mean, in the order in which they would be numbered; where one is called
            ``-1``, that is a label like any other.
        like: the type of other labels that these are like; None finds out.
        sample_weight: of all rows; those of unlabeled ones don't count.

    Raises:
        DataError: if there isn't a label for each row, they are of different types, or texts come without any.
        UnknownNameError: if a label is none of the classes.
    """
    if X is None:
        if y is not None:
            raise DataError("there are labels y, but no texts; pass X.")
        return None, []
    examples = as_examples(X)
    if y is None:
        labels: list[object] = [example.label for example in examples]
        like = NAMES if like is None else like
    elif isinstance(y, Iterable) and not isinstance(y, str):
        labels = listed_labels(y)
    else:
        raise DataError(f"y is {short_repr(y)}; pass a list of labels, -1 or None where there is none.")
    if len(labels) != len(examples):
        raise DataError(f"{len(labels)} labels for {len(examples)} rows; give one for each row, -1 or None if unknown.")
    unknown = [is_missing(label) or (_is_minus_one(label) and "-1" not in classes) for label in labels]
    rest = list(itertools.compress(examples, unknown))
    if all(unknown):
        if y is None and all(map(is_missing, labels)):
            raise DataError(
                f"none of the {len(examples)} texts of X has a label; pass y, with -1 or None where there is none."
            )
        return None, rest
    rows = [row for row, is_unknown in enumerate(unknown) if not is_unknown]
    names, label_type = _names([labels[row] for row in rows], rows, classes, numbered_names(y), like)
    for row, name in zip(rows, names):
        if name not in classes:
            raise UnknownNameError("label", name, classes, where=f"row {row + 1}", whose=VERBALIZERS)
    training = Labeled([replace(examples[row], label=name) for row, name in zip(rows, names)], label_type)
    weights = row_weights(sample_weight, len(examples))
    return training.weighed(None if weights is None else [weights[row] for row in rows]), rest


def _is_minus_one(label: object) -> bool:
    return str(label) == "-1" or (isinstance(label, numbers.Real) and bool(label == -1))


Training = Labeled | SoftLabeled
TrainingT = TypeVar("TrainingT", bound=Training)


def check_rows(template: Template, verbalizer: Verbalizer, training: Training, dev: Training | None) -> None:
    """Refuse training and dev examples that lack a field of a template, which may show some of them; takes no model.

    Raises:
        TemplateError: naming the first of them.
    """
    bound = template.bind(training.examples, verbalizer)
    check_fields(bound, [*training.examples, *(dev.examples if dev else ())])


def reduced(examples: Iterable[Example], fields: Iterable[str]) -> list[Example]:
    """Examples without the fields that nobody reads, which may hold anything."""
    names = list(fields)
    return [Example(Fields(example.fields).only(names), example.label) for example in examples]
