from __future__ import annotations

import math

import pytest
import torch

from promptlab.core.errors import VerbalizerError
from promptlab.core.types import AnswerSlot, Example, MaskStates
from promptlab.models.prompt_model import PromptModel
from promptlab.templates.manual import ManualTemplate
from promptlab.tuning.none import NoTuning
from promptlab.verbalizers.aggregates import AGGREGATES
from promptlab.verbalizers.manual import LabelWordHead, ManualVerbalizer

SLOT = AnswerSlot(n_masks=1, at_start=False)


def states(*logits):
    """Mask states whose logits are given: the head picks columns."""
    hidden = torch.tensor([[list(logits)]])  # (batch=1, masks=1, vocabulary)
    return MaskStates(hidden, lambda h, ids=None: h if ids is None else h[..., ids])


IDS = torch.tensor([[3, 1], [0, 0]])
VALID = torch.tensor([[True, True], [True, False]])


@pytest.mark.parametrize(
    ("aggregate", "first", "second"),
    [
        ("mean-logit", (2.0 + 4.0) / 2, 1.0),
        ("max-logit", 4.0, 1.0),
        ("sum-prob", math.log(math.exp(2.0) + math.exp(4.0)), 1.0),
        ("mean-prob", math.log((math.exp(2.0) + math.exp(4.0)) / 2), 1.0),
    ],
)
def test_a_class_score_aggregates_its_words_and_padding_does_not_count(aggregate, first, second):
    log_probs = LabelWordHead(IDS, VALID, AGGREGATES[aggregate])(states(1.0, 4.0, 9.0, 2.0))

    total = math.log(math.exp(first) + math.exp(second))
    assert log_probs[0].tolist() == pytest.approx([first - total, second - total])


def test_words_of_other_tokens_take_no_part():
    head = LabelWordHead(IDS, VALID)

    assert torch.equal(head(states(1.0, 4.0, 9.0, 2.0)), head(states(1.0, 4.0, -50.0, 2.0)))


def test_adding_a_constant_to_all_logits_changes_nothing():
    head = LabelWordHead(IDS, VALID)

    torch.testing.assert_close(head(states(1.0, 4.0, 9.0, 2.0)), head(states(8.0, 11.0, 16.0, 9.0)))


def test_permuting_the_classes_permutes_the_result():
    forward, backward = LabelWordHead(IDS, VALID), LabelWordHead(IDS.flip(0), VALID.flip(0))

    torch.testing.assert_close(forward(states(1.0, 4.0, 9.0, 2.0)).flip(1), backward(states(1.0, 4.0, 9.0, 2.0)))


def test_the_loss_is_cross_entropy_over_the_label_words():
    head = LabelWordHead(torch.tensor([[0], [1]]), torch.tensor([[True], [True]]))

    loss = head.loss(states(1.0, 3.0, 7.0), torch.tensor([0]))

    assert loss.item() == pytest.approx(math.log(1 + math.exp(2.0)))


@torch.no_grad()
def test_log_probs_are_those_of_the_whole_models_mask_logits(any_backbone):
    template = ManualTemplate("{{ text_a }} was {{ mask }}")
    words = ("the", "was", "a")
    verbalizer = ManualVerbalizer({"x": words[:2], "y": words[2:]})
    model = PromptModel.build(template, verbalizer, any_backbone, NoTuning())
    batch = any_backbone.collate(model.encode([Example({"text_a": "the film"})]))

    log_probs = model.log_probs(batch)

    logits = any_backbone.mask_states(batch).logits()[0, 0].tolist()
    ids = [any_backbone.token_ids(word)[0] for word in words]
    scores = [(logits[ids[0]] + logits[ids[1]]) / 2, logits[ids[2]]]
    total = math.log(sum(math.exp(score) for score in scores))
    assert log_probs[0].tolist() == pytest.approx([score - total for score in scores], abs=1e-5)


def test_a_word_at_the_start_of_the_prompt_has_no_space_before_it(tiny_backbone):
    backbone = tiny_backbone("roberta")

    head = ManualVerbalizer({"n": ["a"], "p": ["b"]}).build(backbone, AnswerSlot(n_masks=1, at_start=True))

    assert backbone.tokenizer.convert_ids_to_tokens(head.ids[:, 0].tolist()) == ["a", "b"]


def test_a_special_tokens_name_is_no_label_word(tiny_backbone):
    with pytest.raises(VerbalizerError, match=r"label word '\[SEP\]' of class 'a' is \d+ tokens"):
        ManualVerbalizer({"a": ["[SEP]"], "b": ["good"]}).build(tiny_backbone("bert"), SLOT)


def test_a_single_string_is_one_word():
    assert ManualVerbalizer({"a": "x", "b": ["y", "z"]}).label_words == {"a": ("x",), "b": ("y", "z")}


def test_words_become_the_ids_they_have_after_other_text(tiny_backbone):
    backbone = tiny_backbone("roberta")

    head = ManualVerbalizer({"n": ["was"], "p": ["the"]}).build(backbone, SLOT)

    assert backbone.tokenizer.convert_ids_to_tokens(head.ids[:, 0].tolist()) == ["Ġwas", "Ġthe"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"a": ["bad"]}, "at least 2"),
        ({"a": [], "b": ["good"]}, "empty list"),
        ({"a": [" "], "b": ["good"]}, "empty word"),
        ({"a": [1], "b": ["good"]}, "label word 1 of class 'a' isn't a text; put it in quotes"),
        (["bad", "good"], "label words are .*; give a mapping"),
        (None, "label words are None; give a mapping"),
    ],
)
def test_unusable_label_words_are_refused_at_once(words, message):
    with pytest.raises(VerbalizerError, match=message):
        ManualVerbalizer(words)


def test_an_aggregate_of_another_type_is_refused():
    with pytest.raises(VerbalizerError, match="ManualVerbalizer: aggregate=None must be a text"):
        ManualVerbalizer({"a": "bad", "b": "good"}, None)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"a": ["lifelessness"], "b": ["good"]}, r"label word 'lifelessness' of class 'a' is \d+ tokens"),
        ({"a": ["日月"], "b": ["good"]}, "tokens"),
        ({"a": ["Ж"], "b": ["good"]}, "isn't in the vocabulary of tiny-bert"),
        ({"a": ["good"], "b": ["Good"]}, "same token as 'good' of class 'a'"),
    ],
)
def test_words_that_do_not_fit_the_vocabulary_are_named(tiny_backbone, words, message):
    with pytest.raises(VerbalizerError, match=message):
        ManualVerbalizer(words).build(tiny_backbone("bert"), SLOT)


def test_several_masks_need_another_verbalizer(tiny_backbone):
    with pytest.raises(VerbalizerError, match="2 masks"):
        ManualVerbalizer({"a": ["bad"], "b": ["good"]}).build(tiny_backbone(), AnswerSlot(2, False))


def test_an_unknown_aggregate_names_the_known():
    with pytest.raises(VerbalizerError, match="unknown aggregate 'mean'; known: mean-logit"):
        ManualVerbalizer({"a": ["bad"], "b": ["good"]}, "mean")
