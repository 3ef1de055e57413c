"""Which of many templates is the best: zero-shot, and after fine-tuning by successive halving."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm.auto import tqdm

from promptlab.classifier import PromptClassifier
from promptlab.errors import SearchError
from promptlab.inference import average_variants, mask_answers
from promptlab.interfaces import Part
from promptlab.labelled import Labelled, dev_score
from promptlab.parts import resolve_template
from promptlab.registry import TUNINGS
from promptlab.search.journal import Journal, journal_of
from promptlab.search.label_words import search_words
from promptlab.search.task import FoundTemplate, SearchTask
from promptlab.verbalizers.manual import ManualVerbalizer


@dataclass(frozen=True)
class Ranking(Part):
    """How templates are compared: all of them zero-shot, the best of these by fine-tuning.

    Round by round the better half is trained anew with more updates, so that many candidates cost little.

    Source: LM-BFF, arXiv:2012.15723, section 5.2 (fine-tuning, scored on dev); successive halving: arXiv:1502.07943.

    Args:
        rounds: updates of each round, each more than the one before; none ranks by the untrained model alone.
        entrants: templates of the first round, the best zero-shot.
        tuning: name of the tuning method.
        batch_size: examples of an update.

    Raises:
        SearchError: if a number is out of range.
        UnknownNameError: if there is no such tuning.
    """

    wrong = SearchError

    rounds: Sequence[int] = (25, 50, 100)
    entrants: int = 32
    tuning: str = "full"
    batch_size: int = 8

    def __post_init__(self) -> None:
        super().__post_init__()
        rounds = tuple(self.rounds)
        if any(steps <= before for before, steps in zip((0, *rounds), rounds)):
            raise SearchError(f"rounds={rounds!r}: a round has at least 1 update, and more than the one before.")
        for name in ("entrants", "batch_size"):
            if getattr(self, name) < 1:
                raise SearchError(f"{name}={getattr(self, name)!r} must be at least 1.")
        TUNINGS.get(self.tuning)


@dataclass(frozen=True)
class Result:
    """What a template does on dev: accuracy, mean loss in nats, and the class that it gives each example."""

    accuracy: float
    loss: float
    predictions: Sequence[str]


@dataclass(frozen=True)
class RankedTemplate:
    """A template that was found, with what it does on dev.

    Args:
        found: template and label words.
        zero_shot: with the untrained model.
        rounds: updates → result after fine-tuning with so many.
        placed_by: what puts it behind the one before it: ``round`` (it was trained less), ``accuracy``, ``loss``,
            ``score`` (the engine's), ``diversity``, ``order`` (they are equal in all), or ``first``.
    """

    found: FoundTemplate
    zero_shot: Result
    rounds: Mapping[int, Result]
    placed_by: str = ""

    @property
    def result(self) -> Result:
        """After the most training that it got."""
        return self.rounds[max(self.rounds)] if self.rounds else self.zero_shot

    @property
    def standing(self) -> dict[str, float]:
        """What it is ranked by, in this order, lower is better."""
        return {
            "round": -len(self.rounds),
            "accuracy": -self.result.accuracy,
            "loss": self.result.loss,
            "score": -self.found.score,
        }


def rank_templates(
    found: Sequence[FoundTemplate], task: SearchTask, ranking: Ranking | None = None, *, state: Path | None = None
) -> list[RankedTemplate]:
    """Templates by the rounds that they came through, accuracy on dev, loss on dev and the engine's score.

    The untrained model reads dev once for each template, whatever the number of its label words. Fine-tuning is scored
    once, at its end: the highest of several scores on few examples is mostly luck.

    Args:
        ranking: ``Ranking()`` if None.
        state: JSON file that keeps the result of each candidate; with it, an interrupted ranking goes on.

    Raises:
        SearchError: if there are no templates, or the file belongs to another task.
        VerbalizerError: if label words don't fit the model.
    """
    if not found:
        raise SearchError("there are no templates to rank; every candidate was filtered out.")
    ranking = ranking or Ranking()
    journal = journal_of(state, task, tuning=ranking.tuning, batch_size=ranking.batch_size)
    ranked = in_order(_untrained(found, task, journal))
    alive = ranked[: ranking.entrants]
    for number, updates in enumerate(ranking.rounds):
        alive = alive if number == 0 else alive[: math.ceil(len(alive) / 2)]
        done = []
        bar = tqdm(alive, desc=f"{updates} updates", unit="template", leave=False, disable=None)
        for one in bar:
            key = json.dumps([updates, one.found.template, _listed(one.found.label_words)])
            result = Result(**journal.once(key, _fine_tuned, one.found, task, ranking, updates))
            done.append(replace(one, rounds={**one.rounds, updates: result}))
            bar.set_postfix(best=f"{max(other.result.accuracy for other in done):.3f}")
        alive = in_order(done)
        ranked = in_order([*alive, *ranked[len(alive) :]])
    return ranked


def in_order(ranked: Iterable[RankedTemplate]) -> list[RankedTemplate]:
    """Ranked templates, the best first, each with what placed it there."""
    rows = sorted(ranked, key=rank)
    return [replace(one, placed_by=placing(before, one)) for before, one in zip([None, *rows], rows)]


def rank(one: RankedTemplate) -> tuple[float, ...]:
    """What templates are sorted by, the best first."""
    return tuple(one.standing.values())


def placing(before: RankedTemplate | None, one: RankedTemplate) -> str:
    """What puts a template behind the one that stands before it."""
    if before is None:
        return "first"
    return next((name for name, value in one.standing.items() if value != before.standing[name]), "order")


def _untrained(found: Sequence[FoundTemplate], task: SearchTask, journal: Journal) -> list[RankedTemplate]:
    """All templates on dev with the untrained model, which runs once for those that differ in label words only."""
    of_template: dict[str, list[FoundTemplate]] = {}
    for one in found:
        of_template.setdefault(one.template, []).append(one)
    ranked = []
    for source, rows in tqdm(of_template.items(), desc="zero-shot", unit="template", leave=False, disable=None):
        words = [_listed(one.label_words) for one in rows]
        results = journal.once(json.dumps([0, source, words]), _zero_shot, source, words, task)
        ranked += [RankedTemplate(one, Result(**result), {}) for one, result in zip(rows, results)]
    return ranked


@torch.inference_mode()
def _zero_shot(source: str, words: Sequence[Mapping[str, Any]], task: SearchTask) -> list[dict[str, Any]]:
    template, dev = resolve_template(source), Labelled.of(task.dev, None)
    answers = mask_answers(template, dev.examples, task.backbone, max_length=task.max_length)
    results = []
    for label_words in words:
        head = ManualVerbalizer(label_words).build(task.backbone, template.slot).to(answers.hidden.device)
        log_probs = average_variants(head(answers), template.n_variants).cpu()
        results.append(_result(log_probs, dev, list(label_words)))
    return results


def _fine_tuned(found: FoundTemplate, task: SearchTask, ranking: Ranking, updates: int) -> dict[str, Any]:
    classifier = PromptClassifier(
        found.template,
        found.label_words,
        task.backbone,
        ranking.tuning,
        max_steps=updates,
        batch_size=ranking.batch_size,
        max_length=task.max_length,
        device=str(next(task.backbone.parameters()).device),
        seed=task.seed,
    ).fit(task.train)
    dev = Labelled.of(task.dev, None)
    log_probs = torch.from_numpy(classifier.predict_proba(dev.examples)).clamp(min=1e-12).log()
    return _result(log_probs, dev, [str(name) for name in classifier.classes_])


def _result(log_probs: Tensor, dev: Labelled, classes: Sequence[str]) -> dict[str, Any]:
    score = dev_score(log_probs, dev.targets(classes))
    predictions = [classes[i] for i in log_probs.argmax(dim=-1).tolist()]
    return asdict(Result(score.accuracy, score.loss, predictions))


def _listed(label_words: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    return {name: list(words) for name, words in label_words.items()}


def with_searched_words(
    ranked: Sequence[RankedTemplate], task: SearchTask, *, templates: int = 10, assignments: int = 10
) -> list[FoundTemplate]:
    """The best templates, each with its own label words and with those that a search finds for it.

    Source: LM-BFF, arXiv:2012.15723, section 5 ("auto T + L").

    Args:
        templates: so many of the best.
        assignments: label words to find for each.

    Raises:
        SearchError: if a number is below 1.
        DataError: if a class has fewer than 2 training examples.
    """
    for name, value in {"templates": templates, "assignments": assignments}.items():
        if value < 1:
            raise SearchError(f"{name}={value!r} must be at least 1.")
    pairs = []
    device = str(next(task.backbone.parameters()).device)
    for one in tqdm(ranked[:templates], desc="label words", unit="template", leave=False, disable=None):
        words = search_words(
            one.found.template,
            task.train,
            model=task.backbone,
            n=assignments,
            max_length=task.max_length,
            device=device,
            seed=task.seed,
        )
        searched = [{"words_engine": "lm-bff", "words_train_accuracy": row.score} for row in words]
        pairs.append(one.found)
        pairs += [
            replace(one.found, label_words=row.label_words, origin={**one.found.origin, **about})
            for row, about in zip(words, searched)
            if row.label_words != one.found.label_words
        ]
    return pairs
