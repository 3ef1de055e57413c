"""Label words found from a few labelled examples and a model that stays as it is."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm.auto import tqdm

from promptlab.backbones.catalog import load_backbone
from promptlab.classifier import PromptClassifier
from promptlab.devices import resolve_device
from promptlab.errors import DataError, TuningError, VerbalizerError
from promptlab.fitting import Labelled
from promptlab.inference import mask_answers
from promptlab.parts import fresh_backbone, resolve_template
from promptlab.registry import WORD_SEARCHES
from promptlab.search.expansion import words_of
from promptlab.verbalizers.label_words import check_one_mask

AT_ONCE = 20_000_000  # scores that are held at once
STRENGTHS = tuple(10 ** (-i / 4) for i in range(17))  # 1 to 0.0001, of the penalty on weights, for each example


@dataclass(frozen=True)
class Found:
    """Label words that a search found, and how good it thinks they are; what the score means is the search's matter."""

    label_words: Mapping[str, tuple[str, ...]]
    score: float


@dataclass(frozen=True)
class Evidence:
    """What searches work with.

    Args:
        hidden: states at the mask, (examples, embedding).
        targets: the class of each, (examples,).
        classes: their names.
        weight: of the LM head for the candidates, (words, embedding).
        bias: likewise, (words,).
        log_total: of the whole vocabulary's exponentiated logits, (examples,).
        words: the candidates: words of one token, the commonest of the vocabulary first.
        seed: of what is drawn.
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
    template: Any,
    X: Any,
    y: Any = None,
    model: Any = None,
    *,
    engine: str = "lm-bff",
    n: int = 1,
    candidates: int = 10_000,
    max_length: int | None = None,
    device: str = "auto",
    seed: int = 0,
    **settings: Any,
) -> list[Found]:
    """The best label words for a template, the best first.

    Args:
        template: as for ``PromptClassifier``, with one mask.
        X: labelled texts, as for ``fit``.
        y: their labels.
        model: as for ``PromptClassifier``.
        engine: ``"lm-bff"``, ``"petal"`` or ``"autoprompt"``.
        n: results to return; ``"petal"`` has only one.
        candidates: the commonest ordinary words of the vocabulary, among which to search.
        settings: of the engine.

    Raises:
        DataError: if there are fewer than 2 examples of a class, or fewer than 2 classes.
        VerbalizerError: if the template hasn't one mask.
        UnknownNameError: if there is no such engine.
        TuningError: if a setting is out of range.
    """
    for name, value in {"n": n, "candidates": candidates}.items():
        if value < 1:
            raise TuningError(f"{name}={value!r} must be at least 1.")
    search = WORD_SEARCHES.get(engine)
    resolved, labelled = resolve_template(template), Labelled.of(X, y)
    check_one_mask(resolved.slot, "label words need exactly 1")
    classes = sorted(set(labelled.labels))
    if len(classes) < 2:
        raise DataError(f"all labels are {classes[0]!r}; a search needs examples of 2 classes or more.")
    few = [name for name in classes if labelled.labels.count(name) < 2]
    if few:
        raise DataError(f"class {few[0]!r} has 1 example; a search needs 2 or more of each class.")
    place = resolve_device(device)
    backbone = fresh_backbone(model, device).to(place)
    answers = mask_answers(resolved, labelled.examples, backbone, max_length=max_length)
    hidden = answers.hidden[:, 0].unflatten(0, (-1, resolved.n_variants)).mean(dim=1)
    ids = _candidates(backbone, resolved.slot, candidates)
    with torch.inference_mode():
        weight, bias = backbone.decoder()
        evidence = Evidence(
            hidden=hidden,
            targets=labelled.targets(classes).to(place),
            classes=classes,
            weight=weight[ids],
            bias=weight.new_zeros(len(ids)) if bias is None else bias[ids],
            log_total=backbone.project(hidden).logsumexp(dim=-1),
            words=words_of(backbone, ids),
            seed=seed,
        )
        found: list[Found] = search(evidence, **settings)
    return found[:n]


def rank_by_training(
    found: Sequence[Found], template: Any, train: Any, dev: Any, model: Any = None, **settings: Any
) -> list[Found]:
    """The same label words by their accuracy on dev after fine-tuning with each, the best first; ties keep their order.

    Source: LM-BFF, arXiv:2012.15723, section 5.1 (re-ranking).

    Args:
        train: labelled texts, a pair (X, y).
        dev: likewise.
        settings: of ``PromptClassifier``.
    """
    backbone, held_out = load_backbone(model), Labelled.of(*dev)
    scored = []
    for one in tqdm(found, desc="label words", unit="set", leave=False, disable=None):
        classifier = PromptClassifier(template, one.label_words, backbone, **settings).fit(*train, eval_set=dev)
        right = classifier.predict(held_out.examples).astype(str) == np.array(held_out.labels)
        scored.append(Found(one.label_words, float(right.mean())))
    return sorted(scored, key=lambda one: -one.score)


def _candidates(backbone: Any, slot: Any, limit: int) -> list[int]:
    """Common words of two letters or more whose text gives their token back."""
    ids = backbone.common_word_ids(len(backbone.tokenizer))
    pairs = zip(ids, words_of(backbone, ids))
    usable = (i for i, word in pairs if len(word) > 1 and backbone.answer_ids(word, slot) == [i])
    return list(itertools.islice(usable, limit))


def lm_bff(evidence: Evidence, *, per_class: int = 100, assignments: int = 1_000_000) -> list[Found]:
    """Ways to give each class one of its likeliest words, none twice, scored by accuracy on the examples.

    Every way is tried if there are no more than ``assignments``. Else one class comes after the other, and those ways
    are kept that are right on most examples of the classes so far.

    Source: LM-BFF, arXiv:2012.15723, section 5.1, with the mean logit of its code and a beam for many classes.

    Args:
        per_class: words that a class may choose from.
        assignments: ways to try at most, those of the classes so far included.

    Raises:
        TuningError: if a number is below 1.
        VerbalizerError: if no way leaves each class a word of its own.
    """
    for name, value in {"per_class": per_class, "assignments": assignments}.items():
        if value < 1:
            raise TuningError(f"{name}={value!r} must be at least 1.")
    logits, n_classes = evidence.logits, len(evidence.classes)
    width = min(per_class, len(evidence.words), max(1, assignments // n_classes))
    beam = assignments if width**n_classes <= assignments else max(1, assignments // (n_classes * width))
    means = torch.stack([logits[evidence.targets == i].mean(dim=0) for i in range(n_classes)])  # (classes, words)
    choice = means.topk(width, dim=1).indices  # (classes, width)
    words = choice[0][:, None]  # (ways, classes so far)
    accuracy = logits.new_zeros(len(words))
    for more in choice[1:]:
        kept = accuracy.argsort(descending=True, stable=True)[:beam].sort().values
        accuracy, words = _extended(words[kept], more, evidence)
        if not len(words):
            raise VerbalizerError(
                f"no way was found to give each of {n_classes} classes a word of its own; raise per_class or "
                "assignments, or take the engine petal or autoprompt."
            )
    order = accuracy.argsort(descending=True, stable=True)[:1000]
    return [
        Found({name: (evidence.words[i],) for name, i in zip(evidence.classes, row)}, score)
        for row, score in zip(words[order].tolist(), accuracy[order].tolist())
    ]


def _extended(words: Tensor, more: Tensor, evidence: Evidence) -> tuple[Tensor, Tensor]:
    """Every way with a word of the next class.

    Args:
        words: ways so far, (ways, classes).
        more: words of the next class, (width,).

    Returns:
        Share of all examples that are of a class so far and are right, (new ways,), and these (new ways, classes + 1).
    """
    n_classes, n_examples = words.shape[1], len(evidence.targets)
    is_new = (evidence.targets == n_classes)[:, None, None]
    added = evidence.logits[:, None, more]  # (examples, 1, width)
    accuracies = []
    for some in words.split(max(1, AT_ONCE // (n_examples * max(n_classes, len(more))))):
        best, answer = (score[..., None] for score in evidence.logits[:, some].max(dim=-1))  # (examples, ways, 1)
        right = torch.where(is_new, added > best, (answer == evidence.targets[:, None, None]) & (added <= best))
        accuracies.append(right.float().mean(dim=0))  # (ways, width)
    accuracy = torch.cat(accuracies)
    is_own = (words[:, :, None] != more).all(dim=1)  # (ways, width)
    way, column = is_own.nonzero(as_tuple=True)
    return accuracy[is_own], torch.cat([words[way], more[column, None]], dim=1)


def petal(evidence: Evidence, *, words: int = 10, candidates: int = 1000, normalise: bool = True) -> list[Found]:
    """The words of each class that are likelier after its examples than after the others', by likelihood ratio.

    Source: PETAL, arXiv:2010.13641, section 4 (automatic verbalizer search).

    Args:
        words: of each class.
        candidates: a class's likeliest words, among which to choose.
        normalise: count the examples of a class as much as all others together.
    """
    log_probs = evidence.log_probs  # (examples, words)
    odds = log_probs - torch.log1p(-log_probs.exp().clamp(max=1 - 1e-6))
    found, total = {}, 0.0
    for number, name in enumerate(evidence.classes):
        own = evidence.targets == number
        likely = log_probs[own].sum(dim=0).topk(min(candidates, len(evidence.words))).indices
        factor = (~own).sum() / own.sum() if normalise else 1.0
        ratio = factor * odds[own][:, likely].sum(dim=0) - odds[~own][:, likely].sum(dim=0)
        best = ratio.topk(min(words, len(likely)))
        found[name] = [evidence.words[i] for i in likely[best.indices].tolist()]
        total += best.values.mean().item()
    return [Found(_once(found), total / len(found))]


def autoprompt(evidence: Evidence, *, words: int = 3) -> list[Found]:
    """The words whose own vectors a classifier of mask states takes for states of a class, scored by accuracy.

    A classifier that fits many examples exactly turns to directions in which no word lies but rare outliers, so it is
    fitted at several strengths of regularisation, and of these, words come first that tell most examples apart.

    Source: AutoPrompt, arXiv:2010.15980, section 2.3, with scikit-learn's logistic regression as the classifier; there
    it ends after some passes of Adam.

    Args:
        words: of each class.

    Raises:
        VerbalizerError: if a class has no word of its own at any strength.
    """
    found: list[Found] = []
    problem: VerbalizerError | None = None
    for strength in STRENGTHS:
        try:
            label_words = _once(_pointed_at(evidence, words, strength))
        except VerbalizerError as error:
            problem = error
            continue
        if label_words not in [one.label_words for one in found]:
            found.append(Found(label_words, _accuracy(evidence, label_words)))
    if problem and not found:
        raise problem
    return sorted(found, key=lambda one: -one.score)


def _pointed_at(evidence: Evidence, words: int, strength: float) -> dict[str, list[str]]:
    """The words of each class that a classifier of mask states is surest of.

    Args:
        strength: of the penalty on its weights, for each example.
    """
    from sklearn.linear_model import LogisticRegression

    n_examples = len(evidence.targets)
    classifier = LogisticRegression(C=1 / (strength * n_examples), max_iter=1000, random_state=evidence.seed)
    classifier.fit(evidence.hidden.cpu().numpy(), evidence.targets.cpu().numpy())
    scores = classifier.predict_proba(evidence.weight.cpu().numpy())  # (words, classes)
    order = np.argsort(-scores, axis=0, kind="stable")
    return {name: [evidence.words[i] for i in order[:words, c]] for c, name in enumerate(evidence.classes)}


def _accuracy(evidence: Evidence, label_words: Mapping[str, Sequence[str]]) -> float:
    """Share of examples that are right by the mean logits of their classes' words."""
    place = {word: i for i, word in enumerate(evidence.words)}
    rows = [[place[word] for word in row] for row in label_words.values()]
    logits = [(evidence.hidden @ evidence.weight[row].T + evidence.bias[row]).mean(dim=1) for row in rows]
    return (torch.stack(logits, dim=1).argmax(dim=1) == evidence.targets).float().mean().item()


def _once(found: Mapping[str, Sequence[str]]) -> dict[str, tuple[str, ...]]:
    """Each word only in the class that ranks it higher, of equal ranks the first."""
    rank: dict[str, tuple[int, str]] = {}
    for name, row in found.items():
        for place, word in enumerate(row):
            if word not in rank or place < rank[word][0]:
                rank[word] = place, name
    kept = {name: tuple(word for word in row if rank[word][1] == name) for name, row in found.items()}
    empty = [name for name, row in kept.items() if not row]
    if empty:
        raise VerbalizerError(f"no word is left for class {empty[0]!r}; give more examples, or search more words.")
    return kept
