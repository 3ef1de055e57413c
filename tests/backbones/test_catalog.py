from __future__ import annotations

import hashlib
import json
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import BertJapaneseTokenizer, BloomConfig, BloomForCausalLM

from promptlab.backbones import catalog
from promptlab.backbones.catalog import load_backbone, locate
from promptlab.core.errors import BackboneError, UnknownNameError
from promptlab.core.registry import MODELS
from promptlab.core.types import Example
from promptlab.templates.manual import ManualTemplate


@pytest.fixture
def saved(tiny_backbone, tmp_path):
    backbone = tiny_backbone("bert")
    backbone.model.save_pretrained(tmp_path / "model")
    backbone.tokenizer.save_pretrained(tmp_path / "model")
    return backbone, tmp_path / "model"


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
    BloomForCausalLM(BloomConfig(vocab_size=9, hidden_size=8, n_layer=1, n_head=2)).save_pretrained(tmp_path)

    with pytest.raises(BackboneError, match=r"'bloom' aren't supported; choose one of albert, bart"):
        load_backbone(str(tmp_path))


def test_damaged_weights_are_one_line(saved):
    _, folder = saved
    (folder / "model.safetensors").write_bytes(b"broken")

    with pytest.raises(BackboneError, match="can't be loaded") as caught:
        load_backbone(str(folder))
    assert "\n" not in str(caught.value)


def edit_config(folder, **values):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | values))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"model_type": "nosuch"}, "can't be loaded"),
        ({"hidden_size": "wide"}, "field 'hidden_size'"),
        ({"num_attention_heads": 5}, "can't be loaded"),
        ({"vocab_size": 1000}, "can't be loaded"),
    ],
)
def test_a_configuration_that_does_not_fit_is_one_line(saved, values, message):
    _, folder = saved
    edit_config(folder, **values)

    with pytest.raises(BackboneError, match=message) as caught:
        load_backbone(str(folder))
    assert "\n" not in str(caught.value)


def test_a_configuration_that_is_no_json_is_one_line(saved):
    _, folder = saved
    (folder / "config.json").write_text("{")

    with pytest.raises(BackboneError, match="can't be loaded") as caught:
        load_backbone(str(folder))
    assert "\n" not in str(caught.value)


def test_a_folder_without_a_tokenizer_gets_no_empty_one(saved):
    _, folder = saved
    for path in folder.glob("tokenizer*"):
        path.unlink()

    with pytest.raises(BackboneError, match=r"holds no tokenizer\.json"):
        load_backbone(str(folder))


def test_a_folder_without_weights_is_named(saved):
    _, folder = saved
    (folder / "model.safetensors").unlink()

    with pytest.raises(BackboneError, match="can't be loaded"):
        load_backbone(str(folder))


def announce(monkeypatch, **folders):
    """Model packages of these names, each with a function that returns its folder."""
    monkeypatch.setattr(
        catalog, "MODELS", SimpleNamespace(names=sorted(folders), get=lambda name: lambda: folders[name])
    )


def test_the_name_of_an_installed_package_stands_for_its_folder(saved, monkeypatch):
    _, folder = saved
    announce(monkeypatch, tiny=folder)

    assert load_backbone("tiny").name == "tiny"
    assert locate("tiny") == str(folder)


def test_an_unknown_name_suggests_an_installed_package(monkeypatch):
    announce(monkeypatch, minilm="a", other="b")

    with pytest.raises(
        UnknownNameError, match=r"unknown model 'minilmm'; did you mean 'minilm'\? Known: minilm, other"
    ):
        load_backbone("minilmm")


def test_no_model_at_all_says_what_to_choose(monkeypatch):
    announce(monkeypatch)

    with pytest.raises(BackboneError, match="install it, or pass model="):
        load_backbone(None)


@torch.no_grad()
@pytest.mark.parametrize("family", ["deberta-v2", "deberta-v2-published"])
def test_both_head_layouts_of_deberta_are_told_apart(tiny_backbone, tmp_path, family):
    backbone = tiny_backbone(family)
    backbone.model.save_pretrained(tmp_path)
    backbone.tokenizer.save_pretrained(tmp_path)
    edit_config(tmp_path, legacy=True)  # published configurations don't say
    prompt = ManualTemplate("{{ text_a }} {{ mask }}").render(Example({"text_a": "a film"}))

    loaded = load_backbone(str(tmp_path))

    assert loaded.model.config.legacy is (family == "deberta-v2")
    before, after = (
        model.mask_states(model.collate(model.encode([prompt], soft_ids={}))).logits() for model in (backbone, loaded)
    )
    torch.testing.assert_close(before, after, atol=1e-6, rtol=0)


@pytest.mark.minilm
def test_the_model_package_announces_itself():
    assert "minilm" in MODELS.names


def test_a_folder_without_a_language_model_head_is_told_from_one_with_it(tiny_backbone, tmp_path):
    tiny = tiny_backbone("bert")
    for model, folder in ((tiny.model, "whole"), (tiny.model.base_model, "encoder")):
        model.save_pretrained(tmp_path / folder)
        tiny.tokenizer.save_pretrained(tmp_path / folder)

    assert load_backbone(str(tmp_path / "whole")).has_lm_head
    assert not load_backbone(str(tmp_path / "encoder")).has_lm_head


@pytest.mark.parametrize(
    ("name", "hub_id"),
    [
        ("bert-base-uncased", "google-bert/bert-base-uncased"),
        ("gpt2", "openai-community/gpt2"),
        ("roberta-base", "FacebookAI/roberta-base"),
        ("t5-small", "google-t5/t5-small"),
        ("distilbert-base-uncased", "distilbert/distilbert-base-uncased"),
    ],
)
def test_a_well_known_name_is_a_hub_id(name, hub_id):
    assert locate(name) == hub_id


def test_a_well_known_name_under_which_a_model_was_fetched_stays_as_it_is(monkeypatch):
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda name, file: f"/cache/{name}/{file}")

    assert locate("gpt2") == "gpt2"


@pytest.mark.parametrize(
    ("name", "example"),
    [("nosuch", "google-bert/bert-base-uncased"), ("roberta-bass", "FacebookAI/roberta-base")],
)
def test_a_name_that_is_none_says_what_a_hub_id_looks_like(name, example):
    with pytest.raises(UnknownNameError, match=f"A hub id has a slash, such as {example}"):
        locate(name)


def test_a_folder_that_is_not_here_is_not_only_a_matter_of_the_hub():
    with pytest.raises(BackboneError, match="model 'models/nothing', which is no folder here, is a hub id that can't"):
        load_backbone("models/nothing")


@pytest.mark.parametrize("kind", ["BertJapaneseTokenizer", "BertweetTokenizer", "PhobertTokenizer"])
def test_a_tokenizer_that_exists_in_python_only_is_refused_before_it_asks_for_packages(saved, kind):
    _, folder = saved
    (folder / "tokenizer.json").unlink()
    (folder / "vocab.txt").write_text("[PAD]\n[UNK]\na\n")
    settings = {"tokenizer_class": kind, "word_tokenizer_type": "mecab", "subword_tokenizer_type": "wordpiece"}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))

    with pytest.raises(BackboneError, match=rf"\({kind}\) exists in Python only.*Choose a model whose") as caught:
        load_backbone(str(folder))
    assert "\n" not in str(caught.value)


def test_a_backbone_made_by_hand_with_a_python_tokenizer_says_the_same(tiny_backbone, tmp_path):
    (tmp_path / "vocab.txt").write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na\n")
    backbone = tiny_backbone("bert")
    python = BertJapaneseTokenizer(tmp_path / "vocab.txt", word_tokenizer_type="basic")

    with pytest.raises(BackboneError, match=r"\(BertJapaneseTokenizer\) exists in Python only"):
        type(backbone)(backbone.model, python)


def test_a_folder_is_known_wherever_one_stands_later(saved, monkeypatch):
    _, folder = saved
    monkeypatch.chdir(folder.parent)

    backbone = load_backbone("model")

    assert (backbone.name, backbone.folder) == ("model", str(folder))
    assert backbone.copy().folder == str(folder)
    assert load_backbone("minilm").folder == ""


def pickled(folder, *, shards=1):
    """Put a model's weights into files that torch pickled, in the place of its safetensors."""
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names = [f"pytorch_model-{n}-of-{shards}.bin" for n in range(shards)] if shards > 1 else ["pytorch_model.bin"]
    where = {name: names[number % shards] for number, name in enumerate(weights)}
    for file in names:
        torch.save({name: weights[name] for name in weights if where[name] == file}, folder / file)
    if shards > 1:
        index = {"metadata": {}, "weight_map": where}
        (folder / "pytorch_model.bin.index.json").write_text(json.dumps(index))


def changed_weight(path):
    """Change one weight in a file of torch's."""
    weights = torch.load(path, weights_only=True)
    next(iter(weights.values())).view(-1)[0] += 1.0
    torch.save(weights, path)


@pytest.mark.parametrize("shards", [1, 2])
def test_pickled_weights_have_a_revision_that_follows_them(saved, shards):
    backbone, folder = saved
    pickled(folder, shards=shards)
    before = load_backbone(str(folder))
    again = load_backbone(str(folder)).revision
    changed_weight(sorted(folder.glob("*.bin"))[-1])
    after = load_backbone(str(folder)).revision

    assert torch.equal(before.embedding_weight(), backbone.embedding_weight())
    assert before.revision == again != after
    assert before.revision and after


def test_pickled_weights_count_beside_an_adapter_in_safetensors(saved):
    _, folder = saved
    pickled(folder)
    save_file({"lora": torch.zeros(1)}, folder / "other.safetensors")
    before = load_backbone(str(folder)).revision
    changed_weight(folder / "pytorch_model.bin")

    assert load_backbone(str(folder)).revision != before


def test_the_index_of_shards_is_part_of_the_revision(saved):
    backbone, folder = saved
    (folder / "model.safetensors").unlink()
    backbone.model.save_pretrained(folder, max_shard_size="20KB")
    index = folder / "model.safetensors.index.json"
    before = load_backbone(str(folder)).revision
    content = json.loads(index.read_text())
    content["metadata"]["total_size"] = 1
    index.write_text(json.dumps(content))

    assert len(list(folder.glob("*.safetensors"))) > 1
    assert load_backbone(str(folder)).revision != before


def test_a_model_in_one_file_keeps_the_revision_of_version_0_1(saved):
    _, folder = saved
    found = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()[:16]

    assert load_backbone(str(folder)).revision == found
    torch.save({}, folder / "pytorch_model.bin")  # which nobody reads
    assert load_backbone(str(folder)).revision == found
