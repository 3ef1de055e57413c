"""Tiny models and tokenizers, made in memory: no downloads."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
import transformers
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import AutoConfig, PreTrainedTokenizerFast

from promptlab import PET, PVPEnsemble
from promptlab.backbones.base import end_of_text
from promptlab.backbones.caching import cache_of
from promptlab.core.registry import BACKBONES
from promptlab.core.seeding import seeded

SENTENCES = [
    "The film was great, the acting terrible and the story (too) good.",
    'It was "bad": a dull, lifeless mess! Just awful? Yes, no, maybe.',
    "World sports business and technology news of the year 2026.",
    "Who wrote the opera Carmen ? a b c d e f g h i j k l m n o p q r s t u v w x y z",
    "café naïve 日本 中国 [MASK] </s> <mask> {{ mask }} # @ 0 1 2 3 4 5 6 7 8 9",
] * 20


def _fast(tokenizer: Tokenizer, names: dict[str, str], pair: str, **more: Any) -> PreTrainedTokenizerFast:
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{names['cls_token']} $A {names['sep_token']}",
        pair=pair,
        special_tokens=[(names[k], tokenizer.token_to_id(names[k])) for k in ("cls_token", "sep_token")],
    )
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=64, **names, **more)


def word_piece() -> PreTrainedTokenizerFast:
    """BERT's kind: lower case, ``[MASK]``, token types.

    Its pieces are written down, since the order of those that the trainer finds differs from process to process.
    """
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    normalizer, splitter = normalizers.BertNormalizer(lowercase=True), pre_tokenizers.BertPreTokenizer()
    texts = [normalizer.normalize_str(sentence) for sentence in SENTENCES]
    words = sorted({word for text in texts for word, _ in splitter.pre_tokenize_str(text)})
    letters = sorted(set("".join(words)))
    ends = [f"##{end}" for end in (*letters, *(word[3:] for word in words if len(word) > 4))]
    pieces = dict.fromkeys([*special, *letters, *ends, *words])
    tokenizer = Tokenizer(models.WordPiece({piece: row for row, piece in enumerate(pieces)}, unk_token="[UNK]"))
    tokenizer.add_special_tokens(special)
    tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = splitter
    tokenizer.decoder = decoders.WordPiece()
    names = dict(zip(["pad_token", "unk_token", "cls_token", "sep_token", "mask_token"], special))
    return _fast(tokenizer, names, "[CLS]:0 $A:0 [SEP]:0 $B:1 [SEP]:1")


def byte_bpe() -> PreTrainedTokenizerFast:
    """RoBERTa's kind: bytes, a mask that swallows the space before it, two separators between texts."""
    special = ["<s>", "<pad>", "</s>", "<unk>", AddedToken("<mask>", lstrip=True, special=True)]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=700, special_tokens=special, initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
    )
    tokenizer.train_from_iterator(SENTENCES, trainer)
    names = {"cls_token": "<s>", "pad_token": "<pad>", "sep_token": "</s>", "unk_token": "<unk>"}
    return _fast(tokenizer, names, "<s> $A </s> </s> $B </s>", mask_token=special[-1])


def unigram(prepend_scheme: str = "always") -> PreTrainedTokenizerFast:
    """XLM-R's and ALBERT's kind; ``</s>`` is a piece of the model's own vocabulary."""
    special = ["<s>", "<pad>", "</s>", "<unk>", AddedToken("<mask>", lstrip=True, special=True)]
    words = sorted({word for sentence in SENTENCES for word in re.findall(r"\w+", sentence)})
    letters = sorted({letter for sentence in SENTENCES for letter in sentence if letter != " "})
    scores = dict.fromkeys(("▁", *letters), -8.0)
    scores |= {word[:3]: -10.0 for word in words if len(word) > 3} | {f"▁{word}": -9.0 for word in words}
    pieces = [(str(token), 0.0) for token in special] + list(scores.items())
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=3))
    tokenizer.add_special_tokens(special)
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Replace(" {2,}", " ")])
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=prepend_scheme)
    tokenizer.decoder = decoders.Metaspace(prepend_scheme=prepend_scheme)
    names = {"cls_token": "<s>", "pad_token": "<pad>", "sep_token": "</s>", "unk_token": "<unk>"}
    return _fast(tokenizer, names, "<s> $A </s> </s> $B </s>", mask_token=special[-1])


def gpt_bpe() -> PreTrainedTokenizerFast:
    """GPT-2's kind: bytes, and one special token that no text begins or ends with."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=700, special_tokens=["<|endoftext|>"], initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
    )
    tokenizer.train_from_iterator(SENTENCES, trainer)
    end = "<|endoftext|>"
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, model_max_length=64, bos_token=end, eos_token=end, unk_token=end
    )


def t5_unigram() -> PreTrainedTokenizerFast:
    """T5's kind: sentinels, an end but no beginning."""
    plain = unigram()
    pieces = [(token, 0.0) for token in ("<pad>", "</s>", "<unk>")] + [
        (piece, score)
        for piece, score in json.loads(plain.backend_tokenizer.to_str())["model"]["vocab"]
        if not piece.startswith("<")
    ]
    sentinels = [AddedToken(f"<extra_id_{i}>", lstrip=True, rstrip=True, special=True) for i in range(3)]
    tokenizer = Tokenizer(models.Unigram(pieces + [(str(token), 0.0) for token in sentinels], unk_id=2))
    tokenizer.add_special_tokens([*(token for token, _ in pieces[:3]), *sentinels])
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    tokenizer.decoder = decoders.Metaspace(prepend_scheme="always")
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A </s>", pair="$A </s> $B </s>", special_tokens=[("</s>", 1)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, model_max_length=64, pad_token="<pad>", eos_token="</s>", unk_token="<unk>"
    )


TOKENIZERS: dict[str, Callable[[], PreTrainedTokenizerFast]] = {
    "word-piece": word_piece,
    "byte-bpe": byte_bpe,
    "unigram": unigram,
    "unigram-first": lambda: unigram("first"),
    "gpt-bpe": gpt_bpe,
    "t5-unigram": t5_unigram,
}
MASKED = {
    "albert": ("unigram", {"embedding_size": 16}),
    "bert": ("word-piece", {}),
    "deberta-v2": ("unigram", {"relative_attention": True, "pos_att_type": ["p2c", "c2p"], "position_buckets": 8}),
    "deberta-v2-published": (
        "unigram",
        {"relative_attention": True, "pos_att_type": ["p2c", "c2p"], "position_buckets": 8, "legacy": False},
    ),
    "distilbert": ("word-piece", {"hidden_dim": 48}),
    "electra": ("word-piece", {"embedding_size": 16}),
    "modernbert": ("byte-bpe", {"global_attn_every_n_layers": 2, "local_attention": 16, "reference_compile": False}),
    "mpnet": ("byte-bpe", {}),
    "roberta": ("byte-bpe", {}),
    "xlm-roberta": ("unigram", {}),
}
HEADS = {"num_key_value_heads": 2, "head_dim": 8}
CAUSAL = {
    "gpt2": ("gpt-bpe", {}),
    "gpt_neox": ("gpt-bpe", {}),
    "llama": ("gpt-bpe", HEADS),
    "mistral": ("gpt-bpe", HEADS),
    "phi": ("gpt-bpe", {}),
    "qwen2": ("gpt-bpe", HEADS),
    "qwen3": ("gpt-bpe", HEADS),
}
T5 = {"d_kv": 8, "d_ff": 48, "num_layers": 2, "decoder_start_token_id": 0}
BART = {
    f"{part}_{name}": value
    for part in ("encoder", "decoder")
    for name, value in {"layers": 2, "attention_heads": 4, "ffn_dim": 48}.items()
}
SEQ2SEQ = {
    "bart": ("byte-bpe", {"decoder_start_token_id": 2, **BART}),
    "mt5": ("t5-unigram", {**T5, "feed_forward_proj": "gated-gelu", "tie_word_embeddings": False}),
    "t5": ("t5-unigram", T5),
}
FAMILIES = {**MASKED, **CAUSAL, **SEQ2SEQ}
ENDS_WITH_MASK = "{{ text_a }} was {{ mask }}"  # every family can answer it


@pytest.fixture(scope="session")
def tokenizers() -> dict[str, PreTrainedTokenizerFast]:
    return {name: make() for name, make in TOKENIZERS.items()}


def make_backbone(family: str, tokenizer: PreTrainedTokenizerFast) -> Any:
    """A random model of two layers and width 32."""
    transformers.utils.logging.set_verbosity_error()
    model_type = family.removesuffix("-published")
    sizes = {
        "vocab_size": len(tokenizer),
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 48,
        "max_position_embeddings": 80,
        "pad_token_id": tokenizer.pad_token_id,
        "bos_token_id": tokenizer.cls_token_id if tokenizer.bos_token_id is None else tokenizer.bos_token_id,
        "eos_token_id": end_of_text(tokenizer),
        "cls_token_id": tokenizer.cls_token_id,
        "sep_token_id": tokenizer.sep_token_id,
    }
    with seeded(0):
        config = AutoConfig.for_model(model_type, **sizes, **FAMILIES[family][1])
        backbone_class = BACKBONES.get(model_type)
        model = getattr(transformers, backbone_class.auto_class).from_config(config, dtype=torch.float32)
        with torch.no_grad():
            for weight in model.parameters():  # so that biases and norms take part
                weight.add_(0.1 * torch.randn_like(weight))
    return backbone_class(model.eval(), tokenizer, name=f"tiny-{family}")


@pytest.fixture
def tiny_backbone(tokenizers) -> Callable[[str], Any]:
    """A function that makes a new tiny backbone of a family."""
    return lambda family="bert": make_backbone(family, tokenizers[FAMILIES[family][0]])


@pytest.fixture(params=sorted(FAMILIES))
def any_backbone(request, tiny_backbone) -> Any:
    return tiny_backbone(request.param)


@pytest.fixture(params=sorted(MASKED))
def masked_backbone(request, tiny_backbone) -> Any:
    return tiny_backbone(request.param)


@pytest.fixture(params=sorted(CAUSAL))
def causal_backbone(request, tiny_backbone) -> Any:
    return tiny_backbone(request.param)


@pytest.fixture(params=sorted(SEQ2SEQ))
def seq2seq_backbone(request, tiny_backbone) -> Any:
    return tiny_backbone(request.param)


@pytest.fixture(params=sorted([*CAUSAL, *SEQ2SEQ]))
def writer(request, tiny_backbone) -> Any:
    """A model that writes."""
    return tiny_backbone(request.param)


@pytest.fixture
def saved_model(tiny_backbone, tmp_path) -> Callable[[str], str]:
    """A function that writes a new tiny model of a family and returns its folder."""

    def save(family: str) -> str:
        backbone = tiny_backbone(family)
        backbone.model.save_pretrained(tmp_path / "base")
        backbone.tokenizer.save_pretrained(tmp_path / "base")
        return str(tmp_path / "base")

    return save


@pytest.fixture
def base(saved_model) -> str:
    """A folder of a tiny model."""
    return saved_model("bert")


@pytest.fixture
def prefix_of() -> Callable[[Any, Any], Any]:
    """A function that returns what a causal model computes for words as a row of a prefix table for each."""

    def rows(backbone: Any, words: Any) -> Any:
        cache = cache_of(backbone.model(words, use_cache=True))
        parts = [part for layer in cache.layers for part in (layer.keys, layer.values)]
        return torch.cat([part[0].permute(1, 0, 2).flatten(1) for part in parts], dim=1)  # (length, heads * width)

    return rows


WORDS = {"positive": ["good", "great"], "negative": ["bad", "dull"]}
OTHER_WORDS = {"negative": ["terrible"], "positive": ["great"]}


@pytest.fixture
def bert(tiny_backbone) -> Any:
    return tiny_backbone("bert")


@pytest.fixture
def make_ensemble(bert) -> Callable[..., PVPEnsemble]:
    """A function that makes an unfitted ensemble of two pairs."""
    pairs = [("{{ text_a }} . it was {{ mask }}", WORDS), ("{{ mask }} : {{ text_a }}", OTHER_WORDS)]
    common = {"repetitions": 1, "weighting": "uniform", "max_steps": 3, "learning_rate": 1e-3, "device": "cpu"}
    return lambda pvps=pairs, model=bert, **settings: PVPEnsemble(pvps, model, **{**common, **settings})


@pytest.fixture
def make_pet(bert, tmp_path) -> Callable[..., PET]:
    """A function that makes an unfitted PET of two members, or iPET."""
    pairs = [(source, WORDS) for source in ("{{ text_a }} . it was {{ mask }}", "{{ mask }} : {{ text_a }}")]
    common = {
        "repetitions": 1, "max_steps": 2, "learning_rate": 1e-3, "student_steps": 2, "device": "cpu",
        "resume_dir": tmp_path / "cache",
    }  # fmt: skip
    return lambda cls=PET, pvps=pairs, model=bert, **settings: cls(pvps, model, **{**common, **settings})


def without_dropout(backbone):
    for module in backbone.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    backbone.model.config.attention_probs_dropout_prob = 0.0
    for module in backbone.modules():
        if isinstance(getattr(module, "dropout_prob", None), float):
            module.dropout_prob = 0.0
    return backbone


class Recorder(torch.optim.SGD):
    """Keeps the gradients that it is given."""

    def __init__(self, weights):
        super().__init__([{"params": weights, "lr": 0.0, "peak": 0.0}])
        self.seen = []

    def step(self, *arguments):
        weights = [weight for group in self.param_groups for weight in group["params"]]
        self.seen.append([torch.zeros_like(w) if w.grad is None else w.grad.clone() for w in weights])


@pytest.fixture
def gradients(tiny_backbone, monkeypatch) -> Callable[..., Any]:
    """A function that returns the gradients of the last update of a fit without dropout, and the loss it reports."""

    def find(fit: Callable[..., Any], family: str = "bert", **settings: Any) -> tuple[list[torch.Tensor], float]:
        made: list[Any] = []

        def recorder(model: Any, settings: Any) -> Any:
            made.append(Recorder([w for w in model.parameters() if w.requires_grad]))
            return made[-1]

        monkeypatch.setattr("promptlab.training.loop.make_optimizer", recorder)
        fixed = {"max_steps": 1, "device": "cpu", "precision": "no", "max_grad_norm": 1e9}
        fitted = fit(without_dropout(tiny_backbone(family)), **fixed | settings)
        return made[-1].seen[-1], fitted.history_[-1]["loss"]

    return find
