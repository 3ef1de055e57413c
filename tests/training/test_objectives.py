from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace

import pytest
import torch

from promptlab import PromptClassifier
from promptlab.core.errors import DataError, TuningError
from promptlab.core.registry import TUNINGS
from promptlab.core.seeding import seeded
from promptlab.core.types import Example
from promptlab.data.labeled import Labeled, SoftLabeled
from promptlab.models.prompt_model import PromptModel
from promptlab.templates.manual import ManualTemplate
from promptlab.training.objectives import (
    NOT_PREDICTED,
    AuxiliaryMLM,
    Distillation,
    distillation_loss,
    mask_words,
    masked_words_loss,
)
from promptlab.verbalizers.manual import ManualVerbalizer
from promptlab.verbalizers.strings import MultiTokenVerbalizer

TEXTS = ["the film was great", "a good story", "a dull mess", "the acting was bad"]
WORDS = {"negative": ["bad", "dull"], "positive": ["good", "great"]}
EXAMPLES = [Example({"text_a": text}) for text in TEXTS]


def model_of(backbone, verbalizer=None, source="{{ text_a }} it was {{ mask }}"):
    verbalizer = verbalizer or ManualVerbalizer(WORDS)
    return PromptModel.build(ManualTemplate(source), verbalizer, backbone, TUNINGS.get("full")())


def batch_of(model, labels=None):
    batch = model.backbone.collate(model.encode(EXAMPLES))
    batch.labels = labels
    return batch


def test_the_distillation_loss_is_that_of_a_loop():
    student, teacher, temperature = [[1.0, 2.0], [0.5, -1.0]], [[0.0, 3.0], [1.0, 1.0]], 2.0
    expected = 0.0
    for s, t in zip(student, teacher, strict=True):
        p = [math.exp(x / temperature) / sum(math.exp(y / temperature) for y in t) for x in t]
        q = [math.exp(x / temperature) / sum(math.exp(y / temperature) for y in s) for x in s]
        expected += temperature**2 / 2 * sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))

    found = distillation_loss(torch.tensor(student), torch.tensor(teacher), temperature=temperature)

    assert found.item() == pytest.approx(expected, rel=1e-5)


def test_a_student_with_the_teachers_logits_up_to_a_constant_has_no_loss_and_no_gradient():
    teacher = torch.randn(5, 3, dtype=torch.float64)
    student = (teacher + torch.randn(5, 1, dtype=torch.float64)).requires_grad_()

    loss = distillation_loss(student, teacher, temperature=2.0)
    loss.backward()

    assert loss.item() == pytest.approx(0.0, abs=1e-12)
    assert student.grad.abs().max().item() < 1e-12


def test_a_distilled_model_has_the_loss_of_its_log_probabilities(tiny_backbone):
    model = model_of(tiny_backbone()).eval()
    teacher = torch.randn(4, 2).log_softmax(dim=-1)

    loss = Distillation(model, temperature=2.0).loss(batch_of(model, teacher))

    expected = distillation_loss(model.log_probs(batch_of(model)), teacher, temperature=2.0)
    torch.testing.assert_close(loss, expected)


def test_a_classifier_learns_distributions_in_the_order_of_its_classes(tiny_backbone):
    log_probs = torch.log(torch.tensor([[0.9, 0.1], [0.8, 0.2], [0.1, 0.9], [0.25, 0.75]]))
    soft = SoftLabeled(EXAMPLES, ["positive", "negative"], log_probs)
    classifier = PromptClassifier(
        "{{ text_a }} {{ mask }}",
        WORDS,
        tiny_backbone(),
        learning_rate=3e-3,
        max_steps=60,
        warmup_ratio=0,
        device="cpu",
    )

    classifier.fit_labeled(soft, objective=lambda model: Distillation(model, temperature=1.0))

    assert soft.targets(["negative", "positive"])[0].exp().tolist() == pytest.approx([0.1, 0.9])
    found = classifier.predict_proba(EXAMPLES)[:, 1]
    assert found == pytest.approx([0.9, 0.8, 0.1, 0.25], abs=0.12)


def gradient(model, loss):
    model.zero_grad()
    loss.backward()
    return {name: w.grad.clone() for name, w in model.named_parameters() if w.grad is not None}


def test_the_loss_is_shared_between_classification_and_masked_words(tiny_backbone):
    """Its gradient is (1 - α) of the one and α of the other; with α near 0 or 1 that of one alone."""
    model = model_of(tiny_backbone()).eval()
    unlabeled, labels = model.encode(EXAMPLES), torch.tensor([0, 1, 0, 1])

    def grown(weight):
        torch.manual_seed(0)
        around = AuxiliaryMLM(model, unlabeled, weight=weight)
        return gradient(model, around.loss(around.prepare(batch_of(model, labels))).sum())

    alone, none = gradient(model, model.loss(batch_of(model, labels))), grown(1e-9)
    torch.manual_seed(0)
    rows = torch.randint(len(unlabeled), (3 * len(labels),)).tolist()
    batch = model.backbone.collate([unlabeled[i] for i in rows])
    hidden_ids, targets = mask_words(batch.input_ids, model.backbone.tokenizer, model.backbone.vocabulary)
    words = gradient(model, masked_words_loss(model.backbone, replace(batch, input_ids=hidden_ids), targets))
    both = grown(0.25)

    name = "backbone.model.bert.encoder.layer.0.attention.self.value.weight"
    assert words[name].abs().max() > 0
    assert alone.keys() <= none.keys()
    for other, found in grown(1.0).items():
        torch.testing.assert_close(found, words.get(other, torch.zeros_like(found)), atol=1e-7, rtol=1e-5)
    for other, found in none.items():
        torch.testing.assert_close(found, alone.get(other, torch.zeros_like(found)), atol=1e-7, rtol=1e-5)
    for name, found in both.items():
        nothing = torch.zeros_like(found)
        expected = 0.75 * alone.get(name, nothing) + 0.25 * words.get(name, nothing)
        torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-4)


def test_unlabeled_prompts_are_drawn_anew_and_as_many_as_the_ratio_says(tiny_backbone):
    model = model_of(tiny_backbone()).eval()
    around = AuxiliaryMLM(model, model.encode(EXAMPLES), weight=0.5, ratio=2)

    seen = [around.prepare(batch_of(model, torch.tensor([0, 1, 0, 1]))) for _ in range(2)]

    ids = [batch.unlabeled.input_ids for batch in seen]
    assert [len(rows) for rows in ids] == [8, 8]
    assert ids[0].tolist() != ids[1].tolist()


def test_each_of_both_losses_weighs_as_much_as_it_is_a_mean_over(tiny_backbone):
    model = model_of(tiny_backbone()).eval()
    around = AuxiliaryMLM(model, model.encode(EXAMPLES), weight=0.5)

    batch = around.prepare(batch_of(model, torch.tensor([0, 1, 0, 1])))

    n_words = sum(target != NOT_PREDICTED for row in batch.targets.tolist() for target in row)
    assert n_words > 0
    assert around.loss_weights(batch).tolist() == [4, n_words]


def test_words_are_hidden_in_berts_proportions_and_the_slots_mask_is_never_predicted(tiny_backbone):
    model = model_of(tiny_backbone(), source="{{ soft(2) }} {{ text_a }} it was {{ mask }}")
    tokenizer, vocabulary = model.backbone.tokenizer, model.backbone.vocabulary
    row = torch.as_tensor(model.encode(EXAMPLES[:1])[0].input_ids)
    ids = row.repeat(4000, 1)
    words = [i for i, token in enumerate(row.tolist()) if token < vocabulary and token not in tokenizer.all_special_ids]

    with seeded(0):
        hidden, targets = mask_words(ids, tokenizer, vocabulary)

    chosen = targets != NOT_PREDICTED
    assert sorted(chosen.any(dim=0).nonzero().flatten().tolist()) == words
    assert torch.equal(targets[chosen], ids[chosen])
    assert torch.equal(hidden[~chosen], ids[~chosen])
    assert chosen[:, words].float().mean().item() == pytest.approx(0.15, abs=0.01)
    kinds = Counter(
        "masked" if new == tokenizer.mask_token_id else "kept" if new == old else "another"
        for new, old in zip(hidden[chosen].tolist(), ids[chosen].tolist(), strict=True)
    )
    n = int(chosen.sum())
    assert kinds["masked"] / n == pytest.approx(0.8, abs=0.03)
    assert kinds["kept"] / n == pytest.approx(0.1, abs=0.02)


def test_masked_words_leave_the_models_own_weights_free_to_move_and_frozen_ones_alone(tiny_backbone):
    classifier = PromptClassifier(
        "{{ text_a }} {{ mask }}", WORDS, tiny_backbone(), "prompt-tuning", max_steps=3, device="cpu"
    )
    data = Labeled([Example(e.fields, label) for e, label in zip(EXAMPLES, list(WORDS) * 2, strict=True)])
    seen = {}

    def around(model):
        seen["before"] = {name: weight.detach().clone() for name, weight in model.named_parameters()}
        return AuxiliaryMLM(model, model.encode(EXAMPLES), weight=0.5)

    classifier.fit_labeled(data, objective=around)

    trained = {name for name, _ in classifier.model_.trained_parameters()}
    for name, weight in classifier.model_.named_parameters():
        assert torch.equal(weight, seen["before"][name]) == (name not in trained)


@pytest.mark.parametrize("weight", [0.0, 1.5, math.nan])
def test_the_share_of_masked_words_is_a_share(tiny_backbone, weight):
    model = model_of(tiny_backbone())

    with pytest.raises(TuningError, match=f"mlm_weight={weight}"):
        AuxiliaryMLM(model, model.encode(EXAMPLES), weight=weight)


def test_masked_words_need_a_masked_model_and_texts(tiny_backbone):
    answers = MultiTokenVerbalizer({"negative": "bad", "positive": "good"})
    causal, masked = model_of(tiny_backbone("gpt2"), answers), model_of(tiny_backbone())

    with pytest.raises(TuningError, match=r"tiny-gpt2.*isn't a masked language model.*mlm_weight=0"):
        AuxiliaryMLM(causal, causal.encode(EXAMPLES), weight=1e-4)
    with pytest.raises(DataError, match="needs unlabeled texts"):
        AuxiliaryMLM(masked, [], weight=1e-4)
