"""Three ways to find label words in the evidence of a model's answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from promptlab.core.checks import check_arguments
from promptlab.core.errors import TuningError, VerbalizerError
from promptlab.core.ranges import Count
from promptlab.search.words.search import LIKELIHOOD_RATIO, TRAIN_ACCURACY, FoundWords, MaskEvidence

AT_ONCE = 20_000_000  # scores that are held at once
STRENGTHS = tuple(10 ** (-i / 4) for i in range(17))  # 1 to 0.0001, of the penalty on weights, for each example


def lm_bff(evidence: MaskEvidence, *, per_class: Count = 100, assignments: Count = 1_000_000) -> list[FoundWords]:
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
    check_arguments(lm_bff, locals(), TuningError)
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
        FoundWords({name: (evidence.words[i],) for name, i in zip(evidence.classes, row)}, score, TRAIN_ACCURACY)
        for row, score in zip(words[order].tolist(), accuracy[order].tolist())
    ]


def _extended(words: Tensor, more: Tensor, evidence: MaskEvidence) -> tuple[Tensor, Tensor]:
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


def petal(
    evidence: MaskEvidence, *, words: int = 10, candidates: int = 1000, normalize: bool = True
) -> list[FoundWords]:
    """The words of each class that are likelier after its examples than after the others', by likelihood ratio.

    Source: PETAL, arXiv:2010.13641, section 4 (automatic verbalizer search).

    Args:
        words: of each class.
        candidates: a class's likeliest words, among which to choose.
        normalize: count the examples of a class as much as all others together.
    """
    log_probs = evidence.log_probs  # (examples, words)
    odds = log_probs - torch.log1p(-log_probs.exp().clamp(max=1 - 1e-6))
    found, total = {}, 0.0
    for number, name in enumerate(evidence.classes):
        own = evidence.targets == number
        likely = log_probs[own].sum(dim=0).topk(min(candidates, len(evidence.words))).indices
        factor = (~own).sum() / own.sum() if normalize else 1.0
        ratio = factor * odds[own][:, likely].sum(dim=0) - odds[~own][:, likely].sum(dim=0)
        best = ratio.topk(min(words, len(likely)))
        found[name] = [evidence.words[i] for i in likely[best.indices].tolist()]
        total += best.values.mean().item()
    return [FoundWords(_once(found), total / len(found), LIKELIHOOD_RATIO)]


def autoprompt(evidence: MaskEvidence, *, words: int = 3) -> list[FoundWords]:
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
    found: list[FoundWords] = []
    problem: VerbalizerError | None = None
    for strength in STRENGTHS:
        try:
            label_words = _once(_pointed_at(evidence, words, strength))
        except VerbalizerError as error:
            problem = error
            continue
        if label_words not in [one.label_words for one in found]:
            found.append(FoundWords(label_words, _accuracy(evidence, label_words), TRAIN_ACCURACY))
    if problem and not found:
        raise problem
    return sorted(found, key=lambda one: -one.score)


def _pointed_at(evidence: MaskEvidence, words: int, strength: float) -> dict[str, list[str]]:
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


def _accuracy(evidence: MaskEvidence, label_words: Mapping[str, Sequence[str]]) -> float:
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
