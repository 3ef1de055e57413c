"""MPNet, whose attention adds a bias for relative positions in a way of its own."""

from __future__ import annotations

from torch import Tensor
from transformers.models.mpnet.modeling_mpnet import MPNetSelfAttention

from promptlab.backbones.attention_prefix import OwnAttention, attend
from promptlab.backbones.families import Family, HeadLayout
from promptlab.backbones.masked import MaskedBackbone


def attend_with_prefix(
    module: MPNetSelfAttention,
    hidden_states: Tensor,
    attention_mask: Tensor | None = None,
    position_bias: Tensor | None = None,
    output_attentions: bool = False,
) -> tuple[Tensor, ...]:
    """Attention with a bias for relative positions and a prefix, which has none. MPNet, arXiv:2004.09297, section 2."""
    shape = (*hidden_states.shape[:2], -1, module.attention_head_size)
    query, key, value = (layer(hidden_states).view(shape).transpose(1, 2) for layer in (module.q, module.k, module.v))
    scale = module.attention_head_size**-0.5
    scores = query @ key.transpose(-1, -2) * scale  # (batch, heads, length, length)
    for bias in (position_bias, attention_mask):
        scores = scores if bias is None else scores + bias
    context, weights = attend(module, query, value, scores, scale)
    return (module.o(context), weights) if output_attentions else (module.o(context),)


class MPNetBackbone(MaskedBackbone):
    """MPNet: BERT with relative positions, trained on permuted texts, too. Source: arXiv:2004.09297."""

    family = Family(
        layers=("encoder.layer",),
        query_value=("attn.q", "attn.v"),
        key_value=("attn.k", "attn.v"),
        attention_outputs=("attn.o",),
        feed_forward_outputs=("output.dense",),
        head=HeadLayout(("lm_head.dense", "gelu", "lm_head.layer_norm"), "lm_head.decoder"),
        dropouts=(("attn.o", "dropout"), ("output.dense", "output.dropout")),
        output_norms=(("output.dense", "output.LayerNorm"),),
    )
    own_attention = OwnAttention(MPNetSelfAttention, attend_with_prefix)
