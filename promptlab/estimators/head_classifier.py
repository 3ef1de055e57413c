"""The classifier with an ordinary head."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from promptlab.core.errors import TuningError
from promptlab.core.interfaces import Template, Verbalizer
from promptlab.estimators.text_classifier import TextClassifier
from promptlab.library.resolve import resolve_tuning
from promptlab.templates.plain import InputTemplate
from promptlab.verbalizers.linear import LinearVerbalizer


@dataclass(eq=False, repr=False)
class HeadClassifier(TextClassifier):
    """An ordinary classification head on the pooled hidden states: fine-tuning baseline and linear probe.

    ``tuning="frozen"`` is the linear probe; the features of each text are then computed once.

    Args:
        model: as for ``PromptClassifier``.
        tuning: likewise.
        fields: names of the fields that make up the input, in order; None is ``text_a`` alone, and of a student of
            ``PET`` all fields that the members read.
        pooling: ``"mean"`` of the hidden states, the ``"first"`` or the ``"last"`` one.
        dropout: of the pooled features.

    The other settings are those of ``TextClassifier``.
    """

    model: Any = None
    tuning: Any = "full"
    fields: Sequence[str] | None = None
    pooling: str = "mean"
    dropout: float = 0.1

    def check_settings(self, eval_set: Any) -> None:
        super().check_settings(eval_set)
        if resolve_tuning(self.tuning).defaults.max_steps == 0:
            raise TuningError(
                "tuning='none' trains nothing, not even the head; choose 'frozen', which trains that alone."
            )

    def known_classes(self) -> None:
        return None

    def make_template(self) -> Template:
        return InputTemplate() if self.fields is None else InputTemplate(tuple(self.fields))

    def make_verbalizer(self, names: Sequence[str] | None) -> Verbalizer:
        return LinearVerbalizer(tuple(names or ()), self.pooling, self.dropout)
