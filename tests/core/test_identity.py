from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from enum import Enum
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import nn

from promptlab import Example
from promptlab.core.identity import digest, examples_digest, fingerprint, tokenizer_rules
from promptlab.core.prompt_files import start_files
from promptlab.core.types import SoftSlot
from promptlab.tuning.lora import LoRA
from promptlab.verbalizers.manual import ManualVerbalizer


class Kind(Enum):
    one, two = 1, 2


class Pair(NamedTuple):
    first: int
    second: int


@dataclass(frozen=True)
class Own(LoRA):
    """A tuning that no registry knows."""

    scale: float = 1.0


@dataclass(frozen=True)
class OwnToo(Own):
    """Another one with the same fields."""


class Plain:
    """Nothing can be told of its instances but their class."""


def layer(**settings):
    made = nn.Linear(2, 2)
    for weight in made.parameters():
        nn.init.ones_(weight)
    for name, value in settings.items():
        setattr(made, name, value)
    return made


def frozen():
    made = layer()
    made.bias.requires_grad_(False)
    return made


# each group holds values that differ from one another in what they mean
DIFFERENT = {
    "plain values": [None, True, 1, 1.0, "1", b"1", "", (), "None", Kind.one, Kind.two, Path("1")],
    "where values end": [["ab", "c"], ["a", "bc"], ["abc"], [["ab"], "c"], ["a", ["bc"]]],
    "containers": [{"a": 1, "b": 2}, {"b": 2, "a": 1}, {"a": 2, "b": 1}, [1, 2], Pair(1, 2), {1, 2}, {1, 3}],
    "arrays": [
        np.zeros(2), np.zeros(2, np.float32), np.zeros((2, 1)), np.zeros(3), np.array(["a", None], object),
        torch.zeros(2), torch.zeros(2, dtype=torch.float64), torch.zeros(2, 1), torch.zeros(2, dtype=torch.bfloat16),
        torch.tensor([0.0, 1e-30]),
    ],
    "settings of parts": [
        LoRA(alpha=1), LoRA(alpha=64), Own(), Own(scale=2.0), OwnToo(), ManualVerbalizer({"-": ["bad"], "+": ["good"]}),
        ManualVerbalizer({"+": ["good"], "-": ["bad"]}), ManualVerbalizer({"-": ["good"], "+": ["bad"]}),
    ],
    "functions": [len, sum, digest, partial(digest, 1), partial(digest, 2), Plain],
    "modules": [
        layer(), layer(weight=nn.Parameter(torch.zeros(2, 2))), frozen(), layer(scale=2.0), layer(scale={"default": 3}),
        nn.Dropout(0.1), nn.Dropout(0.2), nn.Sequential(layer()), nn.ModuleList([layer()]), nn.LayerNorm(2),
        nn.LayerNorm(2, eps=1e-3),
    ],
}  # fmt: skip


@pytest.mark.parametrize("group", DIFFERENT)
def test_values_that_differ_have_different_hashes(group):
    hashes = [digest(value) for value in DIFFERENT[group]]

    assert [(i, j) for i, j in combinations(range(len(hashes)), 2) if hashes[i] == hashes[j]] == []


@pytest.mark.parametrize(
    ("one", "same"),
    [
        ({3, 1, 2}, {2, 3, 1}),
        ([1, 2], (1, 2)),
        ((n for n in (1, 2)), [1, 2]),
        (np.int64(3), 3),
        (np.str_("a"), "a"),
        (torch.arange(6).reshape(2, 3).T.contiguous(), torch.arange(6).reshape(2, 3).T),
        (Plain(), Plain()),
        (layer(), layer()),
    ],
)
def test_values_that_mean_the_same_have_the_same_hash(one, same):
    assert digest(one) == digest(same)


def test_a_module_that_holds_itself_has_a_hash():
    made = [nn.Sequential(layer()), nn.Sequential(layer())]
    for module in made:
        module.others = [module, module[0]]

    assert digest(made[0]) == digest(made[1])


def test_weights_that_are_shared_are_told_from_weights_that_are_equal_by_values_only():
    shared, equal = nn.ModuleList([layer(), layer()]), nn.ModuleList([layer(), layer()])
    shared[1].weight = shared[0].weight
    before = digest(equal)
    with torch.no_grad():
        equal[1].weight[0, 0] = 5.0

    assert digest(shared) == before != digest(equal)


def test_hashes_are_the_same_in_another_process():
    code = (
        "import torch; from promptlab.core.identity import digest; from promptlab.tuning.lora import LoRA; "
        "print(digest({'a', 'b', 'c'}, {'x': LoRA()}, torch.ones(3), torch.nn.Dropout(0.1), 'é'))"
    )
    seen = {
        subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            check=True,
            text=True,
            env={**os.environ, "PYTHONHASHSEED": seed},
        ).stdout.strip()
        for seed in ("1", "2")
    }

    assert seen == {digest({"a", "b", "c"}, {"x": LoRA()}, torch.ones(3), nn.Dropout(0.1), "é")}


def test_examples_count_by_fields_and_label_whatever_the_order_of_the_fields():
    usual = [Example({"a": "x", "b": 1}, "p"), Example({"a": "y"}, "n")]
    others = [usual[::-1], usual[:1], [Example({"a": "x", "b": "1"}, "p"), usual[1]], [Example({"a": "x"}, "p")] * 2]

    assert examples_digest(usual) == examples_digest([Example({"b": 1, "a": "x"}, "p"), usual[1]])
    others.append([Example({"a": "x", "b": 1}, "n"), usual[1]])  # of another class
    assert len({examples_digest(rows) for rows in [usual, *others]}) == 6


def test_examples_count_by_all_their_labels():
    several = [("p",), ("p", "n"), (), None]

    assert len({examples_digest([Example({"a": "x"}, labels=labels)]) for labels in several}) == 4


def test_a_backbone_counts_by_weights_configuration_and_tokenizer(tiny_backbone):
    def changed(change):
        backbone = tiny_backbone("bert")
        with torch.no_grad():
            change(backbone)
        return fingerprint(backbone)

    hashes = [
        changed(lambda b: None),
        changed(lambda b: b.embedding_weight()[3].add_(1e-3)),
        changed(lambda b: setattr(b.model.config, "hidden_act", "relu")),
        changed(lambda b: setattr(b, "tokenizer", tiny_backbone("roberta").tokenizer)),
    ]

    assert len(set(hashes)) == 4
    assert changed(lambda b: setattr(b.model.config, "_name_or_path", "elsewhere")) == hashes[0]
    assert changed(lambda b: b.tokenizer("a b c", truncation=True, max_length=2, padding="max_length")) == hashes[0]


def test_tokenizer_rules_are_the_same_in_the_words_of_another_version(tiny_backbone):
    """An older tokenizers library leaves new switches out, and writes merges as texts."""

    class Older:
        def __init__(self, tokenizer):
            self.tokenizer, self.backend_tokenizer = tokenizer, self

        def __getattr__(self, name):
            return getattr(self.tokenizer, name)

        def to_str(self):
            rules = json.loads(self.tokenizer.backend_tokenizer.to_str())
            rules["model"] = {name: part for name, part in rules["model"].items() if part not in (None, False)}
            rules["model"]["merges"] = [" ".join(merge) for merge in rules["model"]["merges"]]
            return json.dumps(rules | {"version": "0.9"})

    tokenizer = tiny_backbone("roberta").tokenizer

    assert tokenizer_rules(Older(tokenizer)) == tokenizer_rules(tokenizer)


def test_files_that_soft_tokens_start_from_count_by_what_they_hold(tmp_path):
    (tmp_path / "a").write_text("one")
    slots = [SoftSlot("x", 2, start=str(tmp_path / "a")), SoftSlot("y", 2), SoftSlot("z", 2, start="gone")]
    before = start_files(slots)
    (tmp_path / "a").write_text("two")

    assert list(before) == [str(tmp_path / "a")]
    assert start_files(slots) != before
