"""Tiny models and files of data, so that every benchmark runs in a second."""

from __future__ import annotations

import copy
import gzip
import itertools
import json
import random

import pytest
from tokenizers import Tokenizer
from transformers import BertConfig, BertForMaskedLM, LlamaConfig, LlamaForCausalLM

from benchmarks.accuracy.templates import TRIGGERS
from benchmarks.common import models
from benchmarks.speed.autoprompt_reference import START
from benchmarks.speed.bare_model import SENTIMENT
from promptlab.backbones.causal import CausalBackbone
from promptlab.backbones.masked import MaskedBackbone
from promptlab.core.seeding import seeded
from promptlab.library.tasks import verbalizer_entry, verbalizer_names

TASKS = ("sst2", "ag_news", "trec", "rte", "dbpedia", "imdb")
MORE = [*START.split(), *TRIGGERS["start"].split(), *itertools.chain(*SENTIMENT)]  # which scripts name
ADJECTIVES = ("dull", "great", "awful", "funny", "plain", "lively")
NOUNS = ("film", "company", "river", "album", "question", "match")


@pytest.fixture(scope="session")
def word_pieces(tokenizers):
    """A tokenizer of BERT's kind that has every label word of the library as a token."""
    rules = json.loads(tokenizers["word-piece"].backend_tokenizer.to_str())
    entries = [verbalizer_entry(name).label_words for task in TASKS for name in verbalizer_names(task)]
    words = [word.lower() for entry in entries for many in entry.values() for word in many]
    for piece in dict.fromkeys([*words, *NOUNS, *ADJECTIVES, *MORE]):
        rules["model"]["vocab"].setdefault(piece, len(rules["model"]["vocab"]))
    plain = tokenizers["word-piece"]
    return type(plain)(
        tokenizer_object=Tokenizer.from_str(json.dumps(rules)), model_max_length=128, **plain.special_tokens_map
    )


@pytest.fixture
def small_models(word_pieces, tokenizers, monkeypatch):
    """In place of minilm a random BERT with its words, in place of smollm2 a random Llama."""
    made = {"minilm": lambda: masked(word_pieces), "smollm2": lambda: causal(copy.deepcopy(tokenizers["gpt-bpe"]))}
    monkeypatch.setattr(models, "load_backbone", lambda name: made[name]())
    models.loaded.cache_clear()
    yield
    models.loaded.cache_clear()


SIZES = {
    "initializer_range": 1.0,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
}


def masked(tokenizer):
    with seeded(0):
        config = BertConfig(vocab_size=len(tokenizer), max_position_embeddings=128, **SIZES)
        return MaskedBackbone(BertForMaskedLM(config).eval(), tokenizer, name="minilm", revision="0")


def causal(tokenizer):
    tokenizer.model_max_length = 4096
    with seeded(0):
        config = LlamaConfig(vocab_size=len(tokenizer), max_position_embeddings=4096, **SIZES)
        return CausalBackbone(LlamaForCausalLM(config).eval(), tokenizer, name="smollm2", revision="0")


@pytest.fixture(scope="session")
def data(tmp_path_factory):
    """A folder with what benchmarks read of data that isn't shipped."""
    folder = tmp_path_factory.mktemp("data")
    write_table(folder / "sst-2" / "train.tsv", ["text_a"], "sst2", 540)
    write_table(folder / "sst-2" / "dev.tsv", ["text_a"], "sst2", 20)
    write_table(folder / "rte" / "train.tsv", ["text_a", "text_b"], "rte", 540)
    write_table(folder / "rte" / "dev.tsv", ["text_a", "text_b"], "rte", 20)
    for task in ("ag_news", "dbpedia", "trec"):
        write_table(folder / task / "train.tsv.gz", ["text_a"], task, 240)
        write_table(folder / task / "test.tsv.gz", ["text_a"], task, 30)
    for part in ("train", "test"):
        write_table(folder / "imdb" / f"{part}.tsv.gz", ["text_a"], "imdb", 240, n_sentences=6)
    for task in ("sst-2", "rte"):
        write_splits(folder / task / "fewshot", 32)
    write_word_lists(folder / "kpt")
    write_json_lines(folder / "wnut", ("train.jsonl", "dev.jsonl", "test.jsonl"), tagged)
    write_json_lines(folder / "e2e", ("train.jsonl.gz", "dev.jsonl", "test.jsonl.gz"), described)
    return folder


def text(number, n_sentences):
    """Sentences that stand in no other text."""
    draw = random.Random(number)
    said = [(draw.choice(NOUNS), draw.choice(ADJECTIVES)) for _ in range(n_sentences)]
    return " ".join(f"The {noun} was {adjective} in {number}{place}." for place, (noun, adjective) in enumerate(said))


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "wt", encoding="utf-8") as file:
        file.write(content)


def write_table(path, fields, task, n, *, n_sentences=2):
    """Rows of a text a field, all classes of a task of the library taking turns."""
    labels = itertools.cycle(verbalizer_entry(task).label_words)
    first = 0 if path.name.startswith("train") else 1000  # no text stands in two files
    rows = [
        [*(text(len(fields) * row + i, n_sentences) for i in range(len(fields))), next(labels)]
        for row in range(first, first + n)
    ]
    write(path, "".join("\t".join(row) + "\n" for row in [[*fields, "label"], *rows]))


def write_splits(folder, n):
    write(folder / "k16-seed13.json", json.dumps({"train": list(range(n)), "dev": list(range(n, 2 * n))}))


def write_word_lists(folder):
    names = {"agnews": "ag_news", "dbpedia": "dbpedia", "imdb": "imdb"}
    order = {name: list(verbalizer_entry(task).label_words) for name, task in names.items()}
    write(folder / "label_order.json", json.dumps(order))
    for name, task in names.items():
        lines = [",".join([*words, *NOUNS[:3]]) for words in verbalizer_entry(task).label_words.values()]
        write(folder / name / "knowledgeable_verbalizer.txt", "\n".join(lines) + "\n")


def write_json_lines(folder, names, row_of):
    for name in names:
        write(folder / name, "".join(json.dumps(row_of(row)) + "\n" for row in range(24)))


def tagged(row):
    tags = ["B-location", "I-location", "O"] if row % 2 else ["O", "B-person", "O"]
    return {"tokens": ["New", NOUNS[row % len(NOUNS)].title(), "opens"], "tags": tags}


def described(row):
    return {"text_a": f"name[Inn {row}], area[{NOUNS[row % len(NOUNS)]}]", "target": f"Inn {row} is by the sea."}
