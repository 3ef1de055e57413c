from __future__ import annotations

import math
import statistics
from collections import Counter

import numpy as np
import pytest

from promptlab import search_templates
from promptlab.evaluation.cross_validation import Estimate, cross_validated, parted
from promptlab.search.templates import ranking
from promptlab.search.templates.ranking import Ranking
from promptlab.search.templates.task import FoundTemplate, TemplateSearch


def best_first(rights):
    """A choice of candidates by their right rows."""

    def choose(rows):
        return sorted(rights, key=lambda right: -sum(right[row] for row in rows))

    return choose


def test_folds_hold_every_row_once_and_their_share_of_each_class():
    labels = ["p"] * 12 + ["n"] * 8

    folds = parted(labels, 4, seed=3)

    assert sorted(row for fold in folds for row in fold) == list(range(20))
    assert [Counter(labels[row] for row in fold) for fold in folds] == [{"p": 3, "n": 2}] * 4
    assert parted(labels, 4, seed=3) == folds != parted(labels, 4, seed=4)


def test_the_estimate_is_that_of_a_plain_loop():
    rng = np.random.default_rng(0)
    labels = ["p", "n"] * 10
    rights = (rng.random((30, 20)) < 0.6).tolist()

    found = cross_validated(labels, best_first(rights), folds=5, repeats=3, seed=7)

    for place in (0, 1, 29):
        hits = []
        for repeat in range(3):
            for fold in parted(labels, 5, seed=7 + repeat):
                rest = [row for row in range(20) if row not in fold]
                order = sorted(range(30), key=lambda i: -sum(rights[i][row] for row in rest))
                hits += [rights[order[place]][row] for row in fold]
        assert found[place] == Estimate(pytest.approx(sum(hits) / 60), 20)
    assert found[0].standard_error == pytest.approx(math.sqrt(found[0].accuracy * (1 - found[0].accuracy) / 20))


def test_of_candidates_that_guess_the_highest_is_far_above_chance_and_the_estimate_is_not():
    highest, estimated = [], []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        rights = (rng.random((50, 32)) < 0.5).tolist()
        highest.append(max(sum(right) / 32 for right in rights))
        estimated.append(cross_validated(["p", "n"] * 16, best_first(rights), folds=4, seed=seed)[0].accuracy)

    assert statistics.mean(highest) > 0.68
    assert statistics.mean(estimated) == pytest.approx(0.5, abs=0.04)  # of 40 x 32 rows one deviation is 0.014


def test_a_candidate_that_is_better_for_all_rows_keeps_its_accuracy():
    rights = [[row % 4 != 0 for row in range(32)], *([row % 2 == 0 for row in range(32)] for _ in range(9))]

    assert cross_validated(["p", "n"] * 16, best_first(rights), folds=4)[0] == Estimate(0.75, 32)


@pytest.mark.parametrize(
    ("n", "folds", "n_folds"), [(3, 4, 0), (4, 4, 2), (7, 4, 3), (40, 4, 4), (40, 1, 0), (40, 0, 0)]
)
def test_two_rows_at_least_are_in_each_fold_or_there_is_no_estimate(n, folds, n_folds):
    sizes = []

    def choose(rows):
        sizes.append(n - len(rows))
        return [[True] * n]

    found = cross_validated(["p"] * n, choose, folds=folds)

    assert len(sizes) == n_folds and all(size >= 2 for size in sizes)
    assert found == ([Estimate(1.0, n)] if n_folds else [])


def test_there_are_as_many_estimates_as_the_shortest_choice_has_places():
    calls = iter([3, 2, 3, 3])

    assert len(cross_validated(["p"] * 8, lambda rows: [[True] * 8] * next(calls), folds=4)) == 2


class Many(TemplateSearch):
    """An engine that finds thirty templates."""

    def search(self, task, *, state=None):
        return [
            FoundTemplate(f"{{{{ text_a }}}} film {'so ' * n}{{{{ mask }}}}", "many", -n, task.label_words, {})
            for n in range(30)
        ]


def search(backbone, seed=0, **options):
    texts = [f"{word} story {i}" for i in range(8) for word in ("good", "bad", "dull", "great")]
    options = {"ranking": Ranking(rounds=()), "max_length": 60} | options
    labels = (["p", "n", "n", "p"] * 8, ["p", "n"] * 16)
    dev = ([f"{text} again" for text in texts], labels[1])
    settings = {"verbalizer": {"p": "good", "n": "bad"}, "model": backbone, "device": "cpu", "seed": seed}
    return search_templates(Many(), texts, labels[0], eval_set=dev, **settings, **options)


@pytest.fixture
def guesses(monkeypatch):
    """Templates that guess on every dev row, trained or not; the seed is the task's."""

    def result(source, updates, task):
        rng = np.random.default_rng([task.seed, updates, len(source)])
        right = (rng.random(len(task.dev)) < 0.5).tolist()
        return {"right": right, "losses": rng.random(len(task.dev)).tolist(), "predictions": ["p"] * len(task.dev)}

    monkeypatch.setattr(ranking, "_zero_shot", lambda source, words, task: [result(source, 0, task) for _ in words])
    monkeypatch.setattr(ranking, "_fine_tuned", lambda one, task, _, updates: result(one.template, updates, task))


@pytest.mark.parametrize("plan", [Ranking(rounds=()), Ranking(rounds=(1, 2), entrants=8)])
def test_a_board_of_guesses_says_that_they_are(tiny_backbone, guesses, plan):
    boards = [search(tiny_backbone("bert"), seed, ranking=plan) for seed in range(25)]

    highest = statistics.mean(board.best[0].result.accuracy for board in boards)
    estimated = statistics.mean(board.estimates[0].accuracy for board in boards)
    assert highest > 0.66
    assert estimated == pytest.approx(0.5, abs=0.06)
    assert all(len(board.estimates) == len(board.best) for board in boards)


@pytest.mark.parametrize(("plan", "repeats"), [(Ranking(rounds=(1, 2), entrants=3), 1), (Ranking(rounds=()), 10)])
def test_the_ranking_is_done_anew_for_every_fold(tiny_backbone, guesses, plan, repeats):
    """The estimate is that of a search by the rest of each fold, each with entrants of its own."""
    board = search(tiny_backbone("bert"), 3, ranking=plan, top=2)

    contest = ranking.Contest(board.task, plan)
    hits = [[], []]
    for repeat in range(repeats):
        for fold in parted(contest.labels, 4, seed=3 + repeat):
            rest = [row for row in range(32) if row not in fold]
            ranked = contest.ranked([one.found for one in board.ranked], rest)
            for place in (0, 1):
                hits[place] += [contest.right(ranked[place])[row] for row in fold]
    assert [one.accuracy for one in board.estimates] == pytest.approx([sum(own) / len(own) for own in hits])
    assert board.about["estimate"] == {"folds": 4, "repeats": repeats}


def test_no_folds_no_estimate_and_it_is_said(tiny_backbone, guesses):
    board = search(tiny_backbone("bert"), ranking=Ranking(rounds=(), folds=0))

    assert board.estimates == [] and board.about["estimate"] is None
    assert board.pvps()[0].origin["estimated_accuracy"] is None
