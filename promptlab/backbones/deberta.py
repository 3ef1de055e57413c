"""DeBERTa-v2 and v3, whose checkpoints keep the masked-LM head where transformers doesn't look by default."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import MethodType
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor, nn
from transformers.models.deberta_v2.modeling_deberta_v2 import DisentangledSelfAttention, scaled_size_sqrt

from promptlab.backbones.attention_prefix import MARK, SiteShape, attach_prefixes
from promptlab.backbones.families import HeadLayout
from promptlab.backbones.masked import MaskedBackbone


class DebertaV2Backbone(MaskedBackbone):
    """Reads ``lm_predictions.lm_head`` of the published checkpoints (``legacy=False``) or BERT's layout.

    In the first layout the decoder is the word-embedding matrix with a bias of its own. Version 3 was trained as a
    discriminator; its masked-LM head is of no use before fine-tuning.
    """

    @classmethod
    def prepare(cls, config: Any, place: str) -> None:
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

    def prefix_sites(self) -> Sequence[tuple[int, int]]:
        modules = [part for part in self.model.modules() if isinstance(part, DisentangledSelfAttention)]
        shape = SiteShape(modules[0].num_attention_heads, modules[0].attention_head_size)
        self.attention_calls = [(module, shape) for module in modules]
        return [(shape.heads, shape.width)] * len(modules)

    def set_prefix(self, table: nn.Module) -> None:
        self.prefix_table = table
        attach_prefixes(self.attention_calls, self.stacks(), table)
        for module, _ in self.attention_calls:
            module.forward = MethodType(attend_with_prefix, module)
        self.attention_calls = []


def _has_bert_head(place: str) -> bool:
    """Whether a folder was saved with BERT's head layout; published checkpoints were not."""
    path = Path(place) / "model.safetensors"
    if not path.is_file():
        return False
    with safe_open(path, framework="pt") as weights:
        return any(key.startswith("cls.predictions") for key in set(weights.keys()))


def attend_with_prefix(
    module: Any,
    hidden_states: Tensor,
    attention_mask: Tensor,
    output_attentions: bool = False,
    query_states: Tensor | None = None,
    relative_pos: Tensor | None = None,
    rel_embeddings: Tensor | None = None,
) -> tuple[Tensor, Tensor | None]:
    """Disentangled attention with a prefix, which has no relative position. DeBERTa, arXiv:2006.03654, section 3.1."""
    keys, values, visible = getattr(module, MARK).next(len(hidden_states))  # (batch, heads, prefix, width) each
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
    query = query.view(rows, heads, *query.shape[-2:])
    to_prefix = query @ keys.to(query.dtype).transpose(-1, -2) / scaled_size_sqrt(query, parts).to(query.dtype)
    if visible is not None:
        to_prefix = to_prefix.masked_fill(~visible, torch.finfo(query.dtype).min)
    weights = module.dropout(torch.cat([to_prefix, scores], dim=-1).softmax(dim=-1))
    context = weights @ torch.cat([values.to(value.dtype), value.view(rows, heads, *value.shape[-2:])], dim=2)
    context = context.transpose(1, 2).flatten(2)  # (batch, length, hidden)
    return context, (weights if output_attentions else None)
