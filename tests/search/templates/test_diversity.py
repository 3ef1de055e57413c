from __future__ import annotations

import pytest

from promptlab.core.errors import SearchError
from promptlab.search.templates.diversity import likeness, top_n
from promptlab.search.templates.ranking import RankedTemplate, Result, in_order
from promptlab.search.templates.task import FoundTemplate

TRUTH = list("ppppnnnn")
WORDS = {"p": ("good",), "n": ("bad",)}


def ranked(text, wrong, rounds=1, score=0.0):
    """A template of some words, wrong on some dev examples."""
    predictions = [{"p": "n", "n": "p"}[name] if i in wrong else name for i, name in enumerate(TRUTH)]
    result = Result([i not in wrong for i in range(8)], [1.0] * 8, predictions)
    found = FoundTemplate(f"{{{{ text_a }}}} {text} {{{{ mask }}}}", "x", score, WORDS)
    return RankedTemplate(found, result, {10 * number: result for number in range(1, rounds + 1)})


def test_likeness_is_the_mean_share_of_common_errors_and_words_by_hand():
    one, other = ranked("It was", {0, 1}), ranked("it is", {1, 2, 3})

    assert likeness(one, other) == pytest.approx((1 / 4 + 3 / 5) / 2)  # it, good, bad of these, was and is
    assert likeness(one, one) == 1.0
    assert likeness(ranked("a", set()), ranked("a", set())) == 0.5


def test_without_diversity_the_best_are_taken_as_they_are_ranked():
    rows = [ranked("It was", {0}), ranked("It is", {0}), ranked("Topic", {1, 2})]

    assert top_n(rows, 2) == rows[:2]


def test_with_diversity_a_different_template_comes_before_a_better_one_that_is_alike():
    rows = [ranked("It was", {0}), ranked("It was so", {0}), ranked("Topic", {1, 2})]

    alike = (1 + 4 / 5) / 2
    different = (0 + 2 / 5) / 2
    limit = (7 / 8 - 6 / 8) / (alike - different)  # where both are worth the same
    chosen = {n: [one.found for one in top_n(rows, n, diversity=limit + 0.01)] for n in (2, 9)}
    assert chosen[2] == [rows[0].found, rows[2].found]
    assert chosen[9] == [rows[0].found, rows[2].found, rows[1].found]
    assert [one.found for one in top_n(rows, 2, diversity=limit - 0.01)] == [rows[0].found, rows[1].found]


def test_what_was_chosen_says_what_put_it_behind_the_one_before():
    rows = in_order([ranked("It was", {0}), ranked("It was so", {0}, score=-1.0), ranked("Topic", {1, 2})])

    assert [one.placed_by for one in top_n(rows, 3)] == ["first", "score", "accuracy"]
    assert [one.placed_by for one in top_n(rows, 3, diversity=0.5)] == ["first", "accuracy", "diversity"]


def test_templates_compete_by_the_best_that_they_do_however_long_they_were_trained():
    rows = in_order([ranked("It was", {0}, 2), ranked("It was so", {0, 1, 2}, 2), ranked("Topic", set(), 1)])

    chosen = top_n(rows, 2, diversity=0.01)

    assert [one.found.template for one in chosen] == ["{{ text_a }} Topic {{ mask }}", "{{ text_a }} It was {{ mask }}"]


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"n": 0}, "n=0 templates"), ({"n": 1, "diversity": -0.1}, "diversity=-0.1 must be 0")],
)
def test_choices_that_cannot_be_made_are_told(settings, message):
    with pytest.raises(SearchError, match=message):
        top_n([ranked("a", set())], **settings)
