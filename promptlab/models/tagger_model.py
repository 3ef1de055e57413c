"""A layer of tags on a language model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from promptlab.core.errors import DataError, TuningError
from promptlab.core.interfaces import Backbone, Tuning
from promptlab.core.means import weighted_mean
from promptlab.core.types import Batch, Encoded
from promptlab.models.trainable_model import TrainableModel, attach
from promptlab.templates.plain import InputTemplate

IGNORED = -100  # the target of padding


class Window(NamedTuple):
    """Some words of a sentence that fit into the model together: their ids, and the tags' numbers if known."""

    sentence: int
    encoded: Encoded  # ``mask_index`` holds the first token of every word
    targets: list[int]
    weights: list[float] = []  # of the words in the loss; none: alike


class TaggerModel(TrainableModel[Batch]):
    """A linear layer on the hidden state of each word's first token.

    Source: P-Tuning v2, arXiv:2110.07602, section 3.2; BERT, arXiv:1810.04805, section 5.3.

    Args:
        backbone: the language model.
        n_tags: outputs.
        dropout: of the hidden states, in training.
    """

    def __init__(self, backbone: Backbone, n_tags: int, dropout: float) -> None:
        super().__init__()
        self.backbone = backbone
        self.dropout = nn.Dropout(dropout)
        self.linear = nn.Linear(backbone.hidden_size, n_tags)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    @classmethod
    def build(cls, backbone: Backbone, n_tags: int, dropout: float, tuning: Tuning) -> TaggerModel:
        """Put the parts together; the backbone is changed in place.

        Raises:
            TuningError: if the tuning doesn't fit the model, or works through a template.
        """
        if _needs_template(tuning):
            raise TuningError(
                "this tuning works through a template, which sequence labeling has none of; try p-tuning-v2."
            )
        backbone.only_hidden = True
        attach(tuning, backbone)
        return cls(backbone, n_tags, dropout)

    def log_probs(self, batch: Batch) -> Tensor:
        """Return log-probabilities of the tags of each word, in nats, (batch, words, tags)."""
        hidden = self.backbone.hidden_states(batch)  # (batch, length, hidden)
        index = batch.mask_index[:, :, None].expand(-1, -1, hidden.shape[-1])
        return F.log_softmax(self.linear(self.dropout(hidden.gather(1, index))), dim=-1)

    def loss(self, batch: Batch) -> Tensor:
        """Return the mean loss over the words of a labeled batch, ()."""
        assert batch.labels is not None
        log_probs = self.log_probs(batch).mT  # (batch, tags, words)
        losses = F.nll_loss(log_probs, batch.labels, ignore_index=IGNORED, reduction="none")  # (batch, words)
        return weighted_mean(losses, _word_weights(batch))

    forward = loss

    def loss_weights(self, batch: Batch) -> Tensor:
        return _word_weights(batch).sum()

    def windows(
        self,
        sentences: Sequence[Sequence[str]],
        targets: Sequence[Sequence[int]] | None,
        max_length: int | None,
        weights: Sequence[Sequence[float]] | None = None,
    ) -> list[Window]:
        """The sentences as token ids, long ones cut between words. What a word looks like, it is only characters.

        Args:
            targets: the numbers of the words' tags, if known.
            weights: of the words in the loss; None: alike.
        """
        limit = self.backbone.max_length if max_length is None else min(max_length, self.backbone.max_length)
        before, after = self.backbone.frame
        room = limit - len(before) - len(after)
        if room < 1:
            raise DataError(f"max_length={max_length} leaves no room for a word; raise it.")
        known: dict[tuple[str, bool], list[int]] = {}
        result = []
        for number, words in enumerate(sentences):
            ids = [self._ids(word, not i, known)[:room] for i, word in enumerate(words)]
            for start, stop in _stretches([len(row) for row in ids], room):
                own_ids = [token for row in ids[start:stop] for token in row]
                flat = [*before, *own_ids, *after]
                firsts = len(before) + np.cumsum([0, *(len(row) for row in ids[start : stop - 1])])
                encoded = Encoded(
                    np.array(flat, np.int64),
                    np.zeros(len(flat), np.int64),
                    firsts.astype(np.int64),
                    n_text=len(own_ids),
                    n_unknown=sum(token == self.backbone.unknown_id for token in own_ids),
                )
                own = [] if targets is None else list(targets[number][start:stop])
                counts = [] if weights is None else list(weights[number][start:stop])
                result.append(Window(number, encoded, own, counts))
        return result

    def _ids(self, word: str, at_start: bool, known: dict[tuple[str, bool], list[int]]) -> list[int]:
        key = (word, at_start)
        if key not in known:
            unknown = self.backbone.unknown_id
            known[key] = self.backbone.token_ids(word, at_start=at_start) or [0 if unknown is None else unknown]
        return known[key]

    def collate(self, windows: Sequence[Window]) -> Batch:
        """Pad tokens and words to the longest of the batch; padded words have the target ``IGNORED``."""
        batch = self.backbone.collate([w.encoded._replace(mask_index=np.zeros(0, np.int64)) for w in windows])
        width = max(len(w.encoded.mask_index) for w in windows)
        index, labels = torch.zeros(len(windows), width, dtype=torch.long), torch.full((len(windows), width), IGNORED)
        for row, window in enumerate(windows):
            n = len(window.encoded.mask_index)
            index[row, :n] = torch.from_numpy(window.encoded.mask_index)
            if window.targets:
                labels[row, :n] = torch.tensor(window.targets)
        weights = None
        if windows[0].weights:
            rows = [torch.tensor(window.weights) for window in windows]
            weights = nn.utils.rnn.pad_sequence(rows, batch_first=True)
        return replace(batch, mask_index=index, labels=labels if windows[0].targets else None, weights=weights)


def _word_weights(batch: Batch) -> Tensor:
    """Of the words in the loss, 0 where padded, (batch, words)."""
    assert batch.labels is not None
    counts = (batch.labels != IGNORED).float()
    return counts if batch.weights is None else counts * batch.weights


def _needs_template(tuning: Tuning) -> bool:
    """Whether a tuning changes a template, or wants soft tokens in it."""
    plain = InputTemplate()
    try:
        return tuning.edit(plain) != plain
    except TuningError:
        return True


def _stretches(lengths: Sequence[int], room: int) -> Iterator[tuple[int, int]]:
    """Cut words into stretches whose tokens fit: pairs of first word and the one after the last."""
    start, used = 0, 0
    for i, length in enumerate(lengths):
        if used + length > room:
            yield start, i
            start, used = i, 0
        used += length
    if start < len(lengths):
        yield start, len(lengths)
