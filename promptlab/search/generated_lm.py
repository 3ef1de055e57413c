"""Templates that a causal language model writes after the text, up to the label word."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

from promptlab.backbones.causal import CausalBackbone
from promptlab.search.continuing import ContinuationReader
from promptlab.search.gap_vocabulary import GLUED, GapVocabulary
from promptlab.search.generated import (
    Answered,
    Candidate,
    Layout,
    about,
    answered,
    check_exact,
    encoded,
    escaped,
    found,
    one_token,
    vocabulary_of,
    writer_of,
)
from promptlab.search.joint_beam import State, beam_of_each_length
from promptlab.search.journal import journal_of
from promptlab.search.task import FoundTemplate, SearchTask, TemplateSearch, check_positive

ENGINE = "lm"


@dataclass(frozen=True)
class CausalTemplates(TemplateSearch):
    """One template for all training examples, written by a causal model between the text and the label word.

    The search keeps, of each length, what has the highest mean log-probability over the examples, together with the
    label word of each. A template's score is that log-probability a token, in nats, since a sum would prefer short
    templates. Each text is read once. The objective is that of LM-BFF, arXiv:2012.15723, section 5.2.

    Args:
        generator: the model that writes, as for ``PromptClassifier``; None for the classifier's own.
        lead_in: words between the text and what is written, which become part of the template, after a space unless
            they begin with one or with punctuation.
        beam: templates in the making that are kept at each step.
        keep: templates to return.
        longest: tokens that are written.
        examples: training examples that are read, at most; drawn from all classes in turn.
    """

    generator: Any = None
    lead_in: str = ""
    beam: int = 50
    keep: int = 50
    longest: int = 6
    examples: int = 64

    BUDGETS: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "small": {"examples": 32, "beam": 16, "keep": 16, "longest": 4},
        "large": {"examples": 256, "beam": 100, "keep": 200, "longest": 10},
    }

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive(self, "beam", "keep", "longest", "examples")

    def search(self, task: SearchTask, *, state: Path | None = None) -> list[FoundTemplate]:
        rows = answered(task, self.examples)
        writer = writer_of(self.generator, task, CausalBackbone, "a causal one such as smollm2")
        vocabulary = vocabulary_of(writer, task)
        said = about(self, ENGINE, writer, task)
        layout = self._layout(task)
        journal = journal_of(state and state / "finished.json", task, **said | {"generator": writer})
        states = journal.once(layout.name, partial(self._written, task, rows, layout, writer, vocabulary))
        return found(task, [self._candidates(task, rows, layout, states, writer, vocabulary, said)], ENGINE, self.keep)

    def _layout(self, task: SearchTask) -> Layout:
        text = " ".join(f"{{{{ {name} | upper_first }}}}" for name in task.fields)
        is_joined = not self.lead_in or self.lead_in[0] in GLUED or self.lead_in[0].isspace()
        return Layout("text-first", text + " " * (not is_joined) + escaped(self.lead_in))

    def _prompts(self, task: SearchTask, rows: Sequence[Answered], source: str, writer: Any, n: int) -> list[list[int]]:
        """Token ids up to the mask, with room for ``n`` more before the label word."""
        window = getattr(writer.model.config, "sliding_window", None)
        room = min(limit for limit in (task.max_length, writer.max_length, window) if limit is not None)
        prompts = encoded(writer, source, [row.example for row in rows], room, answer_length=n + 1)
        return [prompt.input_ids.tolist() for prompt in prompts]

    def _written(
        self, task: SearchTask, rows: Sequence[Answered], layout: Layout, writer: Any, vocabulary: GapVocabulary
    ) -> list[State]:
        prompts = self._prompts(task, rows, layout.open(), writer, self.longest)
        answers = [one_token(row.word, writer) for row in rows]
        reader = ContinuationReader(writer, prompts, answers, self.beam)
        return beam_of_each_length(
            reader,
            lambda state: vocabulary.allowed(state.gaps[-1], vocabulary.starts),
            width=self.beam,
            longest=self.longest,
        )

    def _candidates(
        self,
        task: SearchTask,
        rows: Sequence[Answered],
        layout: Layout,
        states: Sequence[Any],
        writer: Any,
        vocabulary: GapVocabulary,
        said: dict[str, Any],
    ) -> list[Candidate]:
        """Those whose prompts are read as they were when they were written."""
        prompts = self._prompts(task, rows, layout.open(), writer, self.longest)
        candidates, kept = [], []
        for tokens, score in states:
            gap = State(tuple(tokens)).gaps[0]
            source = layout.template(vocabulary.text(gap))
            if self._prompts(task, rows, source, writer, self.longest - len(gap)) == [[*ids, *gap] for ids in prompts]:
                origin = {**said, "layout": layout.name, "gap_lengths": [len(gap)], "log_prob": score}
                candidates.append(Candidate(source, score / (len(gap) + 1), origin))
                kept.append(gap)
        check_exact(kept, writer)
        return candidates
