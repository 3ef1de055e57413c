from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from promptlab import HeadClassifier, InContextTemplate, PromptClassifier
from promptlab.core.types import Example
from promptlab.training.dev_score import dev_score
from promptlab.training.fitting import EncodedSet
from promptlab.verbalizers.linear import LinearVerbalizer

TEXTS = ["the film was great", "a good story", "a dull mess", "the acting was bad"]
LABELS = ["p", "p", "n", "n"]
POOL = [Example({"text_a": text}, label) for text, label in zip(["great", "dull", "good", "bad"], "pnpn")]
SHOWN = InContextTemplate("{{ text_a }} {{ mask }}", k=1, sets=2, examples=POOL[:2], answers={"n": "bad", "p": "good"})
FROZEN = {"tuning": "frozen", "max_steps": 6, "eval_every": 6, "device": "cpu"}


def test_every_prompt_of_an_example_has_its_class():
    assert EncodedSet([], torch.tensor([1, 0]), 3).row_targets.tolist() == [1, 1, 1, 0, 0, 0]


def test_the_dev_score_is_the_share_of_right_classes_and_the_mean_loss():
    log_probs = torch.tensor([[0.9, 0.1], [0.8, 0.2], [0.3, 0.7]]).log()

    score = dev_score(log_probs, torch.tensor([0, 1, 1]))

    assert score.accuracy == pytest.approx(2 / 3)
    assert score.loss == pytest.approx(-(math.log(0.9) + math.log(0.2) + math.log(0.7)) / 3)
    assert score.n_examples == 3


@pytest.mark.parametrize(
    "make",
    [
        lambda backbone: HeadClassifier(backbone, **FROZEN),
        lambda backbone: PromptClassifier(SHOWN, LinearVerbalizer(("n", "p")), backbone, **FROZEN),
    ],
    ids=["head", "several prompts"],
)
def test_a_head_on_answers_that_were_computed_once_is_scored_as_it_predicts(tiny_backbone, make):
    classifier = make(tiny_backbone("bert")).fit(TEXTS, LABELS, eval_set=(TEXTS, LABELS))

    probabilities = classifier.predict_proba(TEXTS)

    position = [classifier.classes_.tolist().index(label) for label in LABELS]
    expected = -np.log(probabilities[range(4), position]).mean()
    assert classifier.history_[-1]["dev_loss"] == pytest.approx(expected, abs=1e-6)


def test_a_frozen_model_reads_each_text_once(tiny_backbone, monkeypatch):
    backbone, read = tiny_backbone("bert"), []
    original = type(backbone).hidden_states
    monkeypatch.setattr(
        type(backbone), "hidden_states", lambda self, batch: read.append(len(batch.input_ids)) or original(self, batch)
    )

    HeadClassifier(backbone, **FROZEN).fit(TEXTS, LABELS, eval_set=(TEXTS[:3], LABELS[:3]))

    assert read == [4, 3]
