"""Unlabeled texts, taken up in parts that fit in memory."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Sized
from pathlib import Path

from promptlab.core.errors import error_context
from promptlab.core.fields import Fields
from promptlab.core.inputs import Texts
from promptlab.core.types import Example
from promptlab.data.labeled import reduced
from promptlab.data.readers import as_examples, iter_examples
from promptlab.jobs.workspace import PART


def stream(
    sources: Mapping[str, Texts | str | Path | None],
    *,
    fields: Sequence[str],
    check: Callable[[Sequence[Example]], None],
) -> Iterator[Example]:
    """Unlabeled examples from lists and the like, paths of tables, and streams, one after the other.

    Args:
        sources: by the name that errors call them; what has no length (an iterator, a streamed data set) or lies on
            disk is read in parts; None is nothing.
        fields: those that are read; others may hold anything, or nothing.
        check: refuses examples that can't be used, by a ``PromptlabError``.

    Raises:
        PromptlabError: as ``as_examples``, ``iter_examples`` and ``check`` do, naming the row.
    """
    for name, source in sources.items():
        for number, example in enumerate(itertools.chain.from_iterable(_parts(source)), start=1):
            nameless = Example(Fields(example.fields, ""))  # its number in its part says nothing
            with error_context(f"unlabeled row {number} of {name}"):
                check([nameless])
            yield from reduced([nameless], fields)


def _parts(source: Texts | str | Path | None) -> Iterable[Iterable[Example]]:
    if source is None:
        return []
    if isinstance(source, (str, Path)):
        return [iter_examples(source, columns={}, label=None)]
    if (
        isinstance(source, Sized) and hasattr(source, "features") and hasattr(source, "select")
    ):  # of Hugging Face, on disk
        starts = range(0, len(source), PART)
        return (as_examples(source.select(range(i, min(i + PART, len(source)))), columns={}) for i in starts)
    if isinstance(source, Iterable) and not isinstance(source, Sized):
        return (as_examples(some, columns={}) for some in _in_lists(iter(source)))
    return [as_examples(source, columns={})]


def _in_lists(source: Iterator[object]) -> Iterator[list[object]]:
    while some := list(itertools.islice(source, PART)):
        yield some
