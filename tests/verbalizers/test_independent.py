from __future__ import annotations

import math

import pytest
import torch

from promptlab.core.types import MaskStates
from promptlab.verbalizers.independent import IndependentHead
from promptlab.verbalizers.manual import LabelWordHead


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


@pytest.fixture
def head():
    """Class 0 has the words 0 and 1 of a vocabulary of three, class 1 the word 2."""
    inner = LabelWordHead(torch.tensor([[0, 1], [2, 0]]), torch.tensor([[True, True], [True, False]]))
    return IndependentHead(inner, 2)


def answer(*logits):
    hidden = torch.tensor(logits)[:, None, :]  # (batch, masks, vocabulary)
    return MaskStates(hidden, lambda hidden, ids=None: hidden if ids is None else hidden[..., ids])


def test_a_class_is_as_likely_as_the_sigmoid_of_its_own_words_mean_logit_with_its_bias(head):
    with torch.no_grad():
        head.bias.copy_(torch.tensor([0.5, -1.0]))

    probabilities = head(answer([1.0, 2.0, 3.0])).exp()[0].tolist()

    assert probabilities == pytest.approx([sigmoid(1.5 + 0.5), sigmoid(3.0 - 1.0)])


def test_a_class_is_not_less_likely_because_another_is_more(head):
    one, two = head(answer([1.0, 2.0, 0.0], [1.0, 2.0, 9.0]))

    assert one[0] == two[0]


def test_the_loss_is_the_mean_of_the_binary_cross_entropies(head):
    loss = head.loss(answer([1.0, 2.0, -1.0], [0.0, 0.0, 0.5]), torch.tensor([[1.0, 0.0], [0.0, 1.0]])).item()

    right = [sigmoid(1.5), 1 - sigmoid(-1.0), 1 - sigmoid(0.0), sigmoid(0.5)]
    assert loss == pytest.approx(-sum(map(math.log, right)) / 4)


def test_training_starts_where_the_mean_log_odds_are_those_of_the_classes_shares(head):
    states, labels = (
        answer([1.0, 3.0, -1.0], [5.0, 5.0, 3.0], [0.0, 0.0, 0.0]),
        torch.tensor([[1.0, 0], [1, 0], [0, 0]]),
    )

    head.start(head.log_odds(states), labels)

    shares = [(2 + 0.5) / 4, 0.5 / 4]
    expected = [math.log(share / (1 - share)) for share in shares]
    assert head.log_odds(states).mean(dim=0).tolist() == pytest.approx(expected)


def test_the_bias_and_the_inner_heads_weights_are_trained(head):
    head.loss(answer([1.0, 2.0, -1.0]), torch.tensor([[1.0, 0.0]])).backward()

    assert [name for name, weight in head.named_parameters() if weight.grad is not None] == ["bias"]
    assert head.bias.grad.tolist() == pytest.approx([(sigmoid(1.5) - 1) / 2, sigmoid(-1.0) / 2])
