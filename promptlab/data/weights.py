"""How much rows and classes count in training."""

from __future__ import annotations

import numbers
from collections.abc import Hashable, Mapping, Sequence

from promptlab.core.errors import DataError, TuningError, UnknownNameError, short_repr
from promptlab.core.inputs import ClassWeight, Weights
from promptlab.data.labels import LabelType, plain_label

BALANCED = "balanced"
LARGEST = 1e30  # of a weight: sums of many are still numbers in single precision


def row_weights(given: Weights | None, n_rows: int) -> list[float] | None:
    """The weights of rows, from what users pass as ``sample_weight``; None if that is None: all alike.

    Raises:
        DataError: if there isn't a number from 0 for each row, or all are 0.
    """
    if given is None:
        return None
    values = given.tolist() if hasattr(given, "tolist") else given
    if isinstance(values, (str, bytes, Mapping)) or not isinstance(values, Sequence):
        raise DataError(f"sample_weight is {short_repr(given)}; pass a list with a number for each row.")
    if len(values) != n_rows:
        raise DataError(f"sample_weight has {len(values)} numbers for {n_rows} rows; give one for each.")
    for row, value in enumerate(values, start=1):
        if not _is_weight(value):
            raise DataError(
                f"sample_weight of row {row} is {short_repr(value)}; weights are numbers from 0 to {LARGEST:g}."
            )
    if n_rows and not any(values):
        raise DataError("sample_weight is 0 for every row; give some a weight above 0.")
    return [float(value) for value in values]


def check_class_weight(class_weight: object) -> None:
    """Refuse what is neither ``"balanced"`` nor class → weight.

    Raises:
        TuningError: if so.
    """
    if class_weight is None or (isinstance(class_weight, str) and class_weight == BALANCED):
        return
    if not isinstance(class_weight, Mapping):
        raise TuningError(
            f"class_weight={short_repr(class_weight)} must be 'balanced', or a mapping from classes to numbers."
        )
    for label, weight in class_weight.items():
        if not _is_weight(weight):
            raise TuningError(
                f"class_weight of {short_repr(label)} is {short_repr(weight)}; weights are numbers from 0 to "
                f"{LARGEST:g}."
            )


def weights_of_classes(
    class_weight: ClassWeight | None, classes: Sequence[str], counts: Mapping[str, float], label_type: LabelType
) -> dict[str, float]:
    """The weight of each class by its name, of an estimator's setting.

    Args:
        class_weight: ``"balanced"``, or weights by labels or names; None: alike.
        counts: rows of each class, or the sums of their weights.

    Raises:
        UnknownNameError: if it mentions a class that there isn't.
    """
    if isinstance(class_weight, Mapping):
        return class_weights(class_weight, classes, label_type)
    return dict.fromkeys(classes, 1.0) if class_weight is None else balanced(counts)


def class_weights(
    class_weight: Mapping[Hashable, float], classes: Sequence[str], label_type: LabelType
) -> dict[str, float]:
    """The weight of each class by its name; of those that aren't mentioned 1.

    Args:
        class_weight: by labels, or by the names of classes.

    Raises:
        UnknownNameError: if a key is neither, unless all classes are mentioned.
    """
    given = weights_by_name(class_weight, label_type)
    unknown = [name for name in given if name not in classes]
    if unknown and not set(classes) <= set(given):
        raise UnknownNameError("class", unknown[0], classes, where="class_weight")
    return {name: given.get(name, 1.0) for name in classes}


def weights_by_name(class_weight: Mapping[Hashable, float], label_type: LabelType) -> dict[str, float]:
    """Weights by labels, or by names of classes, all by names."""
    names = [
        label if isinstance(label, str) else label_type.name(plain_label(label, "class_weight"))
        for label in class_weight
    ]
    return {name: float(weight) for name, weight in zip(names, class_weight.values())}


def balanced(counts: Mapping[str, float]) -> dict[str, float]:
    """n / (k · count) for each of k classes that occur, so that all count alike.

    Source: scikit-learn, ``class_weight="balanced"``.

    Args:
        counts: rows of each class, or the sums of their weights.
    """
    found = {name: count for name, count in counts.items() if count > 0}
    return {name: sum(found.values()) / (len(found) * count) for name, count in found.items()}


def _is_weight(value: object) -> bool:
    return isinstance(value, numbers.Real) and 0 <= float(value) <= LARGEST
