from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn import functional as F

from promptlab import PromptClassifier
from promptlab.core.errors import VerbalizerError
from promptlab.core.types import Example, MaskStates
from promptlab.verbalizers.calibrated import ContextualCalibration
from promptlab.verbalizers.head import MaskHead
from promptlab.verbalizers.manual import ManualVerbalizer
from promptlab.verbalizers.prototypical import (
    PrototypicalHead,
    PrototypicalVerbalizer,
    cosines,
    instance_loss,
    prototype_loss,
    z_scores,
)
from promptlab.verbalizers.strings import MultiTokenVerbalizer

TEMPLATE = "{{ text_a }} it was {{ mask }}"
TEXTS = ["the film was great", "a good story", "a dull , lifeless mess", "just awful"]
LABELS = ["positive", "positive", "negative", "negative"]
WORDS = ManualVerbalizer({"negative": ["bad"], "positive": ["good"]})
NAMES = ("negative", "positive")


@pytest.fixture
def states():
    return torch.randn(6, 5, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def prototypes():
    return torch.randn(3, 5, generator=torch.Generator().manual_seed(1))


EQUAL, UNEQUAL = torch.tensor([0, 1, 2, 0, 1, 2]), torch.tensor([0, 0, 0, 1, 1, 2])


def paper_instance_loss(states, labels):
    """The double sum of the paper, pair by pair; for unequal classes the mean over each class's pairs."""
    similar = lambda i, j: F.cosine_similarity(states[i], states[j], dim=0).item()  # noqa: E731
    classes, total = labels.unique().tolist(), 0.0
    for name in classes:
        own = [i for i in range(len(labels)) if labels[i] == name]
        others = [i for i in range(len(labels)) if labels[i] != name]
        for i in own:
            for j in own:
                top = math.exp(similar(i, j))
                total -= math.log(top / (top + sum(math.exp(similar(i, k)) for k in others))) / len(own) ** 2
    return total / len(classes) ** 2


@pytest.mark.parametrize("labels", [EQUAL, UNEQUAL], ids=["equal", "unequal"])
def test_the_instance_loss_is_the_papers_sum_over_pairs(states, labels):
    assert instance_loss(states, labels).item() == pytest.approx(paper_instance_loss(states, labels), abs=1e-5)


def test_the_prototype_loss_is_cross_entropy_over_the_cosines_by_the_number_of_classes(states, prototypes):
    expected = F.cross_entropy(cosines(states, prototypes), EQUAL) / 3

    torch.testing.assert_close(prototype_loss(states, prototypes, EQUAL), expected)


def test_two_perfectly_opposed_classes_still_have_a_loss():
    states = torch.tensor([[1.0, 0.0], [-1.0, 0.0]])

    loss = prototype_loss(states, 3 * states, torch.tensor([0, 1]))

    assert loss.item() == pytest.approx(math.log(1 + math.exp(-2)) / 2)


def test_lengths_of_states_and_prototypes_and_the_order_of_examples_change_nothing(states, prototypes):
    order = torch.tensor([3, 4, 5, 0, 1, 2])  # swaps the two examples of each class

    for labels in (EQUAL, UNEQUAL):
        torch.testing.assert_close(instance_loss(7 * states, labels), instance_loss(states, labels))
        torch.testing.assert_close(
            prototype_loss(states, 7 * prototypes, labels), prototype_loss(states, prototypes, labels)
        )
    torch.testing.assert_close(instance_loss(states[order], EQUAL), instance_loss(states, EQUAL))
    torch.testing.assert_close(
        prototype_loss(states[order], prototypes, EQUAL), prototype_loss(states, prototypes, EQUAL)
    )


def test_z_scores_have_mean_0_and_deviation_1_and_no_constant_matters():
    scores = torch.tensor([[1.0, 2.0, 6.0]])

    assert z_scores(scores)[0].tolist() == pytest.approx([(s - 3) / math.sqrt(14 / 3) for s in (1, 2, 6)])
    torch.testing.assert_close(z_scores(scores + 100), z_scores(scores))
    assert z_scores(torch.zeros(1, 3)).tolist() == [[0, 0, 0]]


class Given(MaskHead):
    """A head whose class scores stand in the state that it reads, behind three other numbers."""

    def forward(self, answer):
        return answer.hidden[:, 0, 3:]


def combined(own, other, *, training=None):
    """Class scores of prototypes that stand on the axes, with another head's, after training texts if there are any.

    Args:
        own: the cosines of two classes, so that each row's squares sum to 1 at most; a third axis takes the rest.
    """
    settings = PrototypicalVerbalizer(ManualVerbalizer({"a": ["bad"], "b": ["good"]}), size=3)
    head = PrototypicalHead(Given(), 2, 5, settings)
    head.projection.weight.data, head.prototypes.data = torch.eye(3, 5), torch.eye(2, 3)

    def states(rows, others):
        hidden = [[a, b, (1 - a * a - b * b) ** 0.5, *more] for (a, b), more in zip(rows, others, strict=True)]
        return MaskStates(torch.tensor(hidden)[:, None], None)

    if training:
        head.settle(states(*training))
    return head(states(own, other))


@pytest.mark.parametrize("training", [None, ([(0.6, 0.1), (0.2, 0.7)], [(3.0, -3.0), (-2.0, 2.0)])])
def test_the_surer_part_decides_between_two_classes(training):
    own, other = (
        [(0.50, 0.501), (0.1, 0.2), (0.9, -0.3), (-0.2, 0.8)],
        [(8.0, -8.0), (8.0, -8.0), (-0.1, 0.1), (0.1, 0.0)],
    )

    log_probs = combined(own, other, training=training)

    assert log_probs.argmax(dim=1).tolist() == [0, 0, 0, 1]
    assert len(set(log_probs[:, 0].tolist())) == 4  # of z-scores there are but three values


def test_each_part_is_divided_by_its_spread_on_the_training_texts():
    training = [(0.6, 0.1), (0.2, 0.7)], [(3.0, -1.0), (-2.0, 2.0)]
    own, other = [(0.3, 0.4)], [(1.5, 0.5)]
    spreads = [
        math.sqrt(sum(((a - b) / 2) ** 2 for a, b in rows) / len(rows)) for rows in training
    ]  # both classes are as far from their mean

    log_probs = combined(own, other, training=training)

    difference = sum((a - b) / scale for (a, b), scale in zip((own[0], other[0]), spreads, strict=True)) / 2
    assert (log_probs[0, 0] - log_probs[0, 1]).item() == pytest.approx(difference, rel=1e-5)


def test_a_fitted_one_keeps_sureness_and_its_scale_on_disk(tiny_backbone, tmp_path):
    texts = [*TEXTS, "a film", "the story", "great acting", "a mess", "yes , good", "no , dull"]
    backbone = tiny_backbone("bert")
    classifier = PromptClassifier(TEMPLATE, PrototypicalVerbalizer(WORDS, size=8), backbone, "frozen", device="cpu")

    classifier.fit(TEXTS, LABELS, eval_set=(TEXTS, LABELS))

    model = classifier.model_
    head, answer = model.head, model.read(model.backbone.collate(model.encode([Example({"text_a": t}) for t in TEXTS])))
    with torch.no_grad():
        parts = cosines(head.project(answer), head.prototypes), head.inner(answer)
        expected = [(p - p.mean(dim=1, keepdim=True)).square().mean().sqrt().item() for p in parts]
    assert head.scales.tolist() == pytest.approx(expected, rel=1e-4)
    assert len(set(classifier.predict_proba(texts)[:, 0].round(6))) == len(texts)
    classifier.save_pretrained(tmp_path / "out")
    back = PromptClassifier.from_pretrained(tmp_path / "out", model=backbone, device="cpu")
    assert back.predict_proba(texts).tolist() == classifier.predict_proba(texts).tolist()


def test_the_scale_of_a_calibrating_part_is_that_after_calibration(tiny_backbone):
    backbone, inner = tiny_backbone("bert"), ContextualCalibration(WORDS)
    classifier = PromptClassifier(TEMPLATE, PrototypicalVerbalizer(inner), backbone, "frozen", device="cpu")

    classifier.fit(TEXTS, LABELS)

    alone = PromptClassifier(TEMPLATE, inner, backbone, "none", device="cpu").fit(TEXTS, LABELS)
    scores = np.log(alone.predict_proba(TEXTS))
    expected = np.sqrt(((scores - scores.mean(axis=1, keepdims=True)) ** 2).mean())
    assert classifier.model_.head.scales[1].item() == pytest.approx(expected, rel=1e-3)


def test_one_that_was_saved_without_a_scale_still_answers_by_z_scores(tiny_backbone, tmp_path):
    backbone = tiny_backbone("bert")
    classifier = PromptClassifier(TEMPLATE, PrototypicalVerbalizer(WORDS, size=8), backbone, "frozen", device="cpu")
    classifier.fit(TEXTS, LABELS).save_pretrained(tmp_path / "old")
    weights = load_file(tmp_path / "old" / "weights.safetensors")
    save_file({n: w for n, w in weights.items() if n != "head.scales"}, tmp_path / "old" / "weights.safetensors")

    old = PromptClassifier.from_pretrained(tmp_path / "old", model=backbone, device="cpu")

    model = old.model_
    answer = model.read(model.backbone.collate(model.encode([Example({"text_a": t}) for t in TEXTS])))
    with torch.no_grad():
        own, other = cosines(model.head.project(answer), model.head.prototypes), model.head.inner(answer)
    expected = ((z_scores(own) + z_scores(other)) / 2).softmax(dim=1).detach().numpy()
    np.testing.assert_allclose(old.predict_proba(TEXTS), expected, atol=1e-4)


def test_a_frozen_model_reads_each_text_once_and_the_prototypes_learn(tiny_backbone, monkeypatch):
    backbone, read = tiny_backbone("bert"), []
    original = type(backbone).mask_states
    monkeypatch.setattr(
        type(backbone), "mask_states", lambda self, batch: read.append(len(batch.input_ids)) or original(self, batch)
    )
    verbalizer = PrototypicalVerbalizer(names=NAMES, size=8)

    classifier = PromptClassifier(TEMPLATE, verbalizer, backbone, "frozen", device="cpu").fit(TEXTS, LABELS)

    assert sum(read) == len(TEXTS)
    assert classifier.predict(TEXTS).tolist() == LABELS
    assert classifier.trainable_parameters() == 8 * 32 + 2 * 8
    assert [row["step"] for row in classifier.history_] == [30]


def test_a_model_that_is_trained_is_trained_with_the_other_verbalizer_first(tiny_backbone):
    settings = {"max_steps": 5, "eval_every": 5, "device": "cpu"}
    backbone = tiny_backbone("bert")
    for part in backbone.modules():
        if isinstance(part, nn.Dropout):
            part.p = 0.0
    alone = PromptClassifier(TEMPLATE, WORDS, backbone, "full", **settings).fit(TEXTS, LABELS, eval_set=(TEXTS, LABELS))

    both = PromptClassifier(TEMPLATE, PrototypicalVerbalizer(WORDS, size=8), backbone, "full", **settings)
    both.fit(TEXTS, LABELS, eval_set=(TEXTS, LABELS))

    assert both.history_[0]["step"] == 5
    assert both.history_[1]["step"] == 30
    assert both.history_[0] == alone.history_[0]  # scored on dev without the prototypes, too


def test_prototypes_alone_cannot_train_a_model(tiny_backbone):
    classifier = PromptClassifier(TEMPLATE, PrototypicalVerbalizer(names=NAMES), tiny_backbone("bert"), device="cpu")

    with pytest.raises(VerbalizerError, match=r"give PrototypicalVerbalizer a verbalizer, or choose tuning='frozen'"):
        classifier.fit(TEXTS, LABELS)


@pytest.mark.parametrize("wrap", [lambda v: v, ContextualCalibration], ids=["plain", "calibrated"])
def test_a_saved_one_answers_as_before(tiny_backbone, tmp_path, wrap):
    backbone = tiny_backbone("bert")
    verbalizer = wrap(PrototypicalVerbalizer(WORDS, size=8, max_steps=5))
    classifier = PromptClassifier(TEMPLATE, verbalizer, backbone, "frozen", device="cpu").fit(TEXTS, LABELS)
    classifier.save_pretrained(tmp_path / "out")

    back = PromptClassifier.from_pretrained(tmp_path / "out", model=backbone, device="cpu")

    assert back.predict_proba(TEXTS).tolist() == classifier.predict_proba(TEXTS).tolist()


def test_the_other_verbalizer_may_calibrate(tiny_backbone):
    backbone = tiny_backbone("bert")
    calibrating = ContextualCalibration(WORDS)
    alone = PromptClassifier(TEMPLATE, calibrating, backbone, "none", device="cpu").fit(TEXTS, LABELS)

    both = PromptClassifier(TEMPLATE, PrototypicalVerbalizer(calibrating), backbone, "frozen", device="cpu")
    both.fit(TEXTS, LABELS)

    assert alone.model_.head.prior.abs().max() > 0
    assert both.model_.head.inner.prior.tolist() == alone.model_.head.prior.tolist()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "give a verbalizer to combine"),
        ({"verbalizer": WORDS, "names": NAMES}, "give a verbalizer to combine"),
        ({"names": ("one",)}, "holds 1 class"),
        ({"names": NAMES, "size": 0}, "size=0 must be at least 1"),
        ({"names": NAMES, "max_steps": 0}, "max_steps=0 must be at least 1"),
    ],
)
def test_settings_that_cannot_be_are_told(settings, message):
    with pytest.raises(VerbalizerError, match=message):
        PrototypicalVerbalizer(**settings)


def test_a_verbalizer_that_reads_no_mask_states_is_refused(tiny_backbone):
    verbalizer = PrototypicalVerbalizer(MultiTokenVerbalizer({"negative": "not good", "positive": "good"}))
    classifier = PromptClassifier(TEMPLATE, verbalizer, tiny_backbone("bert"), "frozen", device="cpu")

    with pytest.raises(VerbalizerError, match="MultiTokenVerbalizer reads no mask states"):
        classifier.fit(TEXTS, LABELS)
