"""What a template makes of an example, for people to look at."""

from __future__ import annotations

from typing import Any

import torch

from promptlab.backbones import catalog
from promptlab.parts import resolve_template
from promptlab.soft_tokens import SoftTokens
from promptlab.types import Example


@torch.inference_mode()
def inspect_prompt(
    template: Any, example: Example, *, model: Any = None, max_length: int | None = None, top_k: int = 10
) -> dict[str, Any]:
    """Segments, tokens, ids and truncation of a prompt, and the likeliest words at each mask.

    Soft tokens are shown as ``soft`` and have the vectors that training would start from.
    """
    resolved = resolve_template(template)
    prompt = resolved.render(example)
    backbone = catalog.load_backbone(model).eval()
    soft = SoftTokens(resolved.soft_slots, backbone)
    if soft.ids:
        backbone.embed_soft(soft)
    encoded = backbone.encode([prompt], soft_ids=soft.ids, max_length=max_length)[0]
    probabilities = backbone.mask_states(backbone.collate([encoded])).logits()[0].softmax(dim=-1)  # (masks, vocabulary)
    best = probabilities.topk(min(top_k, probabilities.shape[-1]), dim=-1)
    name = backbone.tokenizer.convert_ids_to_tokens
    ids = encoded.input_ids.tolist()
    vocabulary = len(backbone.embedding_weight())
    return {
        "segments": [segment._asdict() for segment in prompt.segments],
        "tokens": [name(i) if i < vocabulary else "<soft>" for i in ids],
        "ids": ids,
        "n_cut": encoded.n_cut,
        "masks": [
            [{"word": name(i), "probability": p} for i, p in zip(row_ids, row, strict=True)]
            for row_ids, row in zip(best.indices.tolist(), best.values.tolist(), strict=True)
        ],
    }
