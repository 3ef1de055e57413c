"""Which of many templates is the best: zero-shot, and after fine-tuning by successive halving."""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm.auto import tqdm

from promptlab.core.errors import PromptlabWarning, SearchError
from promptlab.core.part import Part
from promptlab.core.ranges import Amount, Count
from promptlab.core.registry import TUNINGS
from promptlab.data.labeled import Labeled
from promptlab.estimators.classifiers import PromptClassifier
from promptlab.library.resolve import resolve_template
from promptlab.models.inference import average_variants, mask_answers
from promptlab.search.templates.journal import journal_of
from promptlab.search.templates.task import FoundTemplate, SearchTask
from promptlab.verbalizers.manual import ManualVerbalizer


@dataclass(frozen=True)
class Ranking(Part):
    """Rank templates: all of them zero-shot, the best of these by fine-tuning.

    Round by round the better half is trained anew with more updates, so that many candidates cost little. A template
    stands where the best that it did puts it: one that training ruined by what it does untrained.

    Source: LM-BFF, arXiv:2012.15723, section 5.2 (fine-tuning, scored on dev); successive halving: arXiv:1502.07943.

    Args:
        rounds: updates of each round, each more than the one before; none ranks by the untrained model alone.
        entrants: number of templates in the first round, the best zero-shot.
        tuning: name of the tuning method.
        batch_size: examples of an update.
        folds: parts of dev for the estimate of what was chosen, see ``cross_validation``; below 2 there is none. What
            a part of dev ranks otherwise is trained, too: at four folds about as much again.

    Raises:
        SearchError: if a number is out of range.
        UnknownNameError: if there is no such tuning.

    Example:
        >>> from promptlab import HeuristicSearch, Ranking, search_templates
        >>> texts, labels = ["a dull film", "a bore", "great fun", "a gem"], ["bad", "bad", "good", "good"]
        >>> words, short = {"bad": "terrible", "good": "great"}, Ranking(rounds=(1, 2), entrants=2, tuning="bitfit")
        >>> search = HeuristicSearch(candidates=4, keep=2, examples=1)
        >>> found = search_templates(search, texts, labels, verbalizer=words, model="minilm", ranking=short)
        >>> list(found.best[0].results)  # numbers of updates after which the best was measured
        [0, 1, 2]
    """

    error_class = SearchError

    rounds: Sequence[int] = (25, 50, 100)
    entrants: Count = 32
    tuning: str = "full"
    batch_size: Count = 8
    folds: Amount = 4

    def __post_init__(self) -> None:
        super().__post_init__()
        rounds = tuple(self.rounds)
        if any(steps <= before for before, steps in zip((0, *rounds), rounds)):
            raise SearchError(f"rounds={rounds!r}: a round has at least 1 update, and more than the one before.")
        TUNINGS.get(self.tuning)


@dataclass(frozen=True)
class Result:
    """What a template does on each of some dev rows.

    Args:
        right: whether it is right.
        losses: in nats.
        predictions: the class that it gives.
    """

    right: Sequence[bool]
    losses: Sequence[float]
    predictions: Sequence[str]

    @property
    def accuracy(self) -> float:
        return sum(self.right) / len(self.right)

    @property
    def loss(self) -> float:
        return math.fsum(self.losses) / len(self.losses)

    @property
    def standing(self) -> tuple[float, float]:
        """Lower is better."""
        return -self.accuracy, self.loss

    def on(self, rows: Sequence[int]) -> Result:
        """The same on some of the rows."""
        right, losses = [self.right[row] for row in rows], [self.losses[row] for row in rows]
        return Result(right, losses, [self.predictions[row] for row in rows])


@dataclass(frozen=True)
class RankedTemplate:
    """A template that was found, with what it does on dev.

    Args:
        found: template and label words.
        zero_shot: with the untrained model.
        rounds: updates → result after fine-tuning with so many.
        placed_by: what puts it behind the one before it: ``accuracy``, ``loss``, ``score`` (the engine's),
            ``diversity``, ``order`` (they are equal in all), or ``first``.
    """

    found: FoundTemplate
    zero_shot: Result
    rounds: Mapping[int, Result]
    placed_by: str = ""

    @property
    def results(self) -> dict[int, Result]:
        """Updates → result, from 0, the untrained model's."""
        return {0: self.zero_shot, **self.rounds}

    @property
    def updates(self) -> int:
        """With so many it is best on dev; of equals the fewest. Training may ruin a template that is good without."""
        return min(self.results, key=lambda updates: (self.results[updates].standing, updates))

    @property
    def result(self) -> Result:
        """The best."""
        return self.results[self.updates]

    @property
    def training(self) -> str:
        """With how many updates it is best, and what more of them came to, for tables."""
        last = max(self.results)
        return str(self.updates) + (f" ({last}: {self.results[last].accuracy:.3f})" if last != self.updates else "")

    @property
    def standing(self) -> dict[str, float]:
        """What it is ranked by, in this order, lower is better."""
        return {"accuracy": -self.result.accuracy, "loss": self.result.loss, "score": -self.found.score}


class Contest:
    """Templates against one another on dev.

    Each is run once on all rows, whatever rows decide, so that ranking anew by other rows costs only the training of
    what wasn't trained yet.

    Args:
        ranking: ``Ranking()`` if None.
        resume_dir: folder from which an interrupted ranking goes on.
    """

    def __init__(self, task: SearchTask, ranking: Ranking | None = None, *, resume_dir: Path | None = None) -> None:
        self.task, self.ranking = task, ranking or Ranking()
        settings = {"tuning": self.ranking.tuning, "batch_size": self.ranking.batch_size}
        self.journal = journal_of(resume_dir, "ranking", task, **settings)
        self.labels = [str(example.label) for example in task.dev]
        self._has_told = False

    def ranked(self, found: Sequence[FoundTemplate], rows: Sequence[int] | None = None) -> list[RankedTemplate]:
        """Templates by the best that each does on dev, accuracy, then loss, and by the engine's score.

        Args:
            rows: numbers of the dev rows that decide; all if None.

        Raises:
            SearchError: if there are no templates.
            VerbalizerError: if label words don't fit the model.
        """
        if not found:
            raise SearchError("there are no templates to rank; every candidate was filtered out.")
        rows = range(len(self.task.dev)) if rows is None else rows
        untrained = zip(found, self._untrained(found))
        ranked = in_order([RankedTemplate(one, result.on(rows), {}) for one, result in untrained])
        alive = ranked[: self.ranking.entrants]
        rest = ranked[len(alive) :]
        for number, updates in enumerate(self.ranking.rounds):
            count = len(alive) if number == 0 else math.ceil(len(alive) / 2)
            rest, alive = [*alive[count:], *rest], self._round(alive[:count], updates, rows)
        return in_order([*alive, *rest])

    def right(self, one: RankedTemplate) -> Sequence[bool]:
        """Whether a ranked template, trained as is best for it, is right on each of all dev rows."""
        return self._results(one.found, one.updates).right

    def _round(self, alive: Sequence[RankedTemplate], updates: int, rows: Sequence[int]) -> list[RankedTemplate]:
        """Templates trained anew, those first that are the better for it."""
        done: list[RankedTemplate] = []
        bar = tqdm(alive, desc=f"{updates} updates", unit="template", leave=False, disable=None)
        for one in bar:
            result = self._results(one.found, updates).on(rows)
            done.append(replace(one, rounds={**one.rounds, updates: result}))
            bar.set_postfix(best=f"{max(other.rounds[updates].accuracy for other in done):.3f}")
        return sorted(done, key=lambda one: (*one.rounds[updates].standing, -one.found.score))

    def _results(self, found: FoundTemplate, updates: int) -> Result:
        key = _key(updates, found)
        if not updates:
            return Result(**self.journal.by_key[key])  # every one is read before any is trained
        return Result(**self.journal.once(key, self._trained, found, updates))

    def _trained(self, found: FoundTemplate, updates: int) -> dict[str, object]:
        """What is odd about the texts, such as how many are too long, is told for the first template alone."""
        with warnings.catch_warnings():
            if self._has_told:
                warnings.simplefilter("ignore", PromptlabWarning)
            self._has_told = True
            return _fine_tuned(found, self.task, self.ranking, updates)

    def _untrained(self, found: Sequence[FoundTemplate]) -> list[Result]:
        """All templates with the untrained model, which runs once for those that differ in label words only."""
        of_template: dict[str, list[FoundTemplate]] = {}
        for one in found:
            if _key(0, one) not in self.journal.by_key:
                of_template.setdefault(one.template, []).append(one)
        for source, new in tqdm(of_template.items(), desc="zero-shot", unit="template", leave=False, disable=None):
            results = _zero_shot(source, [_word_lists(one.label_words) for one in new], self.task)
            for one, result in zip(new, results):
                self.journal.store(_key(0, one), result)
        return [self._results(one, 0) for one in found]


def rank_templates(
    found: Sequence[FoundTemplate], task: SearchTask, ranking: Ranking | None = None, *, resume_dir: Path | None = None
) -> list[RankedTemplate]:
    """Templates by the best that each does on dev, untrained or after the rounds that it came through.

    The untrained model reads dev once for each template, whatever the number of its label words. Fine-tuning is scored
    once, at its end: the highest of several scores on few examples is mostly luck. So is the accuracy of the first of
    many templates: see ``cross_validation``.

    Args:
        ranking: ``Ranking()`` if None.
        resume_dir: folder from which an interrupted ranking goes on.

    Raises:
        SearchError: if there are no templates.
        VerbalizerError: if label words don't fit the model.
    """
    return Contest(task, ranking, resume_dir=resume_dir).ranked(found)


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


def _key(updates: int, found: FoundTemplate) -> str:
    return json.dumps(["rows", updates, found.template, _word_lists(found.label_words)])


@torch.inference_mode()
def _zero_shot(source: str, words: Sequence[Mapping[str, Sequence[str]]], task: SearchTask) -> list[dict[str, object]]:
    template, dev = resolve_template(source), Labeled.of(task.dev, None)
    answers = mask_answers(template, dev.examples, task.backbone, max_length=task.max_length)
    results = []
    for label_words in words:
        head = ManualVerbalizer(label_words).build(task.backbone, template.slot).to(answers.hidden.device)
        log_probs = average_variants(head(answers), template.n_variants).cpu()
        results.append(_result(log_probs, dev, list(label_words)))
    return results


def _fine_tuned(found: FoundTemplate, task: SearchTask, ranking: Ranking, updates: int) -> dict[str, object]:
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
    dev = Labeled.of(task.dev, None)
    log_probs = torch.from_numpy(np.stack(list(classifier.iter_log_proba(dev.examples))))
    return _result(log_probs, dev, classifier.class_names_)


def _result(log_probs: Tensor, dev: Labeled, classes: Sequence[str]) -> dict[str, object]:
    targets = dev.targets(classes)
    chosen = log_probs.argmax(dim=-1)
    losses = -log_probs[torch.arange(len(targets)), targets]
    return asdict(Result((chosen == targets).tolist(), losses.tolist(), [classes[i] for i in chosen.tolist()]))


def _word_lists(label_words: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    return {name: list(words) for name, words in label_words.items()}
