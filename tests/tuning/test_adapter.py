"""Adapters against plain loops over the formulas of their papers."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from promptlab.backbones.mixing import Routed
from promptlab.core.types import Example
from promptlab.models.joint_model import JointModel, MemberRow
from promptlab.models.prompt_model import PromptModel
from promptlab.templates.manual import ManualTemplate
from promptlab.tuning.adapter import Adapter, Bottleneck
from promptlab.verbalizers.manual import ManualVerbalizer

WORDS = {"positive": ["good", "great"], "negative": ["awful", "dull"]}
TEXTS = ["the film was great", "a dull , lifeless mess of a story"]


def built(backbone, place, **settings):
    """A model whose adapters do something."""
    tuning = Adapter(size=4, place=place, **settings)
    template = ManualTemplate("{{ text_a }} it was {{ mask }}")
    model = PromptModel.build(template, ManualVerbalizer(WORDS), backbone, tuning)
    with torch.no_grad():
        for part in adapters(model):
            for weight in part.parameters():
                weight.normal_(std=0.5)
    return model.eval()


def adapters(model):
    return [module for module in model.modules() if isinstance(module, Bottleneck)]


def batch_of(model):
    batch = model.backbone.collate(model.encode([Example({"text_a": text}) for text in TEXTS]))
    return batch, batch.attention_mask.bool()


def normed(norm, x):
    return F.layer_norm(x, x.shape[-1:], norm.weight, norm.bias, norm.eps)


def bottleneck(adapter, x, act=F.gelu):
    down = x @ adapter.down.weight.T + adapter.down.bias
    return act(down) @ adapter.up.weight.T + adapter.up.bias


@pytest.mark.parametrize(("activation", "act"), [("gelu", F.gelu), ("relu", torch.relu), ("silu", F.silu)])
@torch.no_grad()
def test_pfeiffers_adapter_reads_the_normed_sum_and_adds_to_the_feed_forward_output(tiny_backbone, activation, act):
    """LN(f + up(act(down(LN(f + h)))) + h), arXiv:2005.00247 in AdapterHub's settings."""
    backbone = tiny_backbone("bert")
    model = built(backbone, "pfeiffer", activation=activation)
    batch, real = batch_of(model)
    bert = backbone.model.bert

    state = bert.embeddings(batch.input_ids, token_type_ids=batch.segment_ids)
    mask = real[:, None, None]
    for layer, adapter in zip(bert.encoder.layer, adapters(model), strict=True):
        h = layer.attention(state, mask)[0]
        f = layer.output.dense(layer.intermediate(h))
        norm = layer.output.LayerNorm
        state = normed(norm, f + bottleneck(adapter, normed(norm, f + h), act) + h)

    torch.testing.assert_close(backbone.hidden_states(batch)[real], state[real], atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_pfeiffers_adapter_in_distilbert_is_the_same(tiny_backbone):
    backbone = tiny_backbone("distilbert")
    model = built(backbone, "pfeiffer")
    batch, real = batch_of(model)
    bert = backbone.model.distilbert

    state = bert.embeddings(batch.input_ids)
    for layer, adapter in zip(bert.transformer.layer, adapters(model), strict=True):
        h = normed(layer.sa_layer_norm, layer.attention(state, attention_mask=real[:, None, None])[0] + state)
        f, norm = layer.ffn.lin2(F.gelu(layer.ffn.lin1(h))), layer.output_layer_norm
        state = normed(norm, f + bottleneck(adapter, normed(norm, f + h)) + h)

    torch.testing.assert_close(backbone.hidden_states(batch)[real], state[real], atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_where_norms_come_first_pfeiffers_adapter_reads_the_plain_sum(tiny_backbone):
    """f + up(act(down(f + h))) + h, as AdapterHub has it in GPT-2."""
    backbone = tiny_backbone("gpt2")
    model = built(backbone, "pfeiffer")
    batch, real = batch_of(model)
    gpt = backbone.model.transformer
    length = batch.input_ids.shape[1]
    causal = torch.ones(length, length, dtype=torch.bool).tril()[None, None]

    state = gpt.wte(batch.input_ids) + gpt.wpe(torch.arange(length))
    for layer, adapter in zip(gpt.h, adapters(model), strict=True):
        h = state + layer.attn(layer.ln_1(state), attention_mask=causal)[0]
        total = layer.mlp(layer.ln_2(h)) + h
        state = total + bottleneck(adapter, total)

    found = backbone.hidden_states(batch)
    torch.testing.assert_close(found[real], gpt.ln_f(state)[real], atol=1e-5, rtol=1e-5)


def test_pfeiffers_adapters_are_one_a_layer_and_all_that_is_trained(any_backbone):
    model = built(any_backbone, "pfeiffer")

    inside = {id(weight) for adapter in adapters(model) for weight in adapter.parameters()}
    layers = 1 if any_backbone.name == "tiny-albert" else len(any_backbone.layers())
    assert len(adapters(model)) == layers
    assert {id(weight) for _, weight in model.trained_parameters()} == inside


@torch.no_grad()
def test_houlsbys_adapters_stand_between_dropout_and_residual_sum(tiny_backbone):
    """LN(adapter(dropout(dense(x))) + h), arXiv:1902.00751, section 2.1, with a dropout that is known."""
    backbone = tiny_backbone("bert")
    built(backbone, "houlsby")
    for layer in backbone.layers():
        for output in (layer.attention.output, layer.output):
            output.train()
            output.dropout.p = 0.4
            x, h = torch.randn(2, 3, output.dense.in_features), torch.randn(2, 3, 32)

            torch.manual_seed(3)
            found = output(x, h)
            torch.manual_seed(3)
            dropped = F.dropout(x @ output.dense.weight.T + output.dense.bias, 0.4)

            adapter = output.dense.adapter
            expected = normed(output.LayerNorm, dropped + bottleneck(adapter, dropped) + h)
            torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


DROPS_OUT_BEFORE_EACH_SUM = {
    "bart", "bert", "deberta-v2", "deberta-v2-published", "electra", "gpt2", "gpt_neox", "mpnet", "mt5", "phi",
    "roberta", "t5", "xlm-roberta",
}  # fmt: skip


def with_dropout(backbone, p=0.1):
    """A backbone that drops out everywhere, as those whose configuration says 0 don't."""
    for module in backbone.modules():
        if isinstance(module, nn.Dropout):
            module.p = p
    return backbone


@pytest.fixture
def dropped(monkeypatch):
    """What went into dropouts and what came out, in order."""
    went_in, came_out = [], []
    drop = F.dropout

    def noted(input, p=0.5, training=True, inplace=False):
        output = drop(input, p, training, inplace)
        if p > 0:
            went_in.append(input)
            came_out.append(output)
        return output

    monkeypatch.setattr(F, "dropout", noted)
    return went_in, came_out


def watched(model):
    """What the adapters of a model read and what they give, in order."""
    read, given = [], []

    def seen(adapter, inputs, output):
        read.append(inputs[0])
        given.append(output)

    for adapter in adapters(model):
        adapter.register_forward_hook(seen)
    return read, given


def among(tensor, tensors):
    return any(tensor is other for other in tensors)


def test_no_family_drops_out_what_an_adapter_gives(any_backbone, dropped):
    model = built(with_dropout(any_backbone), "houlsby").train()
    read, given = watched(model)

    model.log_probs(batch_of(model)[0])

    went_in, came_out = dropped
    assert len(read) >= len(adapters(model))
    assert not any(among(output, went_in) for output in given)
    if any_backbone.name.removeprefix("tiny-") in DROPS_OUT_BEFORE_EACH_SUM:
        assert all(among(x, came_out) for x in read)


@pytest.mark.parametrize("family", ["bart", "bert", "gpt2", "phi"])
def test_nor_does_a_model_that_several_classifiers_share(tiny_backbone, family, dropped):
    origin = with_dropout(tiny_backbone(family))
    members = [built(origin.copy(), "houlsby") for _ in range(2)]
    rows = [
        MemberRow(n, row) for n, member in enumerate(members) for row in member.encode([Example({"text_a": TEXTS[0]})])
    ]
    joint = JointModel(origin, members).train()
    dropped[0].clear()

    outputs = {}
    for module in joint.backbone.modules():
        if isinstance(module, Routed) and isinstance(module.parts[0], nn.Dropout | nn.Linear):
            module.register_forward_hook(lambda routed, _, output: outputs.update({routed: output}))
    joint.log_probs(joint.collate(rows))

    assert outputs  # of projections or of the dropouts after them, each with its adapters
    after = [routed for routed in outputs if isinstance(routed.parts[0], nn.Dropout) and routed.parts[0].p > 0]
    ends = after or list(outputs)
    assert not any(among(outputs[routed], dropped[0]) for routed in ends)


@pytest.mark.parametrize("family", ["bart", "phi"])  # whose dropout there is no module, or one for two sub-layers
def test_each_output_is_dropped_out_once(tiny_backbone, family):
    backbone = tiny_backbone(family)
    for layer in backbone.layers():
        if family == "bart":
            layer.dropout = 0.3
        else:
            layer.resid_dropout.p = 0.3
    model = built(backbone, "houlsby")
    attention, feed_forward = backbone.sublayer_outputs()

    for output in (*attention, *feed_forward):
        assert output.end.p == 0.3
        x = torch.randn(200, output.projection.in_features)
        output.projection.train()
        torch.manual_seed(1)
        seen = []
        output.projection.adapter.register_forward_pre_hook(lambda _, inputs, seen=seen: seen.append(inputs[0]))
        output.projection(x)
        assert (seen[0] == 0).float().mean().item() == pytest.approx(0.3, abs=0.05)
    for layer in backbone.layers():
        assert (layer.dropout if family == "bart" else layer.resid_dropout.p) == 0
    assert model.train() is model


def test_an_adapter_saved_under_an_earlier_meaning_of_its_place_keeps_it():
    earlier = {"size": 4, "place": "pfeiffer", "std": 0.001}

    assert Adapter.from_saved(earlier) == Adapter(size=4, place="feed-forward")
    assert Adapter.from_saved({**earlier, "activation": "relu"}) == Adapter(size=4, place="pfeiffer", activation="relu")
    assert Adapter.from_saved({**earlier, "place": "houlsby"}) == Adapter(size=4)


def test_one_adapter_after_the_feed_forward_part_is_the_second_of_houlsbys_two(tiny_backbone):
    both, second = built(tiny_backbone("bert"), "houlsby"), built(tiny_backbone("bert"), "feed-forward")

    names = [
        [name for name, module in model.named_modules() if isinstance(module, Bottleneck)] for model in (both, second)
    ]

    assert len(names[0]) == 2 * len(names[1]) == 4  # two layers
    assert names[1] == [name for name in names[0] if "attention" not in name]
