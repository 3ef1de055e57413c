"""What searches that let a language model write templates share: layouts, examples, and templates from texts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Generic, Protocol, TypeVar

from promptlab.backbones.base import TransformerBackbone
from promptlab.core.errors import BackboneError, SearchError, TemplateError, UnknownNameError, VerbalizerError
from promptlab.core.finished_work import Results
from promptlab.core.inputs import ModelLike
from promptlab.core.types import Encoded, Example
from promptlab.library.resolve import fresh_backbone
from promptlab.search.generation_based.gap_vocabulary import GapVocabulary
from promptlab.search.templates.journal import journal_of
from promptlab.search.templates.row_fit import fitting_prompts
from promptlab.search.templates.task import COMPARED, FoundTemplate, SearchTask, check_examples, drawn_examples
from promptlab.templates.filters import strip_punctuation
from promptlab.templates.manual import ManualTemplate
from promptlab.verbalizers.label_words import is_ordinary

PLAIN = str.maketrans({"“": '"', "”": '"', "„": '"', "«": '"', "»": '"', "‘": "'", "’": "'", "`": "'", "_": " "})

Writer = TypeVar("Writer", bound=TransformerBackbone)


@dataclass(frozen=True)
class Layout:
    """Where the gaps stand: one before the label word, one after it.

    Args:
        name: for people and files.
        before: Jinja source of what stands before the first gap.
        after: and after the second.
        lead: words at the beginning that only the writer reads.
    """

    name: str
    before: str
    after: str = ""
    lead: str = ""

    def template(self, first: str, second: str = "", *, n_masks: int = 1) -> str:
        """Jinja source with texts in the gaps.

        Args:
            first: with the space before it, if there is one.
            second: with the space before it, if there is one.
        """
        slot = "{{ mask }}" if n_masks == 1 else f"{{{{ mask({n_masks}) }}}}"
        return f"{self.before}{escaped(first)} {slot}{escaped(second)} {self.after}".strip()

    def open(self, n_masks: int = 1) -> str:
        """Jinja source that the writer reads, masks where gaps and label word will stand."""
        return replace(self, before=self.lead or self.before).template("", n_masks=n_masks)


TEXT_FIRST = Layout("text-first", "{{ text_a | upper_first }}")
ANSWER_FIRST = Layout("answer-first", "", "{{ text_a | upper_first }}")
BETWEEN = Layout("between", "{{ text_a | strip_punctuation }}", "{{ text_b | lower_first }}")


def layouts(task: SearchTask, *, lead: str = "") -> tuple[Layout, ...]:
    """Those for the task's fields.

    Source: LM-BFF, arXiv:2012.15723, section 5.2 and its code.

    Args:
        lead: words before the first gap for the writer, where nothing else stands there.
    """
    if task.fields == ("text_a", "text_b"):
        return (BETWEEN,)
    return TEXT_FIRST, Layout(ANSWER_FIRST.name, ANSWER_FIRST.before, ANSWER_FIRST.after, lead)


def escaped(text: str) -> str:
    """Words as Jinja source that prints just these words."""
    return text.replace("{", "{{ '{' }}")


def normalized(text: str) -> str:
    """Plain quotes, single spaces, no underscores; a space before it stays one."""
    plain = text.translate(PLAIN)
    return " " * plain[:1].isspace() + " ".join(plain.split())


class WritingSearch(Protocol):
    """A search whose templates a model writes."""

    @property
    def generator(self) -> ModelLike | None:
        """The model; None for the classifier's own."""

    @property
    def examples(self) -> int:
        """How many examples it reads."""

    def get_params(self, deep: bool = True) -> dict[str, object]:
        """The settings by name."""


@dataclass(frozen=True)
class Answered:
    """A training example with the first label word of its class."""

    example: Example
    word: str


def answered(task: SearchTask, n: int) -> list[Answered]:
    """Training examples with their label words; neither choice nor order depends on the order in which they are given.

    They have no white space around their texts, since what follows it is read in another way than what follows a word.
    Those with a text of white space and punctuation only say nothing and are left out.

    Args:
        n: examples at most, drawn from all classes in turn.

    Raises:
        SearchError: if there are none, or one lacks its text, its label or a label word.
    """
    check_examples("train", task.train, task)
    if "text_a" not in task.fields:
        raise SearchError(
            f"the examples have {', '.join(map(repr, task.train[0].fields)) or 'no fields'}; templates are written "
            "around text_a (and text_b), so rename the columns."
        )
    clean = []
    for example in task.train:
        texts = {name: str(example.fields[name]).strip() for name in task.fields}
        if all(map(strip_punctuation, texts.values())):
            clean.append(replace(example, fields={**example.fields, **texts}))
    if not clean:
        raise SearchError(f"all {len(task.train)} training examples have an empty text; give some with words.")

    def order(example: Example) -> list[str]:
        return [*(str(example.fields[name]) for name in task.fields), str(example.label)]

    drawn = drawn_examples(replace(task, train=sorted(clean, key=order)), n)
    return [Answered(example, task.label_words[str(example.label)][0]) for example in sorted(drawn, key=order)]


def writer_of(generator: ModelLike | None, task: SearchTask, kind: type[Writer], need: str) -> Writer:
    """A copy of the model that writes, on the device of the classifier's model.

    Args:
        generator: a name, a hub id, a folder or a loaded backbone, or None for the classifier's own model.
        kind: the class of backbones that can.
        need: such a model, in words.

    Raises:
        SearchError: if it isn't found, isn't such a model, or has no trained language-model head.
    """
    device = next(task.backbone.parameters()).device
    try:
        writer = fresh_backbone(task.backbone if generator is None else generator, str(device))
    except (BackboneError, UnknownNameError) as error:
        raise SearchError(f"the generator can't be used: {error}") from None
    family = writer.model.config.model_type
    if not isinstance(writer, kind):
        remedy = "pass generator= (--generator)" if generator is None else "choose another"
        raise SearchError(f"the generator {writer.name or family!r} is of the family {family!r}, not {need}; {remedy}.")
    if not writer.has_lm_head:
        raise SearchError(
            f"the generator {writer.name!r} was saved without a language-model head and can't write; choose another."
        )
    return writer.to(device).eval()


def vocabulary_of(writer: TransformerBackbone, task: SearchTask) -> GapVocabulary:
    """The writer's tokens without the label words."""
    return GapVocabulary(writer, {word for row in task.label_words.values() for word in row})


@dataclass(frozen=True)
class GenerationRun(Generic[Writer]):
    """What an engine writes with.

    Args:
        rows: the examples that are read, with their label words.
        writer: a copy of the model that writes.
        said: where its templates come from; plain JSON.
        journal: of what is finished.
    """

    task: SearchTask
    rows: Sequence[Answered]
    writer: Writer
    vocabulary: GapVocabulary
    said: Mapping[str, object]
    journal: Results

    @classmethod
    def begin(
        cls,
        search: WritingSearch,
        task: SearchTask,
        resume_dir: Path | None,
        *,
        engine: str,
        kind: type[Writer],
        need: str,
    ) -> GenerationRun[Writer]:
        """With the settings ``generator`` and ``examples`` of an engine.

        Args:
            resume_dir: folder for what an interrupted search goes on from.
            kind, need: as for ``writer_of``.

        Raises:
            SearchError: if examples or generator can't be used.
        """
        rows = answered(task, search.examples)
        writer = writer_of(search.generator, task, kind, need)
        said = about(search, engine, writer, task)
        journal = journal_of(resume_dir, engine, task, **said | {"generator": writer})
        return cls(task, rows, writer, vocabulary_of(writer, task), said, journal)

    def encoded(self, source: str, max_length: int | None, *, answer_length: int = 1) -> list[Encoded]:
        """A template's prompts for the examples as the writer reads them."""
        template = ManualTemplate(source)
        prompts = [template.render(row.example) for row in self.rows]
        return self.writer.encode(prompts, soft_ids={}, max_length=max_length, answer_length=answer_length)


def check_exact(texts: Iterable[Sequence[int]], writer: TransformerBackbone) -> None:
    """Refuse a writer whose texts are all read in another way than they were written, so that none is left.

    Args:
        texts: tokens of those that are left; the empty one is always among them.

    Raises:
        SearchError: if the empty one is alone.
    """
    if not any(texts):
        raise SearchError(
            f"no text that the generator {writer.name!r} wrote is read as it was written; look for examples with odd "
            "signs at their ends, or choose another generator."
        )


@dataclass(frozen=True)
class Candidate:
    """A template that may be found.

    Args:
        source: Jinja source.
        score: of its text.
        origin: what is told of it; plain JSON.
    """

    source: str
    score: float
    origin: Mapping[str, object] = field(default_factory=dict)


def distinct(candidates: Iterable[Candidate]) -> list[Candidate]:
    """The best of those with the same source, the best first."""
    best: dict[str, Candidate] = {}
    for one in sorted(candidates, key=lambda one: (-one.score, one.source)):
        best.setdefault(one.source, one)
    return list(best.values())


def found(task: SearchTask, groups: Sequence[Iterable[Candidate]], engine: str, keep: int) -> list[FoundTemplate]:
    """Those that the classifier's model can answer, the best first, none twice.

    Args:
        groups: of each, an equal share of ``keep``.

    Raises:
        SearchError: if there are none.
    """
    examples = [row.example for row in answered(task, COMPARED)]
    kept: list[Candidate] = []
    reason = ""
    for group in groups:
        n_before = len(kept)
        for one in distinct(group):
            try:
                fitting_prompts(one.source, examples, task)
            except (TemplateError, VerbalizerError) as error:
                reason = reason or f" ({error})"
                continue
            kept.append(one)
            if len(kept) - n_before == -(-keep // len(groups)):
                break
    if not kept:
        raise SearchError(
            f"no template is left that {task.backbone.name or 'the model'} can use{reason}; "
            "widen the beam, allow longer gaps, or choose another generator."
        )
    return [
        FoundTemplate(one.source, engine, one.score, dict(task.label_words), dict(one.origin))
        for one in distinct(kept)[:keep]
    ]


def is_one_token(word: str, writer: TransformerBackbone, *, at_start: bool = False) -> bool:
    """Whether the writer has a token for a label word, after other text or (``at_start``) at the beginning."""
    ids = writer.token_ids(word, at_start=at_start)
    return len(ids) == 1 and is_ordinary(ids[0], writer)


def one_token(word: str, writer: TransformerBackbone) -> int:
    """The writer's token for a label word after other text.

    Raises:
        SearchError: if it isn't one.
    """
    ids = writer.token_ids(word)
    if not is_one_token(word, writer):
        pieces = " ".join(writer.tokenizer.convert_ids_to_tokens(ids))
        raise SearchError(
            f"label word {word!r} isn't one token for the generator {writer.name!r} ({pieces}); choose another word."
        )
    return ids[0]


def about(search: WritingSearch, engine: str, writer: TransformerBackbone, task: SearchTask) -> dict[str, object]:
    """Where a template comes from, as plain JSON."""
    settings = {
        name: value for name, value in search.get_params(deep=False).items() if name not in ("generator", "keep")
    }
    return {
        "engine": engine,
        "generator": writer.name,
        "generator_revision": writer.revision,
        "settings": settings,
        "seed": task.seed,
    }
