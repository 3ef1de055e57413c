"""Masked language models: the answer stands at the mask."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from promptlab.backbones.encoding import PromptEncoder
from promptlab.backbones.soft_embedding import SoftEmbedding
from promptlab.errors import TemplateError
from promptlab.interfaces import Backbone
from promptlab.types import Batch, Encoded, MaskStates, Prompt


@dataclass(frozen=True)
class HeadLayout:
    """Where a model keeps its masked-LM head.

    Args:
        transform: modules applied to the hidden states before the decoder, in order; ``"gelu"`` is the function.
        decoder: the linear layer onto the vocabulary.
        layers: the list of transformer layers, below the base model.
    """

    transform: tuple[str, ...]
    decoder: str
    layers: str = "encoder.layer"


_BERT = HeadLayout(("cls.predictions.transform",), "cls.predictions.decoder")
_ROBERTA = HeadLayout(("lm_head.dense", "gelu", "lm_head.layer_norm"), "lm_head.decoder")

LAYOUTS: Mapping[str, HeadLayout] = {
    "albert": HeadLayout(
        ("predictions.dense", "predictions.activation", "predictions.LayerNorm"),
        "predictions.decoder",
        "encoder.albert_layer_groups",
    ),
    "bert": _BERT,
    "deberta-v2": _BERT,
    "distilbert": HeadLayout(
        ("vocab_transform", "activation", "vocab_layer_norm"), "vocab_projector", "transformer.layer"
    ),
    "electra": HeadLayout(("generator_predictions",), "generator_lm_head"),
    "modernbert": HeadLayout(("head",), "decoder", "layers"),
    "roberta": _ROBERTA,
    "xlm-roberta": _ROBERTA,
}


class MaskedBackbone(nn.Module, Backbone):
    """A masked language model with its tokenizer.

    Args:
        model: a ``…ForMaskedLM`` of a family in ``LAYOUTS``.
        tokenizer: its fast tokenizer.
        name: where it came from: a catalogue name, hub id or folder.
        revision: which version of it; the hub's commit or a hash of the weights.
        has_lm_head: whether the weights had a head, or it is random.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        *,
        name: str = "",
        revision: str = "",
        has_lm_head: bool = True,
    ) -> None:
        super().__init__()
        self.model = model
        self.tokenizer = tokenizer
        self.name, self.revision, self.has_lm_head = name, revision, has_lm_head
        self.soft_embedding: SoftEmbedding | None = None
        self.vocabulary = model.get_input_embeddings().num_embeddings
        self.encoder = PromptEncoder(tokenizer)
        self.layout = self.find_layout()
        self.hidden_size = int(model.config.hidden_size)
        self.max_length = _positions(model, tokenizer)

    def __sklearn_clone__(self) -> MaskedBackbone:
        return self

    def find_layout(self) -> HeadLayout:
        """The head's layout; a subclass may look for it in the model."""
        return LAYOUTS[self.model.config.model_type]

    def encode(
        self, prompts: Sequence[Prompt], *, soft_ids: Mapping[str, Sequence[int]], max_length: int | None = None
    ) -> list[Encoded]:
        limit = self.max_length if max_length is None else min(max_length, self.max_length)
        return self.encoder.encode(prompts, soft_ids=soft_ids, max_length=limit)

    def collate(self, encoded: Sequence[Encoded]) -> Batch:
        counts = sorted({len(row.mask_index) for row in encoded})
        if len(counts) > 1:
            raise TemplateError(
                f"prompts of one batch have {' and '.join(map(str, counts))} masks; "
                "give every branch of the template the same number."
            )
        length = max(len(row.input_ids) for row in encoded)
        input_ids = np.full((len(encoded), length), self.tokenizer.pad_token_id or 0, dtype=np.int64)
        attention_mask, segment_ids = np.zeros_like(input_ids), np.zeros_like(input_ids)
        for i, row in enumerate(encoded):
            n = len(row.input_ids)
            input_ids[i, :n], segment_ids[i, :n], attention_mask[i, :n] = row.input_ids, row.segment_ids, 1
        mask_index = np.stack([row.mask_index for row in encoded])
        return Batch(*map(torch.from_numpy, (input_ids, attention_mask, segment_ids, mask_index)))

    def hidden_states(self, batch: Batch) -> Tensor:
        inputs = {"input_ids": batch.input_ids, "attention_mask": batch.attention_mask}
        if getattr(self.model.config, "type_vocab_size", 0) > 1:
            inputs["token_type_ids"] = batch.segment_ids
        return self.model.base_model(**inputs).last_hidden_state  # (batch, length, hidden)

    def mask_states(self, batch: Batch) -> MaskStates:
        hidden = self.hidden_states(batch)
        index = batch.mask_index[:, :, None].expand(-1, -1, hidden.shape[-1])
        return MaskStates(self.transform(hidden.gather(1, index)), self.project)

    def transform(self, hidden: Tensor) -> Tensor:
        """The part of the LM head before the decoder: (…, hidden) → (…, embedding)."""
        for path in self.layout.transform:
            step: Callable[[Tensor], Tensor] = F.gelu if path == "gelu" else self.model.get_submodule(path)
            hidden = step(hidden)
        return hidden

    def project(self, hidden: Tensor, token_ids: Tensor | None = None) -> Tensor:
        """Logits of the whole vocabulary, or of some tokens: (…, embedding) → (…, words)."""
        weight, bias = self.decoder()
        if token_ids is not None:
            weight = weight.index_select(0, token_ids)
            bias = None if bias is None else bias.index_select(0, token_ids)
        return F.linear(hidden, weight, bias)

    def decoder(self) -> tuple[Tensor, Tensor | None]:
        """Weight (vocabulary, embedding) and bias of the LM head's last layer."""
        layer: Any = self.model.get_submodule(self.layout.decoder)
        return layer.weight, layer.bias

    def token_ids(self, word: str, *, at_start: bool = False) -> list[int]:
        return self.encoder.token_ids(word, at_start=at_start)

    def embedding_weight(self) -> Tensor:
        return self.model.get_input_embeddings().weight

    def embed_soft(self, table: nn.Module) -> None:
        if self.soft_embedding is not None:  # its hooks would hide the soft tokens from the new ones
            self.soft_embedding.remove()
        self.soft_embedding = SoftEmbedding(self.model.get_input_embeddings(), table, self.vocabulary)

    def freeze_lm_head(self) -> None:
        shared = {id(weight) for weight in self.model.base_model.parameters()}
        for weight in self.model.parameters():
            if id(weight) not in shared:
                weight.requires_grad_(False)

    def layers(self) -> Sequence[nn.Module]:
        return list(self.model.base_model.get_submodule(self.layout.layers).children())


def _positions(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> int:
    """Tokens that fit; RoBERTa-like models number positions from just past the padding id."""
    positions = getattr(model.config, "max_position_embeddings", None)
    limits = [tokenizer.model_max_length]
    if positions:
        offset = model.config.pad_token_id + 1 if model.config.model_type in ("roberta", "xlm-roberta") else 0
        limits.append(positions - offset)
    return int(min(limits))
