"""DeBERTa-v2 and v3, whose checkpoints keep the masked-LM head where transformers doesn't look by default."""

from __future__ import annotations

from torch import Tensor

from promptlab.backbones.masked import HeadLayout, MaskedBackbone


class DebertaV2Backbone(MaskedBackbone):
    """Reads ``lm_predictions.lm_head`` of the published checkpoints (``legacy=False``) or BERT's layout.

    In the first layout the decoder is the word-embedding matrix with a bias of its own. Version 3 was trained as a
    discriminator; its masked-LM head is of no use before fine-tuning.
    """

    def find_layout(self) -> HeadLayout:
        if self.model.config.legacy:
            return super().find_layout()
        head = "lm_predictions.lm_head"
        return HeadLayout((f"{head}.dense", f"{head}.transform_act_fn", f"{head}.LayerNorm"), head)

    def decoder(self) -> tuple[Tensor, Tensor | None]:
        if self.model.config.legacy:
            return super().decoder()
        return self.model.get_input_embeddings().weight, self.model.lm_predictions.lm_head.bias
