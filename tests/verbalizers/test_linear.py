from __future__ import annotations

import math

import pytest
import torch

from promptlab.errors import VerbalizerError
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


def test_one_class_is_no_classification():
    with pytest.raises(VerbalizerError, match="at least 2"):
        LinearVerbalizer(("a",))
