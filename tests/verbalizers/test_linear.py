from __future__ import annotations

import math

import pytest
import torch

from promptlab.core.errors import VerbalizerError
from promptlab.core.types import AnswerSlot, Example
from promptlab.models.prompt_model import PromptModel
from promptlab.templates.plain import InputTemplate
from promptlab.tuning.none import NoTuning
from promptlab.verbalizers.linear import LinearHead, LinearVerbalizer, masked_mean


def test_the_mean_leaves_padding_out():
    hidden = torch.tensor([[[1.0, 2.0], [3.0, 6.0], [100.0, 100.0]]])

    assert masked_mean(hidden, torch.tensor([[1, 1, 0]])).tolist() == [[2.0, 4.0]]


def test_a_new_head_holds_every_class_equally_likely():
    assert LinearHead(4, 3).eval()(torch.randn(2, 4)).exp().flatten().tolist() == pytest.approx([1 / 3] * 6)


def test_the_head_is_a_softmax_of_a_linear_map():
    head = LinearHead(2, 2).eval()
    head.linear.weight.data = torch.tensor([[1.0, 0.0], [0.0, 2.0]])

    log_probs = head(torch.tensor([[3.0, 1.0]]))

    total = math.log(math.exp(3.0) + math.exp(2.0))
    assert log_probs[0].tolist() == pytest.approx([3.0 - total, 2.0 - total])


@torch.no_grad()
@pytest.mark.parametrize("pooling", ["mean", "first", "last"])
def test_the_head_pools_the_hidden_states_of_each_row_without_its_padding(tiny_backbone, pooling):
    backbone = tiny_backbone("bert")
    model = PromptModel.build(InputTemplate(), LinearVerbalizer(("a", "b"), pooling=pooling), backbone, NoTuning())
    rows = model.encode([Example({"text_a": "a film"}), Example({"text_a": "a dull and lifeless film"})])

    pooled = model.read(backbone.collate(rows))

    assert len(rows[0].input_ids) < len(rows[1].input_ids)
    for i, row in enumerate(rows):
        hidden = backbone.hidden_states(backbone.collate([row]))[0]  # (length, hidden)
        expected = {"mean": sum(hidden) / len(hidden), "first": hidden[0], "last": hidden[-1]}[pooling]
        torch.testing.assert_close(pooled[i], expected, atol=1e-5, rtol=0)


def test_features_drop_out_in_training_only():
    head = LinearHead(100, 2, dropout=0.5)
    torch.nn.init.normal_(head.linear.weight)
    features = torch.ones(1, 100)

    assert not torch.equal(head.train()(features), head.train()(features))
    assert torch.equal(head.eval()(features), head.eval()(features))


def test_the_classes_are_the_names_in_their_order(tiny_backbone):
    verbalizer = LinearVerbalizer(["b", "a", "c"])

    head = verbalizer.build(tiny_backbone("bert"), AnswerSlot(n_masks=0, at_start=False))

    assert verbalizer.classes == ("b", "a", "c")
    assert head.linear.weight.shape == (3, 32)


def test_an_unknown_pooling_names_the_known():
    with pytest.raises(VerbalizerError, match="unknown pooling 'max'; known: mean, first"):
        LinearVerbalizer(("a", "b"), pooling="max")


def test_one_class_is_no_classification():
    with pytest.raises(VerbalizerError, match="at least 2"):
        LinearVerbalizer(("a",))
