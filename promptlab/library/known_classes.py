"""The classes that labels may mean, and the labeled texts of one classifier, checked against them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from promptlab.core.checks import warn
from promptlab.core.inputs import DevSet, Labels, Texts, VerbalizerLike, Weights
from promptlab.data.labeled import VERBALIZERS, Labeled
from promptlab.library.resolve import label_type_of, resolve_verbalizer


class KnownClasses(NamedTuple):
    """The names of a verbalizer's classes, as it has them and in the order in which somebody would number them."""

    own: Sequence[str]
    numbered: Sequence[str]

    @classmethod
    def of(cls, verbalizer: VerbalizerLike | None) -> KnownClasses:
        """Of what users may pass for a verbalizer.

        Raises:
            PromptlabError: as ``resolve_verbalizer`` does.
        """
        names = resolve_verbalizer(verbalizer).classes
        return cls(tuple(names), label_type_of(verbalizer).sorted(names))

    def warn_of_numbers(self, training: Labeled) -> None:
        """Say how whole numbers were understood that are no names of classes, where they could mean something else."""
        order = training.label_type.order
        is_sure = self.own == order and set(training.labels) == set(order)
        if training.label_type.kind == "encoded" and order == self.numbered and not is_sure:
            said = ", ".join(f"{number} is {name!r}" for number, name in enumerate(order))
            warn(
                f"the labels are whole numbers that count the sorted classes: {said}; if they mean others, give names."
            )


def read_sets(
    X: Texts,
    y: Labels | None,
    eval_set: DevSet | None,
    known: KnownClasses | None,
    sample_weight: Weights | None = None,
) -> tuple[Labeled, Labeled | None]:
    """The training and the dev examples of one classifier; what is wrong with a label is told before any other work.

    Args:
        X, y, eval_set, sample_weight: as for ``PromptClassifier.fit``.
        known: the classes that labels may mean; None if the training labels decide.

    Raises:
        DataError: if labels are missing, of different types, or of one that not all classes have.
        UnknownNameError: if a label means no class.
    """
    training = Labeled.of(X, y, classes=() if known is None else known.numbered)
    dev = None if eval_set is None else Labeled.of(*eval_set, like=training.label_type)
    classes, whose = (training.classes, "those of the training labels") if known is None else (known.own, VERBALIZERS)
    training.check(classes, whose=whose)
    if dev is not None:
        dev.check(classes, whose=whose, source="eval_set")
    training.label_type.check(classes)
    if known is not None:
        known.warn_of_numbers(training)
    return training.weighed(sample_weight), dev
