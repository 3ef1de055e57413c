from __future__ import annotations

import numpy as np
import pytest

from promptlab.core.errors import PromptlabError
from promptlab.training.thresholds import best_threshold, check_threshold, choose_thresholds, f1_scores


def f1(probabilities, truth, threshold):
    said = [p >= threshold for p in probabilities]
    hits = sum(s and t for s, t in zip(said, truth))
    return 2 * hits / max(1, sum(said) + sum(truth))


def test_no_threshold_has_a_higher_f1_than_the_best_one():
    rng = np.random.default_rng(0)
    for _ in range(50):
        probabilities = rng.integers(1, 10, 12).astype(np.float32) / 10  # with ties
        truth = rng.integers(0, 2, 12)
        best = best_threshold(probabilities, truth)

        every = [f1(probabilities, truth, threshold) for threshold in np.linspace(0, 1, 201)]
        assert f1(probabilities, truth, best) == max(every)


def test_it_lies_in_the_middle_between_two_probabilities():
    assert best_threshold(np.array([0.1, 0.2, 0.3, 0.4]), np.array([0, 0, 1, 1])) == pytest.approx(0.25)


def test_everything_may_be_said_to_hold():
    assert best_threshold(np.array([0.1, 0.2]), np.array([1, 1])) == pytest.approx(0.05)


def test_of_equally_good_thresholds_the_nearest_to_a_half_is_taken_and_then_the_lower():
    assert best_threshold(np.array([0.4, 0.9]), np.array([0, 1])) == 0.5  # as good as 0.65, in the middle
    # from 0.75 on, 1 is said and right of 2 that hold; from 0.25 on 4 are said and 2 right: 2/3 both, and 1/2 at 0.5
    probabilities, truth = np.array([0.125, 0.375, 0.375, 0.625, 0.875]), np.array([0, 0, 1, 0, 1])
    assert [f1(probabilities, truth, t) for t in (0.25, 0.5, 0.75)] == pytest.approx([2 / 3, 1 / 2, 2 / 3])
    assert best_threshold(probabilities, truth) == 0.25


def test_where_a_class_never_holds_it_is_a_half():
    assert best_threshold(np.array([0.1, 0.9]), np.array([0, 0])) == 0.5


def test_f1_at_a_threshold_counts_what_is_said_from_it_on():
    probabilities, truth = np.array([0.9, 0.2, 0.6, 0.6]), np.array([1, 1, 0, 1])
    thresholds = np.array([0.1, 0.2, 0.6, 0.9, 1.0])

    assert f1_scores(probabilities, truth, thresholds).tolist() == [f1(probabilities, truth, t) for t in thresholds]


def test_there_is_one_threshold_for_all_classes_or_one_for_each_or_a_given_one():
    probabilities = np.array([[0.1, 0.7], [0.3, 0.9]])
    truth = np.array([[0, 0], [1, 1]])

    assert choose_thresholds("per-class", probabilities, truth).tolist() == pytest.approx([0.2, 0.8])
    # in all, 0.9 alone gives 2/3, with 0.7 it is 1/2 and with 0.3 it is 4/5
    assert choose_thresholds("global", probabilities, truth).tolist() == pytest.approx([0.2, 0.2])
    assert choose_thresholds(0.4, probabilities, truth).tolist() == [0.4, 0.4]


@pytest.mark.parametrize(
    ("threshold", "message"),
    [
        ("globl", "did you mean 'global'"),
        (0, "between 0 and 1"),
        (1.0, "between 0 and 1"),
        (float("nan"), "between 0 and 1"),
        (True, "between 0 and 1"),
        (None, "threshold=None"),
    ],
)
def test_other_thresholds_are_refused(threshold, message):
    with pytest.raises(PromptlabError, match=message):
        check_threshold(threshold)


@pytest.mark.parametrize("threshold", ["global", "per-class", 0.5, np.float32(0.25)])
def test_known_thresholds_are_taken(threshold):
    check_threshold(threshold)
