from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from promptlab import PromptClassifier
from promptlab.core.errors import VerbalizerError
from promptlab.core.types import MaskStates
from promptlab.templates.manual import ManualTemplate
from promptlab.verbalizers.manual import ManualVerbalizer
from promptlab.verbalizers.rules import RuleHead, RuleVerbalizer

TEMPLATE = "a {{ mask }} film : {{ text_a }} it was {{ mask }}"
RULES = {"a": ["good", "great"], "b": ["bad", "awful"], "c": ["good", "awful"]}
TEXTS = ["the film was great", "a good story", "a dull , lifeless mess", "just awful", "not bad", "x"]
LABELS = ["a", "a", "b", "b", "c", "c"]
IDS = [[3, 1], [0, 2]]  # of the words of two masks
PICKS = torch.tensor([[0, 0], [1, 1], [0, 1]])  # three classes


@pytest.fixture
def states():
    logits = torch.randn(4, 2, 5, generator=torch.Generator().manual_seed(0))
    return MaskStates(logits, lambda h, ids=None: h if ids is None else h[..., ids])


def test_a_class_has_the_product_of_the_probabilities_at_the_masks_over_the_rules(states):
    first, second = (states.hidden[:, i][:, ids].softmax(dim=-1) for i, ids in enumerate(IDS))
    product = torch.stack([first[:, i] * second[:, j] for i, j in PICKS.tolist()], dim=1)

    torch.testing.assert_close(RuleHead(IDS, PICKS)(states).exp(), product / product.sum(dim=1, keepdim=True))


def test_the_loss_adds_the_mean_cross_entropy_at_the_masks(states):
    labels = torch.tensor([0, 1, 2, 2])
    head = RuleHead(IDS, PICKS)
    at_masks = [F.cross_entropy(states.hidden[:, i][:, ids], PICKS[labels, i]) for i, ids in enumerate(IDS)]

    expected = F.nll_loss(head(states), labels) + (at_masks[0] + at_masks[1]) / 2

    torch.testing.assert_close(head.loss(states, labels), expected)


def test_with_one_mask_it_is_a_verbalizer_of_one_word_a_class(tiny_backbone):
    backbone, template = tiny_backbone("bert"), "{{ text_a }} it was {{ mask }}"
    rules, words = RuleVerbalizer({"a": ["good"], "b": ["bad"]}), ManualVerbalizer({"a": ["good"], "b": ["bad"]})

    both = [PromptClassifier(template, v, backbone, "none", device="cpu").predict_proba(TEXTS) for v in (rules, words)]

    assert both[0] == pytest.approx(both[1], abs=1e-6)


@pytest.mark.parametrize("family", ["roberta", "modernbert"])  # whose words in a text begin with a space
def test_the_word_of_a_mask_is_written_at_its_own_place(tiny_backbone, family):
    backbone = tiny_backbone(family)
    rules = RuleVerbalizer({"x": ["a", "no"], "y": ["no", "a"]})

    head = rules.build(backbone, ManualTemplate("{{ mask }} {{ text_a }} was {{ mask }}").slot)

    first, later = (
        {word: backbone.tokenizer(text + word, add_special_tokens=False).input_ids for word in ("a", "no")}
        for text in ("", " ")
    )
    assert head.ids.tolist() == [*first["a"], *first["no"], *later["no"], *later["a"]]
    assert not {*first["a"], *first["no"]} & {*later["a"], *later["no"]}


@pytest.mark.parametrize("family", ["bert", "roberta"])
def test_rules_are_learnt_and_come_back_from_disk(tiny_backbone, tmp_path, family):
    rules = {"a": ["good", "great"], "b": ["dull", "awful"], "c": ["good", "awful"]}
    backbone = tiny_backbone(family)
    classifier = PromptClassifier(
        TEMPLATE, RuleVerbalizer(rules), backbone, max_steps=40, learning_rate=3e-3, device="cpu"
    ).fit(TEXTS, LABELS)
    classifier.save_pretrained(tmp_path / "out")

    back = PromptClassifier.from_pretrained(tmp_path / "out", model=backbone, device="cpu")

    assert classifier.history_[-1]["loss"] < classifier.history_[0]["loss"]
    assert back.predict_proba(TEXTS).tolist() == classifier.predict_proba(TEXTS).tolist()


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ({"a": ["good"]}, "rules for 1 class"),
        ({"a": ["good", "great"], "b": ["bad"]}, "class 'a' has 2 words, but 'b' has 1"),
        ({"a": ["good", "great"], "b": ["good", "great"]}, "classes 'a' and 'b' have the same words good, great"),
        ({"a": "good", "b": "bad"}, "class 'a' has 'good'; give a list"),
    ],
)
def test_rules_that_cannot_tell_classes_apart_are_refused(rules, message):
    with pytest.raises(VerbalizerError, match=message):
        RuleVerbalizer(rules)


def test_as_many_words_as_masks_are_needed(tiny_backbone):
    with pytest.raises(VerbalizerError, match="the template has 1 masks, but each rule has 2 words"):
        RuleVerbalizer(RULES).build(tiny_backbone("bert"), ManualTemplate("{{ text_a }} {{ mask }}").slot)
