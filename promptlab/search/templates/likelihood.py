"""How likely a model finds the words of a template."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from jinja2 import Environment
from torch import Tensor

from promptlab.backbones.causal import CausalBackbone
from promptlab.core.errors import VerbalizerError
from promptlab.core.interfaces import Backbone
from promptlab.core.types import Batch, Example, Prompt, Segment
from promptlab.models.inference import in_batches
from promptlab.templates.manual import ManualTemplate

WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)?")


def log_likelihoods(
    templates: Sequence[str],
    examples: Sequence[Example],
    label_words: Mapping[str, Sequence[str]],
    backbone: Backbone,
    *,
    max_length: int | None = None,
) -> list[float]:
    """Mean log-probability, in nats a token, of the words of each template, the label word among them.

    Each word is predicted with everything else of the prompt in place, the first label word of the example's class at
    the mask; a causal model sees what stands before the word only. So it is a pseudo-likelihood for a masked model
    (arXiv:1910.14659) and the likelihood for a causal one. Punctuation, and words that the tokenizer joins to their
    neighbours, count as context.

    Args:
        templates: Jinja sources with one mask.
        examples: labeled.
        label_words: class → words.
    """
    left_only = isinstance(backbone, CausalBackbone)
    places: dict[tuple[int, ...], list[tuple[int, Prompt]]] = {}  # a word's ids → templates and prompts it stands in
    for number, source in enumerate(templates):
        template = ManualTemplate(source)
        for example in examples:
            answer = label_words[str(example.label)][0]
            for word, prompt in word_slots(template.render(example), answer, left_only=left_only):
                ids = _ids(word, prompt, backbone)
                if ids:
                    places.setdefault(ids, []).append((number, prompt))
    totals, counts = [0.0] * len(templates), [0] * len(templates)
    for ids, rows in places.items():
        scores = _scores(ids, [prompt for _, prompt in rows], backbone, max_length)
        for (number, _), score in zip(rows, scores):
            totals[number] += score
            counts[number] += len(ids)
    return [total / max(count, 1) for total, count in zip(totals, counts)]


def _ids(word: str, prompt: Prompt, backbone: Backbone) -> tuple[int, ...]:
    """Ids of a word; none if the tokenizer joins it to its neighbours, so that it can't be predicted by itself."""
    try:
        return tuple(backbone.answer_ids(word, prompt.slot))
    except VerbalizerError:
        return ()


def _scores(ids: tuple[int, ...], prompts: Sequence[Prompt], backbone: Backbone, max_length: int | None) -> list[float]:
    """Log-probability of one word in each prompt."""

    def run(batch: Batch) -> Tensor:
        scores: Tensor = backbone.string_log_probs(batch, [ids], decoding=backbone.decodings[0])
        return scores[:, 0]

    encoded = backbone.encode(prompts, soft_ids={}, max_length=max_length, answer_length=len(ids))
    scores: list[float] = in_batches(backbone.eval(), encoded, run).tolist()
    return scores


def word_slots(prompt: Prompt, answer: str, *, left_only: bool = False) -> Iterator[tuple[str, Prompt]]:
    """Each word of a template's own text, and the answer, with the prompt in which a mask stands for it.

    Args:
        prompt: with one mask.
        answer: what is written there, unless it is the word itself that is masked.
        left_only: leave out what stands after the word, and a word that nothing stands before.
    """
    segments = [Segment("text", answer) if segment.kind == "mask" else segment for segment in prompt.segments]
    for place, segment in enumerate(segments):
        if segment.kind != "text":
            continue
        whole = prompt.segments[place].kind == "mask"
        spans = [(0, len(answer))] if whole else [found.span() for found in WORD.finditer(segment.text)]
        for start, stop in spans:
            before, after = segment.text[:start], segment.text[stop:]
            left = [*segments[:place], Segment("text", before), Segment("mask")]
            right = [] if left_only else [Segment("text", after), *segments[place + 1 :]]
            masked = Prompt(tuple(one for one in (*left, *right) if one.text or one.kind != "text"))
            if not (left_only and masked.slot.at_start):
                yield segment.text[start:stop], masked


def text_words(source: str) -> Iterator[tuple[list[str], int]]:
    """Each word of a template's own text: the source in pieces, and which of them is the word."""
    for number, (_, kind, value) in enumerate(tokens := list(Environment(keep_trailing_newline=True).lex(source))):
        if kind == "data":
            before = [text for _, _, text in tokens[:number]]
            after = [text for _, _, text in tokens[number + 1 :]]
            for found in WORD.finditer(value):
                start, stop = found.span()
                yield [*before, value[:start], value[start:stop], value[stop:], *after], len(before) + 1
