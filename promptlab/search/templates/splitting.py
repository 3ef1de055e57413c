"""Which labeled examples a template search learns from, and which it chooses by."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import replace

from promptlab.core.errors import DataError
from promptlab.core.types import Example
from promptlab.data.overlap import texts_of
from promptlab.data.sampling import halves
from promptlab.search.templates.task import SearchTask, check_examples


def split(
    given: SearchTask,
    *,
    fields_used: Sequence[str],
    train: int | None = None,
    dev: int | None = None,
    of_each_class: int = 1,
) -> tuple[SearchTask, Mapping[str, int]]:
    """A task ready to be searched.

    Args:
        given: with all labeled rows; without a dev set, half of each class of train is kept for it.
        fields_used: fields by which rows are told apart.
        train: examples to learn from, at most; all if None. They are drawn in proportion to the classes.
        dev: examples to choose by, at most; all if None.
        of_each_class: training examples that the search needs.

    Returns:
        The task, and how many rows were left out: ``dev_left_out``, because their texts are training rows', too, and
        ``train_unused`` and ``dev_unused``, because there are more than are wanted.

    Raises:
        SearchError: if a row lacks a text or has a label without words.
        DataError: if a class has too few rows, or all dev rows are training rows.
    """
    check_examples("train", given.train, given)
    if given.dev:
        check_examples("dev", given.dev, given)
        task = given
    else:
        task = _halved(given)
    _check_classes(task, of_each_class)
    unseen = _unseen(task, fields_used)
    some = replace(
        task,
        train=_at_most(train, task.train, task, of_each_class),
        dev=_at_most(dev, unseen, task, 1),
    )
    return some, {
        "dev_left_out": len(task.dev) - len(unseen),
        "dev_unused": len(unseen) - len(some.dev),
        "train_unused": len(task.train) - len(some.train),
    }


def _at_most(n: int | None, examples: Sequence[Example], task: SearchTask, of_each: int) -> Sequence[Example]:
    """All examples as they are, or so many of them, drawn in proportion to the classes, in their order."""
    if n is None or len(examples) <= n:
        return examples
    rng = random.Random(task.seed)
    of_class: dict[str, list[int]] = {}
    for row in rng.sample(range(len(examples)), len(examples)):
        of_class.setdefault(str(examples[row].label), []).append(row)
    counts = proportional({name: len(rows) for name, rows in sorted(of_class.items())}, n, at_least=of_each)
    return [examples[row] for row in sorted(row for name in counts for row in of_class[name][: counts[name]])]


def proportional(counts: Mapping[str, int], n: int, *, at_least: int = 0) -> dict[str, int]:
    """So many of all, each class in proportion to its count, fractions by the largest remainder (of equals the first).

    Args:
        counts: class → how many there are, more than ``n`` in all.
        at_least: of each class, as far as there are so many of it and ``n`` allows it for all.
    """
    least = {name: min(at_least, count) for name, count in counts.items()}
    if sum(least.values()) > n:
        least = dict.fromkeys(counts, 0)
    exact = {name: n * count / sum(counts.values()) for name, count in counts.items()}
    taken = {name: max(least[name], math.floor(exact[name])) for name in counts}
    while sum(taken.values()) < n:  # never more than one for each class
        taken[max(counts, key=lambda name: exact[name] - taken[name])] += 1
    while sum(taken.values()) > n:  # rare classes have more than their share
        spare = [name for name in counts if taken[name] > least[name]]
        taken[max(spare, key=lambda name: taken[name] - exact[name])] -= 1
    return taken


def _halved(given: SearchTask) -> SearchTask:
    try:
        first, second = halves([str(example.label) for example in given.train], seed=given.seed)
    except DataError as error:
        raise DataError(f"no dev set was given, and none can be made: {error}") from None
    return replace(given, train=[given.train[i] for i in first], dev=[given.train[i] for i in second])


def _check_classes(task: SearchTask, of_each_class: int) -> None:
    """Refuse what the ranking or a search of label words would refuse after much work."""
    labels = [str(example.label) for example in task.train]
    for name in task.label_words:
        if labels.count(name) < of_each_class:
            raise DataError(
                f"class {name!r} has {labels.count(name)} training examples, but the search needs {of_each_class} of "
                "each class that has label words; add some, or take the class out."
            )


def _unseen(task: SearchTask, fields_used: Sequence[str]) -> list[Example]:
    """Dev examples whose fields that are read no training example has, whatever their labels."""
    known = set(texts_of(task.train, fields_used))
    unseen = [example for example, text in zip(task.dev, texts_of(task.dev, fields_used)) if text not in known]
    if not unseen:
        raise DataError(f"all {len(task.dev)} dev examples are training examples, too; choose by others, or by none.")
    return unseen
