from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from promptlab.distillation.generations import class_counts, draw_rows, draw_teachers, n_generations

PROBABILITIES = np.array([[0.9, 0.1], [0.8, 0.2], [0.6, 0.4], [0.3, 0.7], [0.45, 0.55]])
CERTAIN = np.log(np.array([[0.9, 0.1], [0.8, 0.2], [0.7, 0.3]]))  # nobody says the second class


def rng(seed=0):
    return np.random.default_rng(seed)


@pytest.mark.parametrize(
    ("n_labeled", "growth", "expected"),
    [(10, 5, 3), (50, 5, 2), (100, 5, 2), (200, 5, 1), (1000, 5, 1), (5000, 5, 1), (10, 10, 2), (0, 5, 4)],
)
def test_generations_go_on_until_there_are_about_a_thousand_examples(n_labeled, growth, expected):
    assert n_generations(n_labeled, growth) == expected


def test_a_training_set_grows_by_the_factor_and_keeps_its_proportions():
    labeled = {"a": 3, "b": 1}

    for generation in (1, 2, 3):
        counts = class_counts(labeled, ["a", "b"], generation, 5)
        assert counts == {"a": 3 * 5**generation, "b": 5**generation}
    assert class_counts({"a": 3}, ["a"], 1, 2.5) == {"a": 7}  # 3 and int(7.5) - 3 new ones


@pytest.mark.parametrize(
    ("n_classes", "totals"),
    [
        (2, [(5, 5), (25, 25), (125, 125)]),
        (3, [(4, 3, 3), (17, 17, 16), (84, 83, 83)]),
        (4, [(3, 3, 2, 2), (13, 13, 12, 12), (63, 63, 62, 62)]),
        (6, [(2, 2, 2, 2, 1, 1), (9, 9, 8, 8, 8, 8), (42, 42, 42, 42, 41, 41)]),
        (14, [(1,) * 14, (4,) * 8 + (3,) * 6, (18,) * 12 + (17,) * 2]),  # one of each at least
    ],
)
def test_without_labels_ten_examples_grow_as_a_whole_before_they_are_shared_out(n_classes, totals):
    """10, 50 and 250 in all, whatever the number of classes."""
    names = [f"class {i:02}" for i in range(n_classes)]

    for generation, expected in enumerate(totals, start=1):
        counts = class_counts({}, names, generation, 5)
        assert tuple(counts[name] for name in names) == expected
        assert sum(expected) == 10 * 5 ** (generation - 1) or (n_classes > 10 and generation == 1)


def test_labeled_examples_grow_by_whole_numbers_rounded_down():
    """5 examples times 1.5 are 7, 2 new ones: of the class with 3 of 5 one, of that with 2 none."""
    assert class_counts({"a": 3, "b": 2}, ["a", "b"], 1, 1.5) == {"a": 4, "b": 2}
    assert class_counts({"a": 3, "b": 2}, ["a", "b", "c"], 2, 5) == {"a": 75, "b": 50, "c": 0}
    assert class_counts({"a": 10}, ["a"], 3, 1.1) == {"a": 13}  # 13.31; 1.1 isn't a whole number of bits


@pytest.mark.parametrize(("n", "expected"), [(2, 1), (3, 1), (4, 1), (7, 2), (18, 4)])
def test_a_share_of_the_others_teaches_and_at_least_one(n, expected):
    for learner in range(n):
        teachers = draw_teachers(n, learner, 0.25, rng(learner))
        assert len(set(teachers)) == len(teachers) == expected
        assert learner not in teachers and set(teachers) <= set(range(n))


def test_rows_are_those_for_which_the_class_is_the_likeliest():
    for seed in range(20):
        rows = draw_rows(np.log(PROBABILITIES), 0, 2, rng(seed), most_likely=100, whoever=False)
        assert len(set(rows)) == 2 and set(rows) <= {0, 1, 2}


def test_rows_are_drawn_in_proportion_to_their_probability():
    log_probs = np.log(PROBABILITIES)
    firsts = Counter(draw_rows(log_probs, 0, 1, rng(s), most_likely=100, whoever=False)[0] for s in range(6000))

    for row in range(3):
        assert firsts[row] / 6000 == pytest.approx(PROBABILITIES[row, 0] / 2.3, abs=0.03)


def test_where_there_are_too_few_rows_all_come_before_one_comes_twice():
    for seed in range(20):
        rows = draw_rows(np.log(PROBABILITIES), 1, 5, rng(seed), most_likely=100, whoever=False)

        assert sorted(Counter(rows).values()) == [2, 3] and set(rows) == {3, 4}


def test_a_class_that_nobody_predicts_gets_the_rows_with_its_highest_scores():
    rows = draw_rows(CERTAIN, 1, 4, rng(), most_likely=2, whoever=False)

    assert Counter(rows) == {1: 2, 2: 2}


def test_untrained_models_give_the_highest_scores_whatever_the_likeliest_class():
    log_probs = np.log(PROBABILITIES)

    drawn = {row for s in range(50) for row in draw_rows(log_probs, 1, 2, rng(s), most_likely=3, whoever=True)}

    assert drawn == {2, 3, 4}


def test_probabilities_of_zero_can_be_drawn():
    log_probs = np.array([[0.0, -800.0], [0.0, -900.0]])

    assert sorted(draw_rows(log_probs, 1, 2, rng(), most_likely=100, whoever=False)) == [0, 1]


def test_nothing_is_drawn_for_a_class_that_has_enough():
    assert draw_rows(CERTAIN, 0, 0, rng(), most_likely=2, whoever=False) == []
