"""Sequence labelling: one tag for every word."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import torch

from promptlab.checkpoint import DevScore
from promptlab.devices import resolve_device
from promptlab.errors import DataError, shown
from promptlab.estimator import TrainedEstimator
from promptlab.fitting import train_model
from promptlab.inference import BATCH
from promptlab.interfaces import Tuning
from promptlab.parts import fresh_backbone, resolve_tuning
from promptlab.seeding import seeded
from promptlab.tagger_model import TaggerModel


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
        model = self._ready()
        _check_sentences(X, "X")
        return _tags(model.to(resolve_device(self.device)), X, self.tags_, self.max_length)

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
    _check_sentences(X, "X")
    _check_sentences(y, "y")
    if not any(len(words) for words in X):
        raise DataError("there are no sentences with words; give at least one.")
    if len(X) != len(y):
        raise DataError(f"there are {len(X)} sentences, but {len(y)} rows of tags; give one row for each sentence.")
    for row, (words, tags) in enumerate(zip(X, y), start=1):
        if len(words) != len(tags):
            raise DataError(f"sentence {row} has {len(words)} words, but {len(tags)} tags; give each word one.")


def _check_sentences(rows: Any, name: str) -> None:
    """Refuse what isn't a list with a list of texts for each sentence."""
    if isinstance(rows, (str, bytes, Mapping)) or not isinstance(rows, Collection):
        raise DataError(f"{name} is {shown(rows)}; pass a list with a list of texts for each sentence.")
    for number, row in enumerate(rows, start=1):
        if isinstance(row, str):
            raise DataError(f"sentence {number} of {name} is one text; split it into a list of words.")
        wrong = [item for item in row if not isinstance(item, str)] if isinstance(row, Collection) else [row]
        if wrong:
            raise DataError(f"sentence {number} of {name} holds {shown(wrong[0])}; words and tags are texts.")


def entity_f1(truth: Sequence[Sequence[str]], predicted: Sequence[Sequence[str]]) -> float:
    """F1 of whole entities (type and both ends), over all sentences together. Computed by nervaluate, ``strict``."""
    from nervaluate import Evaluator

    types = sorted({tag[2:] for row in [*truth, *predicted] for tag in row if tag != "O"})
    if not types:
        return 0.0
    rows = ([list(row) for row in truth], [list(row) for row in predicted])
    results = Evaluator(*rows, tags=types, loader="list").evaluate()
    return float(results["overall"]["strict"].f1)
