"""What every template search has in common: what it is given, what it finds, and the role of an engine."""

from __future__ import annotations

import difflib
import itertools
import random
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import ClassVar, Self, TypeVar

from promptlab.core.errors import SearchError, UnknownNameError, short_repr
from promptlab.core.interfaces import Backbone
from promptlab.core.part import Part
from promptlab.core.types import Example

BUDGET_NAMES = ("small", "medium", "large")  # two minutes for a small model on 2 cores, a quarter of an hour, hours

COMPARED = 32  # training examples at most by which it is told whether templates fit, and differ

T = TypeVar("T")


@dataclass(frozen=True)
class SearchTask:
    """What a template is searched for.

    Args:
        train: labeled examples that the search learns from.
        dev: labeled examples that it chooses by; none of them in ``train``.
        label_words: class → words, of one token each for ``backbone``.
        backbone: the classifier's model; a search leaves it as it is.
        seed: of everything that is drawn.
        max_length: tokens of a prompt; the model's own limit if None.
    """

    train: Sequence[Example]
    dev: Sequence[Example]
    label_words: Mapping[str, tuple[str, ...]]
    backbone: Backbone
    seed: int = 0
    max_length: int | None = None

    @property
    def fields(self) -> tuple[str, ...]:
        """``text_a``, and ``text_b`` if the examples have it."""
        return tuple(name for name in ("text_a", "text_b") if name in self.train[0].fields)


@dataclass(frozen=True)
class FoundTemplate:
    """An ordinary template that a search found.

    Args:
        template: Jinja source; every token of a trigger is written as text, and encodes to itself.
        engine: name of the search in the registry ``TEMPLATE_SEARCHES``.
        score: higher is better; what it means is the engine's matter.
        label_words: those that belong to it.
        origin: settings and scores that tell where it comes from; plain JSON.
    """

    template: str
    engine: str
    score: float
    label_words: Mapping[str, tuple[str, ...]]
    origin: Mapping[str, object] = field(default_factory=dict)


class TemplateSearch(Part):
    """Find templates. Settings are a frozen dataclass; nothing of the model is trained or changed.

    ``BUDGETS`` says which settings a budget gives other values than the defaults.
    """

    error_class = SearchError
    BUDGETS: ClassVar[Mapping[str, Mapping[str, object]]] = {}

    @classmethod
    def of_budget(cls, budget: str, **settings: object) -> Self:
        """Make the search with the settings of a budget; those that are given come first.

        Args:
            budget: one of ``BUDGET_NAMES``.

        Raises:
            UnknownNameError: if there is no such budget.
            SearchError: if the search has no such setting, or a value is out of range.
        """
        if budget not in BUDGET_NAMES:
            raise UnknownNameError("budget", budget, BUDGET_NAMES)
        known = [setting.name for setting in fields(cls)]
        for name in settings:
            if name not in known:
                close = difflib.get_close_matches(name, known, n=1)
                hint = f"; did you mean {close[0]!r}?" if close else "."
                raise SearchError(f"{cls.__name__} has no setting {name!r}{hint} Known: {', '.join(known) or 'none'}.")
        return cls(**{**cls.BUDGETS.get(budget, {}), **settings})

    def fields_used(self, task: SearchTask) -> Sequence[str]:
        """Return the fields of the examples that its templates may read: the task's, unless they are a user's own."""
        return task.fields

    @abstractmethod
    def search(self, task: SearchTask, *, resume_dir: Path | None = None) -> list[FoundTemplate]:
        """Return templates, the best first by the engine's own score, none twice.

        Args:
            resume_dir: folder from which an interrupted search goes on, with the result of an uninterrupted one.

        Raises:
            SearchError: if the task can't be searched, or nothing is left after filtering.
        """


def check_examples(name: str, examples: Sequence[Example], task: SearchTask) -> None:
    """Refuse train or dev without examples, texts, or labels that have label words.

    Args:
        name: of the set.

    Raises:
        SearchError: naming the first row at fault.
    """
    if not examples:
        raise SearchError(f"{name} is empty; a search learns from train and chooses by dev: give labeled examples.")
    for row, example in enumerate(examples, start=1):
        missing = [field for field in task.fields if not isinstance(example.fields.get(field), str)]
        if missing:
            raise SearchError(f"row {row} of {name} has no text {missing[0]!r}: {short_repr(dict(example.fields))}.")
        if example.label is None:
            raise SearchError(f"row {row} of {name} has no label; label every example.")
        if not task.label_words.get(str(example.label)):
            raise SearchError(
                f"row {row} of {name} is {example.label!r}, which has no label words; there are some for "
                f"{', '.join(task.label_words) or 'none'}."
            )


def drawn_examples(task: SearchTask, n: int) -> list[Example]:
    """So many training examples, drawn by the task's seed, of all classes in turn."""
    rng = random.Random(task.seed)
    shuffled = rng.sample(list(task.train), len(task.train))
    of_class = [[example for example in shuffled if str(example.label) == name] for name in task.label_words]
    return list(itertools.islice(in_turn(of_class), n))


def in_turn(rows: Iterable[Iterable[T]]) -> Iterator[T]:
    """The first of each row, then the second of each, and so on."""
    lists = [list(row) for row in rows]
    for place in range(max(map(len, lists), default=0)):
        yield from (row[place] for row in lists if place < len(row))
