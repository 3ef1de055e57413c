"""Labels as people write them, the names that classes have, and the one way from each to the other."""

from __future__ import annotations

import numbers
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Self

from promptlab.core.errors import DataError, SavedModelError, short_repr

Label = str | int | bool  # as Python has it
KINDS: Mapping[str, str] = {
    "str": "texts", "int": "whole numbers", "bool": "True and False", "encoded": "numbers of classes",
}  # fmt: skip
TRUTH = ("False", "True")


@dataclass(frozen=True)
class LabelType:
    """How labels say which class is meant, so that predictions come back as the labels came.

    Everywhere else a class is called by its name, a text: in verbalizers and heads, files and tables.

    Args:
        kind: ``"str"``, labels are the names; ``"int"``, whole numbers, whose digits are the names; ``"bool"``; or
            ``"encoded"``, the positions of the names in ``order``, as scikit-learn's meta-estimators and the
            ``ClassLabel`` of data sets number classes.
        order: the names that False and True, or 0, 1, …, stand for; of the other kinds empty.
    """

    kind: str = "str"
    order: tuple[str, ...] = ()

    @classmethod
    def of(cls, labels: Sequence[Label], classes: Sequence[str] = (), numbered: Sequence[str] = ()) -> Self:
        """The type of labels that all have one.

        Args:
            labels: as ``plain_labels`` returns them.
            classes: the names that they may mean, in the order in which somebody would number them; empty if any.
            numbered: the names that whole numbers stand for, if the labels say so themselves.
        """
        kind = kind_of(labels[0]) if labels else "str"
        if kind == "bool":
            return cls(kind, _truth_names(classes))
        if kind != "int" or {str(label) for label in labels} <= set(classes):
            return cls(kind)
        if numbered:
            return cls("encoded", tuple(numbered))
        are_names = not classes or {str(label) for label in labels} & set(classes)
        are_positions = not are_names and all(0 <= int(label) < len(classes) for label in labels)
        return cls("encoded", tuple(classes)) if are_positions else cls(kind)

    def name(self, label: Label) -> str:
        """The name of the class that a label means; whether there is such a class is another question."""
        if isinstance(label, int) and self.order:  # True and False are whole numbers, too
            return self.order[label] if 0 <= label < len(self.order) else str(label)
        return str(int(label)) if self.kind == "int" and isinstance(label, bool) else str(label)

    def value(self, name: str) -> Label:
        """The label that means a class."""
        if self.kind == "str":
            return name
        number = self.order.index(name) if self.order else int(name)
        return bool(number) if self.kind == "bool" else number

    def sorted(self, names: Iterable[str]) -> tuple[str, ...]:
        """The names of classes in the order of their labels."""
        return tuple(sorted(names, key=self.value))

    def check(self, names: Iterable[str]) -> None:
        """Refuse classes of which one has no label of this type.

        Raises:
            DataError: naming it.
        """
        said = f" ({', '.join(self.order)})" if self.order else ""
        for name in names:
            is_known = name in self.order if self.order else self.kind == "str" or _is_whole_name(name)
            if not is_known:
                raise DataError(
                    f"the labels are {KINDS[self.kind]}{said}, of which none means the class {name!r}; give all labels "
                    "as texts, the names of classes."
                )

    def saved(self) -> dict[str, object]:
        """As plain JSON; ``from_saved`` takes it."""
        return {"label_type": self.kind, **({"label_order": list(self.order)} if self.order else {})}

    @classmethod
    def from_saved(cls, saved: Mapping[str, object]) -> Self:
        """The type that ``saved`` described, among other settings.

        Raises:
            SavedModelError: if there is no such type.
        """
        kind, names = str(saved["label_type"]), saved.get("label_order", ())
        order = tuple(map(str, names)) if isinstance(names, (list, tuple)) else ()
        if kind not in KINDS or bool(order) != (kind in ("bool", "encoded")):
            raise SavedModelError(
                f"labels of type {short_repr(kind)} with the order {short_repr(order)} are unknown; save again."
            )
        return cls(kind, order)


NAMES = LabelType()  # labels that are the names of classes


def kind_of(label: Label) -> str:
    """``"bool"``, ``"int"`` or ``"str"``."""
    return type(label).__name__


def _truth_names(classes: Sequence[str]) -> tuple[str, ...]:
    """What the classes call False and True."""
    known = {name.lower(): name for name in classes}
    pairs = (("false", "true"), ("0", "1"))
    return next((tuple(known[name] for name in pair) for pair in pairs if set(pair) <= set(known)), TRUTH)


def _is_whole_name(name: str) -> bool:
    return name.removeprefix("-").isdecimal() and str(int(name)) == name


def is_missing(value: object) -> bool:
    """None, NaN, and pandas' NaT and NA, without importing pandas."""
    if isinstance(value, numbers.Real):
        return bool(value != value)
    return value is None or type(value).__name__ in ("NAType", "NaTType")


def plain_label(value: object, where: str) -> Label:
    """A row's one label as Python's own text, whole number (also of a float such as 1.0) or truth value.

    Raises:
        DataError: if there is none, or several, or it is of another type.
    """
    if type(value).__name__ in ("ndarray", "Tensor") and getattr(value, "ndim", 1) == 0 and hasattr(value, "item"):
        value = value.item()
    if is_missing(value) or not str(value).strip():
        raise DataError(f"{where} has no label ({value!r}); fill it in or leave the row out.")
    if isinstance(value, bytes):
        raise DataError(f"{where} has the label {value!r}, which is bytes; decode it to a text.")
    if isinstance(value, (Mapping, list, tuple, set, frozenset)) or (
        hasattr(value, "__array__") and getattr(value, "ndim", 0) > 0
    ):
        raise DataError(
            f"{where} has the label {short_repr(value)}; expected one class, so pass a single column of labels."
        )
    if isinstance(value, str):
        return str.__str__(value)
    if type(value).__name__ in ("bool", "bool_"):
        return bool(value)
    if isinstance(value, numbers.Integral):
        return int(value)
    if isinstance(value, numbers.Real) and float(value).is_integer():
        return int(float(value))
    raise DataError(
        f"{where} has the label {short_repr(value)}, of type {type(value).__name__}; classes are texts, whole "
        "numbers or True and False, so turn all labels into texts: [str(label) for label in y]."
    )


def plain_labels(values: Iterable[object], rows: Iterable[int] | None = None) -> list[Label]:
    """One label for each row, all of one type; see ``plain_label``.

    Args:
        rows: their numbers in messages; None counts from 1.

    Raises:
        DataError: naming the row whose label is missing, or of another type than that of the first.
    """
    given = list(values)
    numbered = list(range(1, len(given) + 1) if rows is None else rows)
    labels = [plain_label(value, f"row {row}") for value, row in zip(given, numbered)]
    check_one_type(labels, numbered)
    return labels


def check_one_type(labels: Sequence[Label], rows: Sequence[int]) -> None:
    """Refuse labels of different types.

    Raises:
        DataError: naming the row whose label is of another type than the first.
    """
    for label, row in zip(labels, rows):
        if kind_of(label) != kind_of(labels[0]):
            raise DataError(
                f"row {row} has the label {short_repr(label)} ({kind_of(label)}), but row {rows[0]} has "
                f"{short_repr(labels[0])} "
                f"({kind_of(labels[0])}); give labels of one type, such as all texts: [str(label) for label in y]."
            )


def label_name(value: object, where: str) -> str:
    """The name of a row's one class, as a file holds it.

    Raises:
        DataError: if there is none, or several, or it is of no type that labels have.
    """
    return str(plain_label(value, where))


def numbered_names(labels: object) -> tuple[str, ...]:
    """The names that a column of a Hugging Face data set gives its numbers (``ClassLabel``); empty of anything else."""
    features, column = getattr(labels, "features", None), getattr(labels, "column_name", None)
    feature = features.get(column) if isinstance(features, Mapping) else features
    return tuple(getattr(getattr(feature, "feature", feature), "names", None) or ()) if isinstance(column, str) else ()


def label_items(value: object, where: str, *, separator: str | None = None) -> list[Label]:
    """The labels of a row, of which there may be none.

    Args:
        value: a list, tuple, set or array of labels; or, if there is a ``separator``, a text with it between them.
        where: the row's name in messages.

    Raises:
        DataError: if it is something else, or holds an empty label or one twice.
    """
    if separator == "":
        raise DataError("separator is empty; name a character that stands between labels, such as '|'.")
    if isinstance(value, str) and separator is not None:
        items = [item.strip() for item in value.split(separator)] if value.strip() else []
    elif isinstance(value, (set, frozenset)):
        items = sorted(value, key=str)
    elif isinstance(value, Iterable) and (isinstance(value, (list, tuple)) or getattr(value, "ndim", 0) == 1):
        items = list(value)
    else:
        raise DataError(f"{where} has {short_repr(value)} for its labels; give a list of labels, empty if none holds.")
    labels = [plain_label(item, where) for item in items]
    names = list(map(str, labels))
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise DataError(f"{where} has the label {twice[0]!r} twice; give it once.")
    return labels


def label_list(value: object, where: str, *, separator: str | None = None) -> tuple[str, ...]:
    """The names of a row's classes, as a file holds them; arguments and errors as for ``label_items``."""
    return tuple(map(str, label_items(value, where, separator=separator)))


def check_separator(separator: str, names: Iterable[str]) -> None:
    """Refuse a separator with which the names of classes, written one after the other, couldn't be told apart.

    Raises:
        DataError: naming the class.
    """
    if not separator:
        raise DataError("separator is empty; name a character that stands between labels, such as '|'.")
    for name in names:
        if f"{separator}{name}{separator}".split(separator) != ["", name, ""] or name != name.strip():
            raise DataError(
                f"class {name!r} can't be told from what stands beside it where labels are written with the separator "
                f"{separator!r} between them; choose another separator (--separator), or rename the class."
            )
