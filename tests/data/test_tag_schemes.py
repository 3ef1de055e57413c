from __future__ import annotations

import random

import pytest

from promptlab.core.errors import DataError
from promptlab.data.tag_schemes import Entity, EntityTags, PlainTags, checked_scheme, scheme_of


def loop_of_runs(tags):
    """conlleval's reading, word by word."""
    found, start = set(), None
    for i in range(len(tags) + 1):
        before = tags[i - 1] if i else "O"
        tag = tags[i] if i < len(tags) else "O"
        ends = before != "O" and (tag[0] in "OB" or tag[2:] != before[2:])
        if ends:
            found.add((start, i, before[2:]))
        if tag != "O" and (before == "O" or ends):
            start = i
    return found


def loop_of_whole(tags, last, single):
    """Every stretch of words is asked whether it is an entity."""
    found = set()
    for start in range(len(tags)):
        for stop in range(start + 1, len(tags) + 1):
            kind = tags[start][2:]
            middle = [f"I-{kind}"] * (stop - start - 2)
            if tags[start:stop] in ([f"{single}-{kind}"], [f"B-{kind}", *middle, f"{last}-{kind}"]):
                found.add((start, stop, kind))
    return found


@pytest.mark.parametrize("prefixes", ["BI", "BILU", "BIES"])
def test_entities_and_their_f1_are_those_of_a_plain_loop_on_any_tags(prefixes):
    rng = random.Random(0)
    tags = ["O", *(f"{prefix}-{kind}" for prefix in prefixes for kind in "xy")]
    loop = loop_of_runs if prefixes == "BI" else lambda row: loop_of_whole(row, prefixes[2], prefixes[3])
    scheme = EntityTags(prefixes)
    n_found = 0
    for _ in range(200):
        truth = [rng.choices(tags, k=rng.randint(1, 7)) for _ in range(3)]
        said = [[rng.choice(tags) if rng.random() < 0.3 else tag for tag in row] for row in truth]
        right = wrong = missed = 0
        for row, other in zip(truth, said):
            assert {tuple(entity) for entity in scheme.entities(row)} == loop(row)
            right += len(loop(row) & loop(other))
            wrong += len(loop(other) - loop(row))
            missed += len(loop(row) - loop(other))
        score = scheme.score(truth, said)
        assert score.value == pytest.approx(right / (right + (wrong + missed) / 2) if right else 0.0)
        assert (score.n, score.name) == (2 * right + wrong + missed, "f1")
        n_found += right
    assert n_found > 50


@pytest.mark.parametrize(
    ("rows", "entities"),
    [
        ([["I-x", "I-x", "O", "I-y"]], {(0, 2, "x"), (3, 4, "y")}),  # IO
        ([["I-x", "I-x", "B-x", "I-y"]], {(0, 2, "x"), (2, 3, "x"), (3, 4, "y")}),  # IOB1
        ([["B-x", "I-x", "B-x", "O"]], {(0, 2, "x"), (2, 3, "x")}),  # IOB2
        ([["B-x", "I-x", "L-x", "U-y"]], {(0, 3, "x"), (3, 4, "y")}),  # BILOU
        ([["B-x", "I-x", "E-x", "S-y"]], {(0, 3, "x"), (3, 4, "y")}),  # IOBES
        ([["S-x", "O", "S-y", "O"]], {(0, 1, "x"), (2, 3, "y")}),
        ([["U-a b", "O", "U-y-z", "O"]], {(0, 1, "a b"), (2, 3, "y-z")}),
        ([["B", "I", "O", "B"]], {(0, 2, ""), (3, 4, "")}),
        ([["B", "E", "O", "S"]], {(0, 2, ""), (3, 4, "")}),
    ],
)
def test_a_scheme_is_known_by_its_prefixes(rows, entities):
    assert checked_scheme(rows, "y").entities(rows[0]) == {Entity(*entity) for entity in entities}


@pytest.mark.parametrize(
    "rows", [[["PROPN", "NOUN"]], [["S", "V", "O"]], [["B", "X"]], [["e-mail", "url"]], [["o", "per"]], [["X-B", "Y"]]]
)
def test_tags_without_prefixes_stand_for_themselves_and_are_scored_word_by_word(rows):
    scheme = checked_scheme(rows, "y")

    assert scheme == PlainTags()
    assert scheme.score([["a", "b"], ["a"]], [["a", "a"], ["a"]]) == (pytest.approx(2 / 3), 3, "accuracy")


@pytest.mark.parametrize(
    ("row", "tag"),
    [
        (["B-x", "o"], "'o'"),
        (["B-x", "B"], "'B'"),
        (["B-x", ""], "''"),
        (["NOUN", ""], "''"),
        (["B-x", "B_P"], "'B_P'"),
        (["O", "B_P"], "'B_P'"),
        (["O", "PER-B"], "'PER-B'"),
        (["o", "b-per"], "'b-per'"),
        (["B-x", "M-x", "E-x"], "'M-x'"),
        (["B-x", "L-x", "S-x"], "'S-x'"),  # of another scheme
        (["B-x", "NOUN"], "'NOUN'"),
        (["B-x", "B-"], "'B-'"),
        (["B-x", "L-x", "I-x"], "'I-x' at word 3"),  # no whole entity
        (["B-x", "L-y"], "'B-x' at word 1"),
        (["E-x", "I-x"], "'E-x' at word 1"),  # IOE, whose entities' beginnings aren't marked
    ],
)
def test_any_other_tag_is_named_with_its_sentence(row, tag):
    with pytest.raises(DataError, match=f"sentence 2 of y has the tag {tag}"):
        checked_scheme([["O", "O"], row], "y")


def test_right_tags_of_a_later_set_are_of_the_scheme_that_was_learnt():
    scheme = scheme_of({"B-x", "I-x", "O"})

    scheme.check([["B-z", "O"]], "y")  # of a type that wasn't
    with pytest.raises(DataError, match=r"sentence 1 of y has the tag 'S-x', but other tags are those of entities"):
        scheme.check([["S-x"]], "y")


def test_where_there_is_no_entity_nothing_is_right():
    assert EntityTags("BI").score([["O"]], [["O"]]) == (0.0, 0, "f1")
