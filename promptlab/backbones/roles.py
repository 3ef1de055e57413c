"""What the layers of each family are called: names end with these."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple


class Roles(NamedTuple):
    """Ends of the names of the layers with a role. A layer that makes queries, keys and values is each of them."""

    query_value: tuple[str, ...]
    key_value: tuple[str, ...]
    attention_outputs: tuple[str, ...]
    feed_forward_outputs: tuple[str, ...]


_BERT = Roles(("query", "value"), ("key", "value"), ("attention.output.dense",), ("output.dense",))
_LLAMA = Roles(("q_proj", "v_proj"), ("k_proj", "v_proj"), ("o_proj",), ("down_proj",))
_T5 = Roles(("q", "v"), ("k", "v"), ("SelfAttention.o", "EncDecAttention.o"), ("DenseReluDense.wo",))

ROLES: Mapping[str, Roles] = {
    "albert": Roles(("query", "value"), ("key", "value"), ("attention.dense",), ("ffn_output",)),
    "bart": Roles(
        ("q_proj", "v_proj"), ("k_proj", "v_proj"), ("self_attn.out_proj", "encoder_attn.out_proj"), ("fc2",)
    ),
    "bert": _BERT,
    "deberta-v2": _BERT._replace(query_value=("query_proj", "value_proj"), key_value=("key_proj", "value_proj")),
    "distilbert": Roles(("q_lin", "v_lin"), ("k_lin", "v_lin"), ("attention.out_lin",), ("ffn.lin2",)),
    "electra": _BERT,
    "gpt2": Roles(("c_attn",), ("c_attn",), ("attn.c_proj",), ("mlp.c_proj",)),
    "gpt_neox": Roles(("query_key_value",), ("query_key_value",), ("attention.dense",), ("dense_4h_to_h",)),
    "llama": _LLAMA,
    "mistral": _LLAMA,
    "modernbert": Roles(("Wqkv",), ("Wqkv",), ("attn.Wo",), ("mlp.Wo",)),
    "mt5": _T5,
    "qwen2": _LLAMA,
    "qwen3": _LLAMA,
    "roberta": _BERT,
    "t5": _T5,
    "xlm-roberta": _BERT,
}
