"""A package that brings a part of each kind to promptlab."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from promptlab import ManualTemplate, PromptClassifier
from promptlab.core.errors import TuningError
from promptlab.core.interfaces import Backbone, Tuning
from promptlab.core.training_defaults import TrainingDefaults
from promptlab.core.types import AnswerSlot
from promptlab.search.templates.task import FoundTemplate, SearchTask, TemplateSearch
from promptlab.search.words.search import TRAIN_ACCURACY, FoundWords, MaskEvidence
from promptlab.verbalizers.label_words import LabelWordVerbalizer, label_word_ids
from promptlab.verbalizers.manual import LabelWordHead


@dataclass(frozen=True)
class FirstWordVerbalizer(LabelWordVerbalizer):
    """Score a class by the first of its label words, whatever the others are.

    Source: nobody, section 0.

    Args:
        label_words: class → its words.
        boost: what the logits are multiplied by.
    """

    boost: float = 1.0

    def build(self, backbone: Backbone, slot: AnswerSlot) -> FirstWordHead:
        first = {name: words[:1] for name, words in self.label_words.items()}
        return FirstWordHead(*label_word_ids(first, backbone, slot), boost=self.boost)


class FirstWordHead(LabelWordHead):
    """Logits of one word a class, multiplied."""

    def __init__(self, ids: Any, valid: Any, *, boost: float) -> None:
        super().__init__(ids, valid)
        self.boost = boost

    def combine(self, word_scores: Any) -> Any:
        return word_scores[..., 0] * self.boost


@dataclass(frozen=True)
class LastNorm(Tuning):
    """Train the scale of the last norm.

    Args:
        rate: of learning.
    """

    rate: float = 1e-3

    def attach(self, backbone: Any) -> None:
        backbone.requires_grad_(False)
        norms = [weight for name, weight in backbone.layers()[-1].named_parameters() if "orm.weight" in name]
        if not norms:
            raise TuningError(f"{backbone.name} has no norm in its last layer; choose another tuning.")
        norms[-1].requires_grad_(True)

    @property
    def defaults(self) -> TrainingDefaults:
        return TrainingDefaults(learning_rate=self.rate, max_steps=20, head_learning_rate=self.rate)


def quoted(text: str, sign: str = '"') -> str:
    """Put quotes around the text.

    Args:
        sign: of the quotes.
    """
    return f"{sign}{text}{sign}"


@dataclass(frozen=True)
class QuestionTemplate(ManualTemplate):
    """A pattern with a question before it."""

    source: str = "{{ text_a | quoted }} Was it good? {{ mask }}"


@dataclass(frozen=True)
class TwoTemplates(TemplateSearch):
    """Find two templates without any search.

    Args:
        verb: of both.
    """

    verb: str = "was"

    def search(self, task: SearchTask, *, resume_dir: Path | None = None) -> list[FoundTemplate]:
        sources = [f"{{{{ text_a }}}} It {self.verb} {{{{ mask }}}}", f"{{{{ text_a }}}} {self.verb} {{{{ mask }}}}"]
        return [FoundTemplate(source, "two", 0.0, task.label_words) for source in sources]


def alphabet(evidence: MaskEvidence, *, words: int = 1, last: bool = False) -> list[FoundWords]:
    """Give the classes words by the alphabet.

    Args:
        words: of each class.
        last: whether from its end.
    """
    order: Sequence[str] = sorted(evidence.words, reverse=last)
    rows = {name: tuple(order[i * words : (i + 1) * words]) for i, name in enumerate(evidence.classes)}
    return [FoundWords(rows, 0.0, TRAIN_ACCURACY)]


class CarefulClassifier(PromptClassifier):
    """A classifier of a class of its own."""
