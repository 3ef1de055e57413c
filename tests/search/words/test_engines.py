from __future__ import annotations

import itertools
import math
import time
from dataclasses import replace

import numpy as np
import pytest
import torch

from promptlab.core.errors import TuningError, VerbalizerError
from promptlab.search.words.engines import autoprompt, lm_bff, petal
from promptlab.search.words.search import MaskEvidence

WORDS = ["one", "two", "three", "four", "five"]


def evidence(logits, targets, total=10.0):
    """What a search sees of a model whose logits at the mask are given, (examples, words)."""
    logits = torch.tensor(logits)
    return MaskEvidence(
        hidden=logits,
        targets=torch.tensor(targets),
        classes=["a", "b"],
        weight=torch.eye(logits.shape[1]),
        bias=torch.zeros(logits.shape[1]),
        log_total=torch.full((len(logits),), total),
        words=WORDS[: logits.shape[1]],
        seed=0,
    )


RANDOM = torch.randn(6, 5, generator=torch.Generator().manual_seed(0)).tolist()
TARGETS = [0, 0, 0, 1, 1, 1]


def test_the_best_assignment_is_that_of_brute_force_and_no_word_stands_twice():
    def accuracy(i, j):
        return sum((row[j] > row[i]) == bool(t) for row, t in zip(RANDOM, TARGETS, strict=True)) / 6

    pairs = {(WORDS[i], WORDS[j]): accuracy(i, j) for i, j in itertools.permutations(range(5), 2)}

    found = lm_bff(evidence(RANDOM, TARGETS))

    assert {tuple(row[0] for row in one.label_words.values()): pytest.approx(one.score) for one in found} == pairs
    assert [one.score for one in found] == sorted((one.score for one in found), reverse=True)


def test_of_many_classes_each_has_fewer_words_to_choose_from():
    logits = torch.randn(8, 5, generator=torch.Generator().manual_seed(1)).tolist()
    some = evidence(logits, [0, 1] * 4)

    found = lm_bff(some, assignments=4)

    assert len(found) <= 4
    means = [torch.tensor(logits)[i::2].mean(dim=0) for i in range(2)]
    likeliest = [{WORDS[i] for i in mean.topk(2).indices.tolist()} for mean in means]
    assert all(one.label_words["a"][0] in likeliest[0] and one.label_words["b"][0] in likeliest[1] for one in found)


def of_classes(logits, targets, n_classes):
    """MaskEvidence of so many classes; words are named by their numbers."""
    some = evidence(logits, targets)
    names = [str(number) for number in range(max(n_classes, len(logits[0])))]
    return replace(some, classes=names[:n_classes], words=names[: len(logits[0])])


def accuracy_of(ways, logits, targets):
    right = [max(ways, key=lambda word: row[word]) == ways[target] for row, target in zip(logits, targets, strict=True)]
    return sum(right) / len(right)


def test_of_three_classes_the_best_assignments_are_those_of_brute_force_in_their_order():
    logits = torch.randn(9, 6, generator=torch.Generator().manual_seed(2)).tolist()
    targets = [0, 1, 2] * 3
    order = [torch.tensor(logits)[i::3].mean(dim=0).argsort(descending=True).tolist() for i in range(3)]
    ways = [way for way in itertools.product(*order) if len(set(way)) == 3]
    ways.sort(key=lambda way: -accuracy_of(way, logits, targets))

    found = lm_bff(of_classes(logits, targets, 3))

    assert [tuple(int(word) for (word,) in one.label_words.values()) for one in found] == ways
    assert [one.score for one in found] == pytest.approx([accuracy_of(way, logits, targets) for way in ways])


@pytest.mark.parametrize("n_classes", [24, 77])
def test_of_many_classes_words_about_as_good_as_their_own_are_found_without_trying_every_way(n_classes):
    generator = torch.Generator().manual_seed(3)
    targets = [i for i in range(n_classes) for _ in range(4)]
    logits = torch.randn(len(targets), 2 * n_classes, generator=generator)
    logits[range(len(targets)), targets] += 3.0  # the own word is likelier, but not always the likeliest
    some = of_classes(logits.tolist(), targets, n_classes)
    started = time.monotonic()

    found = lm_bff(some)

    own = accuracy_of(range(n_classes), logits.tolist(), targets)
    assert found[0].score > own - 0.05 > 0.3
    words = [word for (word,) in found[0].label_words.values()]
    assert found[0].score == pytest.approx(accuracy_of([int(word) for word in words], logits.tolist(), targets))
    assert len(set(words)) == n_classes
    assert time.monotonic() - started < 30


def test_fewer_assignments_than_classes_leave_each_its_likeliest_word():
    logits = [[3.0, 0.0, 1.0], [2.0, 1.0, 0.0], [0.0, 3.0, 2.0], [1.0, 2.0, 0.0]]

    (found,) = lm_bff(evidence(logits, [0, 0, 1, 1]), assignments=1)

    assert found.label_words == {"a": ("one",), "b": ("two",)}
    with pytest.raises(VerbalizerError, match="no way was found to give each of 2 classes a word of its own"):
        lm_bff(evidence(logits, [0, 1, 0, 1]), assignments=1)
    with pytest.raises(TuningError, match="assignments=0 must be at least 1"):
        lm_bff(evidence(logits, [0, 0, 1, 1]), assignments=0)


def test_petals_score_is_the_ratio_of_odds_by_hand():
    log_probs = torch.tensor(RANDOM) - 10.0
    odds = log_probs - torch.log1p(-log_probs.exp())
    ratio = 2.0 * odds[:2].sum(dim=0) - odds[2:].sum(dim=0)  # 4 others for 2 of the class

    found = petal(evidence(RANDOM, [0, 0, 1, 1, 1, 1]), words=1)[0]

    assert found.label_words["a"] == (WORDS[ratio.argmax()],)


def log_odds(logit, total=10.0):
    """Of a word with a logit, among words whose exponentiated logits sum to e to the total."""
    p = math.exp(logit - total)
    return math.log(p / (1 - p))


def test_petal_counts_the_examples_of_a_class_as_much_as_all_others_unless_it_is_told_not_to():
    """Of 4 others for each, "one" is worth about 4 * -1 + 4 * 2 = 4, "two" 4 * -3 + 4 * 3.25 = 1; else 7 and 10."""
    own, other = [9.0, 7.0], [8.0, 6.75]

    evenly, as_they_are = (
        petal(evidence([own, *[other] * 4], [0, 1, 1, 1, 1]), words=2, normalize=normalize)[0]
        for normalize in (True, False)
    )

    def ratios(class_rows, other_rows, factor):
        columns = zip(zip(*class_rows), zip(*other_rows))
        return [factor * sum(map(log_odds, mine)) - sum(map(log_odds, others)) for mine, others in columns]

    for found, factors in ((evenly, (4.0, 0.25)), (as_they_are, (1.0, 1.0))):
        first = ratios([own], [other] * 4, factors[0])
        second = ratios([other] * 4, [own], factors[1])
        order = sorted(range(2), key=lambda i: -first[i])
        assert found.label_words["a"][0] == WORDS[order[0]]
        assert found.score == pytest.approx((sum(first) / 2 + sum(second) / 2) / 2, rel=1e-4)
    assert (evenly.label_words["a"][0], as_they_are.label_words["a"][0]) == ("one", "two")


def test_petal_chooses_among_the_likeliest_words_of_a_class():
    """ "three" goes best with its class, but others are likelier after it."""
    own, other = [5.0, 4.5, 3.0], [4.9, 4.4, -9.0]

    few, all_words = (petal(evidence([own, other], [0, 1]), words=1, candidates=n)[0] for n in (2, 3))

    assert all_words.label_words["a"] == ("three",)
    assert few.label_words["a"] in (("one",), ("two",))


def test_autoprompt_tries_several_strengths_and_words_that_tell_most_apart_come_first():
    """Held small, a classifier sees the large feature, which tells 6 of 10 apart; let go, the small one: all."""
    targets = [0, 1] * 10
    large = [3.0 if (number // 2) % 5 < 3 else -3.0 for number in range(20)]
    rows = [[sign * size, sign * 0.1] for size, sign in zip(large, (1.0 if t == 0 else -1.0 for t in targets))]
    words = [[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]]
    some = replace(evidence(rows, targets), weight=torch.tensor(words), bias=torch.zeros(4), words=WORDS[:4])

    found = autoprompt(some, words=1)

    assert [(one.label_words, one.score) for one in found] == [
        ({"a": ("three",), "b": ("four",)}, 1.0),
        ({"a": ("one",), "b": ("two",)}, pytest.approx(0.6)),
    ]


def test_a_word_that_two_classes_want_goes_to_the_one_that_ranks_it_higher():
    same = [[5.0, 4.0, 0.0], [5.0, 4.0, 0.0], [5.0, 4.0, 3.0], [5.0, 4.0, 3.0]]

    found = petal(evidence(same, [0, 0, 1, 1]), words=3)[0]

    assert sorted(word for row in found.label_words.values() for word in row) == sorted(WORDS[:3])


def test_autoprompt_takes_the_words_along_the_direction_that_separates_the_classes():
    states = [[3.0, 0.0, 0.1], [2.5, 0.1, 0.0], [0.0, 3.0, 0.1], [0.1, 2.5, 0.0]]

    found = autoprompt(evidence(states, [0, 0, 1, 1]), words=1)[0]

    assert found.label_words == {"a": ("one",), "b": ("two",)}


def test_autoprompt_is_not_led_to_rare_words_by_a_classifier_that_fits_every_example():
    rng = np.random.default_rng(0)
    targets = [0, 1] * 50
    states = rng.normal(size=(100, 3)) * [1.0, 1.0, 0.01]  # the last feature has few words, and they are rare
    states[:, 0] += np.where(np.array(targets) == 0, 1.0, -1.0)
    states[:, 2] += np.where(np.array(targets) == 0, 0.02, -0.02)  # tells nearly all apart, at a hundredth of the size
    rows = [[1.0, 0.0, 0.0], [-1.0, 0.0, 0.0], [0.0, 1.0, 0.9], [0.0, -1.0, -0.9]]
    mixed = replace(
        evidence(states.astype(np.float32).tolist(), targets),
        weight=torch.tensor(rows),
        bias=torch.zeros(4),
        words=WORDS[:4],
    )

    found = autoprompt(mixed, words=1)

    assert found[0].label_words == {"a": (WORDS[0],), "b": (WORDS[1],)}
    assert [one.score for one in found] == sorted([one.score for one in found], reverse=True)
    right = [(0 if state[0] > -state[0] else 1) == target for state, target in zip(states, targets)]
    assert found[0].score == pytest.approx(sum(right) / 100)
