from __future__ import annotations

import pytest
import torch
from torch import nn

from promptlab.cli.arguments import make_tuning
from promptlab.core.errors import TuningError, UnknownNameError
from promptlab.core.registry import TUNINGS
from promptlab.core.types import Example
from promptlab.models.prompt_model import PromptModel
from promptlab.templates.manual import ManualTemplate
from promptlab.templates.plain import InputTemplate
from promptlab.tuning.lora import LoRA
from promptlab.tuning.top_layers import TopLayers
from promptlab.verbalizers.linear import LinearVerbalizer
from promptlab.verbalizers.manual import ManualVerbalizer

EXAMPLES = [Example({"text_a": "the film was great"}), Example({"text_a": "a dull mess"})]


def three_steps(backbone, tuning):
    """Weights before and after three updates."""
    model = PromptModel.build(InputTemplate(), LinearVerbalizer(("a", "b")), backbone, tuning).train()
    before = {name: weight.detach().clone() for name, weight in model.named_parameters()}
    optimizer = torch.optim.AdamW([w for w in model.parameters() if w.requires_grad], lr=0.01)
    batch = backbone.collate(model.encode(EXAMPLES))
    batch.labels = torch.tensor([0, 1])
    for _ in range(3):
        optimizer.zero_grad()
        model.loss(batch).backward()
        optimizer.step()
    moved = {name for name, weight in model.named_parameters() if not torch.equal(weight, before[name])}
    return model, moved


def test_frozen_moves_the_head_and_leaves_every_other_weight_bit_identical(any_backbone):
    _, moved = three_steps(any_backbone, TUNINGS.get("frozen")())

    assert moved == {"head.linear.weight", "head.linear.bias"}


def test_full_moves_every_weight_that_the_answer_depends_on(tiny_backbone):
    model, moved = three_steps(tiny_backbone("bert"), TUNINGS.get("full")())

    unused = {name for name, _ in model.named_parameters() if ".cls." in name}  # a linear head doesn't use the LM head
    assert moved == {name for name, _ in model.trained_parameters()} - unused


def test_top_layers_moves_the_last_layers_and_the_head_alone(tiny_backbone):
    _, moved = three_steps(tiny_backbone("bert"), TopLayers(1))

    assert moved
    assert all(name.startswith(("head.", "backbone.model.bert.encoder.layer.1.")) for name in moved)


FINAL_NORMS = {"ln_f", "norm", "final_norm", "final_layer_norm", "final_layernorm"}  # of a stack of layers


def test_top_layers_may_be_all_of_them(any_backbone):
    any_backbone.only_hidden = True  # as a linear head has it: an encoder-decoder model then has its encoder's layers
    n = len(any_backbone.layers())

    _, moved = three_steps(any_backbone, TopLayers(n))

    tops = [module for stack in any_backbone.stacks() for name, module in stack.named_modules() if name in FINAL_NORMS]
    inside = {id(weight) for layer in [*any_backbone.layers(), *tops] for weight in layer.parameters()}
    trained = {f"backbone.{name}" for name, weight in any_backbone.named_parameters() if id(weight) in inside}
    assert trained
    assert {name for name in moved if name.startswith("backbone.")} <= trained
    assert {name for name, weight in any_backbone.named_parameters() if weight.requires_grad} == {
        name.removeprefix("backbone.") for name in trained
    }


def test_no_tuning_leaves_only_the_head_a_gradient_and_asks_for_no_steps(tiny_backbone):
    tuning = TUNINGS.get("none")()

    model, moved = three_steps(tiny_backbone("bert"), tuning)

    assert moved == {"head.linear.weight", "head.linear.bias"}
    assert all(weight.grad is None for weight in model.backbone.parameters())
    assert tuning.defaults.max_steps == 0


def test_full_with_label_words_moves_the_lm_head_too(tiny_backbone):
    backbone = tiny_backbone("bert")
    model = PromptModel.build(
        ManualTemplate("{{ text_a }} {{ mask }}"),
        ManualVerbalizer({"bad": ["bad"], "good": ["good"]}),
        backbone,
        TUNINGS.get("full")(),
    )
    batch = backbone.collate(model.encode(EXAMPLES))
    batch.labels = torch.tensor([0, 1])

    model.loss(batch).backward()

    without = {name for name, weight in model.named_parameters() if weight.requires_grad and weight.grad is None}
    assert without == set()
    assert model.backbone.model.cls.predictions.transform.dense.weight.grad.abs().sum() > 0


def test_a_later_tuning_replaces_an_earlier_one(tiny_backbone):
    backbone = tiny_backbone("bert")

    for name in ("frozen", "top-layers", "full"):
        TUNINGS.get(name)().attach(backbone)

    assert all(weight.requires_grad for weight in backbone.parameters())


def test_frozen_layers_drop_nothing_out_in_training_mode(tiny_backbone):
    model = PromptModel.build(InputTemplate(), LinearVerbalizer(("a", "b")), tiny_backbone(), TopLayers(1)).train()

    layers = model.backbone.layers()
    assert not any(module.training for module in layers[0].modules())
    assert all(module.training for module in layers[1].modules())


def trained_above(backbone, tuning, source="{{ text_a }} it was {{ mask }}"):
    """Names of what three updates with label words move, outside the layers."""
    verbalizer = ManualVerbalizer({"bad": ["awful"], "good": ["good"]})
    model = PromptModel.build(ManualTemplate(source), verbalizer, backbone, tuning).train()
    before = {name: weight.detach().clone() for name, weight in backbone.model.named_parameters()}
    optimizer = torch.optim.AdamW([w for w in model.parameters() if w.requires_grad], lr=0.01)
    batch = backbone.collate(model.encode(EXAMPLES))
    batch.labels = torch.tensor([0, 1])
    for _ in range(3):
        optimizer.zero_grad()
        model.loss(batch).backward()
        optimizer.step()
    layers = {id(weight) for layer in backbone.layers() for weight in layer.parameters()}
    named = dict(backbone.model.named_parameters())
    return {n for n, weight in named.items() if id(weight) not in layers and not torch.equal(weight, before[n])}


ABOVE = {  # the last norm, or the dense layer and norm of the head; none where the last layer's states are decoded
    "albert": {"predictions.dense", "predictions.LayerNorm"},
    "bart": set(),
    "bert": {"cls.predictions.transform.dense", "cls.predictions.transform.LayerNorm"},
    "deberta-v2": {"cls.predictions.transform.dense", "cls.predictions.transform.LayerNorm"},
    "deberta-v2-published": {"lm_predictions.lm_head.dense", "lm_predictions.lm_head.LayerNorm"},
    "distilbert": {"vocab_transform", "vocab_layer_norm"},
    "electra": {"generator_predictions.dense", "generator_predictions.LayerNorm"},
    "gpt2": {"transformer.ln_f"},
    "gpt_neox": {"gpt_neox.final_layer_norm"},
    "llama": {"model.norm"},
    "mistral": {"model.norm"},
    "modernbert": {"head.dense", "head.norm", "model.final_norm"},
    "mpnet": {"lm_head.dense", "lm_head.layer_norm"},
    "mt5": {"decoder.final_layer_norm"},
    "phi": {"model.final_layernorm"},
    "qwen2": {"model.norm"},
    "qwen3": {"model.norm"},
    "roberta": {"lm_head.dense", "lm_head.layer_norm"},
    "t5": {"decoder.final_layer_norm"},
    "xlm-roberta": {"lm_head.dense", "lm_head.layer_norm"},
}


def test_what_stands_above_the_top_layers_is_trained_with_them(any_backbone):
    moved = trained_above(any_backbone, TopLayers(1))

    assert {name.rpartition(".")[0] for name in moved} == ABOVE[any_backbone.name.removeprefix("tiny-")]


def test_above_all_layers_of_an_encoder_and_a_decoder_are_two_norms(tiny_backbone):
    moved = trained_above(tiny_backbone("t5"), TopLayers(3))

    assert moved == {"encoder.final_layer_norm.weight", "decoder.final_layer_norm.weight"}


def test_top_layers_as_saved_before_leave_frozen_what_stands_above(tiny_backbone):
    tuning = TopLayers.from_saved({"n": 1})

    assert tuning == TopLayers(1, above=False)
    assert trained_above(tiny_backbone("bert"), tuning) == set()
    assert TopLayers.from_saved({"n": 1, "above": True}) == TopLayers(1)


def dropping(model):
    """Names of the dropouts that are on, and of the modules that drop out by themselves."""
    backbone = model.train().backbone.model
    return [
        name
        for name, module in backbone.named_modules()
        if module.training and (isinstance(module, nn.Dropout) or isinstance(getattr(module, "dropout", None), float))
    ]


@pytest.mark.parametrize("method", ["prefix", "prompt-tuning"])
def test_a_frozen_model_under_soft_tokens_or_a_prefix_drops_nothing_out(any_backbone, method):
    tuning = TUNINGS.get(method)(length=2)
    template = tuning.edit(ManualTemplate("{{ text_a }} it was {{ mask }}"))
    model = PromptModel.build(template, ManualVerbalizer({"bad": ["awful"], "good": ["good"]}), any_backbone, tuning)

    assert dropping(model) == []


@pytest.mark.parametrize("tuning", [TopLayers(1), LoRA(rank=2)], ids=str)
def test_where_layers_are_trained_dropout_is_on_in_layers_only(any_backbone, tuning):
    model = PromptModel.build(InputTemplate(), LinearVerbalizer(("a", "b")), any_backbone, tuning)
    inside = {module for layer in any_backbone.layers() for module in layer.modules()}

    outside = [name for name in dropping(model) if any_backbone.model.get_submodule(name) not in inside]

    assert outside == []


def test_a_model_that_is_trained_whole_drops_out_everywhere(any_backbone):
    model = PromptModel.build(
        InputTemplate(), LinearVerbalizer(("a", "b")), any_backbone, TUNINGS.get("full")()
    ).train()

    read = {module for module in any_backbone.pooled_model().modules() if isinstance(module, nn.Dropout)}
    assert all(module.training for module in read)
    assert model.training


@pytest.mark.parametrize("n", [3, 0, -1])
def test_a_number_of_layers_that_there_are_not_is_an_error(tiny_backbone, n):
    with pytest.raises(TuningError, match=f"n={n} doesn't fit a model of 2 layers; choose 1 to 2"):
        TopLayers(n).attach(tiny_backbone("bert"))


def test_settings_are_read_from_text():
    assert make_tuning("top-layers", {"n": "3"}) == TopLayers(3)
    assert make_tuning("lora", {"targets": '["key"]', "dropout": "0"}) == LoRA(targets=["key"], dropout=0)


@pytest.mark.parametrize(
    ("name", "settings", "error", "message"),
    [
        ("top-layer", {}, UnknownNameError, "did you mean 'top-layers'"),
        (None, {}, UnknownNameError, "unknown tuning None; did you mean 'none'"),
        (["lora"], {}, UnknownNameError, "unknown tuning"),
        ("top-layers", {"m": "1"}, TuningError, "no setting 'm'"),
        ("top-layers", {"n": "two"}, TuningError, "n='two' must be a whole number"),
    ],
)
def test_wrong_settings_are_named(name, settings, error, message):
    with pytest.raises(error, match=message):
        make_tuning(name, settings)
