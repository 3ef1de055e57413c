"""KPT: many label words from outside, refined by what the model makes of them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from promptlab.core.checks import check_arguments
from promptlab.core.devices import resolve_device
from promptlab.core.errors import DataError, TuningError, VerbalizerError
from promptlab.core.inputs import ModelLike, TemplateLike, Texts
from promptlab.core.interfaces import Backbone
from promptlab.core.ranges import PartShare
from promptlab.core.types import AnswerSlot
from promptlab.data.labeled import check_fields
from promptlab.data.readers import as_examples
from promptlab.library.resolve import fresh_backbone, resolve_template
from promptlab.models.inference import mask_answers
from promptlab.verbalizers.label_words import check_one_mask, check_words, is_ordinary

MULTI_TOKEN = ("drop", "first")


class Dropped(NamedTuple):
    """A word that refinement took out of a class, and why."""

    name: str
    word: str
    reason: str


@dataclass(frozen=True)
class Refinement:
    """The label words that are left, and those that aren't.

    Args:
        label_words: class → words; its name, which is the first word, is always among them.
        dropped: the others.
    """

    label_words: Mapping[str, tuple[str, ...]]
    dropped: Sequence[Dropped]


def refine_words(
    label_words: Mapping[str, Sequence[str]],
    template: TemplateLike,
    support: Texts,
    model: ModelLike | None = None,
    *,
    frequency: PartShare = 0.5,
    relevance: bool = True,
    multi_token: str = "drop",
    max_length: int | None = None,
    device: str = "auto",
) -> Refinement:
    """Refine label words: take out those that the model can't say, hardly ever says, or says whatever the class is.

    The steps, in order: words of several tokens; tokens of two classes, however they are spelled; *frequency*
    refinement (words whose mean logit over the support texts is among the lowest of the vocabulary); *relevance*
    refinement (words that don't go with the name of their class, or go with those of others as well). Calibration comes
    afterwards: ``SupportCalibration``.

    Source: KPT, arXiv:2108.02035, section 3.3.1 and 3.3.2, with the scores and the cut of its code, which may drop
    the names, too.

    Args:
        label_words: class → words, the first of which names the class.
        template: Jinja source, a name of the task library, or a ``Template``, with one mask.
        support: about 200 unlabeled texts, in any form that ``predict`` takes.
        model: a package's name, a hub id, a folder or a loaded backbone; None takes ``minilm``.
        frequency: the share of the vocabulary that counts as rare; 0 keeps rare words, which sentiment needs.
        relevance: whether to refine by relevance.
        multi_token: what becomes of words of several tokens: ``"drop"``, or ``"first"`` to keep their first token.
        max_length: tokens that a prompt may have; None for the model's own limit.
        device: ``"auto"``, ``"cpu"``, ``"cuda"``, …

    Returns:
        The words that are left (``label_words``), and the others with the reason (``dropped``).

    Raises:
        VerbalizerError: if the name of a class isn't one token of the model's vocabulary.
        DataError: if there are no support texts.
        TuningError: if a setting is out of range.

    Example:
        >>> from promptlab import refine_words
        >>> words = {"negative": ["bad", "a bore"], "positive": ["good", "great"]}
        >>> support = ["a dull film", "great fun", "two hours of talk", "a gem"]
        >>> refined = refine_words(words, "{{ text_a }} It was {{ mask }}.", support, "minilm", relevance=False)
        >>> refined.label_words, refined.dropped[0].reason
        ({'negative': ('bad',), 'positive': ('good', 'great')}, '2 tokens: a bore')
    """
    check_arguments(refine_words, locals(), TuningError)
    if multi_token not in MULTI_TOKEN:
        raise TuningError(f"multi_token={multi_token!r} must be one of {', '.join(MULTI_TOKEN)}.")
    examples = as_examples(support)
    if not examples:
        raise DataError("support is empty; pass about 200 unlabeled texts.")
    resolved = resolve_template(template)
    check_one_mask(resolved.slot, "label words need exactly 1")
    check_fields(resolved, examples)
    backbone = fresh_backbone(model, device).to(resolve_device(device))
    dropped: list[Dropped] = []
    tokens = _single_tokens(check_words(label_words), backbone, resolved.slot, multi_token, dropped)
    ids = _distinct(tokens, dropped)
    if frequency or relevance:
        hidden = mask_answers(resolved, examples, backbone, max_length=max_length).hidden[:, 0]  # (texts, hidden)
        with torch.inference_mode():
            if frequency:
                _drop_rare(ids, hidden, backbone, frequency, dropped)
            if relevance:
                _drop_irrelevant(ids, hidden, backbone, dropped)
    return Refinement({name: tuple(row) for name, row in ids.items()}, dropped)


def _single_tokens(
    words: Mapping[str, Sequence[str]], backbone: Backbone, slot: AnswerSlot, multi_token: str, dropped: list[Dropped]
) -> dict[str, dict[str, int]]:
    """Class → what a token says → its id, without the words that have none; the name comes first."""
    kept: dict[str, dict[str, int]] = {name: {} for name in words}
    for name, row in words.items():
        for word in dict.fromkeys(row):
            said, ids = word, _ids(word, backbone, slot)
            reason = _unusable(ids, backbone)
            if len(ids) > 1 and multi_token == "first":
                piece = backbone.tokenizer.convert_ids_to_tokens(ids[0])
                said = backbone.tokenizer.convert_tokens_to_string([piece]).strip()
                alone = list(_ids(said, backbone, slot)) == list(ids[:1])
                reason = _unusable(ids[:1], backbone) if said and alone else f"{piece!r}, its first token, is no word"
            if said in kept[name]:
                dropped.append(Dropped(name, word, f"the same token as {said!r}"))
            elif reason is None:
                kept[name][said] = ids[0]
            elif word == row[0]:
                raise _lost_name(name, word, reason)
            else:
                dropped.append(Dropped(name, word, reason))
    return kept


def _distinct(tokens: Mapping[str, Mapping[str, int]], dropped: list[Dropped]) -> dict[str, dict[str, int]]:
    """Each token once: in a class under its first spelling; a token of two classes only where it is the name."""
    owners: dict[int, dict[str, str]] = {}  # id → class → the class's first spelling of it
    for name, row in tokens.items():
        for word, token in row.items():
            owners.setdefault(token, {}).setdefault(name, word)
    names = {name: next(iter(row)) for name, row in tokens.items()}
    kept: dict[str, dict[str, int]] = {name: {} for name in tokens}
    for name, row in tokens.items():
        for word, token in row.items():
            others = {other: spelt for other, spelt in owners[token].items() if other != name}
            namesake = [other for other, spelt in others.items() if spelt == names[other]]
            if word == names[name] and namesake:
                raise _lost_name(name, word, f"the same token as {names[namesake[0]]!r}, the name of {namesake[0]!r}")
            if owners[token][name] != word:
                dropped.append(Dropped(name, word, f"the same token as {owners[token][name]!r}"))
            elif others and word != names[name]:
                dropped.append(Dropped(name, word, _shared(word, others)))
            else:
                kept[name][word] = token
    return kept


def _shared(word: str, others: Mapping[str, str]) -> str:
    other, spelt = next(iter(others.items()))
    return f"also a word of class {other!r}" + f", there spelt {spelt!r}" * (spelt != word)


def _lost_name(name: str, word: str, reason: str) -> VerbalizerError:
    return VerbalizerError(
        f"the name {word!r} of class {name!r} can't be kept ({reason}); put another word of one token first."
    )


def _ids(word: str, backbone: Backbone, slot: AnswerSlot) -> Sequence[int]:
    """Ids of a word; none if the tokenizer joins it to the text beside it."""
    try:
        return backbone.answer_ids(word, slot)
    except VerbalizerError:
        return ()


def _unusable(ids: Sequence[int], backbone: Backbone) -> str | None:
    if not ids:
        return "joined to the text beside it"
    if len(ids) != 1:
        pieces = backbone.tokenizer.convert_ids_to_tokens(list(ids))
        return f"{len(ids)} tokens: {' '.join(pieces)}"
    return None if is_ordinary(ids[0], backbone) else "not in the vocabulary"


def _drop_rare(
    ids: dict[str, dict[str, int]], hidden: Tensor, backbone: Backbone, share: float, dropped: list[Dropped]
) -> None:
    """Words whose mean logit is among the lowest ``share`` of the vocabulary's."""
    mean = backbone.project(hidden.mean(dim=0))  # (vocabulary,), since logits are linear in the states
    rarer = mean.argsort().argsort()  # (vocabulary,) how many tokens are rarer than each
    for name, row in ids.items():
        for word, token in list(row.items())[1:]:
            if rarer[token] < int(share * len(mean)):
                percent = 100 * rarer[token] / len(mean)
                dropped.append(Dropped(name, word, f"rare: {percent:.0f} % of the vocabulary are rarer"))
                del row[word]


def _drop_irrelevant(
    ids: dict[str, dict[str, int]], hidden: Tensor, backbone: Backbone, dropped: list[Dropped]
) -> None:
    """Words past one cut for all classes; the names are ranked with their words, but stay wherever they stand."""
    names = torch.tensor([next(iter(row.values())) for row in ids.values()], device=hidden.device)
    of_names = backbone.project(hidden, names)  # (texts, classes)
    ranked: dict[str, list[tuple[str, float]]] = {}
    for number, (name, row) in enumerate(ids.items()):
        tokens = torch.tensor(list(row.values()), device=hidden.device)
        scores = relevance_scores(backbone.project(hidden, tokens), of_names, number).tolist()
        ranked[name] = sorted(zip(row, scores), key=lambda pair: -pair[1])
    share = best_cut([[score for _, score in row] for row in ranked.values()])
    for name, scored in ranked.items():
        first = next(iter(ids[name]))
        for word, score in scored[n_kept(share, len(scored)) :]:
            if word != first:
                dropped.append(Dropped(name, word, f"irrelevant: score {score:.2f}"))
                del ids[name][word]


def relevance_scores(words: Tensor, names: Tensor, own: int) -> Tensor:
    """How much more words go with the name of their class than with those of the others, (words,).

    tf is the cosine, over the support texts, of a word's centered logits with those of its class's name; idf is one
    over the p-mean of its absolute cosines with the other names, p = 10 / (C - 2 + 0.01) + 1. A negative tf scores
    -100.

    Source: KPT's code; the paper, arXiv:2108.02035, section 3.3.2, has the plain mean.

    Args:
        words: logits of the words, (texts, words).
        names: logits of the classes' names, (texts, classes).
        own: number of the words' class.
    """
    similar = F.normalize(words - words.mean(dim=0), dim=0).T @ F.normalize(names - names.mean(dim=0), dim=0)
    others = torch.cat([similar[:, :own], similar[:, own + 1 :]], dim=1).abs().clamp(min=1e-6)
    power = 10 / (names.shape[1] - 2 + 0.01) + 1
    mean = torch.exp(((power * others.log()).logsumexp(dim=1) - math.log(others.shape[1])) / power)
    tf = similar[:, own]
    return torch.where(tf < 0, torch.full_like(tf, -100.0), tf / mean)


def best_cut(ranked: Sequence[Sequence[float]]) -> float:
    """The share of words to keep of every class: that at which the best words to go score nearest to 1.

    As many shares are tried as the longest list has words, from 0; the loss of one is the sum over the classes of the
    squared distance from 1 of the score of the first word past the cut. Of equal losses the smallest share counts.

    Source: KPT's code (``tfidf_filter``).

    Args:
        ranked: scores of each class's words, that of its name among them, the highest first.
    """
    longest = max(map(len, ranked))

    def loss(share: float) -> float:
        return sum((row[int(share * len(row))] - 1) ** 2 for row in ranked)

    return min((cut / longest for cut in range(longest)), key=loss)


def n_kept(share: float, n_words: int) -> int:
    """How many of a class's words stand before the cut: one at least."""
    return max(1, int(share * n_words))
