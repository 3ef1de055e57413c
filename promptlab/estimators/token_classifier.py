"""Sequence labeling: one tag for every word."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import ClassVar, Self, TypeGuard

import torch
from torch import Tensor

from promptlab.core.devices import resolve_device
from promptlab.core.errors import DataError, TuningError, short_repr
from promptlab.core.inputs import ClassWeight, ModelLike, Sentences, TuningLike, Weights
from promptlab.core.interfaces import Backbone, Tuning
from promptlab.core.ranges import PartShare
from promptlab.core.seeding import seeded
from promptlab.data.labels import NAMES
from promptlab.data.tag_schemes import TagScheme, checked_scheme, scheme_of
from promptlab.data.weights import row_weights, weights_of_classes
from promptlab.estimators.estimator import TrainedEstimator
from promptlab.estimators.saving import SavedSettings
from promptlab.library.resolve import fresh_backbone, resolve_tuning
from promptlab.models.inference import run_by_length
from promptlab.models.input_warnings import notice
from promptlab.models.tagger_model import TaggerModel, Window
from promptlab.training.dev_score import DevScore
from promptlab.training.loop import train
from promptlab.training.run import TrainingRun


@dataclass(eq=False, repr=False)
class TokenClassifier(TrainedEstimator[TaggerModel]):
    """Label the words of sentences, such as named entities or parts of speech.

    Tags of entities are O outside of them, else a prefix and a type, such as B-PER: IO, IOB1, IOB2, BILOU or IOBES.
    Others stand each for itself. What they are is read from the tags in training (``tag_schemes.scheme_of``) and
    decides how tags are scored: F1 of entities, or accuracy of words.

    Args:
        model: a package's name, a hub id, a folder or a loaded backbone; None takes ``minilm``.
        tuning: name of a tuning method such as ``"full"``, ``"p-tuning-v2"`` or ``"frozen"``, or a ``Tuning``.
        dropout: share of the hidden states that is dropped in training.
        class_weight: how much the words of each tag count, times the ``sample_weight`` of their sentence: tag → a
            number from 0, 1 where none is given, or ``"balanced"``, n / (k · words of the tag); None: alike.

    Attributes:
        tags_: the tags, sorted.

    Raises:
        PromptlabError: in ``fit``, if settings, sentences and tags don't fit one another.

    Example:
        >>> from promptlab import TokenClassifier
        >>> sentences = [["Ada", "lives", "in", "Rome"], ["Paris", "greets", "Bo"]]
        >>> tags = [["B-PER", "O", "O", "B-LOC"], ["B-LOC", "O", "B-PER"]]
        >>> tagger = TokenClassifier("minilm", "frozen", max_steps=60).fit(sentences, tags)
        >>> tagger.predict([["Eve", "lives", "in", "London"]]), tagger.score(sentences, tags)  # F1 of entities
        ([['B-PER', 'O', 'O', 'B-LOC']], 1.0)
    """

    model: ModelLike | None = None
    tuning: TuningLike = "full"
    dropout: PartShare = 0.1
    class_weight: ClassWeight | None = None

    dev_form: ClassVar[str] = "a pair (X, y) of sentences and their tags"
    dev_option: ClassVar[str] = "pass eval_set"
    hub_task: ClassVar[str] = "token-classification"
    hub_example: ClassVar[str] = '[["a", "text"]]'

    def fit(
        self,
        X: Sentences,
        y: Sentences,
        sample_weight: Weights | None = None,
        *,
        eval_set: tuple[Sentences, Sentences] | None = None,
    ) -> Self:
        """Train on sentences.

        Args:
            X: sentences, each a list of words.
            y: for each sentence the tag of every word.
            sample_weight: how much the words of each sentence count, a number from 0; None: alike. The loss of an
                update is the weighted mean over its words.
            eval_set: dev sentences and tags. The latest weights whose ``score`` on them is within one standard error of
                the highest are kept; the record has it as ``dev_f1`` or ``dev_accuracy``, and as ``dev_loss`` the mean
                over the words whose tag occurs in training.

        Raises:
            DataError: if words and tags don't match, there is only one tag, or tags follow no scheme.
            PromptlabError: if model, tuning or settings don't fit one another.
        """
        self.check_settings(eval_set)
        _check(X, y)
        scheme = checked_scheme(y, "y")
        if eval_set is not None:
            _check(*eval_set)
            scheme.check(eval_set[1], "the dev tags")
        weights = row_weights(sample_weight, len(X))
        if weights is not None:
            X, y = ([row for row, weight in zip(rows, weights) if weight] for rows in (X, y))
            weights = [weight for weight in weights if weight]
            _check(X, y)
        tags = sorted({str(tag) for row in y for tag in row})
        if len(tags) < 2:
            raise DataError(f"all words have the tag {tags[0]!r}; sequence labeling needs at least 2 tags.")
        tuning = resolve_tuning(self.tuning)
        if tuning.defaults.max_steps == 0:
            raise TuningError(
                "tuning 'none' trains nothing, not even the layer of tags; choose 'frozen', which trains that alone."
            )
        with seeded(self.seed):
            model = TaggerModel.build(fresh_backbone(self.model, self.device), len(tags), self.dropout, tuning)
            history = train(
                self._run(model, tuning, tags, X, y, self._word_weights(y, tags, weights), eval_set, scheme)
            )
        self.tags_, self.history_, self.model_ = tags, history, model.export().eval()
        return self

    def predict(self, X: Sentences) -> list[list[str]]:
        """Return the likeliest tag of every word of every sentence."""
        model = self.ready()
        _check_sentences(X, "X")
        return _named(_log_probs(model.to(resolve_device(self.device)), X, self.max_length), self.tags_)

    def score(self, X: Sentences, y: Sentences) -> float:
        """Return the entity F1, micro-averaged, or the accuracy of words where tags are no entities'.

        An entity counts if its type and both of its ends are right.

        Raises:
            DataError: if words and tags don't match, or tags are of another scheme than those in training.
        """
        self.ready()
        _check(X, y)
        scheme = scheme_of(self.tags_)
        scheme.check(y, "y")
        return scheme.score(y, self.predict(X)).value

    def saved_parts(self) -> dict[str, object]:
        return {"tags": self.tags_}

    @classmethod
    def restored(cls, saved: SavedSettings, backbone: Backbone, tuning: Tuning) -> tuple[Self, TaggerModel]:
        estimator = cls(**saved["parameters"])
        return estimator, TaggerModel.build(backbone, len(saved["tags"]), estimator.dropout, tuning)

    def take_model(self, model: TaggerModel, saved: SavedSettings) -> None:
        self.model_, self.tags_ = model.eval(), list(saved["tags"])

    def _run(
        self,
        model: TaggerModel,
        tuning: Tuning,
        tags: Sequence[str],
        X: Sentences,
        y: Sentences,
        weights: Sequence[Sequence[float]] | None,
        dev: tuple[Sentences, Sentences] | None,
        scheme: TagScheme,
    ) -> TrainingRun:
        number = {tag: i for i, tag in enumerate(tags)}
        rows = model.windows(X, [[number[tag] for tag in row] for row in y], self.max_length, weights)
        notice([row.encoded for row in rows], model.backbone, self.max_length)

        def evaluate() -> DevScore:
            assert dev is not None
            log_probs = _log_probs(model, dev[0], self.max_length)
            value, n, name = scheme.score(dev[1], _named(log_probs, tags))
            return DevScore(value, _mean_loss(log_probs, dev[1], number), max(1, n), name)

        return TrainingRun(
            model,
            rows,
            model.collate,
            [len(row.encoded.input_ids) for row in rows],
            self.training_settings(tuning, len(rows), model.backbone.hidden_size),
            evaluate=None if dev is None else evaluate,
            checkpoint=self.checkpoints(tuning, scheme, tags, self.max_length, dev),
        ).on_device()

    def _word_weights(
        self, y: Sentences, tags: Sequence[str], sentences: Sequence[float] | None
    ) -> list[list[float]] | None:
        """The weight of every word in the loss, from that of its sentence and of its tag; None if all are alike."""
        if sentences is None and self.class_weight is None:
            return None
        own = [1.0] * len(y) if sentences is None else sentences
        counts = dict.fromkeys(tags, 0.0)
        for row, weight in zip(y, own):
            for tag in row:
                counts[str(tag)] += weight
        by_tag = weights_of_classes(self.class_weight, tags, counts, NAMES)
        return [[weight * by_tag[str(tag)] for tag in row] for row, weight in zip(y, own)]


@torch.inference_mode()
def _log_probs(model: TaggerModel, X: Sentences, max_length: int | None) -> list[Tensor]:
    """Log-probabilities of the tags of every word of every sentence, (words, tags) each, on the CPU."""
    model.eval()
    device = next(model.parameters()).device
    windows = model.windows(X, None, max_length)

    def run(some: list[Window]) -> list[Tensor]:
        log_probs = model.log_probs(model.collate(some).to(device)).float().cpu()
        return [row[: len(window.encoded.mask_index)] for window, row in zip(some, log_probs, strict=True)]

    parts: list[list[Tensor]] = [[] for _ in X]
    for window, row in zip(windows, run_by_length(run, windows, lambda window: len(window.encoded.input_ids))):
        parts[window.sentence].append(row)
    return [torch.cat(rows) if rows else torch.zeros(0, model.linear.out_features) for rows in parts]


def _named(log_probs: Sequence[Tensor], tags: Sequence[str]) -> list[list[str]]:
    """The likeliest tag of every word."""
    return [[tags[number] for number in rows.argmax(dim=-1).tolist()] for rows in log_probs]


def _mean_loss(log_probs: Sequence[Tensor], truth: Sentences, number: Mapping[str, int]) -> float:
    """In nats, over the words whose tag has a number."""
    pairs = [pair for rows, tags in zip(log_probs, truth) for pair in zip(rows, tags)]
    losses = [-word[number[tag]] for word, tag in pairs if tag in number]
    return torch.stack(losses).mean().item() if losses else math.nan


def _check(X: Sentences, y: Sentences) -> None:
    _check_sentences(X, "X")
    _check_sentences(y, "y")
    if not any(len(words) for words in X):
        raise DataError("there are no sentences with words; give at least one.")
    if len(X) != len(y):
        raise DataError(f"there are {len(X)} sentences, but {len(y)} rows of tags; give one row for each sentence.")
    for row, (words, tags) in enumerate(zip(X, y), start=1):
        if len(words) != len(tags):
            raise DataError(f"sentence {row} has {len(words)} words, but {len(tags)} tags; give each word one.")


def _check_sentences(rows: object, name: str) -> None:
    """Refuse what isn't a list with a list of texts for each sentence."""
    if not _is_listed(rows):
        raise DataError(f"{name} is {short_repr(rows)}; pass a list with a list of texts for each sentence.")
    for number, row in enumerate(rows, start=1):
        if isinstance(row, str):
            raise DataError(f"sentence {number} of {name} is one text; split it into a list of words.")
        if isinstance(row, Mapping):
            keys = ", ".join(map(repr, row)) or "none"
            raise DataError(
                f"sentence {number} of {name} is a mapping with the keys {keys}; pass its list of texts alone, as in "
                f"[row[{short_repr(next(iter(row), 'tokens'))}] for row in {name}]."
            )
        wrong = [item for item in row if not isinstance(item, str)] if _is_listed(row) else [row]
        if wrong:
            raise DataError(f"sentence {number} of {name} holds {short_repr(wrong[0])}; words and tags are texts.")


def _is_listed(value: object) -> TypeGuard[Collection[object]]:
    """Whether it holds things one after the other; sets have no order, and a data frame is gone through by columns."""
    unordered = isinstance(value, (Mapping, Set)) or hasattr(value, "columns")
    return isinstance(value, Collection) and not unordered and not isinstance(value, (str, bytes))
