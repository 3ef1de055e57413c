"""What the layers of each architecture are called; the only place where a family's names stand."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class HeadLayout:
    """Where a masked language model keeps its head.

    Args:
        transform: modules applied to the hidden states before the decoder, in order; ``"gelu"`` is the function.
        decoder: the linear layer onto the vocabulary.
    """

    transform: tuple[str, ...]
    decoder: str


@dataclass(frozen=True)
class Family:
    """Names in one architecture. Those of layers with a role are the ends of their names.

    Args:
        layers: lists of transformer layers, below the base model, from the input to the output.
        query_value: layers that make queries and values; one that makes both is each of them.
        key_value: likewise keys and values.
        attention_outputs: output projections of the attention.
        feed_forward_outputs: output projections of the feed-forward sub-layers.
        head: of a masked language model.
    """

    layers: tuple[str, ...]
    query_value: tuple[str, ...]
    key_value: tuple[str, ...]
    attention_outputs: tuple[str, ...]
    feed_forward_outputs: tuple[str, ...]
    head: HeadLayout | None = None


_BERT = Family(
    layers=("encoder.layer",),
    query_value=("query", "value"),
    key_value=("key", "value"),
    attention_outputs=("attention.output.dense",),
    feed_forward_outputs=("output.dense",),
    head=HeadLayout(("cls.predictions.transform",), "cls.predictions.decoder"),
)
_ROBERTA = replace(_BERT, head=HeadLayout(("lm_head.dense", "gelu", "lm_head.layer_norm"), "lm_head.decoder"))
_LLAMA = Family(
    layers=("layers",),
    query_value=("q_proj", "v_proj"),
    key_value=("k_proj", "v_proj"),
    attention_outputs=("o_proj",),
    feed_forward_outputs=("down_proj",),
)
_T5 = Family(
    layers=("encoder.block", "decoder.block"),
    query_value=("q", "v"),
    key_value=("k", "v"),
    attention_outputs=("SelfAttention.o", "EncDecAttention.o"),
    feed_forward_outputs=("DenseReluDense.wo",),
)

FAMILIES: Mapping[str, Family] = {
    "albert": Family(
        layers=("encoder.albert_layer_groups",),
        query_value=("query", "value"),
        key_value=("key", "value"),
        attention_outputs=("attention.dense",),
        feed_forward_outputs=("ffn_output",),
        head=HeadLayout(
            ("predictions.dense", "predictions.activation", "predictions.LayerNorm"), "predictions.decoder"
        ),
    ),
    "bart": Family(
        layers=("encoder.layers", "decoder.layers"),
        query_value=("q_proj", "v_proj"),
        key_value=("k_proj", "v_proj"),
        attention_outputs=("self_attn.out_proj", "encoder_attn.out_proj"),
        feed_forward_outputs=("fc2",),
    ),
    "bert": _BERT,
    "deberta-v2": replace(_BERT, query_value=("query_proj", "value_proj"), key_value=("key_proj", "value_proj")),
    "distilbert": Family(
        layers=("transformer.layer",),
        query_value=("q_lin", "v_lin"),
        key_value=("k_lin", "v_lin"),
        attention_outputs=("attention.out_lin",),
        feed_forward_outputs=("ffn.lin2",),
        head=HeadLayout(("vocab_transform", "activation", "vocab_layer_norm"), "vocab_projector"),
    ),
    "electra": replace(_BERT, head=HeadLayout(("generator_predictions",), "generator_lm_head")),
    "gpt2": Family(
        layers=("h",),
        query_value=("c_attn",),
        key_value=("c_attn",),
        attention_outputs=("attn.c_proj",),
        feed_forward_outputs=("mlp.c_proj",),
    ),
    "gpt_neox": Family(
        layers=("layers",),
        query_value=("query_key_value",),
        key_value=("query_key_value",),
        attention_outputs=("attention.dense",),
        feed_forward_outputs=("dense_4h_to_h",),
    ),
    "llama": _LLAMA,
    "mistral": _LLAMA,
    "modernbert": Family(
        layers=("layers",),
        query_value=("Wqkv",),
        key_value=("Wqkv",),
        attention_outputs=("attn.Wo",),
        feed_forward_outputs=("mlp.Wo",),
        head=HeadLayout(("head",), "decoder"),
    ),
    "mt5": _T5,
    "phi": replace(_LLAMA, attention_outputs=("dense",), feed_forward_outputs=("fc2",)),
    "qwen2": _LLAMA,
    "qwen3": _LLAMA,
    "roberta": _ROBERTA,
    "t5": _T5,
    "xlm-roberta": _ROBERTA,
}
