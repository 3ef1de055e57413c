"""Templates that show answered examples beside the query."""

from __future__ import annotations

import warnings
import zlib
from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Self

import numpy as np
from numpy.typing import ArrayLike

from promptlab.core.checks import check_seed
from promptlab.core.errors import PromptlabWarning, TemplateError, short_repr
from promptlab.core.interfaces import Template, Verbalizer
from promptlab.core.ranges import Count, Size, SomeShare
from promptlab.core.types import AnswerSlot, Example, Prompt, Segment, SoftSlot
from promptlab.templates.manual import ManualTemplate

Embed = Callable[[Sequence[str]], ArrayLike]  # texts → vectors, (texts, width)


@dataclass(frozen=True)
class AnsweredTemplate(Template):
    """Show answered examples in the form of the query; what the two kinds share.

    Args:
        template: the form of the query and of every demonstration; Jinja source or a ``Template``.
        examples: labeled examples to show; if there are none, ``bind`` (which ``fit`` calls) takes them from the
            training set.
        answers: class → the words that fill a demonstration's mask; if there are none, ``bind`` takes the verbalizer's
            first ones.
        sets: number of prompts, each with other demonstrations, that are averaged.
        separator: text between examples.
        max_words: words that a field of a demonstration may have, the rest is left out; None for no limit.
        seed: seed of drawing and order.
    """

    template: Template | str
    examples: Sequence[Example] = ()
    answers: Mapping[str, str] = field(default_factory=dict)
    sets: Size = 1
    separator: str = "\n\n"
    max_words: Count | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        inner = ManualTemplate(self.template) if isinstance(self.template, str) else self.template
        if not isinstance(inner, Template):
            raise TemplateError(f"template is {short_repr(inner)}; pass Jinja source or a Template.")
        object.__setattr__(self, "template", inner)
        rows = [Example(row["fields"], row["label"]) if isinstance(row, dict) else row for row in self.examples]
        object.__setattr__(self, "examples", tuple(map(self._lean, rows)))
        check_seed(self.seed, TemplateError)
        unlabeled = [row for row in self.examples if row.label is None]
        if unlabeled:
            raise TemplateError(f"demonstration {_first_text(unlabeled[0])!r} has no label; label every example.")

    @property
    def query(self) -> Template:
        """The template of the query alone."""
        assert isinstance(self.template, Template)
        return self.template

    @property
    def fields(self) -> Sequence[str]:
        return self.query.fields

    @property
    def soft_slots(self) -> Sequence[SoftSlot]:
        return self.query.soft_slots

    @property
    def slot(self) -> AnswerSlot:
        return self.query.slot

    @property
    def n_variants(self) -> int:
        return self.sets

    def render(self, example: Example) -> Prompt:
        return self.variants(example)[0]

    def bind(self, examples: Sequence[Example], verbalizer: Verbalizer) -> Self:
        answers = self.answers or dict(verbalizer.answers)
        return replace(self, examples=self.examples or self.kept(examples), answers=answers)

    def variants(self, example: Example) -> Sequence[Prompt]:
        query = self.query.render(example).segments  # of all its fields, which an error tells
        return [Prompt(segments) for segments in self.with_examples(query, self._lean(example))]

    @abstractmethod
    def with_examples(self, query: Sequence[Segment], example: Example) -> Iterable[tuple[Segment, ...]]:
        """Return the segments of all prompts.

        Args:
            query: those of the query alone.
            example: the query's, with the fields that the template reads only.
        """

    def _lean(self, example: Example) -> Example:
        """With the fields that the template reads, in its order; others mustn't say what is shown."""
        return Example({name: example.fields[name] for name in self.fields if name in example.fields}, example.label)

    @abstractmethod
    def kept(self, examples: Sequence[Example]) -> Sequence[Example]:
        """Return those of the labeled examples that the template needs."""

    def answered(self, example: Example, number: int) -> Iterator[Segment]:
        """Yield the segments of a demonstration, its mask filled, its fields never shortened by the model's limit."""
        assert example.label is not None
        if example.label not in self.answers:
            raise TemplateError(
                f"a demonstration has label {example.label!r}, but answers are known for {', '.join(self.answers)}."
            )
        short = {name: self._cut(value) for name, value in example.fields.items()}
        filled = False
        for segment in self.query.render(Example(short)).segments:
            if segment.kind == "mask":
                segment = Segment("text", "" if filled else self.answers[example.label])
                filled = True
            yield segment._replace(shortenable=False, demonstration=number)

    def _cut(self, value: object) -> object:
        if self.max_words is None or not isinstance(value, str):
            return value
        return " ".join(value.split()[: self.max_words])

    def _separator(self, number: int) -> Segment:
        return Segment("text", self.separator, demonstration=number)


@dataclass(frozen=True)
class InContextTemplate(AnsweredTemplate):
    """Show k answered examples before the query, the same for every query: in-context learning without any training.

    Classes take turns, as far as their examples go; the order is shuffled. If a prompt is too long, its first
    demonstrations are left out whole.

    Source: GPT-3, arXiv:2005.14165, section 2.4.

    Args:
        k: number of demonstrations in all; 0 is zero-shot.
        instruction: text before the first demonstration.

    Raises:
        TemplateError: if a setting is out of range; in use, if there are fewer than k examples.

    Example:
        >>> from promptlab import Example, InContextTemplate
        >>> shown = [Example({"text_a": "Dull."}, "bad"), Example({"text_a": "Fun."}, "good")]
        >>> answers = {"bad": "terrible", "good": "great"}
        >>> template = InContextTemplate("{{ text_a }} It was {{ mask }}.", shown, answers, k=2, separator=" / ")
        >>> print(template.render(Example({"text_a": "A gem."})))
        Dull. It was terrible. / Fun. It was great. / A gem. It was {{ mask }}.
    """

    k: int = 16
    instruction: str = ""

    @property
    def slot(self) -> AnswerSlot:
        slot = self.query.slot
        return slot.put_after(Segment("text", self.separator)) if self.k or self.instruction else slot

    def kept(self, examples: Sequence[Example]) -> Sequence[Example]:
        """Return the demonstrations of all sets, one set after the other."""
        if self.k > len(examples):
            raise TemplateError(
                f"k={self.k} demonstrations are asked for, but there are {len(examples)} labeled examples; lower k, "
                "or fit with more (tuning='none' trains nothing)."
            )
        return [row for number in range(self.sets) for row in self._draw(examples, number)]

    def _draw(self, examples: Sequence[Example], number: int) -> list[Example]:
        rng = np.random.default_rng([self.seed, number])
        piles: dict[str, list[Example]] = {}
        for row in rng.permutation(len(examples)).tolist():
            piles.setdefault(str(examples[row].label), []).append(examples[row])
        turns = [row for turn in _turns([piles[name] for name in sorted(piles)]) for row in turn][: self.k]
        return [turns[i] for i in rng.permutation(len(turns)).tolist()]

    def with_examples(self, query: Sequence[Segment], example: Example) -> Iterable[tuple[Segment, ...]]:
        if len(self.examples) != self.k * self.sets:
            raise TemplateError(
                f"{len(self.examples)} demonstrations are given, but {self.k} are asked for in each of {self.sets} "
                "set(s); fit the classifier with labeled examples (tuning='none' trains nothing)."
            )
        return [self._prompt(query, example, self.examples[i : i + self.k]) for i in self._starts()]

    def _starts(self) -> Iterator[int]:
        return (number * self.k for number in range(self.sets))

    def _prompt(self, query: Sequence[Segment], example: Example, shown: Sequence[Example]) -> tuple[Segment, ...]:
        shown = [row for row in shown if row.fields != example.fields]  # a query must not hold its own answer
        segments = [Segment("text", self.instruction + self.separator)] if self.instruction else []
        for place, row in enumerate(shown):
            number = len(shown) - place  # the highest goes first when a prompt is too long
            segments += [*self.answered(row, number), self._separator(number)]
        return (*segments, *query)


@dataclass(frozen=True)
class DemonstrationTemplate(AnsweredTemplate):
    """Show an answered example of each class after the query, drawn anew for each query and set; for fine-tuning.

    Each set makes a prompt of its own, drawn once: a visit in training sees one of them. LM-BFF draws at each visit.

    An example never stands among its own demonstrations. Similarity is the cosine of TF-IDF vectors, or of ``embed``;
    LM-BFF embeds with a sentence encoder.

    Source: LM-BFF, arXiv:2012.15723, section 6.

    Args:
        similar: share of an average class's examples, of each class so many of the most similar to the query, from
            which is drawn; 1 takes all. Without the query itself half of 15 and 16 are 7 of each class (LM-BFF's code).
        embed: texts → vectors (texts, width), for the similarity; None is TF-IDF. A template with one can't be saved.

    Raises:
        TemplateError: if a setting is out of range; in use, if there are no examples.

    Example:
        >>> from promptlab import DemonstrationTemplate, Example
        >>> shown = [Example({"text_a": "Dull."}, "bad"), Example({"text_a": "Fun."}, "good")]
        >>> answers = {"bad": "terrible", "good": "great"}
        >>> template = DemonstrationTemplate("{{ text_a }} It was {{ mask }}.", shown, answers, sets=1)
        >>> print(template.render(Example({"text_a": "A gem."})))
        A gem. It was {{ mask }}. Fun. It was great. Dull. It was terrible.
    """

    sets: Size = 16
    separator: str = " "
    max_words: Count | None = 50
    similar: SomeShare = 0.5
    embed: Embed | None = field(default=None, compare=False)

    def kept(self, examples: Sequence[Example]) -> Sequence[Example]:
        return examples

    def check_training(self) -> None:
        texts: dict[str, set[str]] = {}
        for row in self.examples:
            texts.setdefault(str(row.label), set()).add(repr(row.fields))
        single = [name for name, own in texts.items() if len(own) == 1]
        if single:
            warnings.warn(
                f"class {single[0]!r} has one example, which isn't shown beside itself, so that the class that isn't "
                "shown is always the answer in training; give 2 examples of each class or more.",
                PromptlabWarning,
                stacklevel=2,
            )

    def with_examples(self, query: Sequence[Segment], example: Example) -> Iterable[tuple[Segment, ...]]:
        if not self.examples:
            raise TemplateError(
                "the template has no demonstrations yet; fit the classifier with labeled examples "
                "(tuning='none' trains nothing)."
            )
        pools = self._pools(example)
        return [self._prompt(query, example, pools, number) for number in range(self.sets)]

    def _pools(self, example: Example) -> list[list[Example]]:
        """For each class the examples that a demonstration is drawn from."""
        order = self._similarity.order(_text(example)) if self.similar < 1 else range(len(self.examples))
        pools: dict[str, list[Example]] = {str(row.label): [] for row in self.examples}
        for i in order:
            if self.examples[i].fields != example.fields:
                pools[str(self.examples[i].label)].append(self.examples[i])
        known = [rows for rows in pools.values() if rows]
        if self.similar == 1:
            return known
        count = max(1, int(sum(map(len, known)) // max(len(known), 1) * self.similar))
        return [rows[:count] for rows in known]

    def _prompt(
        self, query: Sequence[Segment], example: Example, pools: Sequence[Sequence[Example]], number: int
    ) -> tuple[Segment, ...]:
        rng = np.random.default_rng([self.seed, number, zlib.crc32(repr(sorted(example.fields.items())).encode())])
        segments = list(query)
        for place, i in enumerate(rng.permutation(len(pools)).tolist(), start=1):
            shown = pools[i][int(rng.integers(len(pools[i])))]
            segments += [self._separator(place), *self.answered(shown, place)]
        return tuple(segments)

    @cached_property
    def _similarity(self) -> Similarity:
        return Similarity([_text(row) for row in self.examples], self.embed)


class Similarity:
    """Orders texts by their likeness to another.

    Args:
        texts: to be ordered.
        embed: texts → vectors; None for TF-IDF.
    """

    def __init__(self, texts: Sequence[str], embed: Embed | None) -> None:
        from sklearn.feature_extraction.text import TfidfVectorizer
        from sklearn.preprocessing import normalize

        self.embed = embed
        if embed is None:
            self.words = TfidfVectorizer(token_pattern=r"\w+|[^\w\s]")
            self.vectors = self.words.fit_transform(texts)
        else:
            self.vectors = normalize(np.asarray(embed(texts), dtype=float))

    def order(self, text: str) -> list[int]:
        """Numbers of the texts, the most similar (by cosine) first."""
        if self.embed is None:
            scores: np.ndarray = (self.vectors @ self.words.transform([text]).T).toarray()[:, 0]
        else:
            scores = self.vectors @ np.asarray(self.embed([text]), dtype=float)[0]
        order: list[int] = np.argsort(-scores, kind="stable").tolist()
        return order


def _turns(piles: Sequence[Sequence[Example]]) -> Iterator[list[Example]]:
    """One of each pile that has any left, turn by turn."""
    for turn in range(max(map(len, piles), default=0)):
        yield [pile[turn] for pile in piles if turn < len(pile)]


def _text(example: Example) -> str:
    return " ".join(str(value) for value in example.fields.values())


def _first_text(example: Example) -> str:
    return _text(example)[:40]
