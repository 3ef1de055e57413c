from __future__ import annotations

import pytest
import torch

from promptlab.errors import TuningError, UnknownNameError
from promptlab.model import PromptModel
from promptlab.registry import TUNINGS
from promptlab.templates.manual import ManualTemplate
from promptlab.templates.plain import InputTemplate
from promptlab.tuning.lora import LoRA
from promptlab.tuning.settings import make_tuning
from promptlab.tuning.top_layers import TopLayers
from promptlab.types import Example
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
        model(batch).backward()
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


def test_top_layers_moves_the_last_layers_and_the_head_only(tiny_backbone):
    _, moved = three_steps(tiny_backbone("bert"), TopLayers(1))

    assert moved
    assert all(name.startswith(("head.", "backbone.model.bert.encoder.layer.1.")) for name in moved)


def test_top_layers_may_be_all_of_them(any_backbone):
    any_backbone.only_hidden = True  # as a linear head has it: an encoder-decoder model then has its encoder's layers
    n = len(any_backbone.layers())

    _, moved = three_steps(any_backbone, TopLayers(n))

    inside = {id(weight) for layer in any_backbone.layers() for weight in layer.parameters()}
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

    model(batch).backward()

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
