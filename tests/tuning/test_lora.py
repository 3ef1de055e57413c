"""LoRA and IA3: which outputs of a layer they reach, and the settings that peft is given."""

from __future__ import annotations

import math

import pytest
import torch
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from promptlab.core.seeding import seeded
from promptlab.core.types import Example
from promptlab.models.prompt_model import PromptModel
from promptlab.templates.manual import ManualTemplate
from promptlab.training.optimizers import make_optimizer
from promptlab.training.settings import TrainingSettings
from promptlab.tuning.lora import IA3, LoRA
from promptlab.verbalizers.manual import ManualVerbalizer

WORDS = {"positive": ["good", "great"], "negative": ["awful", "dull"]}
TEXTS = ["the film was great", "a good story", "a dull , lifeless mess of a story", "just awful"]


def build(backbone, tuning):
    template = ManualTemplate("{{ text_a }} it was {{ mask }}")
    return PromptModel.build(template, ManualVerbalizer(WORDS), backbone, tuning)


def batch_of(model):
    batch = model.backbone.collate(model.encode([Example({"text_a": text}) for text in TEXTS]))
    batch.labels = torch.tensor([0, 0, 1, 1])
    return batch


def train(model, **settings):
    """Five updates as training makes them, with decay."""
    chosen = {"learning_rate": 0.05, "head_learning_rate": 0.05, "max_steps": 5, "weight_decay": 0.1, **settings}
    optimizer, batch = make_optimizer(model, TrainingSettings(**chosen)), batch_of(model)
    for _ in range(5):
        optimizer.zero_grad()
        model.loss(batch).backward()
        optimizer.step()
    return model.eval()


@torch.no_grad()
def attended(model):
    """Queries, keys and values of the first attention call."""
    calls = []

    def noted(module, query, key, value, mask, **options):
        calls.append((query, key, value))
        return sdpa_attention_forward(module, query, key, value, mask, **options)

    AttentionInterface.register("noted", noted)
    AttentionMaskInterface.register("noted", sdpa_mask)
    model.backbone.model.set_attn_implementation("noted")
    batch = batch_of(model)
    batch.labels = None
    model.eval().log_probs(batch)
    return dict(zip(("query", "key", "value"), calls[0]))


FUSED = ("gpt2", "gpt_neox", "modernbert")  # one layer makes queries, keys and values; llama and bert have three
REACHED = {
    "lora": (LoRA(rank=2), {"query", "value"}),
    "rslora": (LoRA(rank=2, rslora=True), {"query", "value"}),
    "dora": (LoRA(rank=2, dora=True), {"query", "value"}),
    "ia3": (IA3(), {"key", "value"}),
}


@pytest.mark.parametrize("optimizer", ["adamw", "adafactor"])
@pytest.mark.parametrize("method", sorted(REACHED))
@pytest.mark.parametrize("family", [*FUSED, "bert", "llama"])
def test_of_queries_keys_and_values_those_change_that_the_method_names(tiny_backbone, family, method, optimizer):
    tuning, reached = REACHED[method]
    before = attended(build(tiny_backbone(family), tuning))

    model = train(build(tiny_backbone(family), tuning).train(), optimizer=optimizer)
    tuning.merge(model.backbone)
    after = attended(model)

    assert {name for name in after if not torch.allclose(after[name], before[name], atol=1e-4)} == reached


@pytest.mark.parametrize("family", FUSED)
def test_all_linear_layers_and_named_ones_are_updated_whole(tiny_backbone, family):
    for targets in ("all-linear", list(tiny_backbone(family).query_value())):
        before = attended(build(tiny_backbone(family), LoRA(rank=2, targets=targets)))

        after = attended(train(build(tiny_backbone(family), LoRA(rank=2, targets=targets)).train()))

        assert not any(torch.allclose(after[name], before[name], atol=1e-4) for name in after)


@pytest.mark.parametrize(("tuning", "left_alone"), [(LoRA(rank=2), "key"), (IA3(), "query")], ids=str)
@pytest.mark.parametrize("family", FUSED)
@torch.no_grad()
def test_an_update_of_all_outputs_that_was_saved_once_is_kept(tiny_backbone, family, tuning, left_alone, tmp_path):
    """Those of promptlab 0.1 were trained with the keys (LoRA) or queries (IA3)."""
    model = build(tiny_backbone(family), tuning)
    for _, weight in model.trained_parameters():
        weight.normal_()
    tuning.save(model.backbone, tmp_path)

    back = build(tiny_backbone(family), tuning)
    tuning.load(back.backbone, tmp_path)

    for name, states in attended(back).items():
        assert torch.equal(states, attended(model)[name])
    plain = attended(build(tiny_backbone(family), tuning))
    assert not torch.allclose(attended(back)[left_alone], plain[left_alone], atol=1e-3)


def test_vectors_of_ia3_are_not_decayed_and_matrices_of_lora_are(tiny_backbone):
    for tuning, expected in ((IA3(), {0.0}), (LoRA(rank=1), {0.1}), (LoRA(rank=1, dora=True), {0.0, 0.1})):
        optimizer = make_optimizer(build(tiny_backbone("bert"), tuning), settings(weight_decay=0.1))

        assert {group["weight_decay"] for group in optimizer.param_groups} == expected


def settings(**more):
    return TrainingSettings(learning_rate=0.1, head_learning_rate=0.1, max_steps=1, **more)


@pytest.mark.parametrize("family", ["bert", "gpt2"])
def test_without_a_gradient_ia3_stays_the_identity(tiny_backbone, family):
    model = build(tiny_backbone(family), IA3())
    optimizer = make_optimizer(model, settings(weight_decay=0.5))
    for _, weight in model.trained_parameters():
        weight.grad = torch.zeros_like(weight)

    for _ in range(3):
        optimizer.step()

    assert all((weight == 1).all() for _, weight in model.trained_parameters())


def merged(backbone, tuning):
    """The weights of the first layer's queries, an update's A and B as drawn, and the weights with it merged in."""
    query = backbone.query_value()[0]
    before = backbone.model.get_submodule(query).weight.detach().clone()
    with seeded(1), torch.no_grad():
        model = build(backbone, tuning)
        layer = model.backbone.model.get_submodule(query)
        for part in (layer.lora_A.default, layer.lora_B.default):
            part.weight.normal_()
        down, up = layer.lora_A.default.weight.clone(), layer.lora_B.default.weight.clone()
        tuning.merge(model.backbone)
    return before, down, up, backbone.model.get_submodule(query).weight.detach()


@pytest.mark.parametrize(("rank", "alpha"), [(4, 8), (9, 3)])
def test_an_update_is_scaled_by_alpha_over_the_rank_or_its_root(tiny_backbone, rank, alpha):
    for rslora, scale in ((False, alpha / rank), (True, alpha / math.sqrt(rank))):
        before, down, up, after = merged(tiny_backbone("bert"), LoRA(rank=rank, alpha=alpha, rslora=rslora))

        torch.testing.assert_close(after, before + scale * up @ down, atol=1e-4, rtol=1e-4)


def test_dora_gives_every_output_its_own_length(tiny_backbone):
    """m (W + s B A) / |W + s B A|, where m starts as |W|; arXiv:2402.09353, equation 5."""
    before, down, up, after = merged(tiny_backbone("bert"), LoRA(rank=4, alpha=8, dora=True))

    moved = before + 2 * up @ down
    expected = torch.stack([old.norm() * new / new.norm() for old, new in zip(before, moved)])
    torch.testing.assert_close(after, expected, atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_the_input_of_an_update_is_dropped_out_in_training_only(tiny_backbone):
    """With a share p dropped out, the mean over many rows stays, and a share p of single inputs is gone."""
    backbone = tiny_backbone("bert")
    model = build(backbone, LoRA(rank=32, alpha=32, dropout=0.4)).train()
    layer = backbone.model.get_submodule(backbone.query_value()[0])
    layer.lora_A.default.weight.copy_(torch.eye(32))
    layer.lora_B.default.weight.copy_(torch.eye(32))
    x = torch.ones(500, 32)

    update = layer(x) - layer.get_base_layer()(x)
    assert (update.abs() < 1e-3).float().mean().item() == pytest.approx(0.4, abs=0.03)
    assert update.mean().item() == pytest.approx(1.0, abs=0.05)
    model.eval()
    torch.testing.assert_close(layer(x) - layer.get_base_layer()(x), x, atol=1e-5, rtol=0)


def test_lora_of_a_fused_layer_opens_in_peft(tiny_backbone, tmp_path):
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    tiny_backbone("gpt2").model.save_pretrained(tmp_path / "base")
    tuning = LoRA(rank=2)
    model = train(build(tiny_backbone("gpt2"), tuning).train())
    tuning.save(model.backbone, tmp_path)
    batch = batch_of(model)

    opened = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(tmp_path / "base"), tmp_path / "adapter")

    with torch.no_grad():
        theirs = opened.eval()(batch.input_ids, attention_mask=batch.attention_mask).logits
        ours = model.backbone.model(batch.input_ids, attention_mask=batch.attention_mask).logits
    torch.testing.assert_close(theirs, ours, atol=1e-5, rtol=1e-5)
