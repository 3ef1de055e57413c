"""Templates that rules make, and paraphrases of a template."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from tqdm.auto import tqdm

from promptlab.backbones.masked import MaskedBackbone
from promptlab.core.errors import SearchError, TemplateError, VerbalizerError, short_repr
from promptlab.core.finished_work import Results
from promptlab.core.ranges import Count
from promptlab.core.types import Example, Prompt
from promptlab.library.resolve import resolve_template
from promptlab.models.inference import encode_untrained, in_batches
from promptlab.search.rule_based.grammar import Grammar, grammars
from promptlab.search.templates.journal import journal_of
from promptlab.search.templates.likelihood import log_likelihoods, text_words, word_slots
from promptlab.search.templates.row_fit import fitting_prompts
from promptlab.search.templates.task import (
    COMPARED,
    FoundTemplate,
    SearchTask,
    TemplateSearch,
    drawn_examples,
    in_turn,
)
from promptlab.search.words.expansion import words_of
from promptlab.templates.manual import ManualTemplate

CHUNK = 32  # templates whose words are scored together


@dataclass(frozen=True)
class HeuristicSearch(TemplateSearch):
    """Put the sub-templates of a grammar together in every way, pruned by the model's likelihood of their words.

    Of each rule the likeliest are kept in turn, so that no one kind of template takes all places.

    Args:
        candidates: number of templates whose likelihood is measured, drawn from all that the rules make, in turn.
        keep: number of templates to return.
        examples: number of labeled examples on which likelihood is measured, drawn from all classes in turn.
        grammar: a ``Grammar`` of your own, or a mapping with its ``rules`` and ``parts``; None takes promptlab's own
            for one or two fields.

    Raises:
        SearchError: if a number is below 1.

    Example:
        >>> from promptlab import HeuristicSearch, Ranking, search_templates
        >>> texts, labels = ["a dull film", "a bore", "great fun", "a gem"], ["bad", "bad", "good", "good"]
        >>> words, zero_shot = {"bad": "terrible", "good": "great"}, Ranking(rounds=())
        >>> search = HeuristicSearch(candidates=8, keep=2, examples=2)
        >>> found = search_templates(search, texts, labels, verbalizer=words, model="minilm", ranking=zero_shot)
        >>> found.pvps()[0].template
        'It is {{ mask }}. {{ text_a }}'
    """

    candidates: Count = 300
    keep: Count = 64
    examples: Count = 4
    grammar: Grammar | Mapping[str, Any] | None = None

    BUDGETS: ClassVar[Mapping[str, Mapping[str, object]]] = {
        "small": {"candidates": 64, "keep": 16, "examples": 2},
        "large": {"candidates": 2000, "keep": 200, "examples": 8},
    }

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(self.grammar, Mapping) and set(self.grammar) == {"rules", "parts"}:
            object.__setattr__(self, "grammar", Grammar(**self.grammar))
        if self.grammar is not None and not isinstance(self.grammar, Grammar):
            raise SearchError(
                f"grammar={short_repr(self.grammar)} must be a Grammar, or a mapping with rules and parts."
            )

    def fields_used(self, task: SearchTask) -> Sequence[str]:
        return task.fields if self.grammar is None else tuple(task.train[0].fields)

    def search(self, task: SearchTask, *, resume_dir: Path | None = None) -> list[FoundTemplate]:
        rng = random.Random(task.seed)
        of_rule: dict[str, list[str]] = {}
        for grammar in (self.grammar,) if isinstance(self.grammar, Grammar) else grammars(task.fields):
            of_rule |= {name: rng.sample(row, len(row)) for name, row in grammar.templates().items()}
        rule = {source: name for name, row in of_rule.items() for source in row}
        n_made = len(rule)
        drawn = list(itertools.islice(distinct(in_turn(of_rule.values()), task), self.candidates))
        if not drawn:
            raise SearchError(
                f"none of the {n_made} templates of the grammar fits model {task.backbone.name!r}, its label words and "
                f"the examples; {_reason(rule, task)}"
            )
        settings = {"candidates": self.candidates, "examples": self.examples, "grammar": sorted(rule)}
        journal = journal_of(resume_dir, "heuristic", task, **settings)
        score = scored(drawn, drawn_examples(task, self.examples), task, journal)
        drawn.sort(key=lambda source: -score[source])
        kept = in_turn([source for source in drawn if rule[source] == name] for name in of_rule)
        best = sorted(itertools.islice(kept, self.keep), key=lambda source: -score[source])
        about = {
            "candidates": len(drawn),
            "made": n_made,
            "likelihood_examples": self.examples,
            **_origin(task, **asdict(self)),
        }
        return [
            FoundTemplate(source, "heuristic", score[source], task.label_words, {"rule": rule[source], **about})
            for source in best
        ]


@dataclass(frozen=True)
class ParaphraseSearch(TemplateSearch):
    """Replace words of a template by ones that a masked model finds likely there.

    In each round every word of the best versions is masked, in the context of examples with their label words in place;
    the likeliest other words over all examples make new versions, which are ranked by the likelihood of all words.

    Args:
        template: Jinja source with one mask, or a name of the task library.
        words: number of replacements to try at each place.
        rounds: number of words that a version may have replaced.
        beam: number of versions that go into the next round.
        keep: number of templates to return.
        examples: number of labeled examples, drawn from all classes in turn.

    Raises:
        SearchError: if a number is below 1, or the template isn't one text.

    Example:
        >>> from promptlab import ParaphraseSearch, Ranking, search_templates
        >>> texts, labels = ["a dull film", "a bore", "great fun", "a gem"], ["bad", "bad", "good", "good"]
        >>> words, zero_shot = {"bad": "terrible", "good": "great"}, Ranking(rounds=())
        >>> search = ParaphraseSearch("{{ text_a }} It was {{ mask }}.", words=2, rounds=1, keep=2, examples=2)
        >>> found = search_templates(search, texts, labels, verbalizer=words, model="minilm", ranking=zero_shot)
        >>> [pair.template for pair in found.pvps()]
        ['{{ text_a }} That was {{ mask }}.', '{{ text_a }} It is {{ mask }}.']
    """

    template: str = ""
    words: Count = 8
    rounds: Count = 2
    beam: Count = 4
    keep: Count = 32
    examples: Count = 4

    BUDGETS: ClassVar[Mapping[str, Mapping[str, object]]] = {
        "small": {"words": 4, "beam": 3, "keep": 16, "examples": 2},
        "large": {"words": 16, "rounds": 4, "beam": 8, "keep": 100, "examples": 8},
    }

    def fields_used(self, task: SearchTask) -> Sequence[str]:
        return tuple(task.train[0].fields)

    def search(self, task: SearchTask, *, resume_dir: Path | None = None) -> list[FoundTemplate]:
        start = self._start(task)
        examples = drawn_examples(task, self.examples)
        journal = journal_of(resume_dir, "paraphrase", task, **asdict(self))
        score = scored([start], examples, task, journal)
        beam = [start]
        for number in range(self.rounds):
            proposed: list[str] = journal.once(f"round {number}", self._versions, beam, examples, task)
            new = [source for source in distinct([*score, *proposed], task) if source not in score]
            score |= scored(new, examples, task, journal)
            beam = sorted(new, key=lambda source: -score[source])[: self.beam]
        found = [source for source in sorted(score, key=lambda source: -score[source]) if source != start]
        if not found:
            raise SearchError(f"no word of template {start!r} can be replaced; take one with words besides its fields.")
        about = {"paraphrase_of": start, "likelihood_examples": self.examples, **_origin(task, **asdict(self))}
        return [FoundTemplate(s, "paraphrase", score[s], task.label_words, about) for s in found[: self.keep]]

    def _start(self, task: SearchTask) -> str:
        if not isinstance(task.backbone, MaskedBackbone):
            raise SearchError(
                f"paraphrases need a masked model, and {task.backbone.name!r} is none; choose minilm or BERT's kind."
            )
        if not self.template:
            raise SearchError("engine 'paraphrase' has no template; name one (--engine-arg template=sst2/it-was).")
        template = resolve_template(self.template)
        if not isinstance(template, ManualTemplate) or template.slot.n_masks != 1 or template.soft_slots:
            raise SearchError(f"template {self.template!r} must have 1 mask and no soft tokens to be paraphrased.")
        return template.source

    def _versions(self, sources: Sequence[str], examples: Sequence[Example], task: SearchTask) -> list[str]:
        """Every template with one word replaced."""
        versions = []
        taken = {word.strip().lower() for words in task.label_words.values() for word in words}
        for source in sources:
            for pieces, place in text_words(source):
                likely = self._likely_words(pieces, place, examples, task)
                others = (word for word in likely if word.lower() not in {*taken, pieces[place].lower()})
                for word in itertools.islice(others, self.words):
                    written = word.capitalize() if pieces[place][:1].isupper() else word
                    versions.append("".join([*pieces[:place], written, *pieces[place + 1 :]]))
        return versions

    @torch.inference_mode()
    def _likely_words(
        self, pieces: Sequence[str], place: int, examples: Sequence[Example], task: SearchTask
    ) -> list[str]:
        """Words by the sum of their log-probabilities over the examples, the likeliest first."""
        blank = "promptlabblank"  # a word that no template has, at the place that is asked for
        template = ManualTemplate("".join([*pieces[:place], blank, *pieces[place + 1 :]]))
        prompts: list[Prompt] = []
        for example in examples:
            slots = word_slots(template.render(example), task.label_words[str(example.label)][0])
            prompts += [prompt for word, prompt in slots if word == blank]
        if not prompts:  # the word stands in a branch that these examples don't take
            return []
        backbone = task.backbone.eval()
        encoded = encode_untrained(template, prompts, backbone, max_length=task.max_length)
        logits = in_batches(backbone, encoded, backbone.mask_states).logits()[:, 0]  # (examples, vocabulary)
        total = logits.log_softmax(dim=-1).sum(dim=0)  # (vocabulary,)
        ids = backbone.common_word_ids(len(backbone.tokenizer))
        best = total[ids].argsort(descending=True, stable=True)[: 8 * self.words].tolist()
        likely = words_of(backbone, [ids[i] for i in best])
        return [word for word in likely if len(word) > 1 or word in ("a", "i")]


def _origin(task: SearchTask, **settings: object) -> dict[str, object]:
    model = {"model": task.backbone.name, "revision": task.backbone.revision}
    return {"settings": settings, "seed": task.seed, **model}


def scored(sources: Sequence[str], examples: Sequence[Example], task: SearchTask, journal: Results) -> dict[str, float]:
    """Template → log-likelihood, those that the journal has taken from there."""
    scores: dict[str, float] = {}
    starts = range(0, len(sources), CHUNK)
    for start in tqdm(starts, desc="likelihood", unit=f"{CHUNK} templates", leave=False, disable=None):
        chunk = sources[start : start + CHUNK]
        scores |= dict(zip(chunk, journal.once("\n".join(chunk), _scores, chunk, examples, task)))
    return scores


def _scores(sources: Sequence[str], examples: Sequence[Example], task: SearchTask) -> list[float]:
    return log_likelihoods(sources, examples, task.label_words, task.backbone, max_length=task.max_length)


def distinct(sources: Iterable[str], task: SearchTask) -> Iterator[str]:
    """Templates that fit the model, without those that make of some training examples what an earlier one does."""
    examples, seen = drawn_examples(task, COMPARED), set()
    for source in sources:
        try:
            prompts = fitting_prompts(source, examples, task)
        except (TemplateError, VerbalizerError):
            continue
        if prompts not in seen:
            seen.add(prompts)
            yield source


def _reason(sources: Iterable[str], task: SearchTask) -> str:
    """Why the first template doesn't fit."""
    for source in sources:
        try:
            fitting_prompts(source, task.train[:1], task)
        except (TemplateError, VerbalizerError) as error:
            return f"the first doesn't because {error}"
    return "give the grammar rules."
