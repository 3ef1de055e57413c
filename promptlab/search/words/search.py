"""Label words found from a few labeled examples and a model that stays as it is."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from inspect import signature
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm.auto import tqdm

from promptlab.backbones.catalog import load_backbone
from promptlab.core.checks import check_arguments
from promptlab.core.devices import resolve_device
from promptlab.core.errors import DataError, TuningError, UnknownNameError, VerbalizerError
from promptlab.core.inputs import DevSet, Labels, ModelLike, TemplateLike, Texts
from promptlab.core.interfaces import Backbone
from promptlab.core.ranges import Count
from promptlab.core.registry import WORD_SEARCHES
from promptlab.core.types import AnswerSlot, Example
from promptlab.data.labeled import Labeled, check_fields
from promptlab.data.overlap import texts_of
from promptlab.estimators.classifiers import PromptClassifier
from promptlab.evaluation.cross_validation import Estimate, cross_validated
from promptlab.library.resolve import fresh_backbone, resolve_template
from promptlab.models.inference import mask_answers
from promptlab.search.words.expansion import words_of
from promptlab.verbalizers.label_words import check_one_mask

TRAIN_ACCURACY, LIKELIHOOD_RATIO, DEV_ACCURACY = "train accuracy", "likelihood ratio", "dev accuracy"
MEANINGS = {  # of scores, none of which says what new text will give
    TRAIN_ACCURACY: "accuracy of the untrained model on the training rows that found the words: too high for new text",
    LIKELIHOOD_RATIO: "mean log-odds by which the words go with their class in the training rows; no accuracy",
    DEV_ACCURACY: "accuracy after fine-tuning on the dev rows that chose among the words: too high for new text",
}


@dataclass(frozen=True)
class FoundWords:
    """Label words that a search found.

    Args:
        label_words: class → words.
        score: how good they are, higher is better.
        measure: what the score is, one of ``MEANINGS``.
        estimate: where dev chose, what to expect of new text: accuracy when a part of dev chooses, on the rest.
    """

    label_words: Mapping[str, tuple[str, ...]]
    score: float
    measure: str
    estimate: Estimate | None = None


@dataclass(frozen=True)
class MaskEvidence:
    """Hold what searches work with: the model's answers to the examples, and the candidates.

    Args:
        hidden: states at the mask, (examples, embedding).
        targets: the class of each example, (examples,).
        classes: names of the classes.
        weight: rows of the LM head for the candidates, (words, embedding).
        bias: biases of the LM head for the candidates, (words,).
        log_total: logarithm of the sum of the whole vocabulary's exponentiated logits, (examples,).
        words: the candidates: words of one token, the commonest of the vocabulary first.
        seed: seed of what is drawn.
    """

    hidden: Tensor
    targets: Tensor
    classes: Sequence[str]
    weight: Tensor
    bias: Tensor
    log_total: Tensor
    words: Sequence[str]
    seed: int

    @property
    def logits(self) -> Tensor:
        """Of the candidates, (examples, words)."""
        return self.hidden @ self.weight.T + self.bias

    @property
    def log_probs(self) -> Tensor:
        """Of the candidates among the whole vocabulary, in nats, (examples, words)."""
        return self.logits - self.log_total[:, None]


def search_words(
    template: TemplateLike,
    X: Texts,
    y: Labels | None = None,
    model: ModelLike | None = None,
    *,
    engine: str = "lm-bff",
    top: Count = 1,
    candidates: Count = 10_000,
    max_length: int | None = None,
    device: str = "auto",
    seed: int = 0,
    settings: Mapping[str, object] | None = None,
) -> list[FoundWords]:
    """Search the best label words for a template, by labeled texts and a model that stays as it is.

    Args:
        template: Jinja source, a name of the task library, or a ``Template``, with one mask.
        X: labeled texts, in any form that ``PromptClassifier.fit`` takes.
        y: their labels; None if the examples carry them.
        model: a package's name, a hub id, a folder or a loaded backbone; None takes ``minilm``.
        engine: ``"lm-bff"``, ``"petal"``, ``"autoprompt"`` or one that another package brings.
        top: number of results to return; ``"petal"`` has only one.
        candidates: number of the vocabulary's commonest ordinary words, among which to search.
        max_length: tokens that a prompt may have; None for the model's own limit.
        device: ``"auto"``, ``"cpu"``, ``"cuda"``, …
        seed: seed of what is drawn.
        settings: settings of the engine, such as ``{"per_class": 50}`` (``promptlab list word-engines lm-bff``).

    Returns:
        Label words with their score and what it measures, the best first.

    Raises:
        DataError: if there are fewer than 2 examples of a class, or fewer than 2 classes.
        VerbalizerError: if the template hasn't one mask.
        UnknownNameError: if there is no such engine, or it has no such setting.
        TuningError: if a setting is out of range.

    Example:
        >>> from promptlab import search_words
        >>> texts, labels = ["a dull film", "lifeless", "great fun", "a gem"], ["bad", "bad", "good", "good"]
        >>> found = search_words("{{ text_a }} It was {{ mask }}.", texts, labels, "minilm", top=2)
        >>> [(one.label_words, one.score) for one in found]
        [({'bad': ('made',), 'good': ('worth',)}, 1.0), ({'bad': ('boring',), 'good': ('worth',)}, 1.0)]
    """
    check_arguments(search_words, locals(), TuningError)
    search = _engine(engine, settings or {})
    resolved, labeled = resolve_template(template), Labeled.of(X, y)
    check_one_mask(resolved.slot, "label words need exactly 1")
    classes = sorted(set(labeled.labels))
    if len(classes) < 2:
        raise DataError(f"all labels are {classes[0]!r}; a search needs examples of 2 classes or more.")
    few = [name for name in classes if labeled.labels.count(name) < 2]
    if few:
        raise DataError(f"class {few[0]!r} has 1 example; a search needs 2 or more of each class.")
    check_fields(resolved, labeled.examples)
    place = resolve_device(device)
    backbone = fresh_backbone(model, device).to(place)
    answers = mask_answers(resolved, labeled.examples, backbone, max_length=max_length)
    hidden = answers.hidden[:, 0].unflatten(0, (-1, resolved.n_variants)).mean(dim=1)
    ids = _candidates(backbone, resolved.slot, candidates)
    with torch.inference_mode():
        weight, bias = backbone.decoder()
        evidence = MaskEvidence(
            hidden=hidden,
            targets=labeled.targets(classes).to(place),
            classes=classes,
            weight=weight[ids],
            bias=weight.new_zeros(len(ids)) if bias is None else bias[ids],
            log_total=backbone.project(hidden).logsumexp(dim=-1),
            words=words_of(backbone, ids),
            seed=seed,
        )
        found: list[FoundWords] = search(evidence)
    return found[:top]


def _engine(name: str, settings: Mapping[str, object]) -> Callable[[MaskEvidence], list[FoundWords]]:
    """The search of that name, with its settings."""
    search = WORD_SEARCHES.get(name)
    known = list(signature(search).parameters)[1:]
    for setting in settings:
        if setting not in known:
            raise UnknownNameError(f"setting of the engine {name!r}", setting, known)
    return partial(search, **settings)


def rank_by_training(
    found: Sequence[FoundWords],
    template: TemplateLike,
    train: DevSet,
    eval_set: DevSet,
    model: ModelLike | None = None,
    **settings: Any,
) -> list[FoundWords]:
    """The same label words by their accuracy on dev after fine-tuning with each, the best first; ties keep their order.

    Training is scored once, at its end, so that dev chooses among the words only. The highest of these accuracies is
    too high for new text; each place has an estimate besides (see ``cross_validation``).

    Source: LM-BFF, arXiv:2012.15723, section 5.1 (re-ranking).

    Args:
        train: labeled texts, a pair (X, y).
        eval_set: dev texts, a pair (X, y); those whose texts are training texts, whatever their labels, are left out.
        settings: of ``PromptClassifier``.

    Raises:
        DataError: if no dev row is left.
    """
    backbone, held_out = load_backbone(model), _unseen(template, train, eval_set)
    labels = np.array(held_out.labels)
    rights: list[list[bool]] = []
    for one in tqdm(found, desc="label words", unit="set", leave=False, disable=None):
        classifier = PromptClassifier(template, one.label_words, backbone, **settings).fit(*train)
        rights.append((_chosen(classifier, held_out.examples) == labels).tolist())

    def order(rows: Sequence[int]) -> list[int]:
        return sorted(range(len(found)), key=lambda number: -sum(rights[number][row] for row in rows))

    seed = settings.get("seed", 0)
    estimates = cross_validated(
        labels.tolist(), lambda rows: [rights[number] for number in order(rows)], folds=4, repeats=10, seed=seed
    )
    best = order(range(len(labels)))
    return [
        FoundWords(found[number].label_words, sum(rights[number]) / len(labels), DEV_ACCURACY, estimate)
        for number, estimate in itertools.zip_longest(best, estimates)
    ]


def _chosen(classifier: PromptClassifier, examples: Sequence[Example]) -> np.ndarray:
    """The names of the likeliest classes."""
    return np.array(classifier.class_names_)[classifier.predict_proba(examples).argmax(axis=1)]


def _unseen(template: TemplateLike, train: DevSet, eval_set: DevSet) -> Labeled:
    """The dev rows whose texts aren't training texts."""
    fields = resolve_template(template).fields
    given, known = Labeled.of(*eval_set), set(texts_of(Labeled.of(*train).examples, fields))
    texts = texts_of(given.examples, fields)
    kept = [example for example, text in zip(given.examples, texts) if text not in known]
    if not kept:
        raise DataError(f"all {len(texts)} dev rows are training rows, too; choose by others, or by none.")
    return given._replace(examples=kept)


def _candidates(backbone: Backbone, slot: AnswerSlot, limit: int) -> list[int]:
    """Common words of two letters or more whose text gives their token back."""
    ids = backbone.common_word_ids(len(backbone.tokenizer))
    pairs = zip(ids, words_of(backbone, ids))
    usable = (i for i, word in pairs if len(word) > 1 and _is_token(i, word, backbone, slot))
    return list(itertools.islice(usable, limit))


def _is_token(token: int, word: str, backbone: Backbone, slot: AnswerSlot) -> bool:
    try:
        return bool(backbone.answer_ids(word, slot) == [token])
    except VerbalizerError:  # joined to the text beside it
        return False
