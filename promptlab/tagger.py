"""Sequence labelling: one tag for every word."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Self

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from promptlab.checkpoint import DevScore
from promptlab.errors import DataError, TuningError
from promptlab.estimator import TrainedEstimator, fresh_backbone, resolve_tuning
from promptlab.fitting import train_model
from promptlab.inference import BATCH, resolve_device
from promptlab.interfaces import Tuning
from promptlab.model import TrainableModel, attach
from promptlab.seeding import seeded
from promptlab.templates.plain import InputTemplate
from promptlab.types import Batch, Encoded

IGNORED = -100  # the target of padding


class Window(NamedTuple):
    """Some words of a sentence that fit into the model together: their ids, and the tags' numbers if known."""

    sentence: int
    encoded: Encoded  # ``mask_index`` holds the first token of every word
    targets: list[int]


class TaggerModel(TrainableModel):
    """A linear layer on the hidden state of each word's first token.

    Source: P-Tuning v2, arXiv:2110.07602, section 3.2; BERT, arXiv:1810.04805, section 5.3.

    Args:
        backbone: the language model.
        n_tags: outputs.
        dropout: of the hidden states, in training.
    """

    def __init__(self, backbone: Any, n_tags: int, dropout: float) -> None:
        super().__init__()
        self.backbone = backbone
        self.dropout = nn.Dropout(dropout)
        self.linear = nn.Linear(backbone.hidden_size, n_tags)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    @classmethod
    def build(cls, backbone: Any, n_tags: int, dropout: float, tuning: Tuning) -> TaggerModel:
        """Put the parts together; the backbone is changed in place.

        Raises:
            TuningError: if the tuning doesn't fit the model, or works through a template.
        """
        plain = InputTemplate()
        if tuning.edit(plain) != plain:
            raise TuningError(
                "this tuning works through a template, which sequence labelling has none of; try p-tuning-v2."
            )
        backbone.only_hidden = True
        attach(tuning, backbone)
        return cls(backbone, n_tags, dropout)

    def forward(self, batch: Batch) -> Tensor:
        """The mean loss over words if the batch has labels, else log-probabilities (batch, words, tags)."""
        hidden = self.backbone.hidden_states(batch)  # (batch, length, hidden)
        index = batch.mask_index[:, :, None].expand(-1, -1, hidden.shape[-1])
        log_probs = F.log_softmax(self.linear(self.dropout(hidden.gather(1, index))), dim=-1)
        if batch.labels is None:
            return log_probs
        return F.nll_loss(log_probs.flatten(0, 1), batch.labels.flatten(), ignore_index=IGNORED)

    def windows(
        self, sentences: Sequence[Sequence[str]], targets: Sequence[Sequence[int]] | None, max_length: int | None
    ) -> list[Window]:
        """The sentences as token ids, long ones cut between words. What a word looks like, it is only characters."""
        limit = self.backbone.max_length if max_length is None else min(max_length, self.backbone.max_length)
        frame = self.backbone.encoder.frame
        room = limit - len(frame.before) - len(frame.after)
        if room < 1:
            raise DataError(f"max_length={max_length} leaves no room for a word; raise it.")
        known: dict[tuple[str, bool], list[int]] = {}
        result = []
        for number, words in enumerate(sentences):
            ids = [self._ids(word, not i, known)[:room] for i, word in enumerate(words)]
            for start, stop in _stretches([len(row) for row in ids], room):
                flat = [*frame.before, *(token for row in ids[start:stop] for token in row), *frame.after]
                firsts = len(frame.before) + np.cumsum([0, *(len(row) for row in ids[start : stop - 1])])
                encoded = Encoded(np.array(flat, np.int64), np.zeros(len(flat), np.int64), firsts.astype(np.int64))
                result.append(Window(number, encoded, list(targets[number][start:stop]) if targets else []))
        return result

    def _ids(self, word: str, at_start: bool, known: dict[tuple[str, bool], list[int]]) -> list[int]:
        key = (word, at_start)
        if key not in known:
            unknown = self.backbone.tokenizer.unk_token_id
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
        return replace(batch, mask_index=index, labels=labels if windows[0].targets else None)


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


@dataclass(eq=False, repr=False)
class TokenClassifier(TrainedEstimator):
    """Sequence labelling, such as named entities with BIO tags.

    Args:
        model: a model package's name, a hub id, a folder, or a loaded backbone; None takes ``minilm`` if installed.
        tuning: name of a tuning method, or a ``Tuning``.
        dropout: of the hidden states.

    The other settings are those of ``TrainedEstimator``.
    """

    model: Any = None
    tuning: Any = "full"
    dropout: float = 0.1

    def fit(self, X: Any, y: Any, *, eval_set: tuple[Any, Any] | None = None) -> Self:
        """Train on sentences.

        Args:
            X: sentences, each a list of words.
            y: for each sentence the tag of every word.
            eval_set: dev sentences and tags; the latest weights whose entity F1 on them is within one standard error
                of the highest are kept.

        Raises:
            DataError: if words and tags don't match, or there is only one tag.
            PromptlabError: if model, tuning or settings don't fit one another.
        """
        self._check_settings(eval_set)
        _check(X, y)
        self.tags_ = sorted({tag for row in y for tag in row})
        if len(self.tags_) < 2:
            raise DataError(f"all words have the tag {self.tags_[0]!r}; sequence labelling needs at least 2 tags.")
        tuning = resolve_tuning(self.tuning)
        with seeded(self.seed):
            model = TaggerModel.build(fresh_backbone(self.model, self.device), len(self.tags_), self.dropout, tuning)
            self.history_ = self._train(model, tuning, X, y, eval_set)
        self.model_ = model.export().eval()
        return self

    def predict(self, X: Any) -> list[list[str]]:
        """The likeliest tag of every word of every sentence."""
        return _tags(self._ready().to(resolve_device(self.device)), X, self.tags_, self.max_length)

    def score(self, X: Any, y: Any) -> float:
        """Entity F1, micro-averaged: an entity counts if its type and both of its ends are right."""
        _check(X, y)
        return entity_f1(y, self.predict(X))

    def saved_parts(self) -> dict[str, Any]:
        return {"tags": self.tags_}

    @classmethod
    def restored(cls, saved: dict[str, Any], backbone: Any, tuning: Tuning) -> tuple[Self, TaggerModel]:
        estimator = cls(**saved["parameters"])
        return estimator, TaggerModel.build(backbone, len(saved["tags"]), estimator.dropout, tuning)

    def take_model(self, model: TaggerModel, saved: dict[str, Any]) -> None:
        self.model_, self.tags_ = model.eval(), list(saved["tags"])

    def _train(self, model: TaggerModel, tuning: Tuning, X: Any, y: Any, dev: Any) -> list[dict[str, float]]:
        number = {tag: i for i, tag in enumerate(self.tags_)}
        rows = model.windows(X, [[number[tag] for tag in tags] for tags in y], self.max_length)
        if dev is not None:
            _check(*dev)

        def evaluate() -> DevScore:
            f1 = entity_f1(dev[1], _tags(model.eval(), dev[0], self.tags_, self.max_length))
            return DevScore(f1, 1 - f1, max(1, sum(tag.startswith("B") for row in dev[1] for tag in row)))

        return train_model(
            model,
            rows,
            model.collate,
            [len(row.encoded.input_ids) for row in rows],
            self._training_settings(tuning, len(rows), model.backbone.hidden_size),
            evaluate=None if dev is None else evaluate,
            checkpoint=self.checkpoint_dir,
        )


@torch.inference_mode()
def _tags(model: TaggerModel, X: Any, tags: Sequence[str], max_length: int | None) -> list[list[str]]:
    model.eval()
    device = next(model.parameters()).device
    windows = model.windows(X, None, max_length)
    order = sorted(range(len(windows)), key=lambda i: len(windows[i].encoded.input_ids))
    found: list[list[str]] = [[] for _ in windows]
    for start in range(0, len(order), BATCH):
        some = order[start : start + BATCH]
        best = model(model.collate([windows[i] for i in some]).to(device)).argmax(dim=-1).tolist()
        for i, row in zip(some, best):
            found[i] = [tags[tag] for tag in row[: len(windows[i].encoded.mask_index)]]
    result: list[list[str]] = [[] for _ in X]
    for window, row in zip(windows, found):
        result[window.sentence] += row
    return result


def _check(X: Any, y: Any) -> None:
    if not len(X):
        raise DataError("there are no sentences; give at least one.")
    if len(X) != len(y):
        raise DataError(f"there are {len(X)} sentences, but {len(y)} rows of tags; give one row for each sentence.")
    for row, (words, tags) in enumerate(zip(X, y), start=1):
        if isinstance(words, str):
            raise DataError(f"sentence {row} is one text; split it into a list of words.")
        if len(words) != len(tags):
            raise DataError(f"sentence {row} has {len(words)} words, but {len(tags)} tags; give each word one.")


def entity_f1(truth: Sequence[Sequence[str]], predicted: Sequence[Sequence[str]]) -> float:
    """F1 of whole entities (type and both ends), over all sentences together. Computed by nervaluate, ``strict``."""
    from nervaluate import Evaluator

    types = sorted({tag[2:] for row in [*truth, *predicted] for tag in row if tag != "O"})
    if not types:
        return 0.0
    rows = ([list(row) for row in truth], [list(row) for row in predicted])
    results = Evaluator(*rows, tags=types, loader="list").evaluate()
    return float(results["overall"]["strict"].f1)
