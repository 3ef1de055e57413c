"""Encoder-decoder language models: the decoder writes what the mask in the encoder's text stands for."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from transformers.modeling_outputs import BaseModelOutput

from promptlab.backbones.base import TransformerBackbone
from promptlab.backbones.encoding import PromptEncoder
from promptlab.backbones.writing import followed_by, generate
from promptlab.core.errors import BackboneError, TemplateError
from promptlab.core.generative_backbone import GenerativeBackbone
from promptlab.core.types import Batch, MaskStates, Prompt


class Seq2SeqBackbone(TransformerBackbone, GenerativeBackbone):
    """An encoder-decoder model whose decoder is given a prefix and asked for the answer.

    The score of an answer of several tokens is the sum of their log-probabilities; all answers to a prompt share its
    pass through the encoder. What the decoder has before the answer, two tokens (T5) or the text before the mask
    (BART), is read again with each answer.
    """

    auto_class = "AutoModelForSeq2SeqLM"
    decodings = ("left-to-right",)

    @abstractmethod
    def decoder_prefix(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """What the decoder has before the answer: ids (batch, length), padded, and their number (batch,)."""

    def only_slot(self, batch: Batch) -> Tensor:
        """Position of the one slot of each prompt, (batch, 1).

        Raises:
            TemplateError: if the prompts have several.
        """
        n_slots = batch.mask_index.shape[1]
        if n_slots != 1:
            family = self.model.config.model_type
            raise TemplateError(f"the template has {n_slots} slots, but {family} answers exactly 1.")
        return batch.mask_index

    def hidden_states(self, batch: Batch) -> Tensor:
        return self._encoded(batch)[0]

    def mask_states(self, batch: Batch) -> MaskStates:
        ids, lengths = self.decoder_prefix(batch)
        hidden = self._decoded(ids, lengths, self._encoded(batch), batch.attention_mask)
        return self.states_at(hidden, lengths[:, None] - 1)

    def string_log_probs(self, batch: Batch, strings: Sequence[Sequence[int]], *, decoding: str) -> Tensor:
        encoded, prefix = self._encoded(batch), self.decoder_prefix(batch)
        return torch.stack([self._score(batch, encoded, prefix, string) for string in strings], dim=1)

    def _score(
        self, batch: Batch, encoded: BaseModelOutput, prefix: tuple[Tensor, Tensor], string: Sequence[int]
    ) -> Tensor:
        """Log-probability (batch,) of one string, all of its tokens read in one pass through the decoder."""
        ids, lengths = prefix
        tokens = torch.tensor(string, device=ids.device).expand(len(ids), -1)  # (batch, k)
        logits = self._read_on(batch, encoded, prefix, tokens, torch.full_like(lengths, tokens.shape[1]))
        return logits.log_softmax(dim=-1).gather(2, tokens[..., None]).sum(dim=(1, 2))

    def _read_on(
        self, batch: Batch, encoded: BaseModelOutput, prefix: tuple[Tensor, Tensor], tokens: Tensor, counts: Tensor
    ) -> Tensor:
        """Logits (batch, k, vocabulary) for the tokens (batch, k) after the prefix, of which ``counts`` count."""
        ids, places = followed_by(*prefix, tokens)
        hidden = self._decoded(ids, prefix[1] + counts, encoded, batch.attention_mask)
        return self.states_at(hidden, places - 1).logits()

    def target_logits(self, batch: Batch, targets: Tensor, lengths: Tensor) -> Tensor:
        return self._read_on(batch, self._encoded(batch), self.decoder_prefix(batch), targets, lengths)

    def generate(self, batch: Batch, **options: object) -> list[list[int]]:
        ids, lengths = self.decoder_prefix(batch)
        written: list[list[int]] = [[] for _ in ids]
        for length in sorted(set(lengths.tolist())):  # decoders number their positions from the first token, pad or not
            rows = torch.nonzero(lengths == length)[:, 0]
            inputs = {
                "input_ids": batch.input_ids[rows],
                "attention_mask": batch.attention_mask[rows],
                "decoder_input_ids": ids[rows, :length],
            }
            for row, text in zip(rows.tolist(), generate(self, inputs, options), strict=True):
                written[row] = text[length:]
        return written

    def _encoded(self, batch: Batch) -> BaseModelOutput:
        return self.model.get_encoder()(input_ids=batch.input_ids, attention_mask=batch.attention_mask)

    def _decoded(self, ids: Tensor, lengths: Tensor, encoded: BaseModelOutput, attention_mask: Tensor) -> Tensor:
        """Hidden states of the decoder; ``lengths`` of its ids count."""
        mask = (torch.arange(ids.shape[1], device=ids.device) < lengths[:, None]).long()
        output = self.model.get_decoder()(
            input_ids=ids,
            attention_mask=mask,
            encoder_hidden_states=encoded[0],
            encoder_attention_mask=attention_mask,
            use_cache=False,
        )
        return output.last_hidden_state

    def run_once(self) -> None:
        ids = torch.ones(1, 3, dtype=torch.long, device=self.model.device)
        hidden = self.model.get_encoder()(input_ids=ids).last_hidden_state
        if not self.only_hidden:
            self.model.get_decoder()(input_ids=ids[:, :2], encoder_hidden_states=hidden, use_cache=False)

    def stacks(self) -> Sequence[nn.Module]:
        return [self.model.get_encoder()] if self.only_hidden else [self.model.get_encoder(), self.model.get_decoder()]

    def pooled_model(self) -> nn.Module:
        return self.model.get_encoder()

    def layers(self) -> Sequence[nn.Module]:
        read = {module for stack in self.stacks() for module in stack.modules()}
        return [layer for layer in super().layers() if layer in read]


class SentinelEncoder(PromptEncoder):
    """A slot of any length is one sentinel."""

    def answer_tokens(self, prompt: Prompt, n_masks: int, answer_length: int) -> tuple[int, ...]:
        return super().answer_tokens(prompt, 1, 1)


class BartEncoder(SentinelEncoder):
    """The decoder holds the prompt up to the mask, a start and the answer."""

    def reserved(self, answer_length: int) -> int:
        return answer_length


class T5Backbone(Seq2SeqBackbone):
    """T5, its versions 1.1 and flan, and mT5: the mask is the first sentinel, and so is the start of the answer.

    Source: T5, arXiv:1910.10683, section 3.1.4 (the denoising objective).
    """

    SENTINEL = "<extra_id_0>"

    def make_encoder(self) -> PromptEncoder:
        if self.SENTINEL not in self.tokenizer.get_vocab():
            raise BackboneError(f"the tokenizer has no {self.SENTINEL}, which T5 needs where a mask stands.")
        return SentinelEncoder(self.tokenizer, self.SENTINEL)

    def decoder_prefix(self, batch: Batch) -> tuple[Tensor, Tensor]:
        place = self.only_slot(batch)
        start = torch.full_like(place, self.model.config.decoder_start_token_id)
        ids = torch.cat([start, batch.input_ids.gather(1, place)], dim=1)  # (batch, 2)
        return ids, torch.full_like(ids[:, 0], 2)

    def transform(self, hidden: Tensor) -> Tensor:
        scaled = getattr(self.model.config, "scale_decoder_outputs", False)
        return hidden * self.model.config.d_model**-0.5 if scaled else hidden


class BartBackbone(Seq2SeqBackbone):
    """BART: the decoder is given the prompt up to the mask, and goes on with the answer.

    Source: BART, arXiv:1910.13461, section 2.2 (text infilling).
    """

    def make_encoder(self) -> PromptEncoder:
        return BartEncoder(self.tokenizer)

    def decoder_prefix(self, batch: Batch) -> tuple[Tensor, Tensor]:
        lengths = self.only_slot(batch)[:, 0]
        left = batch.input_ids[:, : int(lengths.max())]
        start = torch.full_like(left[:, :1], self.model.config.decoder_start_token_id)
        return torch.cat([start, left], dim=1), lengths + 1

    def decoder(self) -> tuple[Tensor, Tensor | None]:
        return super().decoder()[0], self.model.final_logits_bias[0]
