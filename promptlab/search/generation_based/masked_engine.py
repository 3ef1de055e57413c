"""Templates that a masked language model writes into gaps of masks around the label words."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import ClassVar

from torch import Tensor
from tqdm.auto import tqdm

from promptlab.backbones.masked import MaskedBackbone
from promptlab.core.finished_work import Results
from promptlab.core.inputs import ModelLike
from promptlab.core.ranges import Amount, Count
from promptlab.core.types import Encoded
from promptlab.search.generation_based.gap_filler import GapFiller
from promptlab.search.generation_based.gap_vocabulary import MARK
from promptlab.search.generation_based.writing import (
    Candidate,
    GenerationRun,
    Layout,
    check_exact,
    found,
    is_one_token,
    layouts,
    one_token,
)
from promptlab.search.templates.task import FoundTemplate, SearchTask, TemplateSearch

ENGINE = "masked-lm"
Text = tuple[float, str, Sequence[int], "Plan"]  # mean log-probability a token, template, tokens, where they stand


@dataclass(frozen=True)
class MaskedSearch(TemplateSearch):
    """Let a masked model write one template for all training examples, around the label word of each.

    For every pair of gap lengths, the gaps are filled from left to right by beam search; the mean log-probability a
    token says which of all texts survive. A template's score is the mean, over the examples and over the tokens of its
    gaps and the label word, of the log-probability of each when only it is masked, in nats. The objective is that of
    LM-BFF, arXiv:2012.15723, section 5.2; pseudo-log-likelihood as in arXiv:1910.14659, section 2.

    Args:
        generator: the masked model that writes: a package's name, a hub id, a folder or a loaded backbone; None for the
            classifier's own.
        beam: number of texts in the making that are kept at each step.
        keep: number of templates to return, equal shares of both layouts.
        before: number of tokens before the label word, at most.
        after: number of tokens after it, at most.
        survivors: number of texts of each layout that are scored in the end.
        examples: number of training examples that are read, at most; drawn from all classes in turn.

    Raises:
        SearchError: if a number is out of range.

    Example:
        >>> from promptlab import MaskedSearch, Ranking, search_templates
        >>> texts, labels = ["a dull film", "a bore", "great fun", "a gem"], ["bad", "bad", "good", "good"]
        >>> words, zero_shot = {"bad": "terrible", "good": "great"}, Ranking(rounds=())
        >>> search = MaskedSearch(beam=2, keep=2, before=2, after=0, survivors=3)
        >>> found = search_templates(search, texts, labels, verbalizer=words, model="minilm", ranking=zero_shot)
        >>> [pair.template for pair in found.pvps()]
        ['it is {{ mask }} {{ text_a | upper_first }}', '{{ text_a | upper_first }}. very {{ mask }}']
    """

    generator: ModelLike | None = None
    beam: Count = 10
    keep: Count = 50
    before: Amount = 5
    after: Amount = 5
    survivors: Count = 30
    examples: Count = 64

    BUDGETS: ClassVar[Mapping[str, Mapping[str, object]]] = {
        "small": {"examples": 32, "beam": 3, "keep": 16, "before": 3, "after": 1, "survivors": 8},
        "large": {"examples": 256, "beam": 30, "keep": 200, "survivors": 100},
    }

    def __post_init__(self) -> None:
        super().__post_init__()

    def search(self, task: SearchTask, *, resume_dir: Path | None = None) -> list[FoundTemplate]:
        need = "a masked one such as minilm"
        writing = GenerationRun.begin(self, task, resume_dir, engine=ENGINE, kind=MaskedBackbone, need=need)
        for row in writing.rows:
            one_token(row.word, writing.writer)  # else an error
        groups = []
        for layout in layouts(task):
            plans = [Plan(writing, layout, gaps) for gaps in self._gaps()]
            groups.append(self._texts([plan for plan in plans if plan.is_possible], writing.journal))
        if self.before + self.after:
            check_exact([tokens for texts in groups for _, _, tokens, _ in texts], writing.writer)
        return found(task, [self._candidates(texts, writing) for texts in groups], ENGINE, self.keep)

    def _texts(self, plans: Sequence[Plan], journal: Results) -> list[Text]:
        return [
            (score, source, tokens, plan)
            for plan in tqdm(plans, desc=f"{ENGINE}: gaps", unit="length", leave=False, disable=None)
            for score, tokens, source in journal.once(plan.name, partial(plan.texts, self.beam))
        ]

    def _candidates(self, texts: Sequence[Text], writing: GenerationRun[MaskedBackbone]) -> list[Candidate]:
        survivors = sorted(texts, key=lambda text: (-text[0], text[1]))[: self.survivors]
        candidates = []
        for score, source, tokens, plan in tqdm(survivors, desc=f"{ENGINE}: scores", leave=False, disable=None):
            total = writing.journal.once(f"{plan.name}: {source}", partial(plan.score, tokens))
            origin = {"layout": plan.layout.name, "gap_lengths": list(plan.gaps), "log_prob": total, "written": score}
            candidates.append(Candidate(source, total, {**writing.said, **origin}))
        return candidates

    def _gaps(self) -> list[tuple[int, int]]:
        return list(itertools.product(range(self.before + 1), range(self.after + 1)))


@dataclass(frozen=True)
class Plan:
    """Gaps of certain lengths in a layout, and the examples around them."""

    writing: GenerationRun[MaskedBackbone]
    layout: Layout
    gaps: tuple[int, int]

    @property
    def name(self) -> str:
        return f"{self.layout.name} {self.gaps[0]}+{self.gaps[1]}"

    @cached_property
    def prompts(self) -> list[Encoded]:
        """With masks for gaps and label word."""
        return self._encoded(self.layout.open(sum(self.gaps) + 1))

    @cached_property
    def filler(self) -> GapFiller:
        writer, at_start = self.writing.writer, self.begins_with_answer
        words = [writer.token_ids(row.word, at_start=at_start)[0] for row in self.writing.rows]
        return GapFiller(writer, self.prompts, words, self.gaps)

    @property
    def begins_with_answer(self) -> bool:
        """Whether the label word begins the input, where some tokenizers have other tokens."""
        return not self.layout.before and self.gaps[0] == 0

    @property
    def is_possible(self) -> bool:
        writer, at_start = self.writing.writer, self.begins_with_answer
        return all(is_one_token(row.word, writer, at_start=at_start) for row in self.writing.rows)

    def texts(self, beam: int) -> list[tuple[float, tuple[int, ...], str]]:
        """Mean log-probability a token, tokens and template of the best texts whose prompts are read as written."""
        found = []
        for state in self.filler.fill(self.allowed, beam):
            source = self.source(state.tokens)
            if [row.input_ids.tolist() for row in self._encoded(source)] == self._written(state.tokens):
                found.append((state.score / max(1, len(state.tokens)), state.tokens, source))
        return found

    def score(self, tokens: Sequence[int]) -> float:
        return self.filler.pseudo_log_prob(tokens)

    def allowed(self, tokens: tuple[int, ...]) -> Tensor:
        """Which tokens (vocabulary,) may come next; a gap of several isn't all punctuation."""
        first, second = tokens[: self.gaps[0]], tokens[self.gaps[0] :]
        gap, length = (first, self.gaps[0]) if len(tokens) < self.gaps[0] else (second, self.gaps[1])
        begins = not self.layout.before and not tokens and self.gaps[0] > 0  # the input
        vocabulary = self.writing.vocabulary
        mask = vocabulary.allowed(gap, vocabulary.first_words if begins else vocabulary.starts)
        if length > 1 and len(gap) == length - 1 and vocabulary.is_only_marks(gap):
            mask = mask & (vocabulary.kinds != MARK)
        return mask

    def source(self, tokens: Sequence[int]) -> str:
        first, second = tokens[: self.gaps[0]], tokens[self.gaps[0] :]
        vocabulary = self.writing.vocabulary
        return self.layout.template(vocabulary.text(first), vocabulary.text(second))

    def _encoded(self, source: str) -> list[Encoded]:
        return self.writing.encoded(source, self.writing.task.max_length)

    def _written(self, tokens: Sequence[int]) -> list[list[int]]:
        """The prompts' ids with the tokens in the gaps."""
        columns = [*range(self.gaps[0]), *range(self.gaps[0] + 1, sum(self.gaps) + 1)]
        rows = []
        for prompt in self.prompts:
            ids = prompt.input_ids.copy()
            ids[prompt.mask_index[columns]] = tokens
            rows.append(ids.tolist())
        return rows
