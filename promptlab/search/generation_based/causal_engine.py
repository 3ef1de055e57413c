"""Templates that a causal language model writes after the text, up to the label word."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import ClassVar

from promptlab.backbones.causal import CausalBackbone
from promptlab.core.inputs import ModelLike
from promptlab.core.ranges import Count
from promptlab.search.generation_based.causal_reader import CausalNextTokens
from promptlab.search.generation_based.gap_vocabulary import GLUED
from promptlab.search.generation_based.joint_beam import State, beam_of_each_length
from promptlab.search.generation_based.writing import (
    Candidate,
    GenerationRun,
    Layout,
    check_exact,
    escaped,
    found,
    one_token,
)
from promptlab.search.templates.task import FoundTemplate, SearchTask, TemplateSearch

ENGINE = "lm"


@dataclass(frozen=True)
class CausalSearch(TemplateSearch):
    """Let a causal model write one template for all training examples, between the text and the label word.

    The search keeps, of each length, what has the highest mean log-probability over the examples, together with the
    label word of each. A template's score is that log-probability a token, in nats, since a sum would prefer short
    templates. Each text is read once. The objective is that of LM-BFF, arXiv:2012.15723, section 5.2.

    Args:
        generator: the causal model that writes: a package's name, a hub id, a folder or a loaded backbone; None for the
            classifier's own.
        lead_in: words between the text and what is written, which become part of the template, after a space unless
            they begin with one or with punctuation.
        beam: number of templates in the making that are kept at each step.
        keep: number of templates to return.
        longest: number of tokens that are written, at most.
        examples: number of training examples that are read, at most; drawn from all classes in turn.

    Raises:
        SearchError: if a number is below 1.

    Example:
        >>> from promptlab import CausalSearch, Ranking, search_templates
        >>> texts, labels = ["a dull film", "a bore", "great fun", "a gem"], ["bad", "bad", "good", "good"]
        >>> words, zero_shot = {"bad": "terrible", "good": "great"}, Ranking(rounds=())
        >>> search = CausalSearch("smollm2", beam=4, keep=2, longest=3)
        >>> found = search_templates(search, texts, labels, verbalizer=words, model="minilm", ranking=zero_shot)
        >>> found.pvps()[0].template  # with what SmolLM2 wrote before the mask
        '{{ text_a | upper_first }}...{{ mask }}'
    """

    generator: ModelLike | None = None
    lead_in: str = ""
    beam: Count = 50
    keep: Count = 50
    longest: Count = 6
    examples: Count = 64

    BUDGETS: ClassVar[Mapping[str, Mapping[str, object]]] = {
        "small": {"examples": 32, "beam": 16, "keep": 16, "longest": 4},
        "large": {"examples": 256, "beam": 100, "keep": 200, "longest": 10},
    }

    def search(self, task: SearchTask, *, resume_dir: Path | None = None) -> list[FoundTemplate]:
        need = "a causal one such as smollm2"
        writing = GenerationRun.begin(self, task, resume_dir, engine=ENGINE, kind=CausalBackbone, need=need)
        layout = self._layout(task)
        states = writing.journal.once(layout.name, partial(self._written, writing, layout))
        return found(task, [self._candidates(writing, layout, states)], ENGINE, self.keep)

    def _layout(self, task: SearchTask) -> Layout:
        text = " ".join(f"{{{{ {name} | upper_first }}}}" for name in task.fields)
        is_joined = not self.lead_in or self.lead_in[0] in GLUED or self.lead_in[0].isspace()
        return Layout("text-first", text + " " * (not is_joined) + escaped(self.lead_in))

    def _prompts(self, writing: GenerationRun[CausalBackbone], source: str, n: int) -> list[list[int]]:
        """Token ids up to the mask, with room for ``n`` more before the label word."""
        window = getattr(writing.writer.model.config, "sliding_window", None)
        limits = (writing.task.max_length, writing.writer.max_length, window)
        room = min(limit for limit in limits if limit is not None)
        return [prompt.input_ids.tolist() for prompt in writing.encoded(source, room, answer_length=n + 1)]

    def _written(self, writing: GenerationRun[CausalBackbone], layout: Layout) -> list[State]:
        prompts = self._prompts(writing, layout.open(), self.longest)
        answers = [one_token(row.word, writing.writer) for row in writing.rows]
        reader = CausalNextTokens(writing.writer, prompts, answers, self.beam)
        return beam_of_each_length(
            reader,
            lambda state: writing.vocabulary.allowed(state.gaps[-1], writing.vocabulary.starts),
            width=self.beam,
            longest=self.longest,
        )

    def _candidates(
        self, writing: GenerationRun[CausalBackbone], layout: Layout, states: Sequence[tuple[Sequence[int], float]]
    ) -> list[Candidate]:
        """Those whose prompts are read as they were when they were written."""
        prompts = self._prompts(writing, layout.open(), self.longest)
        candidates, kept = [], []
        for tokens, score in states:
            gap = State(tuple(tokens)).gaps[0]
            source = layout.template(writing.vocabulary.text(gap))
            if self._prompts(writing, source, self.longest - len(gap)) == [[*ids, *gap] for ids in prompts]:
                origin = {**writing.said, "layout": layout.name, "gap_lengths": [len(gap)], "log_prob": score}
                candidates.append(Candidate(source, score / (len(gap) + 1), origin))
                kept.append(gap)
        check_exact(kept, writing.writer)
        return candidates
