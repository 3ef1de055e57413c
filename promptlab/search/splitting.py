"""Which labelled examples a template search learns from, and which it chooses by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from promptlab.data.sampling import halves
from promptlab.errors import DataError
from promptlab.search.journal import digest_of
from promptlab.search.task import SearchTask, check_examples, drawn
from promptlab.types import Example


def split(
    given: SearchTask,
    *,
    reads: Sequence[str],
    train: int | None = None,
    dev: int | None = None,
    of_each_class: int = 1,
) -> tuple[SearchTask, Mapping[str, int]]:
    """A task ready to be searched.

    Args:
        given: with all labelled rows; without a dev set, half of each class of train is kept for it.
        reads: fields by which rows are told apart.
        train: examples to learn from, at most; all if None.
        dev: examples to choose by, likewise.
        of_each_class: training examples that the search needs.

    Returns:
        The task, and how many rows were left out: ``dev_left_out``, because they are training rows, too, and
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
    unseen = _unseen(task, reads)
    some = replace(task, train=_at_most(train, task.train, task), dev=_at_most(dev, unseen, task))
    return some, {
        "dev_left_out": len(task.dev) - len(unseen),
        "dev_unused": len(unseen) - len(some.dev),
        "train_unused": len(task.train) - len(some.train),
    }


def _at_most(n: int | None, examples: Sequence[Example], task: SearchTask) -> Sequence[Example]:
    """All examples as they are, or so many of them, drawn of all classes in turn."""
    return examples if n is None or len(examples) <= n else drawn(examples, task, n)


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


def _unseen(task: SearchTask, reads: Sequence[str]) -> list[Example]:
    """Dev examples whose label and fields that are read no training example has."""

    def known_by(example: Example) -> str:
        return digest_of([Example({name: example.fields.get(name) for name in reads}, str(example.label))])

    known = set(map(known_by, task.train))
    unseen = [example for example in task.dev if known_by(example) not in known]
    if not unseen:
        raise DataError(f"all {len(task.dev)} dev examples are training examples, too; choose by others, or by none.")
    return unseen
