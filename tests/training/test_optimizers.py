from __future__ import annotations

import pytest
import torch
from torch import nn

from promptlab import (
    ContextualCalibration,
    EnsembleVerbalizer,
    ManualVerbalizer,
    PromptClassifier,
    SoftVerbalizer,
    SupportCalibration,
    WeightedVerbalizer,
)
from promptlab.library.resolve import resolve_template, resolve_tuning
from promptlab.models.joint_model import JointModel
from promptlab.models.prompt_model import PromptModel
from promptlab.training.fitting import HeadModel
from promptlab.training.optimizers import make_optimizer
from promptlab.training.settings import TrainingSettings
from promptlab.tuning.prompt_tuning import PromptTuning

TEMPLATE = "{{ text_a }} it was {{ mask }}"
WORDS = {"negative": ["bad", "awful"], "positive": ["good", "great"]}
WEIGHTED = WeightedVerbalizer(WORDS)
SETTINGS = TrainingSettings(learning_rate=1e-5, head_learning_rate=1e-3, max_steps=3, device="cpu")


def rates(model, **settings):
    """The rate of every trained weight, by name."""
    optimizer = make_optimizer(model, SETTINGS if not settings else TrainingSettings(**{**vars(SETTINGS), **settings}))
    by_id = {id(weight): (g["lr"], g["peak"]) for g in optimizer.param_groups for weight in g["params"]}
    assert all(lr == peak for lr, peak in by_id.values())
    return {name: by_id[id(weight)][0] for name, weight in model.named_parameters() if weight.requires_grad}


def build(backbone, verbalizer, tuning="full"):
    method = resolve_tuning(tuning)
    return PromptModel.build(method.edit(resolve_template(TEMPLATE)), verbalizer, backbone, method)


@pytest.mark.parametrize("optimizer", ["adamw", "adafactor"])
@pytest.mark.parametrize(
    ("verbalizer", "own", "usual"),
    [
        (WEIGHTED, {"head.weight": 0.06}, set()),
        (WeightedVerbalizer(WORDS, learning_rate=0.5), {"head.weight": 0.5}, set()),
        (ContextualCalibration(SupportCalibration(WEIGHTED, ["a film"])), {"head.inner.inner.weight": 0.06}, set()),
        (SoftVerbalizer(WORDS), {}, {"head.weight", "head.bias"}),
        (
            EnsembleVerbalizer([SoftVerbalizer(WORDS), WEIGHTED, WeightedVerbalizer(WORDS, learning_rate=0.5)]),
            {"head.heads.1.weight": 0.06, "head.heads.2.weight": 0.5},
            {"head.heads.0.weight", "head.heads.0.bias"},
        ),
    ],
    ids=["weighted", "own-rate", "calibrated", "soft", "ensemble"],
)
def test_each_weight_has_the_rate_of_its_part(bert, verbalizer, own, usual, optimizer):
    found = rates(build(bert, verbalizer), optimizer=optimizer)

    for name, rate in found.items():
        expected = own.get(name, 1e-3 if name in usual else 1e-5)
        assert rate == expected, name
    assert set(own) | usual == {name for name in found if not name.startswith("backbone.")}


def test_soft_tokens_keep_the_rate_of_heads_beside_a_head_with_its_own(bert):
    assert rates(build(bert, WEIGHTED, PromptTuning(length=3))) == {"soft.table": 1e-3, "head.weight": 0.06}


@pytest.mark.parametrize(
    "verbalizer", [WEIGHTED, EnsembleVerbalizer([SoftVerbalizer(WORDS), WEIGHTED])], ids=["weighted", "ensemble"]
)
def test_where_heads_are_all_that_is_trained_they_have_the_tunings_rate(bert, verbalizer):
    model = build(bert, verbalizer, "frozen")

    assert set(rates(model).values()) == {1e-3}
    assert set(rates(HeadModel(model.head, None, torch.tensor([0]), None)).values()) == {1e-3}


def test_classifiers_that_are_trained_together_keep_their_rates(tiny_backbone):
    origin = tiny_backbone("bert")
    members = [build(origin.copy(), part, "lora") for part in (WEIGHTED, SoftVerbalizer(WORDS))]

    found = rates(JointModel(origin, members))

    heads = {name: rate for name, rate in found.items() if ".head." in name}
    assert heads == {"members.0.head.weight": 0.06, "members.1.head.weight": 1e-3, "members.1.head.bias": 1e-3}
    assert {rate for name, rate in found.items() if ".head." not in name} == {1e-5}


@pytest.mark.parametrize("tuning", ["full", "lora", "bitfit"])
def test_weights_of_label_words_move_by_about_kpts_rate_under_any_tuning(tiny_backbone, tuning):
    texts, labels = ["the film was great", "a dull mess"] * 4, ["positive", "negative"] * 4
    backbone = tiny_backbone("bert")
    for part in backbone.modules():
        if isinstance(part, nn.Dropout):
            part.p = 0.0
    classifier = PromptClassifier(TEMPLATE, WEIGHTED, backbone, tuning, max_steps=20, schedule="constant", device="cpu")

    classifier.fit(texts, labels)

    largest = classifier.model_.head.weight.abs().max().item()
    assert 0.1 < largest <= 0.06 * 20 * 1.01  # Adam's steps are about the rate each; the usual rate would give 0.02


def test_vectors_are_not_decayed(bert):
    optimizer = make_optimizer(build(bert, ManualVerbalizer(WORDS)), SETTINGS)

    assert {(g["weight_decay"], w.ndim > 1) for g in optimizer.param_groups for w in g["params"]} == {
        (0.01, True),
        (0.0, False),
    }
    assert isinstance(optimizer, torch.optim.AdamW)


def test_weights_of_label_words_of_a_frozen_model_move_as_far_in_its_many_updates(tiny_backbone):
    texts, labels = ["the film was great", "a dull mess"] * 4, ["positive", "negative"] * 4
    classifier = PromptClassifier(TEMPLATE, WEIGHTED, tiny_backbone("bert"), "frozen", device="cpu")

    classifier.fit(texts, labels)

    assert 0.5 < classifier.model_.head.weight.abs().max().item() < 5.0
