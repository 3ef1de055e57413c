"""Names that no file has, words that no tokenizer takes, sizes beyond memory, base models that are damaged."""

from __future__ import annotations

import json
import os
import pickle

import pytest

from promptlab.backbones.catalog import load_backbone
from promptlab.core.errors import BackboneError, PromptlabError, SavedModelError, TemplateError, VerbalizerError
from promptlab.core.prompt_files import prompt_length
from promptlab.core.registry import TEMPLATES, TUNINGS, VERBALIZERS
from promptlab.data.readers import read_examples
from promptlab.estimators.classifiers import PromptClassifier

NAMES = ["x" * 300, "x" * 300 + ".csv", "x/" * 3_000 + "x.jsonl", "a\0b.csv", "\ud800.csv", "~nobody-here/x.csv"]
TEMPLATE = "{{ text_a }} It was {{ mask }}."


@pytest.mark.parametrize("name", NAMES, ids=range(len(NAMES)))
@pytest.mark.parametrize("read", [read_examples, load_backbone, PromptClassifier.from_pretrained, prompt_length])
def test_a_name_that_nothing_can_have_is_one_line(read, name):
    with pytest.raises(PromptlabError) as caught:
        read(name)

    assert len(str(caught.value)) <= 500
    assert str(caught.value).isprintable()


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.csv")

    with pytest.raises(PromptlabError, match="is a device or pipe"):
        read_examples(tmp_path / "pipe.csv")
    with pytest.raises(TemplateError, match="is no file"):
        prompt_length(str(tmp_path / "pipe.csv"))


@pytest.mark.parametrize(
    "words",
    [
        {"bad": ["\ud800"], "good": ["good"]},
        {"\ud800": ["bad"], "good": ["good"]},
        {"bad": ["bad " * 100_000], "good": ["good"]},
        {"b" * 2_000: ["bad"], "good": ["good"]},
    ],
    ids=range(4),
)
@pytest.mark.parametrize("kind", ["words", "manual", "strings", "weighted"])
def test_label_words_that_no_tokenizer_takes_are_told_before_a_model_is_loaded(kind, words):
    setting = "strings" if kind == "strings" else "label_words"

    with pytest.raises(VerbalizerError, match="label words and classes are texts of at most 1,000") as caught:
        VERBALIZERS.from_dict({"kind": kind, setting: words})

    assert len(str(caught.value)) <= 500


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        ("prompt-tuning", {"length": 10**9}),
        ("prompt-tuning", {"hidden": 10**9}),
        ("p-tuning", {"hidden": 10**30}),
        ("prefix", {"length": 10**9}),
        ("prefix", {"hidden": 10**12}),
        ("p-tuning-v2", {"length": 10**9}),
        ("adapter", {"size": 10**9}),
        ("lora", {"rank": 10**9}),
        ("lora", {"alpha": 10**19}),
    ],
)
def test_a_size_beyond_memory_is_refused_when_it_is_said(kind, settings):
    with pytest.raises(PromptlabError, match="to 10,000"):
        TUNINGS.from_dict({"kind": kind, **settings})


@pytest.mark.parametrize(
    ("registry", "settings"),
    [
        (TEMPLATES, {"kind": "input", "fields": [[]]}),
        (TEMPLATES, {"kind": "input", "fields": [1.5]}),
        (TEMPLATES, {"kind": "input", "fields": 5}),
        (TEMPLATES, {"kind": "manual", "source": None}),
        (TEMPLATES, {"kind": "manual", "source": ["{{ mask }}"]}),
        (TEMPLATES, {"kind": "in-context", "template": TEMPLATE, "examples": [5]}),
        (TEMPLATES, {"kind": "in-context", "template": TEMPLATE, "examples": [{"fields": 5, "label": "x"}]}),
        (TEMPLATES, {"kind": "in-context", "template": TEMPLATE, "examples": 5}),
        (TEMPLATES, {"kind": "in-context", "template": 5}),
        (TEMPLATES, {"kind": "in-context", "template": {"$template": 5}}),
        (TEMPLATES, {"kind": ["manual"]}),
        (TEMPLATES, {}),
        (VERBALIZERS, {"kind": "rules", "rules": 5}),
        (VERBALIZERS, {"kind": "rules", "rules": {"a": 5}}),
        (VERBALIZERS, {"kind": "manual", "label_words": {"a": [[]], "b": ["x"]}}),
        (VERBALIZERS, {"kind": "ensemble", "verbalizers": [5]}),
        (VERBALIZERS, {"kind": "contextual", "verbalizer": [5]}),
        (VERBALIZERS, {"kind": "contextual", "verbalizer": {"$verbalizer": {"kind": "manual"}}}),
    ],
    ids=range(18),
)
def test_settings_of_a_saved_part_that_do_not_fit_are_one_line(registry, settings):
    with pytest.raises(PromptlabError) as caught:
        registry.from_dict(settings)

    assert len(str(caught.value)) <= 500


def edit(path, change):
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def no_heads(folder):
    edit(folder / "config.json", lambda config: config.update(num_attention_heads=0))


def no_width(folder):
    edit(folder / "config.json", lambda config: config.update(hidden_size=0))


def no_numbers(folder):
    edit(folder / "config.json", lambda config: config.update(num_hidden_layers="two"))


def pickled_weights(folder):
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps({"a": 1}))


def an_id_beyond_the_vocabulary(folder):
    edit(folder / "tokenizer.json", lambda content: content["model"]["vocab"].update(zebra=99_999))


def no_vocabulary(folder):
    edit(folder / "tokenizer.json", lambda content: content["model"].update(vocab=5))


@pytest.mark.parametrize(
    "damage", [no_heads, no_width, no_numbers, pickled_weights, an_id_beyond_the_vocabulary, no_vocabulary]
)
def test_a_damaged_base_model_is_one_line(damage, tiny_backbone, tmp_path):
    backbone = tiny_backbone("bert")
    backbone.model.save_pretrained(tmp_path)
    backbone.tokenizer.save_pretrained(tmp_path)
    damage(tmp_path)

    with pytest.raises(BackboneError) as caught:
        load_backbone(str(tmp_path))

    assert len(str(caught.value)) <= 500
    assert str(caught.value).isprintable()


def test_a_saved_part_that_wraps_itself_three_hundred_times_is_refused(tmp_path):
    inner = {"kind": "manual", "label_words": {"a": ["b"], "c": ["d"]}}
    for _ in range(300):
        inner = {"kind": "contextual", "verbalizer": {"$verbalizer": inner}}
    (tmp_path / "promptlab.json").write_text(json.dumps({"schema": 1, "verbalizer": inner}))

    with pytest.raises(SavedModelError, match="more than 50 levels deep"):
        PromptClassifier.from_pretrained(tmp_path)
