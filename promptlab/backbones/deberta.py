"""DeBERTa-v2 and v3, whose checkpoints keep the masked-LM head where transformers doesn't look by default."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor
from transformers import PreTrainedConfig
from transformers.models.deberta_v2.modeling_deberta_v2 import DisentangledSelfAttention, scaled_size_sqrt

from promptlab.backbones.attention_prefix import OwnAttention, attend
from promptlab.backbones.families import HeadLayout
from promptlab.backbones.masked import MaskedBackbone


def attend_with_prefix(
    module: DisentangledSelfAttention,
    hidden_states: Tensor,
    attention_mask: Tensor,
    output_attentions: bool = False,
    query_states: Tensor | None = None,
    relative_pos: Tensor | None = None,
    rel_embeddings: Tensor | None = None,
) -> tuple[Tensor, Tensor | None]:
    """Disentangled attention with a prefix, which has no relative position. DeBERTa, arXiv:2006.03654, section 3.1."""
    heads = module.num_attention_heads
    states = hidden_states if query_states is None else query_states
    query = module.transpose_for_scores(module.query_proj(states), heads)  # (batch * heads, length, width)
    key = module.transpose_for_scores(module.key_proj(hidden_states), heads)
    value = module.transpose_for_scores(module.value_proj(hidden_states), heads)
    parts = 1 + ("c2p" in module.pos_att_type) + ("p2c" in module.pos_att_type)
    scaled = key.transpose(-1, -2) / scaled_size_sqrt(query, parts).to(query.dtype)
    scores = torch.bmm(query, scaled)  # (batch * heads, length, length)
    if module.relative_attention:
        relative = module.pos_dropout(rel_embeddings)
        scores = scores + module.disentangled_attention_bias(query, key, relative_pos, relative, parts)
    rows = len(query) // heads
    scores = scores.view(rows, heads, *scores.shape[-2:])
    scores = scores.masked_fill(~attention_mask.bool(), torch.finfo(query.dtype).min)
    query, value = (part.view(rows, heads, *part.shape[-2:]) for part in (query, value))
    context, weights = attend(module, query, value, scores, 1 / scaled_size_sqrt(query, parts).to(query.dtype))
    return context, (weights if output_attentions else None)


class DebertaV2Backbone(MaskedBackbone):
    """Reads ``lm_predictions.lm_head`` of the published checkpoints (``legacy=False``) or BERT's layout.

    In the first layout the decoder is the word-embedding matrix with a bias of its own. Version 3 was trained as a
    discriminator; its masked-LM head is of no use before fine-tuning.
    """

    own_attention = OwnAttention(DisentangledSelfAttention, attend_with_prefix)

    @classmethod
    def prepare(cls, config: PreTrainedConfig, place: str) -> None:
        if not _has_bert_head(place):
            config.legacy = False

    def find_layout(self) -> HeadLayout:
        if self.model.config.legacy:
            return super().find_layout()
        head = "lm_predictions.lm_head"
        return HeadLayout((f"{head}.dense", f"{head}.transform_act_fn", f"{head}.LayerNorm"), head)

    def decoder(self) -> tuple[Tensor, Tensor | None]:
        if self.model.config.legacy:
            return super().decoder()
        return self.model.get_input_embeddings().weight, self.model.lm_predictions.lm_head.bias


def _has_bert_head(place: str) -> bool:
    """Whether a folder was saved with BERT's head layout; published checkpoints were not."""
    path = Path(place) / "model.safetensors"
    if not path.is_file():
        return False
    with safe_open(path, framework="pt") as weights:
        return any(key.startswith("cls.predictions") for key in set(weights.keys()))
