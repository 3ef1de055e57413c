"""Prefixes against loops, and how they drop out."""

from __future__ import annotations

import math

import pytest
import torch

from promptlab.core.types import Example
from promptlab.models.joint_model import JointModel, MemberRow
from promptlab.models.prompt_model import PromptModel
from promptlab.templates.manual import ManualTemplate
from promptlab.tuning.prefix import PrefixTuning, PTuningV2
from promptlab.verbalizers.manual import ManualVerbalizer

WORDS = {"positive": ["good", "great"], "negative": ["awful", "dull"]}
TEXT = "the film was great"


def build(backbone, tuning):
    template = ManualTemplate("{{ text_a }} it was {{ mask }}")
    model = PromptModel.build(template, ManualVerbalizer(WORDS), backbone, tuning)
    with torch.no_grad():
        for _, weight in model.trained_parameters():
            weight.normal_()
    return model


def rows_of(model, times):
    return model.encode([Example({"text_a": TEXT})] * times)


def distinct(scores):
    return len({tuple(round(value, 5) for value in row) for row in scores.tolist()})


@pytest.mark.parametrize("tuning", [PTuningV2(length=3, dropout=0.5), PrefixTuning(length=3, dropout=0.5)], ids=str)
@torch.no_grad()
def test_every_example_of_a_batch_has_a_dropout_of_its_own(any_backbone, tuning):
    model = build(any_backbone, tuning).train()
    batch = model.backbone.collate(rows_of(model, 4))

    assert distinct(model.log_probs(batch)) == 4
    assert distinct(model.eval().log_probs(batch)) == 1


@torch.no_grad()
def test_rows_of_a_joint_batch_have_a_dropout_each_too(tiny_backbone):
    origin = tiny_backbone("bert")
    members = [build(origin.copy(), PTuningV2(length=3, dropout=0.5)) for _ in range(2)]
    joint = JointModel(origin, members).train()
    rows = [MemberRow(number, row) for number in range(2) for row in rows_of(members[0], 3)]

    scores = joint.log_probs(joint.collate(rows))

    assert [distinct(part) for part in scores] == [3, 3]


def attention_with_prefix(query, keys, values, scale, bias):
    """softmax((q k^T scale + bias)) v, one query at a time; what stands before the bias has none."""
    outputs = []
    for row in range(len(query)):
        scores = [scale * float(query[row] @ key) for key in keys]
        first = len(keys) - bias.shape[1]
        scores = [score + (float(bias[row, i - first]) if i >= first else 0.0) for i, score in enumerate(scores)]
        shares = [math.exp(score) for score in scores]
        outputs.append(sum(share / sum(shares) * value for share, value in zip(shares, values)))
    return torch.stack(outputs)


@torch.no_grad()
def test_mpnets_attention_scales_products_with_the_prefix_as_those_with_the_text(tiny_backbone):
    """softmax((q k^T) / sqrt(width) + b), arXiv:2004.09297, with the prefix's keys and values before the others."""
    model = build(tiny_backbone("mpnet"), PTuningV2(length=3)).eval()
    module = model.backbone.model.mpnet.encoder.layer[0].attention.attn
    x, bias = torch.randn(1, 5, 32), torch.randn(1, 4, 5, 5)

    module.promptlab_site.prefixes.begin(module, ())
    module.promptlab_site.calls = 0
    found = module(x, position_bias=bias)[0]

    keys, values = model.backbone.prefix_table()[0]  # (heads, length, width)
    parts = [layer(x).view(5, 4, 8) for layer in (module.q, module.k, module.v)]
    heads = [
        attention_with_prefix(
            parts[0][:, head],
            torch.cat([keys[head], parts[1][:, head]]),
            torch.cat([values[head], parts[2][:, head]]),
            1 / math.sqrt(8),
            bias[0, head],
        )
        for head in range(4)
    ]
    torch.testing.assert_close(found[0], module.o(torch.cat(heads, dim=1)), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("family", ["deberta-v2", "deberta-v2-published"])
@torch.no_grad()
def test_debertas_attention_scales_products_with_the_prefix_as_those_with_the_text(tiny_backbone, family):
    """Of content to content, content to position and position to content each is divided by sqrt(3 width).

    arXiv:2006.03654, equation 4. The shares of two rows of the prefix differ by the exponential of their products; the
    shares within the text are those that the text has alone.
    """
    backbone = tiny_backbone(family)
    layer = backbone.model.deberta.encoder.layer[0].attention.self
    x, mask = torch.randn(1, 5, 32), torch.ones(1, 1, 5, 5, dtype=torch.bool)
    positions = backbone.model.deberta.encoder.get_rel_pos(x)
    more = {"relative_pos": positions, "rel_embeddings": backbone.model.deberta.encoder.get_rel_embedding()}
    alone = layer.eval()(x, mask, output_attentions=True, **more)[1]  # (1, heads, 5, 5)
    model = build(backbone, PTuningV2(length=3)).eval()

    layer.promptlab_site.prefixes.begin(layer, ())
    context, shares = layer(x, mask, output_attentions=True, **more)

    keys, values = model.backbone.prefix_table()[0]  # (heads, length, width)
    queries = layer.query_proj(x).view(5, 4, 8)
    text = shares[..., 3:] / shares[..., 3:].sum(dim=-1, keepdim=True)
    torch.testing.assert_close(text, alone, atol=1e-5, rtol=1e-4)
    for head in range(4):
        for row in range(5):
            products = [float(queries[row, head] @ key) / math.sqrt(3 * 8) for key in keys[head]]
            logs = shares[0, head, row, :3].log().tolist()
            assert logs[1] - logs[0] == pytest.approx(products[1] - products[0], abs=1e-3)
            assert logs[2] - logs[0] == pytest.approx(products[2] - products[0], abs=1e-3)
    all_values = [torch.cat([values[head], layer.value_proj(x).view(5, 4, 8)[:, head]]) for head in range(4)]
    expected = torch.cat([shares[0, head] @ all_values[head] for head in range(4)], dim=1)
    torch.testing.assert_close(context[0], expected, atol=1e-5, rtol=1e-5)
