from __future__ import annotations

import math

import pytest
import torch

from promptlab import PromptClassifier
from promptlab.core.types import MaskStates
from promptlab.verbalizers.manual import LabelWordHead
from promptlab.verbalizers.weighted import WeightedHead, WeightedVerbalizer

IDS = torch.tensor([[3, 1], [0, 0]])
VALID = torch.tensor([[True, True], [True, False]])
STATES = MaskStates(torch.tensor([[[1.0, 4.0, 9.0, 2.0]]]), lambda h, ids=None: h if ids is None else h[..., ids])


def test_before_training_words_count_alike():
    torch.testing.assert_close(WeightedHead(IDS, VALID)(STATES), LabelWordHead(IDS, VALID)(STATES))


def test_weights_are_a_softmax_within_the_class_and_padding_has_none():
    head = WeightedHead(IDS, VALID)
    head.weight.data = torch.tensor([[math.log(3.0), 0.0], [0.0, 50.0]])  # 3 to 1; the padding's weight is unread

    first, second = (3 * 2.0 + 1 * 4.0) / 4, 1.0
    total = math.log(math.exp(first) + math.exp(second))
    assert head(STATES)[0].tolist() == pytest.approx([first - total, second - total])


def test_a_word_that_tells_the_classes_apart_gains_weight(tiny_backbone):
    texts, labels = ["the film was great", "a dull mess"] * 4, ["positive", "negative"] * 4
    words = {"negative": ["bad", "awful"], "positive": ["good", "great"]}
    backbone = tiny_backbone("bert")
    classifier = PromptClassifier(
        "{{ text_a }} it was {{ mask }}", WeightedVerbalizer(words), backbone, "frozen", max_steps=60, device="cpu",
        learning_rate=0.06,
    )  # fmt: skip

    classifier.fit(texts, labels)

    losses = [row["loss"] for row in classifier.history_]
    assert losses[-1] < losses[0]
    assert classifier.trainable_parameters() == 4
