"""Examples with any number of labels, and the ways in which people write such labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Self, TypeGuard

import numpy as np
import torch
from torch import Tensor

from promptlab.core.checks import warn
from promptlab.core.errors import DataError, UnknownNameError, short_repr
from promptlab.core.inputs import ClassWeight, Labels, Texts
from promptlab.core.types import Example
from promptlab.data.labeled import Labeled
from promptlab.data.labels import NAMES, Label, LabelType, check_one_type, label_items, numbered_names
from promptlab.data.readers import as_examples
from promptlab.data.weights import class_weights


class MultiLabeled(Labeled):
    """Examples, each with any number of labels."""

    @classmethod
    def read(
        cls,
        X: Texts,
        y: Labels | None,
        classes: Sequence[str],
        *,
        written: LabelType = NAMES,
        like: LabelType | None = None,
        whose: str = "the classes",
        source: str = "",
    ) -> MultiLabeled:
        """From texts and their labels; without ``y`` from the ``labels`` that the examples carry, which are names.

        Args:
            y: a list of labels for each text, or an indicator matrix, as ``label_lists`` takes them.
            classes: in the order of the matrix's columns.
            written: the type of labels that no list of labels tells.
            like: the type of other labels that these are like; None finds out.
            whose: what the classes are called in messages.
            source: where the rows come from, such as ``"eval_set"``.

        Raises:
            DataError: if there are no examples, or labels are missing or of another form.
            UnknownNameError: if a label is none of the classes.
        """
        examples = as_examples(X)
        if not examples:
            raise DataError("there are no examples; give at least one with a label.")
        label_type = written if like is None else like
        if y is not None:
            lists, label_type = label_lists(y, classes, written=written, like=like)
            if len(lists) != len(examples):
                raise DataError(f"{len(lists)} rows of labels for {len(examples)} texts; give one row for each text.")
            examples = [Example(example.fields, labels=names) for example, names in zip(examples, lists)]
        missing = [row for row, example in enumerate(examples, start=1) if example.labels is None]
        if missing:
            raise DataError(f"row {missing[0]} has no list of labels; pass y, or examples with labels=(...).")
        of_source = f" of {source}" if source else ""
        for row, example in enumerate(examples, start=1):
            for name in example.labels or ():
                if name not in classes:
                    raise UnknownNameError("label", name, classes, where=f"row {row}{of_source}", whose=whose)
        return cls(examples, label_type)

    def several_classes(self) -> Sequence[str]:
        """Return the classes that occur, of which there may be one: it still holds or doesn't."""
        return sorted({name for example in self.examples for name in example.labels or ()})

    def targets(self, classes: Sequence[str]) -> Tensor:
        """1 where a class holds, else 0: (examples, classes)."""
        return torch.tensor([[float(name in (example.labels or ())) for name in classes] for example in self.examples])

    def weighed_by_class(self, class_weight: ClassWeight | None, classes: Sequence[str]) -> Self:
        """With a weight for each class of each example, (examples, classes); see ``MultiLabelClassifier``.

        Raises:
            UnknownNameError: if it mentions a class that there isn't.
        """
        if class_weight is None:
            return self
        holds, own = self.targets(classes), self.own_weights[:, None]
        if isinstance(class_weight, Mapping):
            by_class = class_weights(class_weight, classes, self.label_type)
            return self._replace(weights=own * torch.where(holds > 0, torch.tensor(list(by_class.values())), 1.0))
        total, positive = own.sum(), (own * holds).sum(dim=0)  # (), (classes,)
        sums = torch.where(holds > 0, positive, total - positive)
        is_even = (positive > 0) & (positive < total)
        return self._replace(weights=own * torch.where(is_even, total / (2 * sums), 1.0))

    def check_positive(self, classes: Sequence[str]) -> None:
        """Refuse examples to train on of which none has a label; warn of classes that none has.

        Raises:
            DataError: if no class holds anywhere.
        """
        counts = self.targets(classes).sum(dim=0).tolist()
        never = [name for name, count in zip(classes, counts) if not count]
        if len(never) == len(classes):
            raise DataError(f"none of {len(self.examples)} training texts has a label; give some that have.")
        if never:
            warn(
                f"{len(never)} of {len(classes)} classes hold for none of {len(self.examples)} training texts "
                f"({', '.join(never)}), so that they will hardly be predicted; give examples of each."
            )


def label_lists(
    y: Labels, classes: Sequence[str], *, written: LabelType = NAMES, like: LabelType | None = None
) -> tuple[list[tuple[str, ...]], LabelType]:
    """The names of each row's classes, and the type of the labels.

    Args:
        y: a list, tuple, set or array of labels for each row; or an indicator matrix, 1 where a class holds and else 0:
            an array or a sparse one with a column for each class in order, a data frame whose columns are named after
            them, or rows of such whole numbers (unless a class is called by one).
        classes, written, like: as for ``MultiLabeled.read``.

    Raises:
        DataError: if it is something else, such as one label for each row.
    """
    matrix_type = written if like is None else like
    if hasattr(y, "toarray"):
        return _from_matrix(y.toarray(), classes), matrix_type
    if hasattr(y, "columns"):
        return _from_matrix(_in_order(np.asarray(y), [str(name) for name in y.columns], classes), classes), matrix_type
    if isinstance(y, (str, bytes, Mapping)) or not hasattr(y, "__iter__"):
        raise DataError(f"y is {short_repr(y)}; pass a list of labels for each text, or an indicator matrix.")
    if getattr(y, "ndim", 1) == 2:
        return _from_matrix(np.asarray(y), classes), matrix_type
    rows, numbered = y.tolist() if hasattr(y, "tolist") else list(y), numbered_names(y)
    if not numbered and _are_indicators(rows) and not any(name.lstrip("-").isdecimal() for name in classes):
        if len({len(row) for row in rows}) > 1:
            raise DataError("rows of y are of different lengths; give each a 0 or 1 for every class.")
        return _from_matrix(np.array(rows), classes), matrix_type
    single = [(number, row) for number, row in enumerate(rows, start=1) if isinstance(row, (str, int, np.integer))]
    if single:
        number, row = single[0]
        raise DataError(
            f"row {number} of y is {row!r}, a single label; pass a list such as [{row!r}] for each text, or use "
            "PromptClassifier, where each text has one class."
        )
    lists = [label_items(row, f"row {number} of y") for number, row in enumerate(rows, start=1)]
    return _named_lists(lists, classes, numbered, written, like)


def _named_lists(
    lists: Sequence[Sequence[Label]],
    classes: Sequence[str],
    numbered: Sequence[str],
    written: LabelType,
    like: LabelType | None,
) -> tuple[list[tuple[str, ...]], LabelType]:
    labels = [label for row in lists for label in row]
    if like is None:
        check_one_type(labels, [number for number, row in enumerate(lists, start=1) for _ in row])
        label_type = LabelType.of(labels, classes if numbered else (), numbered) if labels else written
    else:
        label_type = like
    own = LabelType("encoded", tuple(numbered)) if numbered and label_type.kind != "int" else label_type
    return [tuple(map(own.name, row)) for row in lists], label_type


def _are_indicators(rows: Sequence[object]) -> TypeGuard[Sequence[Sequence[int]]]:
    whole = (bool, int, np.integer, np.bool_)
    lists = [row for row in rows if isinstance(row, (list, tuple, np.ndarray))]
    are_whole = all(isinstance(value, whole) for row in lists for value in row)
    return len(lists) == len(rows) and any(map(len, lists)) and are_whole


def _in_order(matrix: np.ndarray, names: Sequence[str], classes: Sequence[str]) -> np.ndarray:
    """A matrix with its columns, which have names, in the order of the classes."""
    if sorted(names) != sorted(classes):
        raise DataError(f"y has the columns {', '.join(names)}, but the classes are {', '.join(classes)}.")
    return matrix[:, [names.index(name) for name in classes]]


def _from_matrix(matrix: np.ndarray, classes: Sequence[str]) -> list[tuple[str, ...]]:
    if matrix.ndim != 2 or matrix.shape[1] != len(classes):
        raise DataError(
            f"y is a matrix of shape {matrix.shape}, but there are {len(classes)} classes ({', '.join(classes)}); give "
            "each a column, in this order."
        )
    wrong = [value for value in matrix.ravel().tolist() if value not in (0, 1)]
    if wrong:
        raise DataError(f"y holds {short_repr(wrong[0])}; an indicator matrix has 1 where a class holds and else 0.")
    return [tuple(name for name, holds in zip(classes, row) if holds) for row in matrix.tolist()]
