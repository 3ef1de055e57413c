"""Causal language models: the answer is the next token after the prompt."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from transformers import Cache, DynamicCache
from transformers.cache_utils import DynamicLayer

from promptlab.backbones.base import TransformerBackbone, by_length, written_in
from promptlab.backbones.caching import cache_of, read_on
from promptlab.backbones.encoding import PromptEncoder
from promptlab.backbones.runs import Run, Special
from promptlab.backbones.tokenization import Frame
from promptlab.backbones.writing import followed_by, generate
from promptlab.core.errors import TemplateError, TuningError
from promptlab.core.generative_backbone import GenerativeBackbone
from promptlab.core.types import Batch, Encoded, MaskStates, Prompt

STRINGS_AT_ONCE = 16  # answers that are scored in one forward pass, or fewer:
TOKENS_AT_ONCE = 16_384  # whose keys and values are repeated for them
SHORTEST_PREFIX = 16  # tokens below which sharing costs more than it saves
SMALLEST_GROUP = 4  # prompts, likewise


class CausalEncoder(PromptEncoder):
    """The mask takes no token: the answer is read from the last position before it.

    White space before the mask belongs to the answer's first token, so it is taken off the prompt. The answer follows,
    whatever the tokenizer ends texts with; a prompt without an answer is a whole text.
    """

    def frame_of(self, prompt: Prompt) -> Frame:
        return replace(self.frame, between=(), after=()) if prompt.n_masks else self.frame

    def special_ids(self) -> set[int]:
        return super().special_ids() - {self.mask_id}

    def answer_tokens(self, prompt: Prompt, n_masks: int, answer_length: int) -> tuple[int, ...]:
        return ()

    def answer_index(self, start: int, n_tokens: int) -> Sequence[int]:
        return [start - 1]

    def reserved(self, answer_length: int) -> int:
        return answer_length - 1

    def check(self, prompt: Prompt, parts: list[Run | Special]) -> None:
        places = [i for i, part in enumerate(parts) if isinstance(part, Special) and part.kind == "mask"]
        if not places:
            return
        rest = "".join(segment.text for part in parts[places[0] + 1 :] if isinstance(part, Run) for segment in part[1])
        if len(places) > 1 or rest.strip() or any(isinstance(part, Special) for part in parts[places[0] + 1 :]):
            raise TemplateError(
                f"template {str(prompt)!r} goes on after its mask, which a causal model never sees; end it with "
                "{{ mask }}, or take a masked or encoder-decoder model."
            )
        del parts[places[0] + 1 :]

    def strips(self, *, right: bool) -> bool:
        return right


class Prefix(NamedTuple):
    """Tokens that all prompts begin with, and the model's keys and values for them."""

    length: int
    cache: DynamicCache


class CausalBackbone(TransformerBackbone, GenerativeBackbone):
    """A causal language model, such as GPT-2, Llama or Qwen.

    Prompts are padded on the right, so that positions don't depend on the batch. The score of an answer of several
    tokens is the sum of their log-probabilities; all answers to a prompt share its keys and values.

    Source: GPT-3, arXiv:2005.14165, section 2.4.
    """

    auto_class = "AutoModelForCausalLM"
    decodings = ("left-to-right",)
    place_in_0_1 = "field"
    prefix: Prefix | None = None  # that all prompts at hand begin with

    def make_encoder(self) -> PromptEncoder:
        return CausalEncoder(self.tokenizer)

    def hidden_states(self, batch: Batch) -> Tensor:
        inputs = {"input_ids": batch.input_ids, "attention_mask": batch.attention_mask}
        return self.model.base_model(**inputs, use_cache=False).last_hidden_state  # (batch, length, hidden)

    def mask_states(self, batch: Batch) -> MaskStates:
        return self._run_prompts(batch, use_cache=False)[0]

    def mask_states_with(self, batch: Batch, places: Tensor, tokens: Tensor) -> MaskStates:
        """What stands before the first of the places is read once, and gone on from with every row of tokens."""
        known = places[:, :1]  # (batch, 1), tokens that all rows share
        width, n_rest = int(known.max()), int((batch.attention_mask.sum(dim=1, keepdim=True) - known).max())
        if int(known.min()) == 0 or self.prefix is not None or self._slides_over(width + n_rest):
            return super().mask_states_with(batch, places, tokens)
        before = (torch.arange(width, device=known.device) < known).long()  # (batch, width)
        output = self.model.base_model(input_ids=batch.input_ids[:, :width], attention_mask=before, use_cache=True)
        at = known + torch.arange(n_rest, device=known.device)  # (batch, n_rest)
        real = at < batch.attention_mask.sum(dim=1, keepdim=True)
        at = torch.where(real, at, 0)
        mask = torch.cat([before, real.long()], dim=1)
        rest = Batch(batch.input_ids.gather(1, at), mask, batch.segment_ids.gather(1, at), batch.mask_index - known)
        written = written_in(rest, places - known, tokens)
        hidden = read_on(
            self.model.base_model,
            _repeated(cache_of(output), len(tokens)),
            input_ids=written.input_ids,
            attention_mask=written.attention_mask,
            position_ids=at.repeat_interleave(len(tokens), dim=0),
        ).last_hidden_state
        return self.states_at(hidden, written.mask_index)

    def string_log_probs(self, batch: Batch, strings: Sequence[Sequence[int]], *, decoding: str) -> Tensor:
        longest = max(map(len, strings))
        if longest > 1 and any(layer.training and layer.gradient_checkpointing for layer in self.layers()):
            raise TuningError(
                "answers of several tokens share their prompt's keys and values, which gradient checkpointing doesn't "
                "keep; leave gradient_checkpointing out, or choose answers of one token."
            )
        if len(batch.input_ids) > 1 and self._slides_over(batch.input_ids.shape[1] + longest):
            rows = [self.string_log_probs(row, strings, decoding=decoding) for row in _unpadded(batch)]
            return torch.cat(rows)
        width = max(1, min(STRINGS_AT_ONCE, TOKENS_AT_ONCE // batch.input_ids.numel()))
        states, cache = self._run_prompts(batch, use_cache=longest > 1)
        first = states.logits()[:, 0].log_softmax(dim=-1)  # (batch, vocabulary)
        columns: dict[int, Tensor] = {}
        for _, numbers in by_length(strings):
            for start in range(0, len(numbers), width):
                some = numbers[start : start + width]
                scores = self._go_on(batch, cache, first, [strings[number] for number in some])
                columns |= dict(zip(some, scores.unbind(dim=1)))
        return torch.stack([columns[number] for number in range(len(strings))], dim=1)

    def target_logits(self, batch: Batch, targets: Tensor, lengths: Tensor) -> Tensor:
        n_before = batch.attention_mask.sum(dim=1)
        ids, places = followed_by(batch.input_ids, n_before, targets)
        mask = (torch.arange(ids.shape[1], device=ids.device) < (n_before + lengths)[:, None]).long()
        hidden = self.model.base_model(input_ids=ids, attention_mask=mask, use_cache=False).last_hidden_state
        return self.states_at(hidden, places - 1).logits()

    def generate(self, batch: Batch, **options: object) -> list[list[int]]:
        length = batch.input_ids.shape[1]
        n_pads = length - batch.attention_mask.sum(dim=1, keepdim=True)
        source = (torch.arange(length, device=batch.input_ids.device) - n_pads) % length  # pads go to the left
        ids, mask = batch.input_ids.gather(1, source), batch.attention_mask.gather(1, source)
        embedded = self.model.get_input_embeddings()(ids)  # generate knows no soft tokens, but their vectors
        return generate(self, {"inputs_embeds": embedded, "attention_mask": mask}, options)

    def _go_on(self, batch: Batch, cache: Cache | None, first: Tensor, strings: Sequence[Sequence[int]]) -> Tensor:
        """Log-probabilities (batch, strings) of strings of one length after prompts that were read already."""
        tokens = torch.tensor(list(map(list, strings)), device=first.device)  # (strings, k)
        scores = first[:, tokens[:, 0]]  # (batch, strings)
        n_more = tokens.shape[1] - 1
        if n_more == 0:
            return scores
        rows, width = scores.shape
        lengths = batch.attention_mask.sum(dim=1).repeat_interleave(width)  # (batch * strings,)
        mask = batch.attention_mask.repeat_interleave(width, dim=0)
        hidden = read_on(
            self.model.base_model,
            _repeated(cache, width),
            input_ids=tokens[:, :-1].repeat(rows, 1),
            attention_mask=torch.cat([mask, mask.new_ones(len(mask), n_more)], dim=1),
            position_ids=lengths[:, None] + torch.arange(n_more, device=lengths.device),
        ).last_hidden_state  # (batch * strings, k - 1, hidden)
        log_probs = self.project(self.transform(hidden)).log_softmax(dim=-1)
        rest = log_probs.gather(2, tokens[:, 1:].repeat(rows, 1)[..., None]).sum(dim=(1, 2))
        return scores + rest.view(rows, width)

    def _run_prompts(self, batch: Batch, *, use_cache: bool) -> tuple[MaskStates, Cache | None]:
        """States at the end of the prompts and, if asked for, their keys and values."""
        inputs: dict[str, Tensor] = {"input_ids": batch.input_ids, "attention_mask": batch.attention_mask}
        if self.prefix is None:
            output, known = self.model.base_model(**inputs, use_cache=use_cache), 0
        else:
            known = self.prefix.length
            rows, length = batch.input_ids.shape
            inputs["input_ids"] = batch.input_ids[:, known:]
            inputs["position_ids"] = torch.arange(known, length, device=batch.input_ids.device).expand(rows, -1)
            output = read_on(self.model.base_model, _repeated(self.prefix.cache, rows), **inputs)
        states = self.states_at(output.last_hidden_state, batch.mask_index - known)
        return states, cache_of(output) if use_cache else None

    def _slides_over(self, length: int) -> bool:
        """Whether attention reaches back over fewer tokens; its window counts padding, too."""
        window = getattr(self.model.config, "sliding_window", None)
        return window is not None and length > window

    def alike(self, encoded: Sequence[Encoded]) -> Sequence[Sequence[int]]:
        """Prompts of which each shares most of its tokens with the first, and the rest."""
        if self.only_hidden:
            return super().alike(encoded)
        order = sorted(range(len(encoded)), key=lambda row: encoded[row].input_ids.tolist())
        groups: list[list[int]] = []
        for row in order:
            ids = encoded[row].input_ids
            shared = _common_prefix([encoded[groups[-1][0]].input_ids, ids]) if groups else 0
            if shared >= max(SHORTEST_PREFIX, len(ids) // 2):
                groups[-1].append(row)
            else:
                groups.append([row])
        large = [group for group in groups if len(group) >= SMALLEST_GROUP]
        rest = [row for group in groups if len(group) < SMALLEST_GROUP for row in group]
        return [*large, rest] if rest else large

    @contextmanager
    def sharing(self, encoded: Sequence[Encoded]) -> Iterator[None]:
        length = _common_prefix([row.input_ids for row in encoded])
        longest = max(len(row.input_ids) for row in encoded)
        if self.only_hidden or length < SHORTEST_PREFIX or len(encoded) < 2 or self._slides_over(longest):
            yield
            return
        device = next(self.model.parameters()).device
        ids = torch.from_numpy(encoded[0].input_ids[None, :length]).to(device)
        cache = cache_of(self.model.base_model(input_ids=ids, use_cache=True))
        self.prefix = Prefix(length, cache)
        try:
            yield
        finally:
            self.prefix = None


def _unpadded(batch: Batch) -> Iterator[Batch]:
    """The rows, each a batch without padding."""
    for row, length in enumerate(batch.attention_mask.sum(dim=1).tolist()):
        one = slice(row, row + 1)
        yield Batch(
            batch.input_ids[one, :length],
            batch.attention_mask[one, :length],
            batch.segment_ids[one, :length],
            batch.mask_index[one],
        )


def _repeated(cache: DynamicCache, times: int) -> DynamicCache:
    """A cache that may be added to, each row repeated; the first one stays as it is.

    Keys and values are shared as far as they go: a layer joins new ones to them in new tensors.
    """
    copy = DynamicCache()
    for layer in cache.layers:
        fresh = DynamicLayer()
        fresh.lazy_initialization(layer.keys, layer.values)
        fresh.keys, fresh.values = _rows(layer.keys, times), _rows(layer.values, times)
        copy.layers.append(fresh)
    return copy


def _rows(values: Tensor, times: int) -> Tensor:
    if len(values) == 1:
        return values.expand(times, -1, -1, -1)  # takes no memory
    return values if times == 1 else values.repeat_interleave(times, dim=0)


def _common_prefix(rows: Sequence[np.ndarray]) -> int:
    """Tokens that all rows begin with, leaving each at least one of its own."""
    length = min(map(len, rows)) - 1
    same = np.all([row[:length] == rows[0][:length] for row in rows], axis=0)
    return int(np.argmin(same)) if not same.all() else length
