"""What the backbones of all families share."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase
from transformers.modeling_layers import GradientCheckpointingLayer

from promptlab.backbones.attention_prefix import OwnAttention, SiteShape, attach_prefixes, record_sites
from promptlab.backbones.encoding import PromptEncoder
from promptlab.backbones.named_layers import NamedLayers
from promptlab.backbones.soft_embedding import SoftEmbedding
from promptlab.backbones.tokenization import end_of_text, padding_id
from promptlab.core.errors import TemplateError, TuningError
from promptlab.core.places import Outer, Place
from promptlab.core.tunable_backbone import KeysAndValues
from promptlab.core.types import AnswerSlot, Batch, Encoded, MaskStates, Prompt

Result = TypeVar("Result")


class TransformerBackbone(NamedLayers, nn.Module):
    """A language model of the transformers library with its tokenizer.

    Args:
        model: the network, with its language-model head.
        tokenizer: its fast tokenizer.
        name: where it came from: a catalogue name, hub id or folder.
        revision: which version of it; the hub's commit or a hash of the weights.
        has_lm_head: whether the weights had a head, or it is random.

    Raises:
        BackboneError: if the tokenizer has no fast version, or tokens that the model's embedding table hasn't.
    """

    auto_class: str  # of transformers, which loads such models
    place_in_0_1: Outer = "space"  # what words were read after that neither begin the input nor follow white space
    own_attention: OwnAttention | None = None  # of a family that doesn't use transformers' attention functions

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
        self.folder = ""
        self.only_hidden = False
        self.shares_weights = False
        self.as_in_0_1 = False
        self.memory = object()  # which weights in memory this is, or was copied from
        self.attention_calls: list[tuple[nn.Module, SiteShape]] = []
        self.soft_embeddings: list[SoftEmbedding] = []
        self.own_names = frozenset(name for name, _ in model.named_parameters())
        self.vocabulary = model.get_input_embeddings().num_embeddings
        self.encoder = self.make_encoder()
        self.encoder.check_table(tokenizer, self.vocabulary, name)
        self.pad_id = padding_id(tokenizer, self.vocabulary)
        self.hidden_size = int(model.config.hidden_size)
        self.max_length = _positions(model, tokenizer)

    @classmethod
    def prepare(cls, config: PreTrainedConfig, place: str) -> None:
        """Change the settings of a model that is about to be loaded from a folder or hub id, where a family has to."""

    def __sklearn_clone__(self) -> TransformerBackbone:
        return self

    def copy(self) -> TransformerBackbone:
        kept: list[object] = [self.tokenizer, self.encoder, self.memory, *self.buffers()]
        memo: dict[int, object] = {id(part): part for part in kept}
        memo |= {id(weight): nn.Parameter(weight.detach(), requires_grad=False) for weight in self.parameters()}
        copied = copy.deepcopy(self, memo)
        copied.shares_weights = True
        return copied

    def unshare_trainable(self) -> None:
        for weight in self.parameters() if self.shares_weights else ():
            if weight.requires_grad:
                weight.data = weight.data.clone()

    def make_encoder(self) -> PromptEncoder:
        """Turns prompts into ids in the family's way."""
        return PromptEncoder(self.tokenizer)

    def encode(
        self,
        prompts: Sequence[Prompt],
        *,
        soft_ids: Mapping[str, Sequence[int]],
        max_length: int | None = None,
        answer_length: int = 1,
    ) -> list[Encoded]:
        limit = self.max_length if max_length is None else min(max_length, self.max_length)
        return self.encoder.encode(prompts, soft_ids=soft_ids, max_length=limit, answer_length=answer_length)

    def collate(self, encoded: Sequence[Encoded]) -> Batch:
        counts = sorted({len(row.mask_index) for row in encoded})
        if len(counts) > 1:
            raise TemplateError(
                f"prompts of one batch have {' and '.join(map(str, counts))} masks; "
                "give every branch of the template the same number."
            )
        length = max(len(row.input_ids) for row in encoded)
        input_ids = np.full((len(encoded), length), self.pad_id, dtype=np.int64)
        attention_mask, segment_ids = np.zeros_like(input_ids), np.zeros_like(input_ids)
        for i, row in enumerate(encoded):
            n = len(row.input_ids)
            input_ids[i, :n], segment_ids[i, :n], attention_mask[i, :n] = row.input_ids, row.segment_ids, 1
        mask_index = np.stack([row.mask_index for row in encoded])
        return Batch(*map(torch.from_numpy, (input_ids, attention_mask, segment_ids, mask_index)))

    def states_at(self, hidden: Tensor, index: Tensor) -> MaskStates:
        """The states at some positions (batch, masks) of the hidden states (batch, length, hidden)."""
        at = hidden.gather(1, index[:, :, None].expand(-1, -1, hidden.shape[-1]))
        return MaskStates(self.transform(at), self.project)

    def mask_states_with(self, batch: Batch, places: Tensor, tokens: Tensor) -> MaskStates:
        return self.mask_states(written_in(batch, places, tokens))

    def transform(self, hidden: Tensor) -> Tensor:
        return hidden

    def project(self, hidden: Tensor, token_ids: Tensor | None = None) -> Tensor:
        weight, bias = self.decoder()
        if token_ids is not None:
            weight = weight.index_select(0, token_ids)
            bias = None if bias is None else bias.index_select(0, token_ids)
        return F.linear(hidden, weight, bias)

    def decoder(self) -> tuple[Tensor, Tensor | None]:
        layer = self.model.get_output_embeddings()
        return layer.weight, layer.bias

    def answer_ids(self, text: str, slot: AnswerSlot) -> list[int]:
        touches = not (slot.at_start or slot.spaced)
        return self.encoder.answer_ids(text, Place(self.place_in_0_1) if self.as_in_0_1 and touches else slot.place)

    def token_ids(self, text: str, *, at_start: bool = False) -> list[int]:
        return self.encoder.token_ids(text, at_start=at_start)

    @property
    def unknown_id(self) -> int | None:
        return self.encoder.unknown_id

    @property
    def frame(self) -> tuple[Sequence[int], Sequence[int]]:
        return self.encoder.frame.before, self.encoder.frame.after

    @property
    def end_id(self) -> int | None:
        end = end_of_text(self.tokenizer)
        return None if end is None or end >= self.vocabulary else end

    def embedding_weight(self) -> Tensor:
        return self.model.get_input_embeddings().weight

    def embed_soft(self, table: nn.Module) -> None:
        for old in self.soft_embeddings:  # its hooks would hide the soft tokens from the new ones
            old.remove()
        weight = self.embedding_weight()
        layers = [m for m in self.model.modules() if isinstance(m, nn.Embedding) and m.weight is weight]
        self.soft_embeddings = [SoftEmbedding(layer, table, self.vocabulary) for layer in layers]

    def freeze_unused(self) -> None:
        if not self.only_hidden:
            return
        shared = {id(weight) for weight in self.pooled_model().parameters()}
        for weight in self.model.parameters():
            if id(weight) not in shared:
                weight.requires_grad_(False)

    def common_word_ids(self, limit: int) -> list[int]:
        known = min(len(self.tokenizer), self.vocabulary)
        pieces = self.tokenizer.convert_ids_to_tokens(list(range(known)))
        mark = next((m for m in ("\u0120", "\u2581") if any(piece.startswith(m) for piece in pieces)), "")
        marked = ((i, piece) for i, piece in enumerate(pieces) if piece.startswith(mark) and len(piece) > len(mark))
        read = self.tokenizer.convert_tokens_to_string
        texts = [(i, text) for i, piece in marked if (text := read([piece]).strip()).isalpha()]
        words = [i for i, text in texts if len(text) > 1]
        single = [i for i, text in texts if len(text) == 1]
        if len(single) > len(words):  # a Chinese model's, where characters are words
            return [i for i, _ in texts][:limit]
        return [*words, *single][:limit]  # vocabularies begin with all writings' characters, in no order of use

    def prefix_sites(self) -> Sequence[tuple[int, int]]:
        own = self.own_attention
        self.attention_calls = own.calls(self.model) if own else record_sites(self.model, self.run_once)
        if not self.attention_calls:
            raise TuningError(
                f"models of the family {self.model.config.model_type!r} compute attention in a way of their own, which "
                "takes no prefix; choose tuning='lora', 'adapter' or 'prompt-tuning'."
            )
        return [(shape.heads, shape.width) for _, shape in self.attention_calls]

    def set_prefix(self, table: KeysAndValues) -> None:
        self.prefix_table = table
        attach_prefixes(self.attention_calls, self.stacks(), table)
        if self.own_attention:
            self.own_attention.replace(self.attention_calls)
        self.attention_calls = []

    def added_weights(self) -> Sequence[str]:
        own = {f"model.{name}" for name in self.own_names}
        return [name for name, _ in self.named_parameters() if name not in own]

    def recompute_activations(self) -> None:
        if not self.model.supports_gradient_checkpointing:
            raise TuningError(
                f"models of the family {self.model.config.model_type!r} can't compute activations again; "
                "leave gradient_checkpointing out."
            )
        for layer in self.model.modules():
            if isinstance(layer, GradientCheckpointingLayer):
                layer.gradient_checkpointing = True
                layer._gradient_checkpointing_func = partial(_recomputed, layer)

    def run_once(self) -> None:
        """A forward pass on a short input."""
        self.model.base_model(input_ids=torch.ones(1, 3, dtype=torch.long, device=self.model.device))

    def stacks(self) -> Sequence[nn.Module]:
        """The modules whose forward pass runs all layers."""
        return [self.model.base_model]

    def pooled_model(self) -> nn.Module:
        """The part of the network that ``hidden_states`` runs."""
        return self.model.base_model


def written_in(batch: Batch, places: Tensor, tokens: Tensor) -> Batch:
    """Every prompt with every row of tokens (rows, k) at its places (batch, k), prompt by prompt."""
    times, count = len(tokens), len(places)
    ids = batch.input_ids.repeat_interleave(times, dim=0)
    return Batch(
        ids.scatter(1, places.repeat_interleave(times, dim=0), tokens.repeat(count, 1)),
        batch.attention_mask.repeat_interleave(times, dim=0),
        batch.segment_ids.repeat_interleave(times, dim=0),
        batch.mask_index.repeat_interleave(times, dim=0),
    )


def _recomputed(layer: nn.Module, forward: Callable[..., Result], *inputs: object) -> Result:
    """A layer's output, its activations computed again for the gradient; frozen layers drop nothing out.

    Layers only come here in training mode, the frozen ones, too, for which this mode means nothing else.
    """
    is_trained = any(weight.requires_grad for weight in layer.parameters())

    def run(*inputs: object) -> Result:
        layer.training = is_trained
        try:
            return forward(*inputs)
        finally:
            layer.training = True

    return checkpoint(run, *inputs, use_reentrant=False)


def by_length(strings: Sequence[Sequence[int]]) -> Iterator[tuple[int, list[int]]]:
    """Each length with the numbers of the strings that have it, the shortest first."""
    for length in sorted({len(string) for string in strings}):
        yield length, [i for i, string in enumerate(strings) if len(string) == length]


def _positions(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> int:
    """Tokens that fit; RoBERTa-like models number positions from just past the padding id."""
    positions = getattr(model.config, "max_position_embeddings", None)
    limits = [tokenizer.model_max_length]
    if positions:
        tables = (part for name, part in model.named_modules() if name.endswith("position_embeddings"))
        unused = (padding + 1 for table in tables if (padding := getattr(table, "padding_idx", None)) is not None)
        limits.append(positions - next(unused, 0))
    return int(min(limits))
