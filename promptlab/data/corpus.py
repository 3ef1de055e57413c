"""Documents of unlabeled text, and the examples that prompts are pre-trained on."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from itertools import groupby
from pathlib import Path
from typing import Protocol

import numpy as np

from promptlab.core.errors import DataError
from promptlab.core.fields import Fields
from promptlab.core.types import Example
from promptlab.data.dialects import Dialect
from promptlab.data.readers import iter_examples
from promptlab.data.tables import iter_lines

Document = list[str]  # its sentences
SHORTEST = 5  # sentences of a document that pairs and choices are drawn from
RATIO = 100  # by which one sentence of a pair may be longer than the other
LETTERS = "ABCDEF"
CONFIDENCES = (0.95, 0.7, 0.5)  # above which a label is learnt: the first class's, the last's, those between
_END = re.compile(r"[.!?][\"')\]]*(\s+)(?=[\"'(\[]?[A-Z0-9])")


class Labeler(Protocol):
    """Anything that gives probabilities of classes, such as a fitted classifier."""

    @property
    def class_names_(self) -> Sequence[str]:
        """The names of the classes."""
        ...

    def iter_proba(self, examples: Iterable[Example]) -> Iterator[np.ndarray]:
        """Class probabilities of one example after the other, columns in the order of ``class_names_``."""
        ...


def read_documents(
    path: str | Path,
    *,
    column: str = "text_a",
    encoding: str = "auto",
    delimiter: str = "auto",
    quoting: str = "auto",
) -> list[Document]:
    r"""Read documents from a file, each as a list of sentences.

    A ``.txt`` file has blank lines between documents and a sentence on each line; a document of one line is split after
    full stops, and so are the rows of other files.

    Args:
        path: a text, or a table of any kind that ``read_examples`` reads.
        column: column of a table that has a document in each row.
        encoding: encoding of a text file; ``"auto"`` is UTF-8, by their marks UTF-16 and UTF-32, else cp1252.
        delimiter: what stands between the columns of a table: a character, ``"tab"``, ``"none"`` if a line is one text,
            or ``"auto"``.
        quoting: ``"csv"`` if columns may stand in quotes, ``"none"`` if quotes are text, or ``"auto"``.

    Raises:
        DataError: if the file can't be read or holds nothing.

    Example:
        >>> from pathlib import Path
        >>> from promptlab import read_documents
        >>> _ = Path("reviews.txt").write_text("A gem. See it twice!\n\nIt is long.\nI left early.\n")
        >>> read_documents("reviews.txt")
        [['A gem.', 'See it twice!'], ['It is long.', 'I left early.']]
    """
    file = Path(path)
    dialect = Dialect(encoding, delimiter, quoting)
    if not file.name.lower().endswith((".txt", ".txt.gz")) or dialect.delimiter not in ("auto", "none"):
        examples = iter_examples(file, columns={"text_a": column}, label=None, **asdict(dialect))
        documents = [split_sentences(_text(example)) for example in examples]
    else:
        blocks = [list(block) for filled, block in groupby(iter_lines(file, dialect), key=bool) if filled]
        documents = [block if len(block) > 1 else split_sentences(block[0]) for block in blocks]
    if not documents:
        raise DataError(f"corpus {str(path)!r} holds no document; give at least two of {SHORTEST} sentences.")
    return documents


def _text(example: Example) -> str:
    if "text_a" not in example.fields:
        place = Fields(example.fields)
        raise DataError(f"{place.row} has no value in column {place.empty['text_a']!r}; fill it in, or leave it out.")
    return str(example.fields["text_a"])


def split_sentences(text: str) -> Document:
    """Sentences of a text: it is cut after ``.``, ``!`` or ``?`` before a capital or a digit."""
    ends = [match.start(1) for match in _END.finditer(text)]
    parts = (text[start:stop].strip() for start, stop in zip([0, *ends], [*ends, len(text)]))
    return [part for part in parts if part]


def pair_examples(documents: Sequence[Document], n: int, *, seed: int) -> list[Example]:
    """Pairs of sentences, a third each: the second stands beside the first, elsewhere in its document, or in another.

    Beside it is before or after it.

    Raises:
        DataError: if there are fewer than two documents of five sentences.
    """
    long, rng = _long(documents), np.random.default_rng(seed)
    makers: Mapping[str, Callable[[int, int], str | None]] = {
        "next": lambda doc, place: _beside(long[doc], place, rng),
        "same document": lambda doc, place: _elsewhere(long[doc], place, rng),
        "other": lambda doc, place: _foreign(long, doc, rng),
    }
    examples = []
    for label, second_of in makers.items():
        made, tries = 0, 0
        while made < n // len(makers):
            tries += 1
            if tries > 100 * n:
                raise DataError(f"the corpus has too few pairs of sentences for {n} examples; ask for fewer.")
            doc, place = _place(long, rng)
            first, second = long[doc][place], second_of(doc, place)
            if second is not None and 1 / RATIO < len(first) / len(second) < RATIO:
                examples.append(Example({"text_a": first, "text_b": second}, label))
                made += 1
    return [examples[i] for i in rng.permutation(len(examples))]


def choice_examples(documents: Sequence[Document], n: int, *, seed: int) -> list[Example]:
    """A sentence and six others, of which one stands beside it, one elsewhere in its document, four in others.

    Raises:
        DataError: as ``pair_examples`` does.
    """
    long, rng = _long(documents), np.random.default_rng(seed)
    examples: list[Example] = []
    for _ in range(100 * n):
        if len(examples) == n:
            break
        doc, place = _place(long, rng)
        beside, far = _beside(long[doc], place, rng), _elsewhere(long[doc], place, rng)
        wrong = [*(_foreign(long, doc, rng) for _ in range(4)), far]
        if far is None or beside in wrong:
            continue
        options = [wrong[i] for i in rng.permutation(len(wrong))]
        right = len(examples) % len(LETTERS)
        options.insert(right, beside)
        fields = dict(zip(LETTERS.lower(), options))
        examples.append(Example({"text_a": long[doc][place], **fields}, LETTERS[right]))
    if len(examples) < n:
        raise DataError(f"the corpus has too few different sentences for {n} examples; ask for fewer.")
    return [examples[i] for i in rng.permutation(n)]


def sentence_examples(
    documents: Sequence[Document],
    n: int,
    *,
    labeller: Labeler,
    seed: int,
    confidence: float | None = None,
) -> list[Example]:
    """Sentences that a classifier is sure of, with its labels, as many of each class.

    Args:
        confidence: probability above which it is sure; None takes PPT's, made for five stars in their order: 0.95 for
            the first class, 0.7 for the last, 0.5 for those between.

    Raises:
        DataError: if it is sure of too few.
    """
    rng = np.random.default_rng(seed)
    sentences = list(dict.fromkeys(sentence for document in documents for sentence in document))
    if not sentences:
        raise DataError("the corpus holds no sentence; give more text.")
    shuffled = [Example({"text_a": sentences[i]}) for i in rng.permutation(len(sentences))]
    rows = iter(labeller.iter_proba(shuffled))
    first = next(rows)  # a classifier that was never fitted knows its classes from here on
    names = [str(name) for name in labeller.class_names_]
    least, wanted = _confidences(len(names), confidence), n // len(names)
    found: dict[str, list[Example]] = {name: [] for name in names}
    for example, row in zip(shuffled, itertools.chain([first], rows)):
        best = int(row.argmax())
        own = found[names[best]]
        if row[best] > least[best] and len(own) < wanted:
            own.append(Example(example.fields, names[best]))
        if all(len(own) == wanted for own in found.values()):
            break
    count = min(map(len, found.values()))
    if count < max(1, wanted // 10):
        said = ", ".join(f"{len(own)} of {name!r} (above {p})" for (name, own), p in zip(found.items(), least))
        raise DataError(f"the labeller is sure of too few sentences: {said}; give more text, or a lower confidence.")
    balanced = [example for own in found.values() for example in own[:count]]
    return [balanced[i] for i in rng.permutation(len(balanced))]


def _confidences(n_classes: int, confidence: float | None) -> list[float]:
    """Of each class."""
    if confidence is not None:
        return [confidence] * n_classes
    first, last, between = CONFIDENCES
    return [first, *[between] * (n_classes - 2), last]


def _long(documents: Sequence[Document]) -> list[Document]:
    whole = [[sentence for sentence in document if sentence.strip()] for document in documents]
    long = [document for document in whole if len(document) >= SHORTEST]
    if len(long) < 2:
        raise DataError(
            f"{len(long)} of {len(documents)} documents have {SHORTEST} sentences or more, but at least 2 are needed; "
            "separate documents by blank lines, or give more text."
        )
    return long


def _place(documents: Sequence[Document], rng: np.random.Generator) -> tuple[int, int]:
    """A document and a sentence of it."""
    doc = int(rng.integers(len(documents)))
    return doc, int(rng.integers(len(documents[doc])))


def _beside(document: Document, place: int, rng: np.random.Generator) -> str:
    """The sentence before or after one."""
    near = [i for i in (place - 1, place + 1) if 0 <= i < len(document)]
    return document[near[int(rng.integers(len(near)))]]


def _elsewhere(document: Document, place: int, rng: np.random.Generator) -> str | None:
    """A sentence of the document that neither is nor stands beside the one at ``place``, nor equals one of these."""
    near = document[max(0, place - 1) : place + 2]
    far = [sentence for sentence in document if sentence not in near]
    return far[int(rng.integers(len(far)))] if far else None


def _foreign(documents: Sequence[Document], doc: int, rng: np.random.Generator) -> str:
    other = (doc + 1 + int(rng.integers(len(documents) - 1))) % len(documents)
    return documents[other][int(rng.integers(len(documents[other])))]
