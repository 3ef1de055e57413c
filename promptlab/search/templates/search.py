"""From labeled texts to the best templates: an engine finds candidates, dev examples choose among them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from promptlab.backbones.catalog import load_backbone
from promptlab.core.checks import check_arguments, check_seed
from promptlab.core.devices import resolve_device
from promptlab.core.errors import SearchError, UnknownNameError, short_repr
from promptlab.core.finished_work import FinishedWork
from promptlab.core.inputs import DevSet, Labels, ModelLike, Texts, VerbalizerLike
from promptlab.core.interfaces import Backbone
from promptlab.core.plugins import package_of
from promptlab.core.ranges import Amount, Count
from promptlab.core.registry import TEMPLATE_SEARCHES
from promptlab.core.types import AnswerSlot, Example
from promptlab.data.labeled import Labeled
from promptlab.evaluation.cross_validation import Estimate, cross_validated
from promptlab.library.pvps import PVP
from promptlab.library.resolve import fresh_backbone, resolve_verbalizer
from promptlab.search.templates.budgets import BUDGETS
from promptlab.search.templates.diversity import check_choice, top_n
from promptlab.search.templates.journal import journal_of, plain_settings
from promptlab.search.templates.ranking import Contest, RankedTemplate, Ranking
from promptlab.search.templates.row_fit import usable
from promptlab.search.templates.searched_words import SearchedWords
from promptlab.search.templates.splitting import split
from promptlab.search.templates.task import BUDGET_NAMES, FoundTemplate, SearchTask, TemplateSearch
from promptlab.verbalizers.label_words import label_word_ids
from promptlab.verbalizers.manual import ManualVerbalizer

REPEATS = 10  # times that dev is parted for the estimate where no template is trained, which costs nothing then
CHOSEN_BY = "the rows that chose it, too high for new text"


@dataclass(frozen=True)
class Leaderboard:
    """Hold what a template search found.

    The accuracy on dev of what was chosen by dev is the highest of many, so it is too high. The estimate is that of
    templates chosen in the same way by a part of dev, on the other part.

    Args:
        best: templates that were asked for, the best first.
        ranked: all templates that were found and can be used.
        unusable: templates that were found but don't fit all examples → why.
        task: what was searched for.
        about: engine with its settings, ranking, budget, seed, model and its revision, tokens of a prompt, sizes of
            train and dev, the dev rows that were left out (see ``splitting.split``), and how often dev was parted.
        estimates: for each place of ``best`` the accuracy to expect of what is chosen for it; none if dev has fewer
            than 4 rows, or the ranking no folds.
    """

    best: Sequence[RankedTemplate]
    ranked: Sequence[RankedTemplate]
    unusable: Mapping[str, str]
    task: SearchTask
    about: Mapping[str, Any]
    estimates: Sequence[Estimate] = ()

    def names(self) -> list[str]:
        """What the best are called in files and tables."""
        return [f"{one.found.engine}-{number}" for number, one in enumerate(self.best, start=1)]

    def estimate(self, place: int) -> Estimate | None:
        """Of what stands at a place, counted from 0."""
        return self.estimates[place] if place < len(self.estimates) else None

    def pvps(self) -> list[PVP]:
        """The best as pairs with their origin, which ``write_pvps`` keeps."""
        return [self._pvp(place, name) for place, name in enumerate(self.names())]

    def _pvp(self, place: int, name: str) -> PVP:
        one, estimate = self.best[place], self.estimate(place)
        found = one.found
        origin = {
            **{name: self.about[name] for name in ("seed", "model", "revision", "budget", "max_length")},
            "engine": found.engine,
            "engine_score": found.score,
            **found.origin,
            "dev_accuracy": one.result.accuracy,
            "dev_accuracy_is_of": CHOSEN_BY,
            "dev_rows": len(self.task.dev),
            "estimated_accuracy": None if estimate is None else estimate.accuracy,
            "estimated_standard_error": None if estimate is None else estimate.standard_error,
            "dev_loss": one.result.loss,
            "zero_shot_accuracy": one.zero_shot.accuracy,
            "updates": one.updates,
            "accuracy_by_updates": {str(updates): result.accuracy for updates, result in one.results.items()},
            "rank": place + 1,
            "placed_by": one.placed_by,
        }
        return PVP(found.template, found.label_words, name, origin)


def search_templates(
    engine: str | TemplateSearch,
    X: Texts,
    y: Labels | None = None,
    *,
    verbalizer: VerbalizerLike,
    eval_set: DevSet | Sequence[Example] | None = None,
    model: ModelLike | None = None,
    budget: str = "small",
    ranking: Ranking | None = None,
    top: int = 10,
    diversity: float = 0.0,
    searched_words: Amount = 0,
    seed: int = 0,
    max_length: Count | None = None,
    device: str = "auto",
    resume_dir: str | Path | None = None,
    settings: Mapping[str, object] | None = None,
) -> Leaderboard:
    """Search templates for a model and label words, and rank them by dev examples.

    Args:
        engine: a name in ``TEMPLATE_SEARCHES``, or a search with its settings.
        X: labeled texts, in any form that ``PromptClassifier.fit`` takes.
        y: their labels; None if the examples carry them.
        verbalizer: label words of one token each: class → words, a name of the task library, or a ``ManualVerbalizer``.
        eval_set: dev texts and labels to choose by, or labeled examples; without them half of each class of ``X``,
            drawn by seed, is kept for it. Those whose texts are a training example's, whatever their labels, are left
            out.
        model: a package's name, a hub id, a folder or a loaded backbone; None takes ``minilm``.
        budget: ``"small"`` (two minutes for a small model on two cores; at most 1,024 training and 64 dev examples are
            taken, in proportion to the classes, and 64 tokens of a prompt), ``"medium"`` or ``"large"``: settings of
            engine and ranking, and the limits of both.
        ranking: how what is found is compared, a ``Ranking``; None for the budget's.
        top: number of templates to return.
        diversity: how much these should differ from one another, 0 (not at all) to 1; see ``diversity.top_n``.
        searched_words: number of label words to search for each of the best ``top`` templates, ranked together with
            their own.
        seed: seed of everything that is drawn.
        max_length: tokens that a prompt may have; None for the budget's limit.
        device: ``"auto"``, ``"cpu"``, ``"cuda"``, …
        resume_dir: folder from which an interrupted search goes on.
        settings: settings of the engine that should differ from the budget's, such as ``{"candidates": 100}``.

    Returns:
        The best templates with their accuracy on dev and an estimate for new text; ``pvps()`` are pairs for
        ``write_pvps``, ``PromptClassifier`` or ``PVPEnsemble``.

    Raises:
        UnknownNameError: if there is no such engine or budget.
        DataError: if examples or labels are missing, too few for a dev set, or all of dev in train, too.
        VerbalizerError: if the label words don't fit the model.
        SearchError: if settings are wrong, an example lacks a text or has a label without words, or no template that
            fits all examples is found.

    Example:
        >>> from promptlab import Ranking, search_templates
        >>> texts, labels = ["a dull film", "a bore", "great fun", "a gem"], ["bad", "bad", "good", "good"]
        >>> words, zero_shot = {"bad": "terrible", "good": "great"}, Ranking(rounds=())
        >>> options = {"model": "minilm", "ranking": zero_shot, "settings": {"candidates": 8, "keep": 2}}
        >>> [pair.template for pair in search_templates("heuristic", texts, labels, verbalizer=words, **options).pvps()]
        ['It is {{ mask }}. {{ text_a }}', "{{ text_a }}{% if not ... %}.{% endif %} This is {{ mask }}!"]
    """
    check_arguments(search_templates, locals(), SearchError)
    check_seed(seed, SearchError)
    check_choice(top, diversity)
    if ranking is not None and not isinstance(ranking, Ranking):
        raise SearchError(f"ranking={short_repr(ranking)} must be a Ranking; a name is given by budget.")
    search, limits = _engine(engine, budget, settings or {}), BUDGETS[budget]
    chosen = limits.ranking if ranking is None else ranking
    given, given_dev = Labeled.of(X, y).examples, [] if eval_set is None else _labeled(eval_set)
    label_words = _label_words(verbalizer)
    backbone = fresh_backbone(model, device).to(resolve_device(device))
    label_word_ids(label_words, backbone, AnswerSlot(1, at_start=False))
    whole = SearchTask(given, given_dev, label_words, backbone, seed, max_length or limits.max_length)
    task, left_out = split(
        whole,
        fields_used=search.fields_used(whole),
        train=limits.train,
        dev=limits.dev,
        of_each_class=2 if searched_words else 1,
    )
    folder = None if resume_dir is None else FinishedWork(resume_dir).folder  # before any work
    found, unusable = usable(_found(search, task, folder), task)
    contest = Contest(task, chosen, resume_dir=folder)
    words = SearchedWords(task, templates=top, assignments=searched_words) if searched_words else None
    select = partial(_selected, contest, found, words)
    ranked = select(None)
    repeats = 1 if chosen.rounds else REPEATS
    estimates = cross_validated(
        contest.labels,
        lambda rows: [contest.right(one) for one in top_n(select(rows), top, diversity=diversity)],
        folds=chosen.folds,
        repeats=repeats,
        seed=seed,
    )
    about = {
        "engine": type(search).__name__,
        "settings": _settings_of(search),
        "ranking": _settings_of(chosen),
        "budget": budget,
        "seed": seed,
        "max_length": task.max_length,
        "model": backbone.name,
        "revision": backbone.revision,
        "train": len(task.train),
        "dev": len(task.dev),
        "dev_from_train": eval_set is None,
        **left_out,
        "estimate": {"folds": chosen.folds, "repeats": repeats} if estimates else None,
    }
    return Leaderboard(top_n(ranked, top, diversity=diversity), ranked, unusable, task, about, estimates)


def _selected(
    contest: Contest, found: Sequence[FoundTemplate], words: SearchedWords | None, rows: Sequence[int] | None
) -> list[RankedTemplate]:
    """All templates by some dev rows, the best of them with searched label words, too."""
    ranked = contest.ranked(found, rows)
    if words is None:
        return ranked
    return contest.ranked([*words(ranked), *(one.found for one in ranked[words.templates :])], rows)


def _engine(engine: str | TemplateSearch, budget: str, settings: Mapping[str, object]) -> TemplateSearch:
    if isinstance(engine, TemplateSearch):
        if budget not in BUDGET_NAMES:
            raise UnknownNameError("budget", budget, BUDGET_NAMES)
        if settings:
            raise SearchError(f"engine {engine!r} has its settings; leave {next(iter(settings))!r} out.")
        return engine
    search: TemplateSearch = TEMPLATE_SEARCHES.get(engine).of_budget(budget, **settings)
    return search


def _labeled(eval_set: DevSet | Sequence[Example]) -> list[Example]:
    """A dev set, given as texts and labels or as labeled examples."""
    is_pair = isinstance(eval_set, (tuple, list)) and len(eval_set) == 2 and not isinstance(eval_set[0], Example)
    return (Labeled.of(*eval_set) if is_pair else Labeled.of(eval_set, None)).examples


def _label_words(verbalizer: VerbalizerLike) -> dict[str, tuple[str, ...]]:
    resolved = resolve_verbalizer(verbalizer)
    if not isinstance(resolved, ManualVerbalizer) or resolved.aggregate != "mean-logit":
        raise SearchError(
            "a template is searched for label words of one token, whose logits are averaged, not for "
            f"{short_repr(resolved)}; give class → words."
        )
    return _tuples(resolved.label_words)


def _found(search: TemplateSearch, task: SearchTask, folder: Path | None) -> list[FoundTemplate]:
    """The engine's templates; once it has ended with the same settings, from its folder."""
    if folder is None:
        return search.search(task)
    name = f"{type(search).__name__}{package_of(type(search).__module__)}"  # another version finds others
    journal = journal_of(folder, "search", task, engine=name)
    loaded = _with_model(search)
    key = json.dumps(plain_settings(vars(loaded)), sort_keys=True)
    rows = journal.once(key, lambda: [vars(one) for one in loaded.search(task, resume_dir=folder)])
    return [FoundTemplate(**{**row, "label_words": _tuples(row["label_words"])}) for row in rows]


def _with_model(search: TemplateSearch) -> TemplateSearch:
    """An engine whose generator is loaded, so that it counts by what it is."""
    generator = getattr(search, "generator", None)
    return search if generator is None else search.set_params(generator=load_backbone(generator))


def _tuples(label_words: Mapping[str, Sequence[str]]) -> dict[str, tuple[str, ...]]:
    return {name: tuple(words) for name, words in label_words.items()}


def _settings_of(settings: TemplateSearch | Ranking) -> dict[str, object]:
    """A dataclass as plain values, models by their name."""
    return {name: _named(value) for name, value in vars(settings).items()}


def _named(value: object) -> object:
    if isinstance(value, Backbone):
        return value.name
    return str(value) if isinstance(value, Path) else value
