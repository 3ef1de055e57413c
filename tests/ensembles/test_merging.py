from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from promptlab.ensembles.merging import Stacking, accuracies, agreement, log_softmax, merged, votes, weights_of

RNG = np.random.default_rng(0)
LOGITS = 3 * RNG.standard_normal((4, 6, 3))  # (members, examples, classes)
WEIGHTS = np.array([0.5, 0.0, 0.25, 1.0])


def softmax(row):
    return np.exp(row) / np.exp(row).sum()


@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_merging_log_probabilities_is_merging_raw_logits(temperature):
    """PET's code: the softmax of the weighted mean of the logits, divided by the temperature."""
    found = torch.from_numpy(merged(log_softmax(LOGITS), WEIGHTS) / temperature).softmax(dim=-1)

    for i in range(6):
        mean = sum(w * LOGITS[m, i] for m, w in enumerate(WEIGHTS)) / WEIGHTS.sum()
        assert found[i].numpy() == pytest.approx(softmax(mean / temperature), abs=1e-12)


def test_one_member_decides_as_it_does_alone():
    scores = log_softmax(LOGITS[:1])

    assert np.allclose(merged(scores, np.array([0.3])), scores[0])


def test_equal_weights_are_the_mean():
    scores = log_softmax(LOGITS)

    assert np.allclose(merged(scores, np.full(4, 0.7)), merged(scores, np.ones(4)))


def test_weights_are_accuracies_unless_nobody_is_ever_right():
    assert weights_of([0.5, 0.0, 1.0]).tolist() == [0.5, 0.0, 1.0]
    assert weights_of([0.0, 0.0]).tolist() == [1.0, 1.0]


def test_the_class_with_the_weightiest_votes_wins_and_of_equal_ones_that_with_the_higher_score():
    sure, unsure = np.log([0.9, 0.05, 0.05]), np.log([0.3, 0.4, 0.3])
    scores = np.array([[sure, sure], [unsure, unsure], [unsure, unsure]])

    majority = votes(scores, np.ones(3))
    tie = votes(scores[:2], np.ones(2))
    weighty = votes(scores, np.array([3.0, 1.0, 1.0]))

    assert majority.argmax(axis=1).tolist() == [1, 1]
    assert np.exp(majority[0]) == pytest.approx([1 / 3, 2 / 3, 0], abs=1e-5)
    assert tie.argmax(axis=1).tolist() == [0, 0]
    assert weighty.argmax(axis=1).tolist() == [0, 0]
    assert np.exp(majority).sum(axis=1) == pytest.approx(1.0)


def test_agreement_is_the_share_of_equal_choices():
    scores = log_softmax(LOGITS)
    chosen = LOGITS.argmax(axis=-1)

    found = agreement(scores)

    for i in range(4):
        for j in range(4):
            assert found[i, j] == np.mean([a == b for a, b in zip(chosen[i], chosen[j], strict=True)])


def test_accuracies_are_those_of_each_member():
    targets = np.array([0, 1, 2, 0, 1, 2])

    expected = [sum(r.argmax() == t for r, t in zip(rows, targets, strict=True)) / 6 for rows in LOGITS]
    assert accuracies(LOGITS, targets) == pytest.approx(expected)


@pytest.mark.parametrize("n_classes", [2, 3])
def test_stacking_is_scikit_learns_regression_on_all_scores(n_classes):
    scores = log_softmax(RNG.standard_normal((3, 40, n_classes)))
    targets = np.arange(40) % n_classes
    table = np.array([[scores[m, i, c] for m in range(3) for c in range(n_classes)] for i in range(40)])

    found = Stacking.fitted(scores, targets, seed=0)(scores)

    expected = LogisticRegression(max_iter=1000, random_state=0).fit(table, targets).predict_proba(table)
    assert np.exp(found) == pytest.approx(expected, abs=1e-9)
