"""Templates that an encoder-decoder model writes into the gaps around the label words: T5, BART."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import ClassVar

from torch import Tensor

from promptlab.backbones.seq2seq import BartBackbone, Seq2SeqBackbone, T5Backbone
from promptlab.core.errors import SearchError
from promptlab.core.inputs import ModelLike
from promptlab.core.ranges import Count
from promptlab.core.types import Encoded
from promptlab.search.generation_based.infill_reader import Infill, InfillNextTokens
from promptlab.search.generation_based.joint_beam import State, joint_beam
from promptlab.search.generation_based.writing import (
    Answered,
    Candidate,
    GenerationRun,
    Layout,
    found,
    layouts,
    normalized,
    one_token,
)
from promptlab.search.templates.task import FoundTemplate, SearchTask, TemplateSearch

GAPS = 2


@dataclass(frozen=True)
class InfillSearch(TemplateSearch):
    """Let a model write one template for all training examples, the label word of each in its place.

    A template's score is the mean over the examples of the log-probability, in nats, of its words and of the ends of
    its gaps. Texts are cut at their ends, as they are for the classifier.

    Args:
        generator: the model that writes: a package's name, a hub id, a folder or a loaded backbone; None for the
            classifier's own.
        beam: number of templates in the making that are kept at each step.
        keep: number of templates to return, equal shares of both layouts.
        longest: number of tokens of a template, the ends of its gaps included.
        examples: number of training examples that are read, at most; drawn from all classes in turn.
    """

    generator: ModelLike | None = None
    beam: Count = 100
    keep: Count = 100
    longest: Count = 18
    examples: Count = 64

    engine: ClassVar[str]
    kind: ClassVar[type[Seq2SeqBackbone]]
    need: ClassVar[str]

    BUDGETS: ClassVar[Mapping[str, Mapping[str, object]]] = {
        "small": {"examples": 32, "beam": 10, "keep": 16, "longest": 10},
        "large": {"examples": 256, "beam": 300, "keep": 300, "longest": 24},
    }

    @abstractmethod
    def infills(self, writer: Seq2SeqBackbone, rows: Sequence[Answered], prompts: Sequence[Encoded]) -> list[Infill]:
        """Return what the writer reads of each example.

        Args:
            prompts: of the layout with one mask, where gaps and label word will stand.
        """

    def room(self, writer: Seq2SeqBackbone) -> int:
        """Return how many tokens of a prompt the writer's decoder has room for."""
        return int(writer.max_length)

    def search(self, task: SearchTask, *, resume_dir: Path | None = None) -> list[FoundTemplate]:
        writing = GenerationRun.begin(self, task, resume_dir, engine=self.engine, kind=self.kind, need=self.need)
        groups = []
        for layout in layouts(task, lead="."):
            states = writing.journal.once(layout.name, partial(self._written, writing, layout))
            groups.append(self._candidates(writing, layout, states))
        return found(task, groups, self.engine, self.keep)

    def _written(self, writing: GenerationRun[Seq2SeqBackbone], layout: Layout) -> list[State]:
        writer, rows, vocabulary = writing.writer, writing.rows, writing.vocabulary
        room = min(writing.task.max_length or writer.max_length, writer.max_length)
        longest_word = max(len(writer.token_ids(row.word)) for row in rows)
        prompts = writing.encoded(layout.open(), min(room - longest_word - 1, self.room(writer)))
        reader = InfillNextTokens(writer, self.infills(writer, rows, prompts), self.beam)

        def allowed(state: State) -> Tensor:
            begins = bool(layout.lead) and not state.n_closed
            return vocabulary.allowed(state.gaps[-1], vocabulary.words if begins else vocabulary.starts)

        return joint_beam(reader, allowed, n_gaps=GAPS, width=self.beam, longest=self.longest)

    def _candidates(
        self, writing: GenerationRun[Seq2SeqBackbone], layout: Layout, states: Sequence[tuple[Sequence[int], float]]
    ) -> list[Candidate]:
        vocabulary, candidates = writing.vocabulary, []
        for tokens, score in states:
            gaps = State(tuple(tokens)).gaps[:GAPS]
            if all(vocabulary.is_exact(gap) for gap in gaps):
                first, second = (normalized(vocabulary.text(gap)) for gap in gaps)
                origin = {**writing.said, "layout": layout.name, "gap_lengths": list(map(len, gaps)), "log_prob": score}
                candidates.append(Candidate(layout.template(first, second), score, origin))
        return candidates


@dataclass(frozen=True)
class T5Search(InfillSearch):
    """Let T5 write templates: it fills the gaps, each of which is a sentinel.

    Source: LM-BFF, arXiv:2012.15723, section 5.2, with the mean of log-probabilities where its code has that of logits,
    and with the first sentinel forced.

    Raises:
        SearchError: if a number is below 1.

    Example:
        >>> from promptlab import Ranking, T5Search, search_templates
        >>> texts, labels = ["a dull film", "a bore", "great fun", "a gem"], ["bad", "bad", "good", "good"]
        >>> words, zero_shot = {"bad": "terrible", "good": "great"}, Ranking(rounds=())
        >>> search = T5Search("google-t5/t5-base", beam=8, keep=2)
        >>> found = search_templates(search, texts, labels, verbalizer=words, model="minilm", ranking=zero_shot)
        >>> found.pvps()[0].template  # with what T5 wrote before and after the mask
        '...{{ mask }}...'
    """

    engine = "t5"
    kind = T5Backbone
    need = "T5 with its sentinels"

    def infills(self, writer: Seq2SeqBackbone, rows: Sequence[Answered], prompts: Sequence[Encoded]) -> list[Infill]:
        first, second, third = (sentinel(writer, number) for number in range(GAPS + 1))
        start = writer.model.config.decoder_start_token_id
        ends = [[second], [token for token in (third, writer.end_id) if token is not None]]
        infills = []
        for row, prompt in zip(rows, prompts, strict=True):
            place, ids = int(prompt.mask_index[0]), prompt.input_ids.tolist()
            gaps = [first, *writer.token_ids(row.word), second]
            infills.append(Infill([*ids[:place], *gaps, *ids[place + 1 :]], [start, first], ends))
        return infills


@dataclass(frozen=True)
class BartSearch(InfillSearch):
    """Let BART write templates: it fills the gaps, each of which is a mask, while it writes the whole text once more.

    Its decoder is given the text before the first gap. What is written there is the same for all examples and counts
    together with the label word after it; so does what is written in the second gap, together with the first token of
    what stands after it.

    Source: BART, arXiv:1910.13461, section 2.2 (text infilling), with the objective of LM-BFF.

    Raises:
        SearchError: if a number is below 1.

    Example:
        >>> from promptlab import BartSearch, Ranking, search_templates
        >>> texts, labels = ["a dull film", "a bore", "great fun", "a gem"], ["bad", "bad", "good", "good"]
        >>> words, zero_shot = {"bad": "terrible", "good": "great"}, Ranking(rounds=())
        >>> search = BartSearch("facebook/bart-base", beam=8, keep=2)
        >>> found = search_templates(search, texts, labels, verbalizer=words, model="minilm", ranking=zero_shot)
        >>> found.pvps()[0].template  # with what BART wrote before and after the mask
        '...{{ mask }}...'
    """

    engine = "bart"
    kind = BartBackbone
    need = "BART with its mask"

    def room(self, writer: Seq2SeqBackbone) -> int:
        return int(writer.max_length) - self.longest  # which the decoder writes after the prompt

    def infills(self, writer: Seq2SeqBackbone, rows: Sequence[Answered], prompts: Sequence[Encoded]) -> list[Infill]:
        start = writer.model.config.decoder_start_token_id
        infills = []
        for row, prompt in zip(rows, prompts, strict=True):
            place, ids = int(prompt.mask_index[0]), prompt.input_ids.tolist()
            word = one_token(row.word, writer)
            mask, rest = ids[place], ids[place + 1 :]
            infills.append(Infill([*ids[:place], mask, word, mask, *rest], [start, *ids[:place]], ([word], rest[:1])))
        return infills


def sentinel(writer: Seq2SeqBackbone, number: int) -> int:
    """Id of T5's token for one gap.

    Raises:
        SearchError: if the tokenizer has none.
    """
    token = f"<extra_id_{number}>"
    if token not in writer.tokenizer.get_vocab():
        raise SearchError(
            f"the generator {writer.name!r} has no sentinel {token}, which marks a gap; choose another T5."
        )
    return int(writer.tokenizer.convert_tokens_to_ids(token))
