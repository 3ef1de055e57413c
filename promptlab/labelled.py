"""What is learnt from and scored by: examples with labels or with distributions over the classes."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from promptlab.checkpoint import DevScore
from promptlab.data.labels import is_missing
from promptlab.data.readers import as_examples
from promptlab.errors import DataError, UnknownNameError, shown
from promptlab.types import Example


def dev_score(log_probs: Tensor, targets: Tensor) -> DevScore:
    """Accuracy and mean loss of class log-probabilities, (examples, classes)."""
    accuracy = (log_probs.argmax(dim=-1) == targets).float().mean().item()
    loss = -log_probs[torch.arange(len(targets)), targets].mean().item()
    return DevScore(accuracy, loss, len(targets))


class Labelled(NamedTuple):
    """Examples, each with a label, and whether all labels came as whole numbers."""

    examples: list[Example]
    whole: bool

    @property
    def labels(self) -> list[str]:
        return [str(example.label) for example in self.examples]

    @property
    def classes(self) -> list[str]:
        """Those that occur, sorted."""
        return sorted(set(self.labels))

    @classmethod
    def of(cls, X: Any, y: Any) -> Labelled:
        """From texts and labels; without ``y`` from the labels that the examples carry.

        Raises:
            DataError: if there are no examples, or a label is missing.
        """
        given = y.tolist() if hasattr(y, "tolist") else y
        examples = as_examples(X, given)
        if not examples:
            raise DataError("there are no examples; give at least one of each class.")
        missing = [row for row, example in enumerate(examples, start=1) if example.label is None]
        if missing:
            raise DataError(f"row {missing[0]} has no label; pass y, or label every example.")
        return cls(examples, given is not None and all(type(label) is int for label in given))

    def targets(self, classes: Sequence[str]) -> Tensor:
        """The position of each label among the classes.

        Raises:
            UnknownNameError: if a label is none of them.
        """
        position = {name: i for i, name in enumerate(classes)}
        for label in self.labels:
            if label not in position:
                raise UnknownNameError("label", label, position)
        return torch.tensor([position[label] for label in self.labels])

    @property
    def scorer(self) -> Callable[[Tensor, Tensor], DevScore]:
        """How class log-probabilities (examples, classes) are scored by ``targets``."""
        return dev_score


class SoftLabelled(NamedTuple):
    """Examples, each with a distribution over the classes, and whether labels are whole numbers.

    Args:
        log_probs: in nats, (examples, classes), in the order of ``classes``.
    """

    examples: list[Example]
    classes: Sequence[str]
    log_probs: Tensor
    whole: bool = False

    def targets(self, classes: Sequence[str]) -> Tensor:
        """Log-probabilities (examples, classes) in another order of the classes."""
        return self.log_probs[:, [list(self.classes).index(name) for name in classes]]

    @property
    def scorer(self) -> Callable[[Tensor, Tensor], DevScore]:
        """As for labels: distributions are learnt from, never scored by."""
        return dev_score


def split_unlabelled(X: Any, y: Any, classes: Sequence[str]) -> tuple[Labelled | None, list[Example]]:
    """The labelled rows (None if there are none), and the others: those whose label is None, NaN or -1.

    Source: scikit-learn's convention for semi-supervised learning.

    Args:
        classes: where one is called ``-1``, that is a label like any other.

    Raises:
        DataError: if there isn't a label for each row, or texts come without any.
    """
    if X is None:
        if y is not None:
            raise DataError("there are labels y, but no texts; pass X.")
        return None, []
    examples = as_examples(X)
    if y is None:
        labels: list[Any] = [example.label for example in examples]
    elif isinstance(y, Iterable) and not isinstance(y, str):
        labels = [_label(label) for label in (y.tolist() if hasattr(y, "tolist") else y)]
    else:
        raise DataError(f"y is {shown(y)}; pass a list of labels, -1 or None where there is none.")
    if len(labels) != len(examples):
        raise DataError(f"{len(labels)} labels for {len(examples)} rows; give one for each row, -1 or None if unknown.")
    unknown = [is_missing(label) or (str(label) == "-1" and "-1" not in classes) for label in labels]
    rest = list(itertools.compress(examples, unknown))
    if all(unknown):
        if y is None and all(map(is_missing, labels)):
            raise DataError(
                f"none of the {len(examples)} texts of X has a label; pass y, with -1 or None where there is none."
            )
        return None, rest
    known = [not is_unknown for is_unknown in unknown]
    training = Labelled.of(list(itertools.compress(examples, known)), list(itertools.compress(labels, known)))
    return (training if y is not None else Labelled(training.examples, False)), rest


def _label(label: Any) -> Any:
    """A label; whole numbers among which some were missing come as floats from pandas."""
    return int(label) if isinstance(label, float) and label.is_integer() else label


Training = Labelled | SoftLabelled


def several_classes(training: Training) -> Sequence[str]:
    """The classes of a training set.

    Raises:
        DataError: if there is only one.
    """
    names = training.classes
    if len(names) < 2:
        count = len(training.examples)
        raise DataError(f"all {count} labels are {names[0]!r}; a classifier needs examples of 2 classes or more.")
    return names
