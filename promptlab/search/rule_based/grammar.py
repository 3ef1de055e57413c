"""Templates from a small grammar: rules whose placeholders have alternatives."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from promptlab.core.errors import SearchError, short_repr
from promptlab.core.part import Part

PLACEHOLDER = re.compile(r"<(\w+)>")
MOST = 100_000  # templates of a rule
CHARACTERS = 20_000_000  # of all templates of a rule
DEPTH = 50  # of placeholders in one another


class _Extent(NamedTuple):
    """How many templates there are, and the characters and placeholders of the longest."""

    templates: int
    longest: int


@dataclass(frozen=True)
class Grammar(Part):
    """Rules that put sub-templates together.

    Source: the rules over sub-templates of PTR, arXiv:2105.11259, section 3.2, here for templates with one mask.

    Args:
        rules: name → Jinja source with placeholders such as ``<link>``.
        parts: placeholder → alternatives, which may have placeholders of their own.

    Raises:
        SearchError: if rules or parts have another form, or a placeholder has no alternatives or comes back to itself.
    """

    error_class = SearchError

    rules: Mapping[str, str]
    parts: Mapping[str, Sequence[str]]

    def __post_init__(self) -> None:
        super().__post_init__()
        for setting in ("rules", "parts"):
            if not isinstance(getattr(self, setting), Mapping):
                raise SearchError(f"{setting}={short_repr(getattr(self, setting))} of the grammar must be a mapping.")
        for name, rule in self.rules.items():
            if not isinstance(name, str) or not isinstance(rule, str):
                raise SearchError(
                    f"rule {short_repr(name)} of the grammar is {short_repr(rule)}; give a name and Jinja source."
                )
        for name, row in self.parts.items():
            is_list = isinstance(row, Sequence) and not isinstance(row, str)
            if not isinstance(name, str) or not is_list or not all(isinstance(text, str) for text in row):
                raise SearchError(
                    f"part {short_repr(name)} of the grammar is {short_repr(row)}; give a name and a list of "
                    "texts, such as "
                    '{"link": ["It was", "So"]}.'
                )

    def templates(self) -> dict[str, list[str]]:
        """Rule → every template that it makes, none twice; white space is single."""
        for name, rule in self.rules.items():
            self._check_extent(name, rule)
        return {
            name: list(dict.fromkeys(" ".join(source.split()) for source in self._expanded(rule)))
            for name, rule in self.rules.items()
        }

    def _expanded(self, source: str) -> Iterator[str]:
        pieces = PLACEHOLDER.split(source)  # text, name, text, name, …, text
        ways = [[text for part in self.parts[name] for text in self._expanded(part)] for name in pieces[1::2]]
        for chosen in itertools.product(*ways):
            yield "".join(a + b for a, b in itertools.zip_longest(pieces[::2], chosen, fillvalue=""))

    def _check_extent(self, name: str, rule: str) -> None:
        """Refuse a rule that makes too much, before it makes it."""
        extent = self._extent(rule, (), {})
        if extent.templates > MOST or extent.templates * extent.longest > CHARACTERS:
            raise SearchError(
                f"rule {short_repr(name)} of the grammar makes more than {MOST:,} templates, or of more than "
                f"{CHARACTERS:,} characters together; give its placeholders fewer alternatives."
            )

    def _extent(self, source: str, inside: tuple[str, ...], known: dict[str, _Extent]) -> _Extent:
        """Count the templates of a source, and bound their length; what stands for a placeholder is counted once."""
        templates, longest = 1, len(source)
        for name in PLACEHOLDER.split(source)[1::2]:
            if name not in known:
                self._check_placeholder(name, inside)
                each = [self._extent(part, (*inside, name), known) for part in self.parts[name]]
                known[name] = _Extent(sum(one.templates for one in each), max(one.longest for one in each))
            templates = min(templates * known[name].templates, MOST + 1)
            longest = min(longest + known[name].longest + 1, CHARACTERS + 1)
        return _Extent(templates, longest)

    def _check_placeholder(self, name: str, inside: tuple[str, ...]) -> None:
        if name in inside:
            raise SearchError(f"placeholder <{name}> of the grammar comes back to itself; change its parts.")
        if not self.parts.get(name):
            raise SearchError(f"placeholder <{name}> of the grammar has no alternatives; give it some.")
        if len(inside) >= DEPTH:
            raise SearchError(f"placeholder <{name}> of the grammar stands in more than {DEPTH} others; write it out.")


ONE_FIELD = Grammar(
    rules={
        "statement": "<text> <link> {{ mask }}<end>",
        "first": "<link> {{ mask }}<stop> {{ text_a }}",
        "noun": "<text> <article> {{ mask }} <noun>.",
        "question": "<text> <question>? {{ mask }}<end>",
        "form": "<name>: {{ text_a }} <asked>: {{ mask }}",
        "title": "<title> {{ text_a }}",
    },
    parts={
        "text": (
            "{{ text_a }}",
            "{{ text_a }}{% if not text_a.rstrip().endswith(('.', '?', '!')) %}.{% endif %}",
        ),
        "link": ("It was", "It is", "This is", "<summary> it was", "<summary> it is", "<topic>", "I think it is", "So"),
        "summary": ("All in all,", "In summary,", "Overall,"),
        "topic": ("It is about", "This is about", "The topic is", "The answer is"),
        "end": (".", "", "!"),
        "stop": (".", ":"),
        "article": ("A", "This is a", "What a", "About"),
        "noun": ("one", "thing", "text", "story", "news", "question"),
        "question": ("What is it", "What is it about", "How was it", "What kind of text is this", "What do you think"),
        "name": ("Text", "Review", "Sentence", "Article", "Input"),
        "asked": ("Answer", "Label", "Category", "Topic", "Opinion", "Sentiment"),
        "title": (
            "Just {{ mask }}!",
            "{{ mask }}:",
            "{{ mask }} news:",
            "[Topic: {{ mask }}]",
            "A {{ mask }} text:",
        ),
    },
)

_PAIR_RULES = {
    "bridge": "<opening> {{ mask }}<joint> <second>",
    "claim": "{{ ONE }} <asking> {{ TWO | lower_first | strip_punctuation }}? {{ mask }}<end>",
    "form": "<names> <asked>: {{ mask }}",
    "verdict": "{{ ONE }} {{ TWO }} <link> {{ mask }}<end>",
}
_PAIR_PARTS = {
    "opening": (
        "{{ ONE | strip_punctuation }}?",
        "{{ ONE | strip_punctuation }}.",
        "{{ ONE | strip_punctuation }},",
        "{{ ONE | strip_punctuation }}? {{ sep }}",
        '"{{ ONE | strip_punctuation }}"?',
        "{{ ONE }}",
    ),
    "second": ("{{ TWO | lower_first }}", "{{ TWO }}"),
    "joint": (",", ":", ".", ", I think", ", you are right,", ", and", ", that is,"),
    "asking": (
        "Does it follow that",
        "Is it true that",
        "Does this mean that",
        "Is it the same that",
        "Can I say that",
    ),
    "names": (
        "Premise: {{ ONE }} Hypothesis: {{ TWO }}",
        "Sentence 1: {{ ONE }} Sentence 2: {{ TWO }}",
        "Text: {{ ONE }} Claim: {{ TWO }}",
        "Question: {{ ONE }} Text: {{ TWO }}",
    ),
    "asked": ("Answer", "Label", "True or false? Answer", "Same or different? Answer"),
    "link": ("The answer is", "That is", "These two are", "It is", "Is it so?"),
    "end": (".", ""),
}


def _in_order(one: str, two: str) -> Grammar:
    def filled(source: str) -> str:
        return source.replace("ONE", one).replace("TWO", two)

    rules = {f"{name} ({one} first)": filled(rule) for name, rule in _PAIR_RULES.items()}
    return Grammar(rules, {name: tuple(map(filled, row)) for name, row in _PAIR_PARTS.items()})


TWO_FIELDS = (_in_order("text_a", "text_b"), _in_order("text_b", "text_a"))


def grammars(fields: Sequence[str]) -> tuple[Grammar, ...]:
    """The grammars for examples with ``text_a``, or with ``text_b``, too, in either order."""
    return TWO_FIELDS if len(fields) == 2 else (ONE_FIELD,)
