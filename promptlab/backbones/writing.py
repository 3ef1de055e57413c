"""How a language model writes on after a prompt."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from promptlab.backbones.base import TransformerBackbone
from promptlab.core.errors import TuningError


def followed_by(ids: Tensor, lengths: Tensor, more: Tensor) -> tuple[Tensor, Tensor]:
    """Rows of ids, of which ``lengths`` count, each followed by its row of ``more``.

    Returns:
        The ids (batch, length + k), and the positions of the new ones (batch, k).
    """
    places = lengths[:, None] + torch.arange(more.shape[1], device=ids.device)
    return F.pad(ids, (0, more.shape[1])).scatter(1, places, more), places


def generate(
    backbone: TransformerBackbone, inputs: Mapping[str, Tensor], options: Mapping[str, object]
) -> list[list[int]]:
    """transformers' ``generate``, its errors as ours."""
    forced = {"forced_bos_token_id": None, "forced_eos_token_id": None}  # BART's, for texts that begin with nothing
    settings = {"pad_token_id": backbone.pad_id, "eos_token_id": backbone.end_id, **forced, **options}
    if options.get("stop_strings"):
        settings.setdefault("tokenizer", backbone.tokenizer)
    try:
        return backbone.model.generate(**inputs, **settings).tolist()
    except (ValueError, TypeError) as error:
        said = ", ".join(f"{name}={value!r}" for name, value in options.items())
        raise TuningError(f"generate doesn't take {said}: {' '.join(str(error).split())}") from None
