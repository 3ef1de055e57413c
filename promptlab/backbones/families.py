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
        key_value: names of the layers that make keys and values.
        attention_outputs: output projections of the attention.
        feed_forward_outputs: output projections of the feed-forward sub-layers.
        head: of a masked language model.
        fused: how the outputs of a layer that makes queries, keys and values stand: ``"thirds"``, or thirds of each
            head's (``"heads"``); None where each has a layer of its own.
        dropouts: pairs of an output projection and the dropout between it and the residual sum; none where there is no
            such module.
        functional_dropout: the attribute of a layer that holds the probability of that dropout, or a module shared by
            several projections, where it is no module of its own.
        output_norms: pairs of a feed-forward output projection and the norm of its residual sum, where the norm comes
            last.
        final_norms: norms after the last layer, below the base model, where norms come first.
    """

    layers: tuple[str, ...]
    query_value: tuple[str, ...]
    key_value: tuple[str, ...]
    attention_outputs: tuple[str, ...]
    feed_forward_outputs: tuple[str, ...]
    head: HeadLayout | None = None
    fused: str | None = None
    dropouts: tuple[tuple[str, str], ...] = ()
    functional_dropout: str | None = None
    output_norms: tuple[tuple[str, str], ...] = ()
    final_norms: tuple[str, ...] = ()


_BERT = Family(
    layers=("encoder.layer",),
    query_value=("query", "value"),
    key_value=("key", "value"),
    attention_outputs=("attention.output.dense",),
    feed_forward_outputs=("output.dense",),
    head=HeadLayout(("cls.predictions.transform",), "cls.predictions.decoder"),
    dropouts=(("output.dense", "output.dropout"),),
    output_norms=(("output.dense", "output.LayerNorm"),),
)
_ROBERTA = replace(_BERT, head=HeadLayout(("lm_head.dense", "gelu", "lm_head.layer_norm"), "lm_head.decoder"))
_LLAMA = Family(
    layers=("layers",),
    query_value=("q_proj", "v_proj"),
    key_value=("k_proj", "v_proj"),
    attention_outputs=("o_proj",),
    feed_forward_outputs=("down_proj",),
    final_norms=("norm",),
)
_PHI = replace(
    _LLAMA,
    attention_outputs=("dense",),
    feed_forward_outputs=("fc2",),
    functional_dropout="resid_dropout",
    final_norms=("final_layernorm",),
)
_T5 = Family(
    layers=("encoder.block", "decoder.block"),
    query_value=("q", "v"),
    key_value=("k", "v"),
    attention_outputs=("SelfAttention.o", "EncDecAttention.o"),
    feed_forward_outputs=("DenseReluDense.wo",),
    dropouts=(("SelfAttention.o", "dropout"), ("EncDecAttention.o", "dropout"), ("DenseReluDense.wo", "dropout")),
    final_norms=("encoder.final_layer_norm", "decoder.final_layer_norm"),
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
        dropouts=(("attention.dense", "attention.output_dropout"),),
        output_norms=(("ffn_output", "full_layer_layer_norm"),),
    ),
    "bart": Family(
        layers=("encoder.layers", "decoder.layers"),
        query_value=("q_proj", "v_proj"),
        key_value=("k_proj", "v_proj"),
        attention_outputs=("self_attn.out_proj", "encoder_attn.out_proj"),
        feed_forward_outputs=("fc2",),
        functional_dropout="dropout",
        output_norms=(("fc2", "final_layer_norm"),),
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
        dropouts=(("ffn.lin2", "ffn.dropout"),),
        output_norms=(("ffn.lin2", "output_layer_norm"),),
    ),
    "electra": replace(_BERT, head=HeadLayout(("generator_predictions",), "generator_lm_head")),
    "gpt2": Family(
        layers=("h",),
        query_value=("c_attn",),
        key_value=("c_attn",),
        attention_outputs=("attn.c_proj",),
        feed_forward_outputs=("mlp.c_proj",),
        fused="thirds",
        dropouts=(("attn.c_proj", "attn.resid_dropout"), ("mlp.c_proj", "mlp.dropout")),
        final_norms=("ln_f",),
    ),
    "gpt_neox": Family(
        layers=("layers",),
        query_value=("query_key_value",),
        key_value=("query_key_value",),
        attention_outputs=("attention.dense",),
        feed_forward_outputs=("dense_4h_to_h",),
        fused="heads",
        dropouts=(("attention.dense", "post_attention_dropout"), ("mlp.dense_4h_to_h", "post_mlp_dropout")),
        final_norms=("final_layer_norm",),
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
        fused="thirds",
        dropouts=(("attn.Wo", "attn.out_drop"),),
        final_norms=("final_norm",),
    ),
    "mt5": _T5,
    "phi": _PHI,
    "qwen2": _LLAMA,
    "qwen3": _LLAMA,
    "roberta": _ROBERTA,
    "t5": _T5,
    "xlm-roberta": _ROBERTA,
}
