from __future__ import annotations

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from promptlab.backbones.catalog import load_backbone, packages
from promptlab.errors import BackboneError, UnknownNameError
from promptlab.templates.manual import ManualTemplate
from promptlab.types import Example


@pytest.fixture
def saved(tiny_backbone, tmp_path):
    backbone = tiny_backbone("bert")
    backbone.model.save_pretrained(tmp_path / "model")
    backbone.tokenizer.save_pretrained(tmp_path / "model")
    return backbone, tmp_path / "model"


@torch.no_grad()
def test_a_saved_folder_gives_the_same_logits(saved):
    backbone, folder = saved
    prompt = ManualTemplate("{{ text_a }} {{ mask }}").render(Example({"text_a": "a film"}))

    loaded = load_backbone(str(folder))

    before, after = (
        model.mask_states(model.collate(model.encode([prompt], soft_ids={}))).logits() for model in (backbone, loaded)
    )
    torch.testing.assert_close(before, after, atol=1e-6, rtol=0)
    assert loaded.revision != ""


def test_a_loaded_backbone_is_returned_as_it_is(tiny_backbone):
    backbone = tiny_backbone()

    assert load_backbone(backbone) is backbone


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(BackboneError, match="doesn't exist"):
        load_backbone(str(tmp_path / "nothing"))


def test_a_folder_without_a_model_is_named(tmp_path):
    with pytest.raises(BackboneError, match=r"holds no config\.json"):
        load_backbone(str(tmp_path))


def test_other_families_are_refused_with_the_known_ones(tmp_path):
    GPT2LMHeadModel(GPT2Config(vocab_size=9, n_embd=8, n_layer=1, n_head=2)).save_pretrained(tmp_path)

    with pytest.raises(BackboneError, match=r"'gpt2' aren't supported; choose one of albert, bert"):
        load_backbone(str(tmp_path))


def test_damaged_weights_are_one_line(saved):
    _, folder = saved
    (folder / "model.safetensors").write_bytes(b"broken")

    with pytest.raises(BackboneError, match="can't be loaded") as caught:
        load_backbone(str(folder))
    assert "\n" not in str(caught.value)


def test_an_unknown_name_is_no_hub_id():
    with pytest.raises(UnknownNameError, match="unknown model 'minilmm'"):
        load_backbone("minilmm")


@pytest.mark.minilm
def test_the_model_package_announces_itself():
    assert "minilm" in packages()
